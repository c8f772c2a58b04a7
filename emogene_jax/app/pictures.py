"""Small pictures beside a video: its strip, landmarks, an emotion track over a waveform."""

import numpy as np
from PIL import Image, ImageDraw

from emogene_jax.emotions import emotion_curve
from emogene_jax.signals import EMOTIONS, FPS, SAMPLE_RATE

WIDTH, HEIGHT = 720, 140  # px of a waveform
STRIP, TALL = 8, 240  # frames of a strip, px at most
# Of colour-blind safe hues (Paul Tol's "muted"), in the order of EMOTIONS.
COLOURS = (
    *("#CC6677", "#882255", "#999933", "#332288"),
    *("#DDCC77", "#BBBBBB", "#88CCEE", "#44AA99"),
)


def strip(frames: tuple[np.ndarray, ...]) -> Image.Image:
    """Up to STRIP frames [H, H, 3], at least one, side by side; grey where one is still to
    come."""
    size = min(len(frames[0]), TALL)
    row = Image.new("RGB", (STRIP * size, size), "gray")
    for number, frame in enumerate(frames):
        row.paste(Image.fromarray(frame).resize((size, size)), (number * size, 0))
    return row


def face(landmarks: np.ndarray, size: int = 256) -> Image.Image:
    """68 landmarks [68, 3] in cm as points, upright."""
    picture = Image.new("RGB", (size, size), "white")
    draw = ImageDraw.Draw(picture)
    scale = size / 20  # 20 cm are shown
    middle = landmarks[:, :2].mean(0)
    for x, y in (landmarks[:, :2] - middle) * (scale, -scale) + size / 2:
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill="#332288")
    return picture


def waveform(sound: np.ndarray, track: list[tuple]) -> Image.Image:
    """A waveform [n] at 16 kHz before bands of the colours of an emotion track."""
    frames = max(1, round(len(sound) / SAMPLE_RATE * FPS))
    weights, intensity = emotion_curve(track, frames)
    hues = np.array([_rgb(colour) for colour in COLOURS])
    strength = np.clip(0.25 + 0.5 * intensity, 0, 1)[:, None]
    bands = strength * (weights @ hues) + (1 - strength) * 255
    columns = np.linspace(0, frames - 1, WIDTH).astype(int)
    picture = np.tile(bands[columns].astype(np.uint8), (HEIGHT, 1, 1))
    edges = np.linspace(0, len(sound), WIDTH + 1).astype(int)
    for column, (start, stop) in enumerate(zip(edges, edges[1:], strict=False)):
        peak = np.abs(sound[start : max(stop, start + 1)]).max(initial=0)
        half = int(peak * (HEIGHT / 2 - 4)) + 1
        picture[HEIGHT // 2 - half : HEIGHT // 2 + half, column] = 40
    return Image.fromarray(picture)


def legend() -> str:
    """The colours of the emotions, in HTML."""
    parts = (
        f'<span style="white-space:nowrap"><span aria-hidden="true" style="color:{c}">'
        f"&#9632;</span> {name}</span>"
        for c, name in zip(COLOURS, EMOTIONS, strict=True)
    )
    return '<div style="font-size:smaller">' + " ".join(parts) + "</div>"


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
