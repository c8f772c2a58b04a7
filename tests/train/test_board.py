"""What TensorBoard is given: curves, pictures, and faces that move."""

import io

import numpy as np
from PIL import Image
from tensorboard.compat.proto import event_pb2
from tensorboard.util import img_mime_type_detector as detector

from emogene_jax.motion_to_emotion.expressions import canonical_rest
from emogene_jax.train.board import Board, motion_video, read_curves


def images_of(folder):
    """{tag: image summary} of the event files."""
    (path,) = folder.glob("events.out.tfevents.*")
    data, place, found = path.read_bytes(), 0, {}
    while place < len(data):
        length = int.from_bytes(data[place : place + 8], "little")
        event = event_pb2.Event.FromString(data[place + 12 : place + 12 + length])
        place += length + 16
        for value in event.summary.value:
            if value.HasField("image"):
                found[value.tag] = value.image
    return found


def test_curves_and_pictures_come_back(tmp_path):
    board = Board(tmp_path)
    board.scalars(3, {"loss": 0.5})
    board.scalars(7, {"loss": 0.25})
    still = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
    moving = np.zeros((5, 8, 12, 3), np.uint8)
    for frame in range(5):
        moving[frame, :, 2 * frame] = 255
    board.images(7, {"still": still, "moving": moving})
    board.close()
    assert read_curves(tmp_path) == {"loss": [(3, 0.5), (7, 0.25)]}
    found = images_of(tmp_path)
    assert (found["still"].height, found["still"].width) == (6, 9)
    png = Image.open(io.BytesIO(found["still"].encoded_image_string))
    np.testing.assert_array_equal(np.asarray(png), still)
    assert (found["moving"].height, found["moving"].width) == (8, 12)
    raw = found["moving"].encoded_image_string
    assert detector.from_bytes(raw) == "image/gif"  # so a browser moves it
    gif = Image.open(io.BytesIO(raw))
    assert gif.n_frames == 5 and gif.info["duration"] == 40
    for frame in range(5):
        gif.seek(frame)
        np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), moving[frame])


def test_faces_do_what_the_motion_says():
    motion = np.zeros((3, 68, 3), np.float32)
    motion[1, [56, 57, 58, 65, 66, 67], 1] = -0.1  # the lower lip goes down
    video = motion_video(canonical_rest(), motion, np.zeros((3, 204)), side=128)
    assert video.shape == (3, 128, 256, 3) and video.dtype == np.uint8
    ink = (video < 225).any(-1)
    true, made = ink[..., :128], ink[..., 128:]
    np.testing.assert_array_equal(true[0], true[2])
    np.testing.assert_array_equal(made, made[[0, 0, 0]])
    np.testing.assert_array_equal(true[0, 16:], made[0, 16:])  # but for the labels
    changed = np.argwhere(true[1] != true[0])
    # In the middle of the face's lower half, and there the lips are lower.
    assert len(changed) > 30
    assert (changed.min(0) > (60, 40)).all() and (changed.max(0) < (110, 88)).all()
    lowest = [np.flatnonzero(frame[:105, 64]).max() for frame in true[:2]]
    assert lowest[1] > lowest[0] + 4
    assert 0.02 < true.mean() < 0.2 and not true[..., :4].any()
