"""Marching finds what a dense march finds; frames don't depend on how they are batched."""

import gc
import re
import weakref
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emogene_jax.emotion_to_video import bake, render, volume
from emogene_jax.emotion_to_video.camera import pixel_rays
from emogene_jax.emotion_to_video.encoding import node_points
from emogene_jax.emotion_to_video.head import FrameState
from emogene_jax.emotion_to_video.volume import composite, march, seen_density
from emogene_jax.face.rig import HULL, Rig
from emogene_jax.pose.code import pose_code
from emogene_jax.rigid import project
from emogene_jax.signals import Camera, Pose, landmarks_to_motion

CAMERA = Camera(focal=72.0, cx=24.0, cy=24.0, size=48)


class Balls(NamedTuple):
    """In place of the head field: a coloured ball, and a smaller one behind it."""

    skin: float  # cm: how soft they begin

    def apply(self, variables, *inputs, method="__call__"):
        if method == "frame":
            rig = inputs[0]
            return FrameState(rig.warp_rest[None], None)
        if method in ("still", "bake"):
            return jnp.zeros(1)
        if method == "colour":
            return inputs[0]  # what is gathered is colour already
        points = inputs[-1]

        def ball(centre, radius):
            r = jnp.linalg.norm(points - jnp.array(centre), axis=-1)
            return 8.0 / (1 + jnp.exp((r - radius) / self.skin))

        density = ball([0.0, 0.0, 1.0], 4.0) + ball([3.5, 2.0, -3.0], 2.0)
        colour = 0.5 + 0.5 * jnp.sin(points * jnp.array([0.5, 0.7, 0.3]))
        return density, colour


@pytest.fixture(scope="module")
def ball_rig():
    low, high = np.array([-7.0, -7, -7]), np.array([7.0, 7, 7])
    zero = np.zeros(1)
    warp = np.zeros((3, 3, 3, 3))
    arrays = (np.zeros((204, 1)), *[zero] * 3, warp[None], warp, low, high, low, high)
    planes = np.ones((HULL,) * 3), np.ones((2, 2, 2, 2))
    return Rig(*(jnp.asarray(x, jnp.float32) for x in (*arrays, *planes)))


@partial(jax.jit, static_argnums=(0, 3))
def dense_march(field, rig, rays, samples=800):
    """Equal steps from one end of the box to the other."""
    near, far = volume.box_interval(rays, rig.low, rig.high)
    along = volume.bin_centres(near, far, samples)
    points = (
        rays.origins[..., None, :] + along[..., None] * rays.directions[..., None, :]
    )
    density, colour = field.apply(None, rig, None, points)
    width = jnp.broadcast_to(((far - near) / samples)[..., None], density.shape)
    return composite(density, colour, width)[:2]


def balls(rig, skin):
    """(field, occupancy grid) of two balls."""
    field = Balls(skin)
    nodes = rig.low + node_points((HULL,) * 3) * (rig.high - rig.low)
    density, _ = field.apply(None, rig, None, nodes[None])
    return field, seen_density(rig, density.reshape((HULL,) * 3))


POSE = jnp.eye(3), jnp.array([0.5, -0.3, -30.0])


def whole_picture(size):
    """Rays [1, size * size] of POSE."""
    rows, columns = (part.reshape(1, -1) for part in np.mgrid[:size, :size])
    camera = CAMERA._replace(focal=1.5 * size, cx=size / 2, cy=size / 2, size=size)
    turn = tuple(part[None] for part in POSE)
    return pixel_rays(rows, columns, *turn, camera), camera


@pytest.mark.parametrize("skin", [0.12, 0.6])
def test_few_placed_samples_see_what_a_dense_march_sees(ball_rig, skin):
    """Grown by a node, the grid would stop light early: a thin skin then loses its
    samples to the empty space before it (20 dB)."""
    field, grid = balls(ball_rig, skin)
    rays, _ = whole_picture(48)
    state = field.apply(None, ball_rig, None, method="frame")
    marched = jax.jit(march, static_argnums=(0, 6))
    colour, alpha, _ = marched(field, None, ball_rig, grid, state, rays, 24)
    true_colour, true_alpha = dense_march(field, ball_rig, rays)
    assert true_alpha.max() > 0.99 and true_alpha.min() < 0.01
    for mine, true in ((colour, true_colour), (alpha, true_alpha)):
        assert psnr(mine, true) > 45


@pytest.mark.slow
@pytest.mark.parametrize("skin", [0.12, 0.6])
@pytest.mark.parametrize("size", [48, 160])
def test_a_baked_frame_shows_what_a_dense_march_sees(ball_rig, skin, size):
    """All pixels of one turn of the loop, and of several."""
    field, grid = balls(ball_rig, skin)
    rays, camera = whole_picture(size)
    head = bake.ready_head(field, None, ball_rig, grid)
    frame = bake.bake(field, head, ball_rig, jnp.zeros(1))
    window = (camera, jnp.zeros(2, jnp.int32), size, 24)
    layer = bake.render_head(field, None, ball_rig, frame, POSE, *window)
    colour, alpha = dense_march(field, ball_rig, rays)
    assert psnr(layer[..., :3].reshape(1, -1, 3), colour) > 45
    assert psnr(layer[..., 3].reshape(1, -1), alpha) > 45


def test_where_the_grid_is_empty_nothing_is_rendered(ball_rig):
    field, grid = balls(ball_rig, 0.12)
    _, camera = whole_picture(48)
    head = bake.ready_head(field, None, ball_rig, 0 * grid)
    frame = bake.bake(field, head, ball_rig, jnp.zeros(1))
    window = (camera, jnp.zeros(2, jnp.int32), 48, 8)
    layer = bake.render_head(field, None, ball_rig, frame, POSE, *window)
    np.testing.assert_array_equal(layer, 0)


def psnr(mine, true):
    return -10 * np.log10(np.mean((np.asarray(mine) - np.asarray(true)) ** 2))


def test_outside_the_hull_there_is_nothing_to_see(ball_rig):
    hull = jnp.zeros((HULL,) * 3).at[:, : HULL // 2].set(1.0)
    seen = seen_density(ball_rig._replace(hull=hull), jnp.ones((HULL,) * 3))
    assert (seen[:, : HULL // 2] == 1).all() and (seen[:, HULL // 2 :] == 0).all()


def test_the_outline_holds_the_hull(untrained):
    rig = untrained.rig
    outline = render.hull_outline(rig)
    z, y, x = np.nonzero(rig.hull)
    nodes = rig.low + np.stack([x, y, z], -1) * (rig.high - rig.low) / (HULL - 1)
    for direction in np.eye(3):
        for sign in (-1, 1):
            most = (sign * nodes @ direction).max()
            assert (sign * outline @ direction).max() > most - 1e-4


@pytest.fixture
def other_programs():
    """A test whose programs are others: they are neither taken over nor left behind."""
    render._program.cache_clear()
    yield
    render._program.cache_clear()


@pytest.fixture(scope="module")
def renderer(untrained):
    """Few frames are several batches."""
    return render.Renderer(untrained, batch=4)


@pytest.fixture(scope="module")
def performance(filmed):
    motion = landmarks_to_motion(filmed.landmarks, filmed.rest)
    return motion[:11], Pose(*(part[:11] for part in filmed.pose))


@pytest.fixture(scope="module")
def rendered(renderer, performance):
    pairs = list(renderer.frames(*performance, layers=True))
    return np.stack([frame for frame, _ in pairs]), np.stack(
        [head for _, head in pairs]
    )


def test_frames_are_pictures_and_differ(rendered, untrained):
    frames, heads = rendered
    size = untrained.camera.size
    assert frames.shape == (11, size, size, 3) and frames.dtype == np.uint8
    assert heads.shape == (11, size, size, 4) and heads.dtype == np.uint8
    assert (np.ptp(frames, axis=0) > 0).any()
    assert heads[..., 3].max() > 200 and heads[..., 3].min() == 0


def test_the_batch_size_does_not_change_frames(rendered, performance, untrained):
    other = render.Renderer(untrained, batch=2)
    frames = np.stack(list(other.frames(*performance)))
    np.testing.assert_array_equal(frames, rendered[0])


@pytest.mark.parametrize("count", [8, 3])
def test_several_devices_render_what_one_does(
    use_devices, rendered, performance, untrained, count
):
    use_devices(count)
    other = render.Renderer(untrained, batch=2)
    frames = np.stack(list(other.frames(*performance)))
    np.testing.assert_array_equal(frames, rendered[0])


@pytest.mark.usefixtures("eight_devices", "other_programs")
def test_devices_tell_each_other_nothing(monkeypatch, performance, untrained):
    programs = []

    def compiled(step, **options):
        run = _data_parallel(step, **options)

        def call(*arguments):
            programs.append(run.lower(*arguments).compile().as_text())
            return run(*arguments)

        return call

    monkeypatch.setattr(render, "data_parallel", compiled)
    list(render.Renderer(untrained, batch=1).frames(*performance))
    (program, *_) = programs
    told = re.findall(r"= (\S+) (?:all|collective|reduce-scatter)[-\w]*\(", program)
    assert not told


@pytest.mark.usefixtures("other_programs")
def test_a_gpu_in_one_turn_renders_what_a_cpu_does(
    on_an_accelerator, rendered, performance, untrained
):
    on_an_accelerator()
    frames = list(render.Renderer(untrained, batch=4).frames(*performance))
    assert np.abs(np.stack(frames).astype(int) - rendered[0]).max() <= 1


@pytest.mark.usefixtures("eight_devices", "other_programs")
def test_any_length_is_rendered_by_one_program(monkeypatch, performance, untrained):
    traced = chex.assert_max_traces(n=1)
    monkeypatch.setattr(
        render,
        "data_parallel",
        lambda step, **options: _data_parallel(traced(step), **options),
    )
    renderer = render.Renderer(untrained, batch=1)
    motion, pose = performance
    # One moment, said again and again: every frame is the same whatever the length.
    first = None
    for frames in (1, 7, 8, 9, 17):
        held = Pose(*(part[:1].repeat(frames, 0) for part in pose))
        made = list(renderer.frames(motion[:1].repeat(frames, 0), held))
        assert len(made) == frames
        first = made[0] if first is None else first
        for frame in made:
            np.testing.assert_array_equal(frame, first)


_data_parallel = render.data_parallel


@pytest.mark.usefixtures("other_programs")
def test_a_dropped_renderer_leaves_its_program_but_no_array(
    monkeypatch, performance, untrained
):
    traced = []

    def counted(step, **options):
        def once(*arguments):
            traced.append(step)
            return step(*arguments)

        return _data_parallel(once, **options)

    monkeypatch.setattr(render, "data_parallel", counted)
    motion, pose = performance[0][:2], Pose(*(part[:2] for part in performance[1]))
    dark = untrained._replace(background=untrained.background // 2)
    shown, left = [], []
    for fields in (untrained, dark):
        one = render.Renderer(fields, batch=2)
        shown.append(np.stack(list(one.frames(motion, pose))))
        held = jax.tree.leaves((one._rig, one._trained))
        # What a renderer has of its own, on the device.
        left += [weakref.ref(leaf) for leaf in held]
        assert sum(leaf.nbytes for leaf in held) > 10_000
        del one, held
        gc.collect()
        assert not any(ref() is not None for ref in left)
    assert len(traced) == 1  # of the same sizes: compiled once, whoever is shown
    assert (shown[0] != shown[1]).any()


def test_the_head_stands_in_its_window(rendered, performance, filmed, untrained):
    """Where the head's points are in the picture, the layer is not empty."""
    _, heads = rendered
    nose = project(filmed.mesh[:11, 30:31], *performance[1], untrained.camera)
    column, row = np.floor(nose[:, 0]).astype(int).T
    assert (heads[np.arange(11), row, column, 3] > 128).all()


def test_frames_picked_out_of_a_movement_look_as_they_do_in_it(
    renderer, rendered, performance, untrained
):
    motion, pose = performance
    rows = [1, 5, 10]
    picked = motion[rows], Pose(*(part[rows] for part in pose))
    codes = pose_code(untrained.code, pose)[rows]
    frames = np.stack(list(renderer.frames(*picked, codes=codes)))
    np.testing.assert_array_equal(frames, rendered[0][rows])
    assert (np.stack(list(renderer.frames(*picked))) != frames).any()


def test_layers_and_background_make_the_frame(performance, untrained):
    bare = render.Renderer(untrained._replace(torso=None), batch=1)
    motion, pose = performance[0][:3], Pose(*(part[:3] for part in performance[1]))
    size = untrained.camera.size
    green = np.zeros((size, size, 3), np.uint8) + np.array([0, 255, 0], np.uint8)
    for background in (None, green):
        behind = untrained.background if background is None else background
        for frame, head in bare.frames(motion, pose, None, background, layers=True):
            clear = 1 - head[..., 3:] / 255
            expected = head[..., :3] + clear * behind
            assert np.abs(frame - expected).max() < 2.01
            empty = head[..., 3] == 0
            assert empty.any()
            np.testing.assert_array_equal(frame[empty], behind[empty])


def test_above_its_rows_no_torso_is_drawn(rendered, performance, filmed, untrained):
    size = untrained.torso_size._replace(rows=10)
    low = untrained._replace(torso_size=size)
    frames = np.stack(list(render.Renderer(low).frames(*performance)))
    heads = np.stack(
        list(render.Renderer(low._replace(torso=None)).frames(*performance))
    )
    top = size.top(filmed.camera.size)
    np.testing.assert_array_equal(frames[:, top:], rendered[0][:, top:])
    np.testing.assert_array_equal(frames[:, :top], heads[:, :top])
    assert (frames[:, :top] != rendered[0][:, :top]).any()


def test_another_background_shows(renderer, rendered, performance, untrained):
    black = np.zeros_like(untrained.background)
    frames = np.stack(list(renderer.frames(*performance, background=black)))
    heads = rendered[1]
    beside = heads[..., 3] < 10
    assert (frames[beside] != rendered[0][beside]).any(-1).mean() > 0.5
    opaque = heads[..., 3] == 255
    np.testing.assert_allclose(1.0 * frames[opaque], rendered[0][opaque], atol=1)
