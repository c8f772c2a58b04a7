"""Does somebody who says nothing live, without talking?

    python benchmarks/idle.py [AVATAR SPEECH] [--seconds S] [--seed N]

The head, from its poses alone: how fast it moves in idle time against the source's own
speed, and how large a step is where speech and silence meet against the 99th percentile
of the source's steps; without an avatar of synthetic heads. The lips, of an avatar:
tracked on rendered frames, how much the mouth's opening and width vary in idle video
against speech. A mouth that a head turns away looks narrower, so each rendering is
compared, frame by frame, with one of a face at rest in the same poses, and the tracker
sees the wider mouth of a face whose lids close, so that above the nose's ridge the
picture is that of the face at rest. `lids`: without the second; `raw`: without either.
"""

import argparse
import warnings

import numpy as np
import timing

from emogene_jax.pose.sampler import head_path, sample_idle
from emogene_jax.rigid import rotation_log
from emogene_jax.signals import FPS, Pose
from emogene_jax.synthetic.motion import head_motion

IDLE = 60 * FPS  # frames of idle heads
MOUTH = ("mouth_opening", "mouth_width")
RIDGE = 29  # the landmark between eyes and lips that neither moves
AROUND = FPS // 8  # frames before and after a joint that belong to it


def main(tiny: bool = False):
    """One line of the head; one more of an avatar's lips."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("portrait", nargs="*", metavar="AVATAR SPEECH")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if len(args.portrait) not in (0, 2):
        parser.error("expected AVATAR SPEECH, or neither")
    warnings.simplefilter("ignore", UserWarning)  # a source without rests, and so on
    if args.portrait:
        from emogene_jax.avatar.file import load_avatar

        person = load_avatar(args.portrait[0])
        timing.emit("idle_head", head([person.pose]), heads=1)
        size = person.fields.camera.size
        seen = lips(person, args.portrait[1], round(args.seconds * FPS), args.seed)
        timing.emit("idle_lips", seen, size=size, seconds=args.seconds, seed=args.seed)
        return
    heads = range(2 if tiny else 20)
    sources = [head_motion(500, np.random.default_rng(k)) for k in heads]
    timing.emit("idle_head", head(sources), heads=len(sources))


def head(sources: list[Pose]) -> dict[str, float]:
    """The worst of all sources: how much faster or slower, and how large a step."""
    found = {"speed_turn": [], "speed_shift": [], "joint_turn": [], "joint_shift": []}
    for number, source in enumerate(sources):
        own = speeds(source)
        idle = speeds(sample_idle(source, IDLE, number))
        stretches, joints = conversation(number)
        both = speeds(head_path(source, stretches, number))
        near = (joints[:, None] + np.arange(-AROUND, AROUND) - 1).ravel()
        for kind in own:
            found[f"speed_{kind}"].append(idle[kind].mean() / own[kind].mean())
            found[f"joint_{kind}"].append(
                both[kind][near].max() / np.percentile(own[kind], 99)
            )
    least = min(min(found["speed_turn"]), min(found["speed_shift"]))
    row = {f"idle_{name}": round(max(values), 3) for name, values in found.items()}
    return row | {"idle_speed_least": round(least, 3)}


def speeds(pose: Pose) -> dict[str, np.ndarray]:
    """Radians and cm from frame to frame, [T - 1] each."""
    between = pose.rotation[1:] @ np.swapaxes(pose.rotation[:-1], 1, 2)
    turn = np.array([np.linalg.norm(rotation_log(r)) for r in between])
    return {
        "turn": turn,
        "shift": np.linalg.norm(np.diff(pose.translation, axis=0), axis=-1),
    }


def conversation(seed: int) -> tuple[list[tuple[int, int, bool]], np.ndarray]:
    """A minute or so of speech and silence by turns, and where one becomes the other."""
    lengths = np.random.default_rng([3, seed]).integers(FPS, 5 * FPS, 20)
    ends = np.cumsum(lengths)
    stretches = [
        (int(end - n), int(end), k % 2 == 0)
        for k, (n, end) in enumerate(zip(lengths, ends, strict=True))
    ]
    return stretches, ends[:-1]


def lips(person, speech, frames: int, seed: int) -> dict[str, float]:
    """How much a rendered mouth moves in speech and when idle, in eye distances, and
    the share of the one in the other."""
    from emogene_jax.audio.features import audio_features
    from emogene_jax.audio.load import load_audio
    from emogene_jax.emotion_to_video.render import Renderer
    from emogene_jax.evaluate import emotion as judge
    from emogene_jax.evaluate import geometry
    from emogene_jax.face.tracking import find_model
    from emogene_jax.pipeline import perform, perform_idle

    sound = load_audio(speech)[: frames * 640]
    features = audio_features(sound, person.info["content"])
    renderer, model = Renderer(person.fields), find_model()

    def watch(frames, name):
        seen = judge.watch(frames, model, name).landmarks
        return seen, geometry.measures(seen)

    row: dict[str, float] = {}
    for name, acted in (
        ("speech", perform(person, features, [(0.0, "neutral", 1.0)], seed)),
        ("idle", perform_idle(person, frames, seed)),
    ):
        shown = list(renderer.frames(*acted))
        unmoved = acted._replace(motion=np.zeros_like(acted.motion))
        still = list(renderer.frames(*unmoved))
        seen, rest = watch(still, f"{name}, at rest")
        _, whole = watch(shown, name)
        halves = below_the_ridge(still, shown, seen)
        _, lower = watch(halves, f"{name}, the lower half")
        for measure in MOUTH:
            for kind, moved in (
                ("", lower[measure] - rest[measure]),
                ("_lids", whole[measure] - rest[measure]),
                ("_raw", whole[measure]),
            ):
                row[f"{measure}_{name}{kind}"] = round(float(np.nanstd(moved)), 5)
    for measure in MOUTH:
        for kind in ("", "_lids", "_raw"):
            idle, spoken = (row[f"{measure}_{x}{kind}"] for x in ("idle", "speech"))
            row[f"{measure}_share{kind}"] = round(idle / spoken, 4)
    return row


def below_the_ridge(still, shown, seen) -> list[np.ndarray]:
    """Pictures [H, W, 3] of still faces, and below the ridge of the nose, as landmarks
    [T, 68, 2] px (NaN: no face) see it, those of faces that are shown."""
    edges = np.nan_to_num(seen[:, RIDGE, 1]).round().astype(int)
    return [
        np.concatenate([above[:edge], below[edge:]])
        for above, below, edge in zip(still, shown, edges, strict=True)
    ]


if __name__ == "__main__":
    main()
