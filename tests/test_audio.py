"""The loader: every format comes out alike, and bad audio ends in one clear sentence."""

import io
import os
import struct
import wave

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asrscope import audio
from asrscope.audio import SAMPLE_RATE, check_waveform, find_audio, load_audio, wav_bytes

SECONDS = 0.5


def tone(rate=SAMPLE_RATE, hertz=440.0, level=0.4, seconds=SECONDS):
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def encode(samples, rate=SAMPLE_RATE, format="WAV", subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def load_with_warnings(source):
    found = []
    return load_audio(source, on_warning=found.append), found


def loudest_frequency(waveform):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * SAMPLE_RATE / len(waveform)


# What can be read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "subtype", "tolerance"),
    [
        ("WAV", "PCM_U8", 1e-2),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "PCM_32", 1e-6),
        ("WAV", "FLOAT", 1e-7),
        ("WAV", "DOUBLE", 1e-7),
        ("WAV", "ULAW", 2e-2),
        ("WAV", "ALAW", 2e-2),
        ("FLAC", "PCM_16", 1e-4),
        ("FLAC", "PCM_24", 1e-6),
        ("AIFF", "PCM_16", 1e-4),
        ("AU", "PCM_16", 1e-4),
        ("CAF", "PCM_16", 1e-4),
        ("W64", "PCM_16", 1e-4),
        ("RF64", "PCM_16", 1e-4),
    ],
)
def test_lossless_formats_give_back_the_samples(format, subtype, tolerance):
    expected = tone()
    waveform, found = load_with_warnings(encode(expected, format=format, subtype=subtype))
    assert waveform.dtype == np.float32
    assert waveform.shape == expected.shape
    assert np.abs(waveform - expected).max() < tolerance
    assert found == []


@pytest.mark.parametrize(("format", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)])
def test_lossy_formats_keep_the_tone_and_the_length(format, subtype):
    waveform, found = load_with_warnings(encode(tone(), format=format, subtype=subtype))
    assert loudest_frequency(waveform) == pytest.approx(440, abs=3)
    assert len(waveform) == pytest.approx(SECONDS * SAMPLE_RATE, rel=0.05)
    assert found == []


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_sampling_rate_becomes_16_khz(rate):
    waveform = load_audio(encode(tone(rate), rate))
    assert abs(len(waveform) - SECONDS * SAMPLE_RATE) <= 1
    assert loudest_frequency(waveform) == pytest.approx(440, abs=3)
    assert np.abs(waveform).max() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("channels", [2, 3, 6])
def test_channels_are_averaged(channels):
    each = np.stack([tone(level=0.1 * (1 + channel)) for channel in range(channels)], axis=1)
    waveform = load_audio(encode(each, subtype="FLOAT"))
    assert np.abs(waveform - tone(level=0.1 * (1 + channels) / 2)).max() < 1e-6


def test_path_string_bytes_and_stream_give_the_same_waveform(tmp_path):
    content = encode(tone())
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    with path.open("rb") as stream:
        waveforms = [load_audio(path), load_audio(str(path)), load_audio(content), load_audio(stream)]
    for waveform in waveforms:
        assert np.array_equal(waveform, waveforms[0])


def test_a_stream_that_cannot_seek_is_read():
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:
        pipe.write(encode(tone(seconds=0.2)))
    with os.fdopen(read_end, "rb") as stream:
        assert len(load_audio(stream)) == 0.2 * SAMPLE_RATE


def test_the_name_of_a_file_does_not_decide_its_format(tmp_path):
    path = tmp_path / "clip.raw"  # libsndfile's Python binding asks for a rate when it sees this name
    path.write_bytes(encode(tone(), format="FLAC"))
    assert len(load_audio(path)) == SECONDS * SAMPLE_RATE


def test_bytes_after_the_samples_are_ignored():
    waveform, found = load_with_warnings(encode(tone()) + b"LIST of junk" * 50)
    assert len(waveform) == SECONDS * SAMPLE_RATE
    assert found == []


def test_a_header_written_before_the_size_was_known_is_accepted():
    content = bytearray(encode(tone()))
    content[4:8] = content[40:44] = b"\xff" * 4  # what ffmpeg writes into a pipe
    waveform, found = load_with_warnings(bytes(content))
    assert len(waveform) == SECONDS * SAMPLE_RATE
    assert found == []


def test_recordings_in_a_folder_are_found_in_order(tmp_path):
    names = ["b.wav", "a.FLAC", "below/c.mp3", "notes.txt", ".hidden.wav", "phone.m4a"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    found = [path.relative_to(tmp_path).as_posix() for path in find_audio(tmp_path)]
    assert found == ["a.FLAC", "b.wav", "below/c.mp3", "phone.m4a"]


def test_every_ending_that_is_read_counts_and_those_of_phones_and_video_too(tmp_path):
    """A folder that leaves a recording out in silence loses it."""
    read = ("aifc", "sph", "snd", "mpga", "wave", "bwf", "opus", "oga", "w64", "rf64", "caf", "voc", "8svx")
    foreign = (
        "mp4",
        "3gp",
        "mov",
        "m4b",
        "m4r",
        "amr",
        "awb",
        "webm",
        "wma",
        "wmv",
        "aac",
        "mkv",
        "mpg",
        "spx",
    )
    for ending in (*read, *foreign, "txt", "pdf", "wav.part"):
        (tmp_path / f"clip.{ending}").write_bytes(b"")
    assert {path.name.removeprefix("clip.") for path in find_audio(tmp_path)} == {*read, *foreign}
    formats = {name.lower() for name in soundfile.available_formats()}
    named = {suffix.removeprefix(".") for suffix in audio.AUDIO_SUFFIXES}
    # The others have names of their own: a variant of WAV, three without a usual ending, raw samples, tables.
    assert formats - named == {"wavex", "mat4", "mat5", "mpc2k", "raw"}


def test_links_to_folders_are_followed_and_circles_end(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for name in ("inside/a.wav", "outside/b.wav", "outside/deep/c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (inside / "linked").symlink_to(outside)
    (outside / "back").symlink_to(inside)
    (outside / "deep" / "self").symlink_to(outside / "deep")
    (inside / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    found = [path.relative_to(inside).as_posix() for path in find_audio(inside)]
    assert found == ["a.wav", "gone.wav", "linked/b.wav", "linked/deep/c.wav"]
    with pytest.raises(FileNotFoundError, match=r"gone\.wav: there is no such file"):
        load_audio(inside / "gone.wav")


def test_a_folder_with_a_link_beside_it_is_listed_once(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "a.wav").write_bytes(b"")
    (tmp_path / "before").symlink_to(tmp_path / "z")
    assert find_audio(tmp_path) == [tmp_path / "z" / "a.wav"]


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(place):
        if os.fspath(place).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(place))
        return scan(place)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(OSError, match=r"closed: this folder cannot be read .Permission denied"):
        find_audio(tmp_path)


# What is read with a warning --------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_silence_is_flagged_with_and_without_an_offset(level):
    waveform, found = load_with_warnings(encode(np.full(8000, level, np.float32)))
    assert len(waveform) == 8000
    assert len(found) == 1
    assert "silent" in found[0]


def test_soft_speech_is_not_silence():
    _, found = load_with_warnings(encode(tone(level=0.01)))
    assert found == []


def test_clipping_is_flagged():
    _, found = load_with_warnings(encode(np.clip(tone(level=2.0), -1, 1)))
    assert len(found) == 1
    assert "clipped" in found[0]


def test_a_clean_tone_at_full_scale_is_not_clipping():
    _, found = load_with_warnings(encode(tone(hertz=200, level=0.9999)))
    assert found == []


def test_opposite_channels_use_one_of_them():
    left = tone()
    waveform, found = load_with_warnings(encode(np.stack([left, -0.98 * left], axis=1)))
    assert np.abs(waveform - left).max() < 1e-4
    assert len(found) == 1
    assert "channel 1 of 2" in found[0]


def test_silent_stereo_is_silent_and_not_opposite():
    _, found = load_with_warnings(encode(np.zeros((8000, 2), np.float32)))
    assert len(found) == 1
    assert "silent" in found[0]


@pytest.mark.parametrize("format", ["WAV", "AIFF", "MP3"])
def test_a_truncated_file_keeps_what_is_there_and_says_so(format):
    content = encode(tone(seconds=2), format=format)
    waveform, found = load_with_warnings(content[: len(content) // 2])
    assert 0.5 * SAMPLE_RATE < len(waveform) < 1.1 * SAMPLE_RATE
    assert len(found) == 1
    assert "truncated" in found[0]


def test_a_flac_damaged_at_its_end_keeps_its_beginning(rng):
    noise = rng.uniform(-0.5, 0.5, 10 * SAMPLE_RATE).astype(np.float32)
    content = encode(noise, format="FLAC")
    waveform, found = load_with_warnings(content[: len(content) // 2])
    assert len(waveform) > 2 * SAMPLE_RATE
    assert np.abs(waveform[: 2 * SAMPLE_RATE] - noise[: 2 * SAMPLE_RATE]).max() < 1e-4
    assert len(found) == 1
    assert "truncated" in found[0]


def test_a_clip_shorter_than_a_word_is_flagged():
    waveform, found = load_with_warnings(encode(tone(seconds=0.05)))
    assert len(waveform) == 800
    assert len(found) == 1
    assert "shorter than a word" in found[0]


@pytest.mark.parametrize("peak", [1.5, 32768.0, 2.0e9])
def test_float_files_beyond_full_scale_are_scaled_down(peak):
    waveform, found = load_with_warnings(encode(peak * tone(level=1.0), subtype="FLOAT"))
    assert np.abs(waveform).max() == pytest.approx(1.0, abs=1e-3)
    assert loudest_frequency(waveform) == pytest.approx(440, abs=3)
    assert len(found) == 1
    assert "full scale" in found[0]


def test_a_warning_names_the_file_and_is_a_python_warning_by_default(tmp_path):
    path = tmp_path / "quiet.wav"
    path.write_bytes(encode(np.zeros(8000, np.float32)))
    with pytest.warns(UserWarning, match=r"quiet\.wav: the clip is silent"):
        load_audio(path)


# What cannot be read ----------------------------------------------------------------------------------------


def patched(offset, value, content=None):
    content = bytearray(content or encode(tone()))
    content[offset : offset + len(value)] = value
    return bytes(content)


def not_finite(value):
    samples = tone()
    samples[100] = value
    return encode(samples, subtype="FLOAT")


BAD_BYTES = {
    "0 bytes": (b"", "empty"),
    "one byte": (b"R", "looks like text"),
    "text": (b"This is not a sound.\n" * 20, "looks like text"),
    "html": (b"<!doctype html><title>404</title>" * 5, "looks like text"),
    "random bytes": (bytes(range(256)) * 20, "not recognized"),
    "null bytes": (bytes(4000), "not recognized"),
    "mp4": (b"\x00\x00\x00\x20ftypM4A \x00" + bytes(400), "MP4/M4A"),
    "webm": (b"\x1a\x45\xdf\xa3" + bytes(400), "WebM"),
    "zip": (b"PK\x03\x04" + bytes(400), "zip"),
    "gzip": (b"\x1f\x8b\x08" + bytes(400), "gzip"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(400), "PNG"),
    "pdf": (b"%PDF-1.7\n" + bytes(400), "PDF"),
    "git lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "wav header alone": (encode(tone())[:44], "header without samples"),
    "wav header cut": (encode(tone())[:30], "header cannot be read"),
    "wav of no samples": (encode(np.zeros(0, np.float32)), "header without samples"),
    "flac header cut": (encode(tone(), format="FLAC")[:60], "damaged"),
    "ogg cut": (encode(tone(), format="OGG")[:200], "damaged"),
    "rate 0": (patched(24, struct.pack("<I", 0)), "damaged"),
    "rate 1": (patched(24, struct.pack("<I", 1)), "found 1 Hz"),
    "rate 800 kHz": (patched(24, struct.pack("<I", 800_000)), "found 800000 Hz"),
    "no channels": (patched(22, struct.pack("<H", 0)), "damaged"),
    "unknown codec": (patched(20, struct.pack("<H", 0x7ABC)), "damaged"),
    "NaN": (not_finite(np.nan), "1 of 8000 samples are NaN or infinite"),
    "infinity": (not_finite(-np.inf), "NaN or infinite"),
    "beyond any sound": (not_finite(1e30), "expected values in"),
    "double too large for float": (encode(tone().astype(np.float64) * 1e300, subtype="DOUBLE"), "infinite"),
    "one sample at a high rate": (encode(np.full(1, 0.5, np.float32), 192_000), "shorter than one sample"),
}


@pytest.mark.parametrize(("content", "message"), BAD_BYTES.values(), ids=BAD_BYTES.keys())
def test_bad_content_gives_one_clear_line(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.wav: there is no such file"):
        load_audio(tmp_path / "nothing.wav")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="this is a folder"):
        load_audio(tmp_path)


def test_a_device_is_not_read():
    with pytest.raises(OSError, match="device or a pipe"):
        load_audio("/dev/zero")


def test_a_web_address_is_not_a_path():
    with pytest.raises(FileNotFoundError, match="web address"):
        load_audio("https://example.org/clip.wav")


def test_a_path_with_a_null_character_is_refused():
    with pytest.raises((ValueError, FileNotFoundError), match="clip"):
        load_audio("clip\0.wav")


def test_a_line_break_in_a_name_does_not_break_the_message(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        load_audio(tmp_path / "two\nlines.wav")
    assert "\n" not in str(caught.value)


def test_a_text_stream_is_refused():
    with pytest.raises(ValueError, match="open it in binary mode"):
        load_audio(_TextStream())


class _TextStream(io.BytesIO):
    def read(self, size=-1):
        return "text"


def test_a_file_longer_than_the_limit_is_refused_without_reading_on(monkeypatch):
    monkeypatch.setattr("asrscope.audio.MAX_SAMPLES", 20_000)
    with pytest.raises(ValueError, match="cut it into pieces"):
        load_audio(encode(tone(seconds=2)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    format=st.sampled_from(["WAV", "AIFF", "FLAC", "AU", "CAF"]),
    changes=st.lists(st.tuples(st.integers(0, 99), st.integers(0, 255)), min_size=1, max_size=4),
    length=st.integers(0, 2000),
)
def test_no_mutated_header_gives_anything_but_a_sound_waveform_or_an_error(format, changes, length):
    content = bytearray(MUTATED[format])
    for offset, value in changes:
        content[offset] = value
    try:
        waveform = load_audio(bytes(content[: len(content) - length]), on_warning=lambda message: None)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error)
    else:
        assert waveform.ndim == 1
        assert waveform.size > 0
        assert np.isfinite(waveform).all()
        assert np.abs(waveform).max() <= 1.0


MUTATED = {name: encode(tone(seconds=0.1), format=name) for name in ["WAV", "AIFF", "FLAC", "AU", "CAF"]}


def test_a_damaged_header_prints_nothing(capfd):
    content = MUTATED["AIFF"]
    for offset in range(60):
        try:
            load_audio(patched(offset, b"\xff\xff\xff\xff", content), on_warning=lambda message: None)
        except ValueError as error:
            assert str(error)
    assert capfd.readouterr().err == ""


# Arrays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_keep_their_values(dtype):
    assert np.abs(check_waveform(tone().astype(dtype)) - tone()).max() < 1e-3


@pytest.mark.parametrize(
    ("dtype", "low", "middle", "high"),
    [
        (np.int8, -128, 0, 127),
        (np.int16, -(2**15), 0, 2**15 - 1),
        (np.int32, -(2**31), 0, 2**31 - 1),
        (np.uint8, 0, 128, 255),
    ],
)
def test_integer_arrays_are_scaled_by_their_range(dtype, low, middle, high):
    waveform = check_waveform(np.array([low, middle, high] * 1000, dtype))
    assert waveform[:2].tolist() == [-1.0, 0.0]
    assert 0.99 < waveform[2] <= 1.0


def test_an_array_at_another_rate_is_resampled():
    waveform = check_waveform(tone(48_000), 48_000)
    assert len(waveform) == SECONDS * SAMPLE_RATE
    assert loudest_frequency(waveform) == pytest.approx(440, abs=3)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 8000), np.float32), "average its channels first"),
        (np.zeros((8000, 2), np.float32), r"found \(8000, 2\)"),
        (np.float32(0.5), r"found \(\)"),
        (np.zeros((1, 1, 8), np.float32), "pass one clip"),
        (np.zeros(0, np.float32), "no samples"),
        (np.array([0.1, np.nan], np.float32), "1 of 2 samples are NaN"),
        (np.zeros(8000, np.int64), "found int64"),
        (np.zeros(8000, np.complex64), "found complex64"),
        (np.zeros(8000, bool), "found bool"),
        (["a", "b"], "found <U1"),
        ([None, None], "found object"),
    ],
)
def test_bad_arrays_give_one_clear_line(array, message):
    with pytest.raises(ValueError, match=message):
        check_waveform(array)


@pytest.mark.parametrize("rate", [0, -16_000, 10**7])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(ValueError, match=f"found {rate} Hz"):
        check_waveform(tone(), rate)


def test_checking_does_not_change_the_given_array():
    given_array = tone(level=3.0)
    before = given_array.copy()
    check_waveform(given_array, on_warning=lambda message: None)
    assert np.array_equal(given_array, before)


# Writing ----------------------------------------------------------------------------------------------------


def test_wav_bytes_are_a_16_bit_mono_file_at_16_khz():
    with wave.open(io.BytesIO(wav_bytes(tone()))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, SAMPLE_RATE)
        assert file.getnframes() == SECONDS * SAMPLE_RATE


def test_wav_bytes_come_back_within_half_a_step(rng):
    waveform = rng.uniform(-1, 1, 4000).astype(np.float32)
    assert np.abs(load_audio(wav_bytes(waveform)) - waveform).max() < 2 / 32768


def test_wav_bytes_clip_instead_of_wrapping_around():
    waveform = load_audio(wav_bytes(np.array([2.0, -2.0] * 1000, np.float32)))
    assert waveform[0] > 0.99
    assert waveform[1] < -0.99
