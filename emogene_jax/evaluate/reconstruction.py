"""How well an avatar shows frames that it never saw: self-reconstruction.

The held-out frames went through the same tracker as all others and nothing was fitted to
their pixels; their landmarks, poses and the tracked motion of the torso drive the avatar,
and what it renders is compared with what was filmed. Nothing is pasted. Where the torso is
guessed from the head's pose instead, the number is `full_predicted_torso`.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from emogene_jax.emotion_to_video.render import Fields, Renderer
from emogene_jax.evaluate.metrics import by_region, lmd, region_masks
from emogene_jax.landmarks import FACE, MOUTH
from emogene_jax.portrait.schema import Portrait
from emogene_jax.pose.code import pose_code
from emogene_jax.rigid import project
from emogene_jax.signals import Pose, UserError, landmarks_to_motion

PREVIEW_FRAMES = 6


def evaluate_fields(
    fields: Fields,
    portrait: Portrait,
    out: Path,
    face_model=None,
    held_out: bool = True,
    track: bool = True,
) -> dict:
    """Render a portrait's frames (hand in the held-out ones), compare, and write
    `heldout.mkv` and `preview.png` (rendered above true) into `out`. Where nothing was
    held out there is only the preview to make: numbers on learned frames say little.

    Returns:
        metrics: psnr and ssim of full, head, head_matte, face, mouth and
        full_predicted_torso; lmd in px of
        mouth and face, where a face tracker finds a face in all that was rendered; frames
        (their numbers in the source); absent ({name: reason} of what can't be judged).
    """
    from emogene_jax.media.video import write_lossless

    renderer = Renderer(fields)
    if not held_out:
        some = np.linspace(0, len(portrait.frames) - 1, PREVIEW_FRAMES).astype(int)
        rendered, _ = rerender(renderer, portrait, some)
        write_preview(out / "preview.png", rendered, portrait.frames[some])
        return {"frames": []}
    rendered, heads = rerender(renderer, portrait)
    metrics = scores(portrait, rendered, heads)
    guessed, _ = rerender(renderer, portrait, torso=False)
    whole = {"full_predicted_torso": None}
    for name, found in by_region(portrait.frames, guessed, whole).items():
        metrics[name] |= found
    if track:
        try:
            metrics["lmd"] = landmark_distance(rendered, portrait.frames, face_model)
        except (ImportError, UserError) as error:
            metrics["absent"] = {"lmd": " ".join(str(error).split())}
    metrics["frames"] = portrait.source_frame.tolist()
    metrics["clips"] = portrait.clip.tolist()
    write_lossless(out / "heldout.mkv", rendered)
    write_preview(out / "preview.png", rendered, portrait.frames)
    return metrics


def scores(portrait: Portrait, rendered: np.ndarray, heads: np.ndarray) -> dict:
    """{"psnr", "ssim"} of full, head_matte, face and mouth, of rendered frames
    [T, H, W, 3], and of head, of their heads [T, H, W, 4] before the truth."""
    landmarks = np.asarray(
        project(portrait.landmarks, *portrait.pose, portrait.camera), np.float64
    )
    size = portrait.camera.size
    masks = region_masks(landmarks, size, size)
    found = by_region(
        portrait.frames,
        rendered,
        {"full": None, "head_matte": portrait.head_matte / 255.0, **masks},
    )
    over_truth = by_region(
        portrait.frames, before_the_truth(heads, portrait), {"head": None}
    )
    return {name: over_truth[name] | found[name] for name in ("psnr", "ssim")}


def rerender(renderer: Renderer, portrait: Portrait, rows=slice(None), torso=True):
    """Frames [T, H, W, 3] and heads [T, H, W, 4] uint8, driven by what was tracked.

    Args:
        rows: numbers of the frames to render, each as it is among all of them.
        torso: False = where it is, is guessed from the head's pose.
    """
    motion = landmarks_to_motion(portrait.landmarks[rows], portrait.rest)
    codes = pose_code(renderer.fields.code, portrait.pose)[rows]
    pose = Pose(*(part[rows] for part in portrait.pose))
    torso = portrait.torso[rows] if torso else None
    pairs = renderer.frames(motion, pose, torso, layers=True, codes=codes)
    frames, heads = zip(*pairs, strict=True)
    return np.stack(frames), np.stack(heads)


def before_the_truth(heads: np.ndarray, portrait: Portrait) -> np.ndarray:
    """Rendered heads [T, H, W, 4] before the true torso and background: the field's
    number for a head. [T, H, W, 3] uint8."""
    out = np.empty_like(portrait.frames)
    for t, head in enumerate(heads.astype(np.float32)):
        matte = portrait.torso_matte[t, ..., None] / 255.0
        behind = matte * portrait.frames[t] + (1 - matte) * portrait.background
        pixel = head[..., :3] + (1 - head[..., 3:] / 255) * behind
        out[t] = np.clip(np.round(pixel), 0, 255)
    return out


def write_preview(path: Path, rendered: np.ndarray, true: np.ndarray) -> None:
    """A few frames, rendered above true."""
    some = np.linspace(0, len(true) - 1, min(PREVIEW_FRAMES, len(true))).astype(int)
    rows = [np.concatenate(list(frames[some]), 1) for frames in (rendered, true)]
    picture = Image.fromarray(np.concatenate(rows))
    zoom = max(1, round(256 / true.shape[1]))
    picture = picture.resize((picture.width * zoom, picture.height * zoom), 3)
    temporary = path.with_name(f".{path.name}.part.png")
    picture.save(temporary)
    temporary.replace(path)


def landmark_distance(rendered, true, face_model=None) -> dict[str, float]:
    """{"mouth", "face"} in px, the same tracker on both.

    Raises:
        ImportError, UserError: it is not at hand, or finds no face.
    """
    from emogene_jax.evaluate.compare import track_landmarks
    from emogene_jax.face.tracking import find_model

    model = find_model(face_model)
    seen = track_landmarks(rendered, model, "rendered frames")
    expected = track_landmarks(true, model, "held-out frames")
    return {
        "mouth": lmd(seen, expected, MOUTH),
        "face": lmd(seen, expected, FACE),
    }
