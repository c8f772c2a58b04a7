"""Sounds that broke this or a neighbouring project, made small: what a player plays is
heard, or one line says what is wrong. Each test names the public report of its kind:

    8 channels and more         all are heard          5.1, speech in front  at its level
    channels that change        goes on                a track in space      the other one
    sizes of 0, 2^32 - 1        read to the end        RF64, w64, aiff, caf  read
    half a file                 refused                a cover in an mp3     not a picture
    opus, AAC and mp3           not late               8 kHz                 said
    too quiet, clipped, silent  said                   whole numbers         refused
    an offset                   taken away             music under speech    is speech
"""

import warnings

import av
import numpy as np
import pytest

from emogene_jax.audio.load import StoredSound, load_audio
from emogene_jax.audio.silence import speech_frames
from emogene_jax.media.sound import heard
from emogene_jax.signals import UserError
from tests.media.made import RATE, beep, numbered, onset, sounded, wav, write


def packed(*channels):
    """Channels [n] as the packed 16-bit samples of a wav."""
    return np.round(32767 * np.stack(channels, 1)).astype("<i2")


# https://github.com/meta-pytorch/torchcodec/pull/1166 (here, too, the interpreter died)
@pytest.mark.parametrize("count", [3, 8, 9, 32])
@pytest.mark.parametrize("mask", [None, 0])
def test_as_many_channels_as_a_recorder_has(tmp_path, count, mask):
    """One of them has a microphone: it is heard at its level."""
    tone = beep(1, 0.5)
    samples = packed(*[0 * tone] * (count - 1), tone)
    (tmp_path / "a.wav").write_bytes(wav(samples, count, mask=mask))
    sound = load_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(sound, tone, atol=1e-3)


# https://github.com/smplayer-dev/smplayer/issues/383
@pytest.mark.parametrize(
    ("codec", "layout", "end"),
    [("pcm_s16le", "5.1", "mkv"), ("aac", "5.1", "mp4"), ("flac", "7.1", "mkv")],
)
def test_speech_in_the_middle_of_six_is_heard(tmp_path, codec, layout, end):
    channels = np.zeros((6 if layout == "5.1" else 8, 48_000), np.float32)
    channels[2] = beep(1, 0.5, 48_000)
    sounded(tmp_path / f"a.{end}", channels, codec, 48_000, layout)
    sound = load_audio(tmp_path / f"a.{end}")
    assert onset(sound) == pytest.approx(0.5, abs=0.03)
    assert 0.3 < np.abs(sound).max() < 0.55  # as a player has it; it was 0.08
    both = np.concatenate(list(heard(tmp_path / f"a.{end}", 48_000, stereo=True)), 1)
    assert len(both) == 2
    np.testing.assert_allclose(both[0], both[1], atol=1e-3)


# https://github.com/bocan/bocan-music/pull/443
def test_channels_that_become_others(tmp_path):
    one, other = beep(1, 0.3), beep(1, 0.6, 48_000)
    sounded(tmp_path / "a.ts", one[None], "mp2")
    sounded(tmp_path / "b.ts", np.stack([other] * 2), "mp2", 48_000, "stereo", 1.0)
    parts = [(tmp_path / name).read_bytes() for name in ("a.ts", "b.ts")]
    (tmp_path / "c.ts").write_bytes(b"".join(parts))
    sound = load_audio(tmp_path / "c.ts")
    assert onset(sound) == pytest.approx(0.3, abs=0.05)
    assert 1 + onset(sound[RATE:]) == pytest.approx(1.6, abs=0.08)


# https://github.com/alexheretic/ab-av1/issues/351
# https://github.com/chattocorp/chatto/issues/1602
def test_a_track_that_nothing_decodes_is_passed_by(tmp_path):
    write(tmp_path / "a.mkv", numbered(25), [(beep(1, t)[None], 0) for t in (0.2, 0.6)])
    data = (tmp_path / "a.mkv").read_bytes()
    place = data.rindex(b"A_PCM/INT/LIT", 0, len(data) // 4)  # the default one's
    spatial = data[:place] + b"A_SPATIAL/APC" + data[place + 13 :]
    (tmp_path / "b.mkv").write_bytes(spatial)
    assert onset(load_audio(tmp_path / "b.mkv")) == pytest.approx(0.2, abs=0.01)
    none = data.replace(b"A_PCM/INT/LIT", b"A_SPATIAL/APC")
    (tmp_path / "c.mkv").write_bytes(none)
    with pytest.raises(UserError, match="no sound track that can be decoded"):
        load_audio(tmp_path / "c.mkv")


# https://github.com/Borewit/music-metadata/issues/707
# https://github.com/kkroening/ffmpeg-python/issues/118
# https://github.com/naudio/NAudio/issues/688
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_that_was_written_into_a_pipe(tmp_path, size):
    more = b"LIST\x1a\0\0\0INFOISFT\x0e\0\0\0Lavf58.29.100\0"
    (tmp_path / "a.wav").write_bytes(wav(packed(beep(2, 1)), size=size, more=more))
    sound = load_audio(tmp_path / "a.wav")
    assert len(sound) == 2 * RATE and onset(sound) == pytest.approx(1, abs=0.01)


# https://github.com/ossia/score/issues/2279
# https://github.com/medecau/pydub-ng/issues/4
def test_headers_of_long_recordings(tmp_path):
    for name, codec, options in (
        ("a.wav", "pcm_s16le", {"rf64": "always"}),
        ("a.w64", "pcm_s24le", {}),
        ("a.caf", "pcm_s16le", {}),
        ("a.aiff", "pcm_s16be", {}),
    ):
        with av.open(str(tmp_path / name), "w", options=options) as container:
            stream = container.add_stream(codec, rate=RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(packed(beep(1, 0.5)).T, "s16", "mono")
            frame.sample_rate = RATE
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        assert onset(load_audio(tmp_path / name)) == pytest.approx(0.5, abs=0.01), name
        assert name != "a.wav" or (tmp_path / name).read_bytes()[:4] == b"RF64"


# https://github.com/franklioxygen/MyTube/pull/471
# https://github.com/Zeugma440/atldotnet/issues/96 (an mp3)
@pytest.mark.parametrize(
    ("end", "codec"),
    [
        *(("mka", "aac"), ("webm", "libopus"), ("mp3", "libmp3lame"), ("m4a", "aac")),
        *(("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("wav", "adpcm_ms")),
        *(("aiff", "pcm_s16be"), ("au", "pcm_s16be"), ("flac", "flac")),
    ],
)
def test_half_a_sound_is_not_taken_for_a_whole_one(tmp_path, end, codec):
    sounded(tmp_path / f"a.{end}", 0.1 + beep(3, 1, 48_000)[None], codec, 48_000)
    assert len(load_audio(tmp_path / f"a.{end}")) == pytest.approx(
        3 * RATE, abs=0.1 * RATE
    )
    data = (tmp_path / f"a.{end}").read_bytes()
    (tmp_path / f"b.{end}").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="truncated|cannot be decoded"):
        load_audio(tmp_path / f"b.{end}")


# https://github.com/simonh10/ffprobe/issues/1
def test_a_cover_in_a_sound_is_no_first_picture(tmp_path):
    with av.open(str(tmp_path / "a.mp3"), "w") as container:
        stream = container.add_stream("libmp3lame", rate=48_000, layout="mono")
        cover = container.add_stream("mjpeg")
        cover.width = cover.height = 16
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in cover.encode(av.VideoFrame(16, 16, "yuvj420p")):
            container.mux(packet)
        frame = av.AudioFrame.from_ndarray(
            packed(beep(1, 0.5, 48_000)).T, "s16", "mono"
        )
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert onset(load_audio(tmp_path / "a.mp3")) == pytest.approx(0.5, abs=0.01)


# https://github.com/Vanilagy/mediabunny/issues/444
@pytest.mark.parametrize(
    ("end", "codec"),
    [("mp4", "aac"), ("webm", "libopus"), ("ogg", "libopus"), ("mp3", "libmp3lame")],
)
def test_what_an_encoder_puts_first_makes_nothing_late(tmp_path, end, codec):
    sounded(tmp_path / f"a.{end}", beep(1, 0.5, 48_000)[None], codec, 48_000)
    assert onset(load_audio(tmp_path / f"a.{end}")) == pytest.approx(0.5, abs=0.003)


# https://github.com/pipecat-ai/smart-turn/issues/42
# https://github.com/mozilla/DeepSpeech/issues/1726
def test_a_telephones_sound_is_said(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(packed(beep(1, 0.5, 8000)), rate=8000))
    with pytest.warns(UserWarning, match=r"a\.wav: its sound has 8000 Hz only"):
        load_audio(tmp_path / "a.wav")


# https://github.com/Picovoice/pvrecorder/issues/50 (a microphone that is off)
# https://github.com/bastibe/python-soundfile/issues/226
@pytest.mark.parametrize(
    ("gain", "said"),
    [
        (0, "is silence"),
        (0.004, "very quiet .at most -54 dB."),
        (30, "4.. % of its sound is clipped"),
        (1, None),
    ],
)
def test_a_level_that_spoils_it_is_said(tmp_path, gain, said):
    samples = (gain * beep(2, 1)).astype("<f4")
    (tmp_path / "a.wav").write_bytes(wav(samples, bits=32, kind=3))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        assert np.abs(StoredSound(tmp_path / "a.wav")[:]).max() <= 1
    if said is None:
        assert not found
    else:
        with pytest.warns(UserWarning, match=rf"a\.wav: (its )?.*{said}"):
            load_audio(tmp_path / "a.wav")


# https://github.com/csteinmetz1/pyloudnorm/issues/58
# https://github.com/scipy/scipy/pull/16515
def test_whole_numbers_as_floats_are_refused(tmp_path):
    samples = (32767 * beep(1, 0.5)).astype("<f4")
    (tmp_path / "a.wav").write_bytes(wav(samples, bits=32, kind=3))
    with pytest.raises(UserError, match="goes up to 163.., where 1 is full scale"):
        load_audio(tmp_path / "a.wav")


# https://github.com/gkasten/drrickorang/issues/22
# https://github.com/Frieve-A/effetune/pull/35
def test_an_offset_is_taken_away(tmp_path):
    """Features would take it for sound."""
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.03, 3 * RATE)
    sound -= sound.mean()
    (tmp_path / "a.wav").write_bytes(wav(packed(sound + 0.3)))
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), sound, atol=1e-4)
    np.testing.assert_allclose(StoredSound(tmp_path / "a.wav")[:], sound, atol=1e-4)


# https://github.com/Rudrabha/Wav2Lip/issues/413
# https://github.com/hecomi/uLipSync/issues/23
@pytest.mark.parametrize("below", [30, 3])  # dB
def test_speech_over_music_is_no_silence(below):
    """Where music lies close under it, speech was taken for a pause, with a shut mouth."""
    time = np.arange(6 * RATE) / RATE
    spoken = (time % 2 < 1.2) * np.sin(np.pi * 4 * time) ** 2
    speech = 0.2 * spoken * np.sign(np.sin(2 * np.pi * 120 * time))
    music = sum(np.sin(2 * np.pi * f * time) for f in (220, 277, 330, 440)) / 2**0.5
    level = speech[spoken > 0].std() * 10 ** (-below / 20)
    sound = (speech + level * music / music.std()).astype(np.float32)
    frames = (time[:: RATE // 25] % 2 > 0.1) & (time[:: RATE // 25] % 2 < 1.1)
    pauses = (time[:: RATE // 25] % 2 > 1.5) & (time[:: RATE // 25] % 2 < 1.8)
    if below == 30:
        found = speech_frames(sound)
        assert not found[pauses].any()
    else:
        with pytest.warns(UserWarning, match="music or noise lies close"):
            found = speech_frames(sound)
    assert found[frames].mean() > 0.95


@pytest.mark.filterwarnings("error")
def test_a_sentence_without_a_pause_is_not_called_music():
    time = np.arange(4 * RATE) / RATE
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)
    sound = 0.2 * loudness * np.sign(np.sin(2 * np.pi * 120 * time))
    assert speech_frames(sound.astype(np.float32)).all()
