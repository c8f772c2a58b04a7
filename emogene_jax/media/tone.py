"""High dynamic range, as phones film it (HLG and PQ, ITU-R BT.2100), brought to what a
player shows on an ordinary screen: the maths is here, in a table that FFmpeg applies.
"""

import tempfile
from pathlib import Path

import av
import numpy as np

PQ, HLG = 16, 18  # FFmpeg's numbers of the transfer functions
WHITE = 203.0  # cd/m2 of paper (ITU-R BT.2408), which becomes white
PEAK = 1000.0  # cd/m2 that HLG is made for
KNEE = 0.7  # of white, from where on highlights are brought closer together
_NODES = 33  # a side of the table
# Linear BT.2020 -> BT.709 (ITU-R BT.2087).
_TO_709 = np.array(
    [
        [1.6605, -0.5876, -0.0728],
        [-0.1246, 1.1329, -0.0083],
        [-0.0182, -0.1006, 1.1187],
    ]
)


def is_high_range(stream) -> bool:
    """Whether a stream of pictures is HLG or PQ."""
    return stream.codec_context.color_trc in (PQ, HLG)


def light(signal: np.ndarray, transfer: int) -> np.ndarray:
    """Light [..., 3] in parts of WHITE, BT.2020, of a signal [..., 3] in [0, 1]."""
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 1305 / 8192, 2523 / 32, 107 / 128, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        return 1e4 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1) / WHITE
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luma = scene @ [0.2627, 0.6780, 0.0593]
    return PEAK / WHITE * scene * np.maximum(luma, 1e-9)[..., None] ** 0.2


def shown(signal: np.ndarray, transfer: int) -> np.ndarray:
    """sRGB [..., 3] in [0, 1] of a signal [..., 3] in [0, 1]: what is no brighter than KNEE
    of paper keeps its light."""
    linear = np.maximum(light(signal, transfer) @ _TO_709.T, 0)
    most = np.maximum(linear.max(-1, keepdims=True), 1e-9)
    room = 1 - KNEE
    bent = KNEE + room * (1 - np.exp(-(most - KNEE) / room))
    linear = linear * np.where(most > KNEE, bent, most) / most
    high = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.clip(np.where(linear <= 0.0031308, 12.92 * linear, high), 0, 1)


class ToneMap:
    """Frames of high range -> frames of rgb24."""

    def __init__(self, stream):
        self._folder = tempfile.TemporaryDirectory()
        table = Path(self._folder.name) / "table.cube"
        line = np.linspace(0, 1, _NODES)
        # Red changes first.
        blue, green, red = np.meshgrid(line, line, line, indexing="ij")
        signal = np.stack([red, green, blue], -1).reshape(-1, 3)
        values = shown(signal, stream.codec_context.color_trc)
        rows = "\n".join(" ".join(f"{v:.6f}" for v in row) for row in values)
        table.write_text(f"LUT_3D_SIZE {_NODES}\n{rows}\n")
        self._graph = graph = av.filter.Graph()
        steps = [
            graph.add_buffer(template=stream),
            graph.add("scale", "in_color_matrix=bt2020:out_range=pc"),
            graph.add("format", "gbrp12le"),
            graph.add("lut3d", f"file={table}"),
            graph.add("format", "rgb24"),
            graph.add("buffersink"),
        ]
        for one, other in zip(steps, steps[1:]):
            one.link_to(other)
        graph.configure()

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """One frame."""
        self._graph.push(frame)
        return self._graph.pull()
