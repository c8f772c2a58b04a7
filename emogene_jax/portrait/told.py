"""What is said to people of the videos that they gave, before and while they are read."""

from collections.abc import Sequence

from emogene_jax.signals import FPS, listed

_STILL = 0.3  # share of pictures like the ones before, from which on it is said
_COVERED = 0.2  # share of faces with something over mouth or chin, likewise
_APART = 0.1  # s between the beginnings of picture and sound, likewise


def describe(look: dict, size: int) -> list[str]:
    """Human lines: what was found, and what to expect where it is not ideal."""
    notes = (
        (
            look["seconds"] < 60,
            f"{look['seconds']:.0f} s is little: sounds and poses not seen here are "
            "guessed; 2 to 5 minutes are best",
        ),
        (
            look["face_size"] < 0.4 * size,
            f"the face has {look['face_size']:.0f} px for {size} px of avatar: it will "
            "look soft; a smaller --size fits",
        ),
        (look["blur"] < 1.5, "the face is blurred: so will be the avatar's"),
        (
            look["camera_movement"] > 2,
            f"the camera moves ({look['camera_movement']:.1f} px): the background will be "
            "smeared; a tripod is better",
        ),
        (not look["sound"], "no sound track: the voice can't be learned from it"),
    )
    return [
        f"{look['file']}: {look['seconds']:.1f} s, {look['width']} x {look['height']}, "
        f"{look['fps']:.4g} fps, face {look['face_size']:.0f} px high",
        *(f"  {text}" for said, text in notes if said),
        *(f"  {text}" for text in notices(look)),
    ]


def notices(look: dict) -> list[str]:
    """What a clip is, where it is not as usual, and what becomes of it."""
    cuts = listed([f"{time:.1f}" for time in look["cuts"]])
    notes = (
        (
            look["faces"] > 1 or look["people"] > 1,
            f"{max(look['faces'], look['people'])} faces: the one who is there most, or "
            "of several the larger, is taken",
        ),
        (
            look["face"] < 0.98,
            f"no face in {100 * (1 - look['face']):.0f} % of the frames: they are "
            "interpolated",
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
        (look["cuts"], f"cut at {cuts} s: each shot is a clip of its own"),
        (look["high_range"], "high dynamic range, brought to that of a usual screen"),
        (look["interlaced"], "interlaced: made whole from half its lines"),
        (look["transparent"], "what can be seen through is shown as it was stored"),
        (look["mirrored"], "mirrored by its file's display matrix: shown so"),
        (
            look["stretched"] != 1,
            f"pixels {look['stretched']:.3g} times as wide as high, made square",
        ),
        (
            look["sound_tracks"] > 1,
            f"{look['sound_tracks']} sound tracks: the default one is heard",
        ),
        (
            look["sound_begins"] > _APART,
            f"its sound begins {look['sound_begins']:.1f} s after the picture: kept so",
        ),
        (
            look["sound_begins"] < -_APART,
            f"its sound begins {-look['sound_begins']:.1f} s before the picture: cut there",
        ),
        (look["rotation"], f"turned by {look['rotation']} degrees, set upright"),
        (abs(look["fps"] - FPS) > 0.1, f"{look['fps']:.4g} fps, resampled to {FPS}"),
    )
    return [text for said, text in notes if said]


def told_left_out(file, gaps: Sequence[tuple[int, int]], why: str) -> str:
    """In words, that frames [(first, last + 1)] of a file are left out."""
    times = [f"{first / FPS:.1f} to {stop / FPS:.1f} s" for first, stop in gaps]
    return f"{file}: {why} from {listed(times)}: left out"
