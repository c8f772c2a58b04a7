"""Do lips close at p, b and m?

    python benchmarks/closing.py [--audio-to-motion DIR] [--voices slt rms] [--tiny]

flite, a free synthesiser (Debian's package of that name), speaks SENTENCES and says when
each phone is; the built-in voice, or one that was trained, moves the lips. They are closed
at a p, b or m where the opening of the inner lips, at the frame of it that is most closed,
is within CLOSED of its range from the bottom, over all sentences of that speaker. How many
other consonants close them so is told beside it: lips that are always closed are no help.
One line a speaker.
"""

import argparse
from pathlib import Path

import numpy as np
import timing

from emogene_jax.audio.features import audio_features
from emogene_jax.audio_to_motion.generic import Voice, built_in, spoken_motion
from emogene_jax.audio_to_motion.loss import mouth_shape
from emogene_jax.recipes.audio_to_motion import voice_of
from emogene_jax.signals import FPS
from emogene_jax.synthetic.flite import LIPS, Phone, say

# Each with many p, b and m, at the beginning, in the middle and at the end of words.
SENTENCES = (
    "Bob and my mother bought a big red bus ticket from the company by the bay.",
    "Please put the paper cup back upon the table before the party begins.",
    "Many members of the team hope to improve the map of the beach this summer.",
    "My baby brother may be happy to jump from the top of the steep bump.",
    "Remember to keep the pump, the lamp and the broom in the bottom room.",
    "A number of people from Poland make simple, cheap and beautiful maps.",
    "The problem is that both of them missed the public bus to the museum.",
    "Perhaps Peter will climb up the mountain with a camera and a brown bag.",
)
OTHERS = ("t", "d", "k", "g", "s", "z", "n", "l", "r")
CLOSED = 0.2  # of the range
ENDS = (1, 99)  # percentiles between which the range is


def main(tiny=False):
    """One line a speaker."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--audio-to-motion", type=Path, metavar="DIR")
    parser.add_argument("--voices", nargs="+", default=["slt", "rms"], metavar="NAME")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    sentences = SENTENCES[: 1 if tiny or args.tiny else None]
    voice = voice_of(args.audio_to_motion) if args.audio_to_motion else built_in()
    for speaker in args.voices:
        sounds, phones = zip(*(say(text, speaker) for text in sentences), strict=True)
        openings = [opening(voice, sound) for sound in sounds]
        told = {
            "closed": share_closed(openings, phones, LIPS),
            "closed_at_others": share_closed(openings, phones, OTHERS),
            "count": sum(phone.name in LIPS for said in phones for phone in said),
        }
        sizes = {"speaker": speaker, "sentences": len(sentences)}
        timing.emit("closing", told, **sizes)


def opening(voice: Voice, waveform) -> np.ndarray:
    """Opening of the inner lips [T] in eye distances, of a sentence."""
    heard = audio_features(waveform, voice.content)
    motion = spoken_motion(voice, heard.content, heard.f0)
    return np.asarray(mouth_shape(motion))[:, 0]


def share_closed(openings, phones, names) -> float:
    """How many of the phones of some names have closed lips."""
    low, high = np.percentile(np.concatenate(openings), ENDS)
    closed = [
        least(lips, phone) <= low + CLOSED * (high - low)
        for lips, said in zip(openings, phones, strict=True)
        for phone in said
        if phone.name in names
    ]
    return round(float(np.mean(closed)), 3)


def least(lips, phone: Phone) -> float:
    """The smallest opening at the frames that a phone touches."""
    first, last = int(phone.start * FPS), int(np.ceil(phone.end * FPS))
    return lips[first : max(last, first + 1)].min(initial=np.inf)


if __name__ == "__main__":
    main()
