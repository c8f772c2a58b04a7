"""The judge of rendered emotions: it sees pictures, and knows nothing of how they came.

Two renderings of one avatar, one speech and one seed are compared frame by frame, an
emotional one and the neutral one: what differs is the expression. Its geometry is
tracked (geometry.py) and compared with what the literature says of each emotion, and,
beside that, given to a classifier that has learned from other people's faces. A filmed
clip has no neutral take beside it: another classifier compares it with the usual face.

SIGNATURES restates the action units of the seven emotions as directions of measures.
Sources: EMFACS (W. Friesen, P. Ekman, 1983); D. Matsumoto, P. Ekman, "Facial expression
analysis", Scholarpedia 3(5):4237 (2008); S. Du, Y. Tao, A. Martinez, "Compound facial
expressions of emotion", PNAS 111(15) (2014), table 1; for one-sided contempt P. Ekman,
W. Friesen, "A new pan-cultural facial expression of emotion" (1986).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from emogene_jax.evaluate import geometry
from emogene_jax.signals import EMOTIONS, motion_to_landmarks

# A face smaller than this is tracked worse: frames are enlarged to it.
TRACKED_SIZE = 512  # px

# The primary measure of each emotion, and where it should go: +1 up, -1 down.
PRIMARY = {
    "angry": ("brow_inner_height", -1),  # AU 4
    "contempt": ("mouth_asymmetry", 1),  # AU 12 or 14 on one side
    "disgust": ("nose_to_lip", -1),  # AU 9, 10
    "fear": ("mouth_width", 1),  # AU 20: what surprise has not
    "happy": ("mouth_corners", 1),  # AU 12
    "sad": ("brow_inner_over_outer", 1),  # AU 1
    "surprise": ("brow_height", 1),  # AU 1, 2
}
# What counts as one in SIGNATURES: about a full expression, eye distances. Speech moves
# the opening of the mouth most, so it is left out.
FULL = {
    "brow_height": 0.06,
    "brow_inner_over_outer": 0.05,
    "brow_distance": 0.06,
    "mouth_corners": 0.05,
    "mouth_asymmetry": 0.05,  # its size: either side may be the raised one
    "mouth_width": 0.10,
    "lid_aperture": 0.03,
    "nose_to_lip": 0.04,
    "jaw": 0.08,
}
# The same, of what a face can be asked that was never seen neutral: measures in which
# people differ less than expressions do.
ALONE = {
    "brow_height": 0.06,
    "brow_inner_over_outer": 0.05,
    "mouth_curve": 0.08,
    "mouth_asymmetry": 0.05,
    "mouth_width": 0.10,
    "lid_aperture": 0.03,
    "nose_to_lip": 0.04,
    "jaw": 0.08,
}
# What MediaPipe sees of it: the share of a known warp of photographs (16 frames of one
# man, 7 emotions). A classifier that is to see through it has to learn behind it.
SEEN = {
    "brow_height": 0.4,
    "brow_inner_over_outer": 0.4,
    "brow_distance": 0.05,
    "mouth_corners": 0.75,
    "mouth_curve": 0.75,
    "mouth_asymmetry": 0.65,
    "mouth_width": 0.6,
    "lid_aperture": 0.4,
    "nose_to_lip": 0.7,
    "jaw": 0.6,
}
SIGNATURES = {
    # AU 4 5 7 23 24
    "angry": {
        "brow_height": -1,
        "brow_inner_over_outer": -0.5,
        "brow_distance": -1,
        "mouth_width": -0.5,
        "lid_aperture": -0.5,
    },
    # AU 12, 14 on one side
    "contempt": {"mouth_asymmetry": 1, "mouth_corners": 0.5},
    # AU 9 10 15 16 17
    "disgust": {
        "nose_to_lip": -1,
        "mouth_corners": -0.5,
        "brow_height": -0.5,
        "brow_distance": -0.5,
        "lid_aperture": -0.5,
    },
    # AU 1 2 4 5 20 25 (26)
    "fear": {
        "brow_height": 0.5,
        "brow_inner_over_outer": 0.5,
        "brow_distance": -0.5,
        "lid_aperture": 0.5,
        "mouth_width": 1,
        "mouth_corners": -0.5,
    },
    # AU 6 12 25
    "happy": {
        "mouth_corners": 1,
        "mouth_width": 1,
        "lid_aperture": -0.5,
        "nose_to_lip": -0.5,
    },
    # AU 1 4 15 17
    "sad": {
        "brow_inner_over_outer": 1,
        "mouth_corners": -1,
        "brow_distance": -0.5,
        "lid_aperture": -0.5,
    },
    # AU 1 2 5 26
    "surprise": {"brow_height": 1, "lid_aperture": 1, "jaw": 1},
}
# MediaPipe's scores that answer on real emotional faces (noseSneer, eyeWide, cheekSquint
# and mouthStretch stay at zero there), and the one that tells of each emotion.
SCORES = {
    "angry": "browDown",
    "fear": "browInnerUp",
    "happy": "mouthSmile",
    "sad": "mouthFrown",
    "surprise": "browOuterUp",
}


class Seen(NamedTuple):
    """What the tracker saw in a rendering; frames without a face are NaN."""

    landmarks: np.ndarray  # [T, 68, 2] px
    scores: dict[str, np.ndarray]  # {blendshape: [T]}, mean of left and right


class Classifier(NamedTuple):
    """Softmax regression over the measures of one frame: paired (FULL) or ALONE."""

    weights: np.ndarray  # [measures + 1, E]; the last row is the bias


class Verdict(NamedTuple):
    """What a rendering shows, against the neutral one. Pairs are a mean and the
    half-width of its 95 % interval."""

    effects: dict[str, tuple[float, float]]  # by measure, eye distances
    primary: tuple[float, float]  # of the emotion's own; > 0 is as it should be
    fits: dict[str, float]  # cosine to each signature
    named: str  # the emotion whose signature fits best
    votes: dict[str, float]  # share of frames that the classifier names so
    score: tuple[float, float] | None  # of the blendshape in SCORES
    lips: float  # correlation of the mouth's opening with the neutral rendering's
    shift: float  # mean displacement of what no emotion moves, eye distances


def watch(frames: Iterable[np.ndarray], model, name: str = "video") -> Seen:
    """What MediaPipe's bundle `model` sees in frames [H, W, 3] uint8.

    Raises:
        UserError: no face in most frames.
    """
    from emogene_jax.face.mesh import to_68
    from emogene_jax.face.tracking import track_video

    scale = []

    def larger():
        for frame in frames:
            picture, grown = enlarged(frame)
            scale.append(grown)
            yield picture

    track = track_video(larger(), model, name)
    points = to_68(track.points)[..., :2] / np.array(scale)[:, None, None]
    lost = ~track.found
    points[lost] = np.nan
    scores: dict[str, list] = {}
    for channel, values in zip(track.blendshape_names, track.blendshapes.T):
        side = channel.removesuffix("Left").removesuffix("Right")
        scores.setdefault(side, []).append(np.where(lost, np.nan, values))
    return Seen(points, {side: np.mean(both, 0) for side, both in scores.items()})


def enlarged(frame: np.ndarray) -> tuple[np.ndarray, float]:
    """A picture [H, W, 3] uint8 at TRACKED_SIZE at least, and how often larger it is."""
    grown = max(1.0, TRACKED_SIZE / min(frame.shape[:2]))
    size = [round(side * grown) for side in frame.shape[1::-1]]
    return np.asarray(Image.fromarray(frame).resize(size, Image.LANCZOS)), grown


def judge(emotion: str, seen: Seen, neutral: Seen, classifier: Classifier) -> Verdict:
    """What the rendering asked to be `emotion` shows, against the neutral one."""
    pair = seen.landmarks, neutral.landmarks
    effects = geometry.paired_difference(*pair)
    measure, sign = PRIMARY[emotion]
    mean, half = effects[measure]
    fits = signature_fits({name: mean for name, (mean, _) in effects.items()})
    named = classify(classifier, *pair)
    named = named[~np.isnan(named).any(-1)].argmax(-1)
    channel = SCORES.get(emotion)
    return Verdict(
        effects,
        (abs(mean) if emotion == "contempt" else sign * mean, half),
        fits,
        max(fits, key=fits.get),
        {name: float(np.mean(named == i)) for i, name in enumerate(EMOTIONS)},
        channel
        and geometry.mean_and_interval(seen.scores[channel] - neutral.scores[channel]),
        lip_correlation(*pair),
        geometry.still_shift(*pair),
    )


def signature_fits(effects: dict[str, float]) -> dict[str, float]:
    """The cosine, in -1..1, of effects (eye distances) to each emotion's signature."""
    shown = _in_full_expressions(effects)
    fits = {}
    for emotion, signature in SIGNATURES.items():
        expected = np.array([signature.get(name, 0.0) for name in FULL])
        size = np.linalg.norm(shown) * np.linalg.norm(expected)
        fits[emotion] = float(shown @ expected / size) if size else 0.0
    return fits


def lip_correlation(landmarks: np.ndarray, neutral: np.ndarray) -> float:
    """Pearson's, of how far the inner lips are apart over time; [T, 68, D] each."""
    both = [geometry.measures(x)["mouth_opening"] for x in (landmarks, neutral)]
    found = ~np.isnan(both).any(0)
    return float(np.corrcoef(*(opening[found] for opening in both))[0, 1])


def classify(
    classifier: Classifier, landmarks: np.ndarray, neutral: np.ndarray
) -> np.ndarray:
    """Probabilities [T, E] over EMOTIONS of each frame [T, 68, D], against the neutral
    rendering's; NaN where a face was lost."""
    return _softmax(_features(landmarks, neutral) @ classifier.weights)


def clip_votes(classifier: Classifier, seen: Seen, usual: np.ndarray) -> dict:
    """{emotion: mean probability} of a filmed clip, against the usual face [1, 68, 2]
    (usual_face); the classifier is one fitted `alone`."""
    chances = _softmax(_features(seen.landmarks, usual, ALONE) @ classifier.weights)
    return dict(zip(EMOTIONS, np.nanmean(chances, axis=0).tolist(), strict=True))


def usual_face(model) -> np.ndarray:
    """MediaPipe's canonical face from the front, [1, 68, 2], y down: what the tracker of
    bundle `model` holds for a face that is nobody's and shows nothing."""
    from emogene_jax.face.mesh import to_68
    from emogene_jax.face.tracking import canonical_mesh

    return _from_the_front(to_68(canonical_mesh(model)[0][None]))


def _from_the_front(landmarks: np.ndarray) -> np.ndarray:
    return landmarks[..., :2] * (1, -1)


def fit_classifier(
    people: Iterable[int], decay: float = 1e-3, alone: bool = False
) -> Classifier:
    """A classifier that has seen these synthetic people, talking, in each emotion at
    several strengths; paired with their neutral faces, or alone. What it is shown should
    be somebody else."""
    from scipy.optimize import minimize

    features, labels = synthetic_people(people, alone=alone)
    target = np.eye(len(EMOTIONS))[labels]

    def loss(flat):
        weights = flat.reshape(features.shape[1], -1)
        chance = _softmax(features @ weights)
        own = np.log(chance[np.arange(len(labels)), labels] + 1e-12)
        gradient = features.T @ (chance - target) / len(labels) + decay * weights
        return -own.mean() + 0.5 * decay * (weights**2).sum(), gradient.ravel()

    start = np.zeros(features.shape[1] * len(EMOTIONS))
    found = minimize(loss, start, jac=True, method="L-BFGS-B")
    return Classifier(found.x.reshape(features.shape[1], -1))


def synthetic_people(
    people: Iterable[int],
    noise: float = 0.006,
    seconds: float = 1.6,
    alone: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Measures [N, measures + 1] and labels [N] of synthetic talkers, seen by a camera
    through a tracker with this noise (eye distances) and the shares of SEEN: paired with
    the neutral frames, or, `alone`, against the usual face."""
    from emogene_jax.motion_to_emotion.expressions import canonical_rest
    from emogene_jax.rigid import project
    from emogene_jax.synthetic.takes import make_take
    from emogene_jax.synthetic.video import camera

    usual, sizes = _from_the_front(canonical_rest()[None]), ALONE if alone else FULL
    features, labels = [], []
    for person in people:
        rng = np.random.default_rng([5, person])

        def picture(motion, take, rng=rng):
            motion = motion + rng.normal(0, noise, motion.shape)
            points = motion_to_landmarks(motion, take.rest)
            return project(points, *take.pose, camera(TRACKED_SIZE))

        for label, emotion in enumerate(EMOTIONS):
            strength = rng.uniform(0.4, 1.1)
            take = make_take(0, person, person, emotion, strength, seconds)
            felt, calm = (picture(m, take) for m in (take.motion, take.neutral_motion))
            share = rng.uniform(0.4, 1.4, len(sizes)) * [SEEN[name] for name in sizes]
            share = np.r_[share, 1.0]
            if alone:
                felt, calm = (_features(x, usual, sizes) for x in (felt, calm))
                features.append(calm + share * (felt - calm))
                features[-1][:, -1] = 1.0
            else:
                features.append(share * _features(felt, calm, sizes))
            labels += [label] * len(take.motion)
    return np.concatenate(features), np.array(labels)


def _features(landmarks: np.ndarray, neutral: np.ndarray, sizes=FULL) -> np.ndarray:
    """Measures of each frame against the neutral one of the same moment (or one for
    all), in full expressions, and a one: [T, M + 1]."""
    ours, theirs = geometry.measures(landmarks), geometry.measures(neutral)
    effects = {name: ours[name] - theirs[name] for name in sizes}
    shown = _in_full_expressions(effects, sizes)
    return np.concatenate([shown.T, np.ones((len(landmarks), 1))], axis=1)


def _in_full_expressions(effects: dict, sizes=FULL) -> np.ndarray:
    """Effects in the units of SIGNATURES: [M] or [M, T]."""
    shown = {name: np.asarray(effects[name]) / full for name, full in sizes.items()}
    shown["mouth_asymmetry"] = np.abs(shown["mouth_asymmetry"])
    return np.stack(list(shown.values()))


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)
