"""Files that are wrong, each in its own way: {name: bytes}."""

import io
import struct
import wave
import zipfile

import numpy as np


def _wav(samples=1600, rate=16_000, channels=1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as target:
        target.setparams((channels, 2, rate, 0, "NONE", ""))
        target.writeframes(bytes(2 * channels * samples))
    return file.getvalue()


def _box(kind: bytes, body: bytes, size=None) -> bytes:
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def _npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _bomb(name: str, size: int = 300_000_000) -> bytes:
    """A zip of zeros that unpacks to a thousand times its size."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(name, "w") as part:
            for _ in range(size // 1_000_000):
                part.write(bytes(1_000_000))
    return file.getvalue()


def _claims(shape: str) -> bytes:
    """An npz whose one array claims a shape, and holds nothing."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
        archive.writestr("landmarks.npy", npy)
    return file.getvalue()


ANY = {
    "empty": b"",
    "text": b"this is no media file\n" * 20,
    "zeros": bytes(5000),
    "noise": np.random.default_rng(0).bytes(5000),
    "html": b"<!doctype html><title>404</title>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "pdf": b"%PDF-1.7\n" + bytes(100),
}
SOUND = ANY | {
    "cut": _wav()[:30],
    "no_samples": _wav(0),
    "no_rate": _wav()[:24] + bytes(4) + _wav()[28:],
    "no_channels": _wav()[:22] + bytes(2) + _wav()[24:],
    "4gb_header": b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff" + bytes(64),
    "flac": b"fLaC" + bytes(64),
    "ogg": b"OggS" + bytes(64),
    "mp3": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(64),
}
VIDEO = ANY | {
    "sound_alone": _wav(),
    "mp4_cut": _box(b"ftyp", b"isom\x00\x00\x02\x00isom"),
    "mp4_4gb_box": _box(b"ftyp", b"isom") + _box(b"moov", b"", 0xFFFFFFFF),
    "mp4_64bit_box": _box(b"ftyp", b"isom")
    + _box(b"mdat", b"\x7f" + b"\xff" * 7 + bytes(40), 1),
    "webm": b"\x1aE\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff" + bytes(40),
    "avi": b"RIFF\xff\xff\xff\xffAVI LIST" + bytes(60),
}
_REST = np.random.default_rng(1).normal(size=(68, 3))
_GOOD = {
    "landmarks": np.tile(_REST, (3, 1, 1)),
    "rest": _REST,
    "rotation": np.tile(np.eye(3), (3, 1, 1)),
    "translation": np.zeros((3, 3)),
}
LANDMARKS = ANY | {
    "cut": _npz(**_GOOD)[:400],
    "no_rest": _npz(**{k: v for k, v in _GOOD.items() if k != "rest"}),
    "text_in_it": _npz(**_GOOD | {"rest": np.array(["a"])}),
    "flat": _npz(**_GOOD | {"rest": np.zeros((68, 3))}),
    "nan": _npz(**_GOOD | {"translation": np.full((3, 3), np.nan)}),
    "one_short": _npz(**_GOOD | {"translation": np.zeros((2, 3))}),
    "mirrored": _npz(**_GOOD | {"rotation": -_GOOD["rotation"]}),
    "pickled": _npz(**_GOOD | {"rest": np.array([{}], object)}),
    "claims_4gb": _claims("(8000000, 68, 3)"),
    "claims_the_world": _claims("(4611686018427387904,)"),
    "claims_less_than_nothing": _claims("(-5, 68, 3)"),
    "bomb": _bomb("landmarks.npy"),
}
CHECKPOINT = {
    "empty": b"",
    "noise": ANY["noise"],
    "text": ANY["text"],
    "4gb_header": struct.pack("<Q", 1 << 32) + b"{}",
    "header_beyond": struct.pack("<Q", 1 << 62) + b"{}",
    "no_json": struct.pack("<Q", 4) + b"nope",
    "no_tensors": struct.pack("<Q", 2) + b"{}",
    "outside": struct.pack("<Q", 63)
    + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4000000000]}}',
}
