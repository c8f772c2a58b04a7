import shutil
import tracemalloc
import wave

import av
import numpy as np
import pytest

from emogene_jax.audio.features import audio_features
from emogene_jax.audio.load import StoredSound, load_audio
from emogene_jax.signals import UserError


def write_sound(path, sound, rate, codec="pcm_f32le", picture_at=None):
    """A file with sound [channels, samples]; a picture track from picture_at (s)."""
    layout = "mono" if len(sound) == 1 else "stereo"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if picture_at is not None:
            video = container.add_stream("mpeg4", rate=25)
            video.width = video.height = 32
            video.pix_fmt = "yuv420p"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound.T.reshape(1, -1), np.float32), "flt", layout
        )
        frame.rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if picture_at is not None:
            for i in range(5):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), "u1"), "rgb24")
                image.pts = i + round(picture_at * 25)
                container.mux(video.encode(image))
            container.mux(video.encode(None))


def tone(rate, seconds=0.5, frequency=440.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate) * 0.5


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_any_rate_comes_out_at_16_khz(tmp_path, rate):
    write_sound(tmp_path / "a.wav", tone(rate)[None], rate)
    sound = load_audio(tmp_path / "a.wav")
    assert sound.dtype == np.float32
    assert abs(len(sound) - 8000) <= 2
    middle = slice(1000, 7000)
    np.testing.assert_allclose(sound[middle], tone(16000)[middle], atol=0.01)


@pytest.mark.parametrize(
    ("codec", "rate", "error"),
    [
        ("pcm_u8", 16000, 0.005),
        ("pcm_s16le", 96000, 1e-3),
        ("pcm_s24le", 48000, 1e-3),
        ("pcm_f64le", 11025, 1e-3),
        ("pcm_mulaw", 8000, 0.02),
        ("pcm_alaw", 8000, 0.02),
    ],
)
def test_any_kind_of_wav(tmp_path, codec, rate, error):
    write_sound(tmp_path / "a.wav", tone(rate)[None], rate, codec)
    sound = load_audio(tmp_path / "a.wav")
    middle = slice(1000, 7000)
    np.testing.assert_allclose(sound[middle], tone(16000)[middle], atol=error)


@pytest.mark.parametrize("codec", ["mp3", "flac", "opus"])
def test_the_name_does_not_matter(tmp_path, codec):
    kind, encoder = {
        "mp3": ("mp3", "libmp3lame"),
        "flac": ("flac", "flac"),
        "opus": ("ogg", "libopus"),
    }[codec]
    write_sound(tmp_path / f"a.{kind}", tone(48000)[None], 48000, encoder)
    (tmp_path / f"a.{kind}").rename(tmp_path / "a.wav")
    sound = load_audio(tmp_path / "a.wav")
    middle = slice(1000, 7000)
    np.testing.assert_allclose(sound[middle], tone(16000)[middle], atol=0.05)


@pytest.mark.parametrize("samples", [1, 160, 1600])
def test_short_sound_is_sound(tmp_path, samples):
    write_sound(tmp_path / "a.wav", tone(16000)[None, :samples], 16000)
    sound = load_audio(tmp_path / "a.wav")
    assert sound.shape == (samples,)
    features = audio_features(sound)
    assert len(features.content) == 2 * -(-samples // 640)
    assert all(np.isfinite(part).all() for part in features)


def test_long_sound_is_in_memory_once(tmp_path):
    """Four minutes: decoding takes little beside them, features beside themselves."""
    rng = np.random.default_rng(0)
    second = (3000 * rng.normal(size=16000)).astype(np.int16).tobytes()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        for _ in range(240):
            file.writeframes(second)
    audio_features(np.zeros(64_000, np.float32))  # what is made once
    tracemalloc.start()
    sound = load_audio(tmp_path / "a.wav")
    _, peak = tracemalloc.get_traced_memory()
    assert sound.shape == (240 * 16000,) and peak < 1.25 * sound.nbytes
    tracemalloc.reset_peak()
    features = audio_features(sound)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    made = sum(part.nbytes for part in features)
    assert peak - sound.nbytes - made < 40e6


def test_channels_are_averaged(tmp_path):
    write_sound(tmp_path / "a.wav", np.stack([tone(16000), 0 * tone(16000)]), 16000)
    np.testing.assert_allclose(
        load_audio(tmp_path / "a.wav"), tone(16000) / 2, atol=1e-6
    )


def test_loud_sound_is_clipped_and_silence_is_fine(tmp_path):
    write_sound(tmp_path / "a.wav", 4 * tone(16000)[None], 16000)
    assert np.abs(load_audio(tmp_path / "a.wav")).max() == 1
    write_sound(tmp_path / "b.wav", np.zeros((1, 1600)), 16000)
    assert not load_audio(tmp_path / "b.wav").any()


def test_sound_starts_with_the_first_picture(tmp_path):
    sound = np.zeros((1, 16000))
    sound[:, 8000:] = tone(16000)
    write_sound(tmp_path / "a.mov", sound, 16000, "pcm_f32le", picture_at=0.2)
    onset = np.flatnonzero(np.abs(load_audio(tmp_path / "a.mov")) > 0.1)[0]
    assert abs(onset / 16000 - 0.3) < 0.01


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"", "0 bytes"),
        (b"hello, I am no sound\n" * 50, "expected an audio or video"),
        (bytes(range(256)) * 40, "expected an audio or video"),
    ],
)
def test_what_is_no_media_is_refused(tmp_path, content, message):
    path = tmp_path / "x.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        load_audio(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_sound_at_all_is_refused(tmp_path):
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
    with pytest.raises(UserError, match="0 s"):
        load_audio(tmp_path / "a.wav")
    sound = tone(16000)[None]
    sound[0, 100] = np.nan
    write_sound(tmp_path / "b.wav", sound, 16000)
    with pytest.raises(UserError, match="finite"):
        load_audio(tmp_path / "b.wav")
    write_sound(tmp_path / "c.wav", np.tile(sound, 6), 96000)
    with pytest.raises(UserError, match=r"c\.wav: .*finite"):
        load_audio(tmp_path / "c.wav")
    with pytest.raises(UserError, match="is a folder"):
        load_audio(tmp_path)


def test_a_video_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), "u1"), "rgb24")
        container.mux(video.encode(image))
        container.mux(video.encode(None))
    with pytest.raises(UserError, match=r"a\.mp4: no sound track"):
        load_audio(tmp_path / "a.mp4")


def test_a_truncated_wav_is_told(tmp_path):
    write_sound(tmp_path / "a.wav", tone(16_000, 2)[None], 16_000)
    with (tmp_path / "a.wav").open("r+b") as file:
        file.truncate(4 * 16_000)
    with pytest.raises(UserError, match=r"a\.wav: truncated, 1\.0 s .* 2\.0 s"):
        load_audio(tmp_path / "a.wav")


def test_real_files(shared, tmp_path):
    sound = load_audio(shared / "data/audio/english_10s.wav")
    assert abs(len(sound) - 160000) < 10
    with pytest.raises(UserError, match="no sound track"):
        load_audio(shared / "data/mead/happy_256.mp4")
    whole = shared / "data/portrait/german_20s.mp4"
    assert abs(len(load_audio(whole)) / 16000 - 20) < 0.1
    cut = tmp_path / "cut.mp4"
    shutil.copy(whole, cut)
    with cut.open("r+b") as file:
        file.truncate(whole.stat().st_size // 2)
    with pytest.raises(UserError, match=r"cut\.mp4"):
        load_audio(cut)


@pytest.mark.parametrize("picture_at", [None, 0.0, 0.12])
def test_sound_on_disk_is_the_sound(tmp_path, picture_at):
    path = tmp_path / ("a.wav" if picture_at is None else "a.mov")
    write_sound(path, tone(16_000)[None], 16_000, picture_at=picture_at)
    whole, stored = load_audio(path), StoredSound(path)
    assert len(stored) == len(whole)
    for part in (slice(None), slice(100, 777), slice(7900, 9999), slice(50, 50)):
        np.testing.assert_array_equal(stored[part], whole[part])
    heard, known = audio_features(stored), audio_features(whole)
    np.testing.assert_array_equal(heard.f0, known.f0)
    np.testing.assert_array_equal(heard.speech, known.speech)
    assert heard.content.shape == known.content.shape
    np.testing.assert_array_equal(heard.content[4:20], known.content[4:20])
    np.testing.assert_array_equal(heard.content[10:], known.content[10:])
    with pytest.raises(ValueError, match="after"):
        heard.content[9:12]


def test_memory_does_not_grow_with_a_stored_sound(tmp_path):
    rng = np.random.default_rng(0)

    def peak(minutes):
        path = tmp_path / f"{minutes}.wav"
        with wave.open(str(path), "wb") as out:
            out.setparams((1, 2, 16_000, 0, "NONE", ""))
            for _ in range(minutes):
                noise = rng.normal(0, 3000, 16_000 * 60) * np.hanning(16_000 * 60)
                out.writeframes(noise.astype("<i2").tobytes())
        tracemalloc.start()
        content = audio_features(StoredSound(path)).content
        for start in range(0, len(content), 1000):
            content[start : start + 1000]
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / 2**20

    short, long = peak(2), peak(8)
    assert long < short + 3, (short, long)
