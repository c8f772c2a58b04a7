"""What is said to people of the videos that they gave, before and while they are read."""

from collections.abc import Sequence

from emogene_jax.signals import FPS, listed

_STILL = 0.3  # share of pictures like the ones before, from which on it is said
_COVERED = 0.2  # share of faces with something over mouth or chin, likewise
_APART = 0.1  # s between the beginnings of picture and sound, likewise
_BLURRED = 1.5  # detail of a face, below which
_MOVES = 2.0  # px that a camera moves, from which on
_LONG = 600.0  # s of video, from which on it is said before anything is looked at
# Grey levels of a corner's change, from which on it is said: of 22 clips in front of
# something that stands still, at most 3.9; of 8 from talk shows and the like, 6 to 42.
_CHANGES = 5.0
_SHORT = 60.0  # s of all clips, below which
_SMALL = 100  # px of a face that drives another, below which


def describe(look: dict, size: int) -> list[str]:
    """Human lines: what was found, and what to expect where it is not ideal."""
    notes = (
        (
            look["face_size"] < 0.4 * size,
            f"the face has {look['face_size']:.0f} px for {size} px of avatar: it will "
            "look soft; a smaller --size fits",
        ),
        (look["blur"] < _BLURRED, "the face is blurred: so will be the avatar's"),
        (
            look["camera_movement"] > _MOVES,
            f"the camera moves ({look['camera_movement']:.1f} px): the background will be "
            "smeared; a tripod is better",
        ),
        (
            look["camera_movement"] <= _MOVES and look["background_change"] > _CHANGES,
            "the background changes: the avatar's stands still, as it usually is",
        ),
        (not look["sound"], "no sound track: the voice can't be learned from it"),
    )
    return _told(look, notes, notices(look))


def describe_driver(look: dict) -> list[str]:
    """The same of a video that drives an avatar."""
    notes = (
        (
            look["face_size"] < _SMALL,
            f"the face has {look['face_size']:.0f} px only: lips and lids will be rough",
        ),
        (look["blur"] < _BLURRED, "the face is blurred: lips and lids will be rough"),
        (
            look["camera_movement"] > _MOVES,
            f"the camera moves ({look['camera_movement']:.1f} px): so will the head",
        ),
        (not look["sound"], "no sound track: nothing will be heard"),
        (look["cuts"], f"{_cut(look)}: the head begins anew where the avatar's is"),
    )
    return _told(look, notes, seen_notices(look))


def _cut(look: dict) -> str:
    return f"cut at {listed([f'{time:.1f}' for time in look['cuts']])} s"


def _told(look: dict, notes, more: list[str]) -> list[str]:
    begin = f" from {look['first'] / FPS:.1f} s on" if look["first"] else ""
    return [
        f"{look['file']}: {look['seconds']:.1f} s{begin}, "
        f"{look['width']} x {look['height']}, {look['fps']:.4g} fps, "
        f"face {look['face_size']:.0f} px high",
        *(f"  {text}" for said, text in notes if said),
        *(f"  {text}" for text in more),
    ]


def notices(look: dict) -> list[str]:
    """What a clip is, where it is not as usual, and what becomes of it."""
    notes = (
        (
            look["face"] < 0.98,
            f"no face in {100 * (1 - look['face']):.0f} % of the frames: a few in a row "
            "are interpolated, more are left out",
        ),
        (look["cuts"], f"{_cut(look)}: each shot is a clip of its own"),
    )
    return [text for said, text in notes if said] + seen_notices(look)


def seen_notices(look: dict) -> list[str]:
    """The same, of what a face does not depend on, and of its file."""
    notes = (
        (
            look["faces"] > 1 or look["people"] > 1,
            f"{max(look['faces'], look['people'])} faces: the one who is there most, or "
            "of several the larger, is taken",
        ),
        (
            look["still"] > _STILL,
            f"{100 * look['still']:.0f} % of the pictures are the ones before them: lips "
            "will move in jerks",
        ),
        (
            look["covered"] > _COVERED,
            "something lies over the mouth or the chin (subtitles, a mask?): it is "
            "taken for the face",
        ),
    )
    return [text for said, text in notes if said] + file_notices(look)


def file_notices(info: dict) -> list[str]:
    """The same, as far as its file tells (video_info)."""
    notes = (
        (info["high_range"], "high dynamic range, brought to that of a usual screen"),
        (info["interlaced"], "interlaced: made whole from half its lines"),
        (info["transparent"], "what can be seen through is shown as it was stored"),
        (info["mirrored"], "mirrored by its file's display matrix: shown so"),
        (
            info["stretched"] != 1,
            f"pixels {info['stretched']:.3g} times as wide as high, made square",
        ),
        (
            info["sound_tracks"] > 1,
            f"{info['sound_tracks']} sound tracks: the default one is heard",
        ),
        (
            info["sound_begins"] > _APART,
            f"its sound begins {info['sound_begins']:.1f} s after the picture: kept so",
        ),
        (
            info["sound_begins"] < -_APART,
            f"its sound begins {-info['sound_begins']:.1f} s before the picture: cut there",
        ),
        (info["rotation"], f"turned by {info['rotation']} degrees, set upright"),
        (abs(info["fps"] - FPS) > 0.1, f"{info['fps']:.4g} fps, resampled to {FPS}"),
    )
    return [text for said, text in notes if said]


def told_long(seconds: float) -> str | None:
    """In words, that a video takes long, where it does."""
    if seconds <= _LONG:
        return None
    return (
        f"{seconds / 60:.0f} minutes of video, which may take hours: 2 to 5 are enough, "
        "for instance by --from 1:00 --to 5:00; all is used"
    )


def told_short(seconds: float) -> str | None:
    """In words, that all clips together are little to learn from, where they are."""
    if seconds >= _SHORT:
        return None
    return (
        f"{seconds:.0f} s is little: sounds and poses not seen here are guessed; 2 to 5 "
        "minutes are best"
    )


def told_left_out(
    file,
    gaps: Sequence[tuple[int, int]],
    why: str,
    done: str = "left out",
    begin: int = 0,
) -> str:
    """In words, what becomes of frames [(first, last + 1)], counted from frame `begin` of
    a file on, and why."""
    gaps = [((begin + first) / FPS, (begin + stop) / FPS) for first, stop in gaps]
    times = [f"{first:.1f} to {stop:.1f} s" for first, stop in gaps]
    return f"{file}: {why} from {listed(times)}: {done}"
