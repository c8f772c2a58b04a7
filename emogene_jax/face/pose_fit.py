"""From tracked image points to a camera, rigid head poses and a mesh in head space.

A small bundle adjustment: one focal length and one rest shape a clip, one pose a frame,
on points over bone. p [T, P, 2] are image points in px, shapes [P, 3] in cm; signals.py
gives the axes. Everything is float64.
"""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from emogene_jax.face import mesh as lm
from emogene_jax.rigid import mean_rotation, project, rotation_exp, rotation_log
from emogene_jax.signals import Camera, Pose

_NOISE_CM = 0.03  # what the tracker's points scatter, on the face
_DEPTH_PRIOR_CM = 0.3  # how far a point's depth may be from the first guess
_AT_ONCE = 1000  # frames
# In 33 clips, up to 31 degrees from the front, no frame seen misses its face by more
# than 0.61 cm rms; turned so far that the tracker is about to lose it, by .6 to 1.1.
_ASIDE, _MISFIT = 45.0, 0.75  # degrees, cm
_INDEPENDENT = 20  # frames in a row share their noise: one in 20 counts


class HeadFit(NamedTuple):
    """Camera, poses and shape of one person's clips."""

    camera: Camera
    pose: Pose
    shape: np.ndarray  # [P, 3] cm: the rigid shape of the fitted points
    error: np.ndarray  # [T] px rms of the fitted points


def similarity(source: np.ndarray, target: np.ndarray, weight=None):
    """(scale [T], rotation [T, 3, 3], translation [T, 3]) that bring source [T, P, 3]
    onto target [T, P, 3] best (Umeyama)."""
    weight = np.ones(source.shape[-2]) if weight is None else weight
    weight = (weight / weight.sum())[:, None]
    a_mean, b_mean = (source * weight).sum(-2), (target * weight).sum(-2)
    a, b = source - a_mean[..., None, :], target - b_mean[..., None, :]
    u, s, vt = np.linalg.svd(np.swapaxes(b * weight, -1, -2) @ a)
    sign = np.ones_like(s)
    sign[..., 2] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[..., None, :]) @ vt
    scale = (s * sign).sum(-1) / (a**2 * weight).sum((-1, -2))
    shift = b_mean - scale[..., None] * (rotation @ a_mean[..., None])[..., 0]
    return scale, rotation, shift


def _projection_jacobian(x: np.ndarray, focal: float) -> np.ndarray:
    """d(column, row) / d x_camera: [..., 2, 3]."""
    zero = np.zeros_like(x[..., 0])
    a = focal / -x[..., 2]
    rows = [a, zero, a * x[..., 0] / -x[..., 2], zero, -a, -a * x[..., 1] / -x[..., 2]]
    return np.stack(rows, -1).reshape(*x.shape[:-1], 2, 3)


def _cross_matrix(x: np.ndarray) -> np.ndarray:
    zero = np.zeros_like(x[..., 0])
    a, b, c = np.moveaxis(x, -1, 0)
    rows = [zero, -c, b, c, zero, -a, -b, a, zero]
    return np.stack(rows, -1).reshape(*x.shape[:-1], 3, 3)


def fit_poses(points, shape, camera, pose, weight, steps=4) -> Pose:
    """Poses that project shape [P, 3] onto points [T, P, 2], by Gauss-Newton from
    `pose`. weight [T, P] or [P]."""
    weight = np.broadcast_to(weight, points.shape[:2])
    parts = [
        _fit_some(points[part], shape, camera, Pose(*(p[part] for p in pose)), w, steps)
        for part in _stretches(len(points))
        for w in [weight[part]]
    ]
    return Pose(*map(np.concatenate, zip(*parts, strict=True)))


def _stretches(frames: int) -> list[slice]:
    """Of so many frames; an hour of them at once would take 5 GB."""
    return [slice(at, at + _AT_ONCE) for at in range(0, max(1, frames), _AT_ONCE)]


def _fit_some(points, shape, camera, pose, weight, steps) -> Pose:
    for _ in range(steps):
        turned = shape @ np.swapaxes(pose.rotation, -1, -2)
        x = turned + pose.translation[:, None]
        d = _projection_jacobian(x, camera.focal)
        jacobian = np.concatenate([-d @ _cross_matrix(turned), d], -1)
        residual = points - project(shape[None], *pose, camera)
        weighted = jacobian * weight[..., None, None]
        # Both coordinates of all points as rows of one matrix a frame: BLAS is twice as
        # fast as einsum.
        rows = np.swapaxes(weighted.reshape(len(x), -1, 6), 1, 2)
        normal = rows @ jacobian.reshape(len(x), -1, 6)
        right = (rows @ residual.reshape(len(x), -1, 1))[..., 0]
        normal += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(6)
        step = np.linalg.solve(normal, right[..., None])[..., 0]
        pose = Pose(
            rotation_exp(step[:, :3]) @ pose.rotation, pose.translation + step[:, 3:]
        )
    return pose


def _fit_shape(points, first, camera, pose, weight, px_per_cm, steps=2) -> np.ndarray:
    """Shape [P, 3] that explains points over all frames, held near `first`."""
    shape = first
    frames = len(points)
    hold = (frames / _INDEPENDENT + 1) / _DEPTH_PRIOR_CM**2 * np.eye(3)
    inverse_noise = 1 / (_NOISE_CM * px_per_cm) ** 2
    for _ in range(steps):
        x = shape @ np.swapaxes(pose.rotation, -1, -2) + pose.translation[:, None]
        d = _projection_jacobian(x, camera.focal) @ pose.rotation[:, None]
        residual = points - project(shape[None], *pose, camera)
        weighted = d * (weight * inverse_noise)[..., None, None]
        normal = np.einsum("tpki,tpkj->pij", weighted, d) + hold
        right = np.einsum("tpki,tpk->pi", weighted, residual)
        right += (first - shape) @ hold
        shape = shape + np.linalg.solve(normal, right[..., None])[..., 0]
    return shape


def _first_guess(tracked, canonical, camera):
    """(pose, shape) from the tracker's own relative depth."""
    upright = tracked * [1.0, -1.0, -1.0]
    scale, rotation, _ = similarity(np.broadcast_to(canonical, upright.shape), upright)
    centred = (upright - upright.mean(1, keepdims=True)) / scale[:, None, None]
    shape = np.median(centred @ rotation, axis=0)
    size, turn, shift = similarity(shape[None], canonical[None])
    shape = size * shape @ turn[0].T + shift
    return _first_pose(tracked, scale, rotation, shape, camera), shape


def _first_pose(tracked, scale, rotation, shape, camera) -> Pose:
    """Poses of a head that is rotation [T, 3, 3] times shape [P, 3] in cm, at scale [T]
    px a cm."""
    depth = camera.focal / scale
    middle = tracked[..., :2].mean(1)
    at = np.stack(
        [
            (middle[:, 0] - camera.cx) / scale,
            (camera.cy - middle[:, 1]) / scale,
            -depth,
        ],
        -1,
    )
    return Pose(rotation, at - rotation @ shape.mean(0))


def _spread(residual: np.ndarray, noise: float) -> np.ndarray:
    """[P]: the usual squared residual of each point over the clip, in units of noise."""
    return np.median((residual**2).sum(-1), axis=0) / noise**2


def _robust(residual: np.ndarray, noise: float, spread: np.ndarray) -> np.ndarray:
    """Cauchy weights [T, P] times the inverse variance of each point over the clip."""
    return 1 / (1 + (residual**2).sum(-1) / (3 * noise) ** 2) / (1 + spread)


def _bundle(tracked, canonical, camera, rounds):
    points = tracked[..., :2]
    pose, first = _first_guess(tracked, canonical, camera)
    px_per_cm = camera.focal / -np.median(pose.translation[:, 2])
    noise = _NOISE_CM * px_per_cm
    shape, weight = first, np.ones(points.shape[:2])
    for _ in range(rounds):
        pose = fit_poses(points, shape, camera, pose, weight, steps=2)
        residual = points - project(shape[None], *pose, camera)
        weight = _robust(residual, noise, _spread(residual, noise))
        shape = _fit_shape(points, first, camera, pose, weight, px_per_cm)
        # The shape must not drift in size, turn or place: it shares these with the poses.
        size, turn, shift = similarity(shape[None], canonical[None])
        shape = size * shape @ turn[0].T + shift
        # x_cam = R (T^t (X - shift) / size) + t, and all of it may be scaled by size.
        rotation = pose.rotation @ turn[0].T
        translation = pose.translation * size[0] - rotation @ shift[0]
        pose = Pose(rotation, translation)
    residual = points - project(shape[None], *pose, camera)
    # Cauchy's loss: weighted squares would reward a fit that disowns its points.
    data = 9 * np.log1p((residual**2).sum(-1) / (3 * noise) ** 2).sum()
    held = (((shape - first) / _DEPTH_PRIOR_CM) ** 2).sum()
    cost = data / _INDEPENDENT + held * (len(points) / _INDEPENDENT + 1)
    return pose, shape, noise, residual, cost


def _follow(tracked, shape, camera, noise, spread, rounds):
    """(poses, residual [T, P, 2] px) of a shape in frames that it was not measured in."""
    upright = tracked * [1.0, -1.0, -1.0]
    scale, rotation, _ = similarity(np.broadcast_to(shape, upright.shape), upright)
    pose = _first_pose(tracked, scale, rotation, shape, camera)
    points, weight = tracked[..., :2], np.ones(tracked.shape[:2])
    for _ in range(rounds):
        pose = fit_poses(points, shape, camera, pose, weight, steps=2)
        residual = points - project(shape[None], *pose, camera)
        weight = _robust(residual, noise, spread)
    return pose, residual


def fit_head(
    tracked, canonical, size, centre, rounds=6, looked_at=100, known=None
) -> HeadFit:
    """Camera, poses and rest shape of one person's clips.

    Args:
      tracked: [T, 478, 3] px: column, row and the tracker's relative depth (away from
        the viewer, on the scale of the columns).
      canonical: [468, 3] cm, the tracker's metric face.
      size: px, of the (square) picture; centre: (cx, cy) px, the principal point.
      looked_at: frames by which the camera's distance is searched for.
      known: how many frames at the start camera and shape are measured from; None = all.
        The others are held out: they get poses, and change nothing else.
    """
    stable = np.array(lm.STABLE)
    tracked, canonical = tracked[:, stable].astype(np.float64), canonical[stable]
    tracked, held_out = np.split(tracked, [len(tracked) if known is None else known])
    scale, _, _ = similarity(
        np.broadcast_to(canonical, tracked.shape), tracked * [1.0, -1.0, -1.0]
    )
    # A clip with little turning says little about the distance of the camera: it is
    # searched for, with a mild preference for the usual 80 cm.
    some = tracked[:: max(1, len(tracked) // looked_at)]
    best = None
    for distance in 80.0 * 1.35 ** np.arange(-3, 5):
        camera = Camera(float(distance * np.median(scale)), *centre, size)
        cost = _bundle(some, canonical, camera, 4)[-1]
        cost += (np.log(distance / 80.0) / 0.5) ** 2
        if best is None or cost < best[0]:
            best = (cost, camera)
    camera = best[1]
    pose, shape, noise, residual, _ = _bundle(tracked, canonical, camera, rounds)
    if len(held_out):
        spread = _spread(residual, noise)
        later, missed = _follow(held_out, shape, camera, noise, spread, rounds)
        pose = Pose(*(np.concatenate(both) for both in zip(pose, later)))
        residual = np.concatenate([residual, missed])
    error = np.sqrt((residual**2).sum(-1).mean(1))
    return HeadFit(camera, pose, shape, error)


def smooth_pose(pose: Pose, middle: np.ndarray) -> Pose:
    """Pose without the tracker's noise, seen from middle [3], the fitted points' mean.

    Gaussians over time. About the middle of the face, the noise of turn and distance
    (slow, weakly seen) and of place (fast, well seen) come apart.
    """
    centre = pose.rotation @ middle + pose.translation
    base = pose.rotation[len(pose.rotation) // 2]
    vector = gaussian_filter1d(rotation_log(base.T @ pose.rotation), 1.3, axis=0)
    rotation = base @ rotation_exp(vector)
    depth = gaussian_filter1d(centre[:, 2], 2.5)
    place = gaussian_filter1d(centre[:, :2] / centre[:, 2:], 0.5, axis=0)
    centre = np.concatenate([place * depth[:, None], depth[:, None]], 1)
    return Pose(rotation, centre - rotation @ middle)


def seen_aside(tracked: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """[T] bool: whether faces tracked at [T, 478, 3] px (fit_head's) are seen so much from
    a side that half of them is a guess, or are no face's shape; canonical [468, 3] cm."""
    stable, found = np.array(lm.STABLE), []
    for part in _stretches(len(tracked)):
        upright = tracked[part][:, stable] * [1.0, -1.0, -1.0]
        wanted = np.broadcast_to(canonical[stable], upright.shape)
        scale, rotation, shift = similarity(upright, wanted)
        placed = scale[:, None, None] * (upright @ np.swapaxes(rotation, 1, 2))
        missed = ((placed + shift[:, None] - wanted) ** 2).sum(-1).mean(-1)
        aside = rotation[:, 2, 2] < np.cos(np.radians(_ASIDE))
        found.append(aside | (missed > _MISFIT**2))
    return np.concatenate(found)


def away(pose: Pose, shot: np.ndarray) -> Pose:
    """Turns and shifts away from the mean pose of their shot [T] of each: another camera
    does not make a head jump."""
    rotation, translation = (part.copy() for part in pose)
    for number in np.unique(shot):
        mine = shot == number
        rotation[mine] = mean_rotation(rotation[mine]).T @ rotation[mine]
        translation[mine] -= translation[mine].mean(0)
    return Pose(rotation, translation)


def head_mesh(tracked, fit: HeadFit) -> np.ndarray:
    """The tracked points in head space, [T, 478, 3] cm.

    Along the ray of the image point; the depth is the tracker's own, brought into head
    space by its rigid points.
    """
    mesh = np.empty(tracked.shape)
    for part in _stretches(len(tracked)):
        pose = Pose(*(p[part] for p in fit.pose))
        mesh[part] = _mesh_of(tracked[part], fit._replace(pose=pose))
    return mesh


def _mesh_of(tracked, fit: HeadFit) -> np.ndarray:
    stable = np.array(lm.STABLE)
    upright = tracked.astype(np.float64) * [1.0, -1.0, -1.0]
    scale, rotation, shift = similarity(
        upright[:, stable], np.broadcast_to(fit.shape, (len(tracked), *fit.shape.shape))
    )
    depth = scale[:, None] * (upright @ rotation[:, 2, :, None])[..., 0] + shift[:, 2:]
    camera, pose = fit.camera, fit.pose
    ray = np.stack(
        [
            (tracked[..., 0] - camera.cx) / camera.focal,
            (camera.cy - tracked[..., 1]) / camera.focal,
            -np.ones(tracked.shape[:2]),
        ],
        -1,
    )
    direction = ray @ pose.rotation
    origin = -(pose.translation[:, None] @ pose.rotation)
    along = (depth[..., None] - origin[..., 2:]) / direction[..., 2:]
    return origin + along * direction
