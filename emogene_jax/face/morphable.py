"""3DMM landmarks, the paper's extractor: a morphable model fitted to 68 image points.

The model's file is the user's: `BFM_model_front.mat` as Deep3DFaceRecon makes it of the
Basel Face Model 2009 and Guo et al.'s expressions (github.com/sicxu/
Deep3DFaceRecon_pytorch, util/load_mats.py), the file that GeneFace and EmoGene read too:

    meanshape [1, 3N]  idBase [3N, 80]  exBase [3N, 64]  keypoints [68], counted from 1

x y z lie beside each other, in decimetres (1e5 of the original's micrometres): 10 makes
cm of them. The bases are already multiplied by their standard deviations, so that all
coefficients are N(0, 1). Axes are ours: x right, y up, z towards the viewer.

The fit is maximum a posteriori, by Gauss-Newton. Names: I identity coefficients, one
vector a clip; X expression coefficients and P = X + 6 unknowns of a frame (expression,
turn, place). The clip's normal equations are an arrow: a [I, I] block that every frame
touches and one [P, P] block a frame, which are eliminated first (Schur complement).
Image points are used as (column - cx, row - cy) / focal.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from emogene_jax.face.pose_fit import similarity
from emogene_jax.rigid import project
from emogene_jax.signals import NUM_LANDMARKS, Camera, Pose, UserError

_CM = 10.0  # the file's unit
_NOISE_CM = 0.04  # what tracked points scatter, on the face: .5 px at 512
_LOT = 128  # frames fitted at once; a clip's identity comes from as many
_ENOUGH = 20  # points that make a frame one with a face
_STEPS = 5  # four converge to .0005 px
_ALIKE = 4  # frames say together about identity what one says by itself
_DAMPING = 1e-6  # of a block's diagonal: what float32 may round away
_UNIT = Camera(1.0, 0.0, 0.0, 1)
# The contour beside the ears slides along the head as it turns: GeneFace's fit leaves
# these points out, here they count a tenth.
TRACKER_WEIGHT = np.ones(NUM_LANDMARKS)
TRACKER_WEIGHT[[0, 1, 2, 3, 13, 14, 15, 16]] = 0.1


class MorphableModel(NamedTuple):
    """The 68 landmarks of a linear face model: mean + identity @ i + expression @ e."""

    mean: np.ndarray  # [68, 3] cm
    identity: np.ndarray  # [68, 3, I] cm per standard deviation
    expression: np.ndarray  # [68, 3, X] cm per standard deviation


class MorphableFit(NamedTuple):
    """A clip in terms of the model."""

    identity: np.ndarray  # [I] standard deviations
    expression: np.ndarray  # [T, X] standard deviations
    pose: Pose
    landmarks: np.ndarray  # [T, 68, 3] cm, rigid motion removed
    error: np.ndarray  # [T] px rms of the points seen; NaN without a face


def load_morphable(path) -> MorphableModel:
    """The landmarks of a model file in the layout above, centred on all its vertices."""
    from scipy.io import loadmat

    wanted = ("meanshape", "idBase", "exBase", "keypoints")
    layout = "expected BFM_model_front.mat in Deep3DFaceRecon's layout"
    try:
        data = loadmat(path, variable_names=wanted)
    except Exception as error:  # loadmat lets through whatever a broken file causes
        reason = str(error).split("\n")[0][:80]
        raise UserError(f"{path}: cannot be read ({reason}), {layout}") from None
    missing = [name for name in wanted if name not in data]
    if missing:
        raise UserError(f"{path}: has no {', '.join(missing)}, {layout}")
    mean, identity, expression, keypoints = (data[name] for name in wanted)
    size = mean.size
    shapes = [value.shape for value in (mean, identity, expression, keypoints)]
    if (
        size % 3
        or keypoints.size != NUM_LANDMARKS
        or any(len(shape) != 2 or shape[0] != size for shape in shapes[1:3])
    ):
        raise UserError(
            f"{path}: {', '.join(f'{n} {list(s)}' for n, s in zip(wanted, shapes))}, "
            "expected [1, 3N], [3N, I], [3N, X] and 68 keypoints"
        )
    index = keypoints.ravel().astype(int) - 1
    if index.min() < 0 or index.max() >= size // 3:
        raise UserError(
            f"{path}: keypoints from {index.min() + 1} to {index.max() + 1}, expected "
            f"vertices 1 to {size // 3}"
        )
    mean = mean.reshape(-1, 3).astype(np.float64)
    parts = [mean - mean.mean(0)]
    parts += [base.reshape(size // 3, 3, -1) for base in (identity, expression)]
    parts = [_CM * part[index].astype(np.float64) for part in parts]
    if not all(np.isfinite(part).all() for part in parts):
        raise UserError(f"{path}: holds values that are not finite, {layout}")
    return MorphableModel(*parts)


def fit_morphable(
    model: MorphableModel, points, camera: Camera, weight=None, noise=_NOISE_CM
) -> MorphableFit:
    """Identity, expressions and poses that explain a clip's image points best.

    Args:
      points: [T, 68, 2] px: column, row; NaN where nothing was seen. A frame without a
        face gets the fit of points that are interpolated between its neighbours.
      weight: [68] or [T, 68], inverse variances relative to 1; None = all alike.
      noise: cm on the face, standard deviation of a point of weight 1.

    Raises:
      UserError: no frame has a face.
    """
    points = np.asarray(points, np.float64)
    weight = np.ones(NUM_LANDMARKS) if weight is None else np.asarray(weight)
    seen = np.isfinite(points).all(-1)
    found = (seen & (weight > 0)).sum(1) >= _ENOUGH
    if not found.any():
        raise UserError(f"a face in 0 of {len(points)} frames, expected one in most")
    flat = (_filled(points, seen, found) - [camera.cx, camera.cy]) / camera.focal
    weight = weight * (seen | ~found[:, None])
    pose = _first_pose(model.mean, flat, weight)
    root = np.sqrt(weight) * -np.median(pose.translation[:, 2]) / noise
    clip = [x.astype(np.float32) for x in (*pose, flat, root)]
    parts = [np.asarray(part, np.float32) for part in model]
    known = np.flatnonzero(found)
    some = known[np.linspace(0, len(known) - 1, _LOT).round().astype(int)]
    first = np.diff(some, prepend=-1) > 0  # short clips fill the lot with repetitions
    identity = _fit_identity(*parts, *(x[some] for x in clip), first)
    neutral = parts[0] + parts[1] @ np.asarray(identity)
    frames = []
    for start in range(0, len(points), _LOT):
        lot = np.minimum(np.arange(start, start + _LOT), len(points) - 1)
        frames.append(_fit_frames(neutral, parts[2], *(x[lot] for x in clip)))
    expression, *pose = (
        np.concatenate(part)[: len(points)].astype(np.float64)
        for part in zip(*frames, strict=True)
    )
    identity, pose = np.asarray(identity, np.float64), Pose(*pose)
    landmarks = morphable_landmarks(model, identity, expression)
    missed = ((project(landmarks, *pose, camera) - points) ** 2).sum(-1)
    error = np.sqrt(np.where(seen, missed, 0).sum(1) / np.maximum(seen.sum(1), 1))
    error = np.where(found, error, np.nan)
    return MorphableFit(identity, expression, pose, landmarks, error)


def morphable_landmarks(model: MorphableModel, identity, expression) -> np.ndarray:
    """Landmarks [..., 68, 3] cm of identity [I] and expressions [..., X]."""
    flat = model.expression.reshape(-1, model.expression.shape[-1])
    moved = (expression @ flat.T).reshape(*expression.shape[:-1], NUM_LANDMARKS, 3)
    return model.mean + model.identity @ identity + moved


def in_head_space(fit: MorphableFit, landmarks, weight=None) -> MorphableFit:
    """`fit` moved, turned and scaled as one, so that its landmarks lie best on landmarks
    [T, 68, 3] in cm of the head space that is wanted; its projections stay."""
    rest, target = (np.median(part, axis=0) for part in (fit.landmarks, landmarks))
    (scale,), (turn,), (shift,) = similarity(rest[None], target[None], weight)
    rotation = fit.pose.rotation @ turn.T
    translation = scale * fit.pose.translation - rotation @ shift
    return fit._replace(
        pose=Pose(rotation, translation),
        landmarks=scale * fit.landmarks @ turn.T + shift,
    )


def _filled(points, seen, found) -> np.ndarray:
    """Points [T, 68, 2] where every frame without a face has those between its
    neighbours, and single unseen points have any finite place."""
    at, filled = np.arange(len(points)), np.where(seen[..., None], points, 0.0)
    if found.all():
        return filled
    for point in range(points.shape[1]):
        known = np.flatnonzero(found & seen[:, point])
        for axis in range(2) if len(known) else ():
            between = np.interp(at, known, points[known, point, axis])
            filled[~found, point, axis] = between[~found]
    return filled


def _first_pose(mean, flat, weight) -> Pose:
    """Poses that a far camera would see mean [68, 3] under at flat [T, 68, 2]: weighted
    least squares for two rows of a scaled rotation, then the nearest rotation."""
    design = np.concatenate([mean, np.ones((len(mean), 1))], 1)
    weight = np.broadcast_to(weight, flat.shape[:2])
    normal = np.einsum("tp,pi,pj->tij", weight, design, design)
    right = np.einsum("tp,pi,tpk->tik", weight, design, flat * [1.0, -1.0])
    rows = np.swapaxes(np.linalg.solve(normal, right), 1, 2)  # [T, 2, 4]
    third = np.cross(rows[:, 0, :3], rows[:, 1, :3])[:, None]
    third /= np.linalg.norm(third, axis=-1, keepdims=True)
    u, s, vt = np.linalg.svd(rows[:, :, :3])
    rotation = np.concatenate([u @ vt[:, :2], third], 1)
    depth = 1 / s.mean(-1, keepdims=True)
    return Pose(rotation, np.concatenate([rows[:, :, 3] * depth, -depth], 1))


def _turned(rotation, vector):
    """rotation [T, 3, 3], turned further by small axis-times-angle vectors [T, 3]."""
    x, y, z = vector[:, 0], vector[:, 1], vector[:, 2]
    zero = jnp.zeros_like(x)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(-1, 3, 3)
    # Cayley's map: the exponential up to the third order, and always a rotation.
    square = (vector**2).sum(-1)[:, None, None] / 4
    return rotation + (cross + cross @ cross / 2) / (1 + square) @ rotation


def _linearise(shape, rotation, translation, flat, root):
    """Residual [T, 68, 2] of points under a pose, and its derivatives by the shape
    [T, 68, 2, 3] and by turn and place [T, 68, 2, 6], all times root [T, 68]."""
    turned = shape @ rotation.swapaxes(1, 2)
    seen = turned + translation[:, None]
    at = project(shape, rotation, translation, _UNIT)
    one, zero = jnp.ones_like(root), jnp.zeros_like(root)
    rows = [one, zero, at[..., 0], zero, -one, at[..., 1]]
    by_place = jnp.stack(rows, -1).reshape(*root.shape, 2, 3)
    by_place *= (root / -seen[..., 2])[..., None, None]
    by_turn = jnp.cross(turned[:, :, None], by_place)
    by_pose = jnp.concatenate([by_turn, by_place], -1)
    by_shape = by_place @ rotation[:, None]
    return root[..., None] * (flat - at), by_shape, by_pose


def _by_basis(by_shape, basis):
    """[T, 68, 2, C] of by_shape [T, 68, 2, 3] and basis [68, 3, C]: three fused products,
    since a matrix product over three is slower."""
    return sum(by_shape[..., i, None] * basis[:, None, i] for i in range(3))


def _frame_blocks(neutral, basis, frame, flat, root):
    """Of every frame: jacobian [T, 136, P], residual [T, 136, 1], its block [T, P, P]
    and gradient [T, P, 1]; and by_shape [T, 68, 2, 3]."""
    expression, rotation, translation = frame
    shape = neutral + jnp.einsum("tx,pix->tpi", expression, basis)
    residual, by_shape, by_pose = _linearise(shape, rotation, translation, flat, root)
    jacobian = jnp.concatenate([_by_basis(by_shape, basis), by_pose], -1)
    jacobian = jacobian.reshape(len(flat), -1, jacobian.shape[-1])
    residual = residual.reshape(len(flat), -1, 1)
    prior = jnp.diag(jnp.pad(jnp.ones(basis.shape[-1]), (0, 6)))
    block = jnp.einsum("tri,trj->tij", jacobian, jacobian) + prior
    gradient = jnp.einsum("tri,trj->tij", jacobian, residual)
    gradient -= jnp.pad(expression, ((0, 0), (0, 6)))[..., None]
    return jacobian, residual, block, gradient, by_shape


def _factor(block, scale):
    """The Cholesky factor of block [..., P, P], damped by a little of scale's diagonal."""
    diagonal = jnp.diagonal(scale, axis1=-2, axis2=-1)[..., None]
    return jnp.linalg.cholesky(block + _DAMPING * diagonal * jnp.eye(block.shape[-1]))


_solve_lower = partial(jax.lax.linalg.triangular_solve, left_side=True, lower=True)


def _moved(frame, step):
    """frame, a step [T, P, 1] on."""
    expression, rotation, translation = frame
    count = expression.shape[1]
    more, turn, place = jnp.split(step[..., 0], [count, count + 3], axis=1)
    return expression + more, _turned(rotation, turn), translation + place


@jax.jit
@jax.default_matmul_precision("highest")
def _fit_frames(neutral, basis, rotation, translation, flat, root):
    """(expression [T, X], rotation, translation) of frames of one neutral face."""

    def step(_, frame):
        _, _, block, gradient, _ = _frame_blocks(neutral, basis, frame, flat, root)
        factor = _factor(block, block)
        half = _solve_lower(factor, gradient)
        return _moved(frame, _solve_lower(factor, half, transpose_a=True))

    start = jnp.zeros((len(flat), basis.shape[-1])), rotation, translation
    return jax.lax.fori_loop(0, _STEPS, step, start)


@jax.jit
@jax.default_matmul_precision("highest")
def _fit_identity(mean, shared, basis, rotation, translation, flat, root, counts):
    """Identity [I] of the frames that count [T] bool."""
    size = shared.shape[-1]
    # The tracker's points lie beside the model's by the same amount in every frame:
    # without this, an identity of several sigmas is made of what is only that.
    hold = 1 + counts.sum() / _ALIKE

    def step(_, state):
        identity, frame = state
        neutral = mean + shared @ identity
        blocks = _frame_blocks(neutral, basis, frame, flat, root)
        jacobian, residual, block, gradient, by_shape = blocks
        by_shared = _by_basis(by_shape, shared).reshape(*residual.shape[:2], size)
        by_shared *= counts[:, None, None]
        across = jnp.einsum("tri,trj->tij", jacobian, by_shared)
        factor = _factor(block, block)
        half = _solve_lower(factor, jnp.concatenate([across, gradient], -1))
        across, gradient = half[..., :size], half[..., size:]
        # Normal equations of the identity [I, I] beside their right side [I, 1].
        both = jnp.concatenate([by_shared, residual], -1)
        both = jnp.einsum("tri,trj->ij", by_shared, both)
        rest = both - jnp.einsum("tpi,tpj->ij", across, half)
        left = rest[:, :size] + hold * jnp.eye(size)
        right = rest[:, size] - hold * identity
        change = jax.scipy.linalg.cho_solve(
            (_factor(left, both[:, :size]), True), right
        )
        half = gradient - (across @ change)[..., None]
        own = _solve_lower(factor, half, transpose_a=True)
        return identity + change, _moved(frame, own)

    expression = jnp.zeros((len(flat), basis.shape[-1]))
    state = jnp.zeros(size), (expression, rotation, translation)
    return jax.lax.fori_loop(0, _STEPS, step, state)[0]
