"""Recordings are read to the end of their sound, whatever their header says, and piece by piece."""

import io
import os
import struct
import subprocess
import sys
from collections import deque

import numpy as np
import pytest
import soundfile
from bad_audio_kit import announce, encode, id3, patched

from asrscope.audio import SAMPLE_RATE, AudioStream, load_audio
from asrscope.audio.recordings import open_recording

SECONDS = (1.0, 1.5)  # of the two recordings that follow one another
TAG = b"TAG" + bytes(125)  # as it stands behind the sound of old MP3 files


def tone(hertz, seconds, rate=SAMPLE_RATE):
    return (0.4 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


FIRST, SECOND = tone(440, SECONDS[0]), tone(880, SECONDS[1])
BOTH = np.concatenate([FIRST, SECOND])


def read(source):
    warnings = []
    return load_audio(source, on_warning=warnings.append), warnings


def loudest(waveform):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return spectrum.argmax() * SAMPLE_RATE / len(waveform)


def first_frame(mp3):
    """Length of the first frame at 16 kHz (MPEG-2, layer III), which holds the number of frames."""
    kilobits = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160][mp3[2] >> 4]
    return 72 * kilobits * 1000 // SAMPLE_RATE + (mp3[2] >> 1 & 1)


def mp3(samples, *, counted=True, **options):
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", SAMPLE_RATE, 1, format="MP3", **options) as file:
        file.write(samples)
    made = buffer.getvalue()
    return made if counted else made[first_frame(made) :]


def variable():
    """A stream of variable bit rate without a count: noise first, of which the rate is guessed."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 8000).astype(np.float32)
    sound = np.concatenate([noise, np.zeros(16_000, np.float32), BOTH])
    return mp3(sound, counted=False, bitrate_mode="VARIABLE", compression_level=0.7)


def au_announcing(size):
    return patched(encode(BOTH, format="AU", subtype="PCM_16"), 8, struct.pack(">I", size))


def wav_announcing(size, content=None):
    content = encode(BOTH) if content is None else content
    return patched(patched(content, 4, struct.pack("<I", 36 + size)), 40, struct.pack("<I", size))


def ogg(samples, subtype, rate=SAMPLE_RATE):
    return encode(samples, rate, format="OGG", subtype=subtype)


# What is read to its end, without a word: the whole of it lasts so long, and ends with the second tone.
WHOLE = {
    "MP3 of variable rate, not counted": (variable, 1.5 + sum(SECONDS)),
    "the same with tags around": (lambda: id3(500) + variable() + TAG, 1.5 + sum(SECONDS)),
    "MP3 of constant rate, not counted": (lambda: mp3(BOTH, counted=False), sum(SECONDS)),
    "MP3s glued": (lambda: mp3(FIRST) + mp3(SECOND), sum(SECONDS)),
    "MP3s with tags glued": (lambda: id3(99) + mp3(FIRST) + id3(99) + mp3(SECOND) + TAG, sum(SECONDS)),
    "a counted MP3 and one that is not": (lambda: mp3(FIRST) + mp3(SECOND, counted=False), sum(SECONDS)),
    "Ogg Vorbis chained": (lambda: ogg(FIRST, "VORBIS") + ogg(SECOND, "VORBIS"), sum(SECONDS)),
    "Ogg Opus chained": (lambda: ogg(FIRST, "OPUS") + ogg(SECOND, "OPUS"), sum(SECONDS)),
    "three links of Ogg": (lambda: 2 * ogg(FIRST, "VORBIS") + ogg(SECOND, "VORBIS"), 1.0 + sum(SECONDS)),
    "FLAC that counts too little": (lambda: announce(encode(BOTH, format="FLAC"), FIRST.size), sum(SECONDS)),
    "FLAC with tags around": (lambda: id3(99) + encode(BOTH, format="FLAC"), sum(SECONDS)),
    "FLACs glued": (lambda: encode(FIRST, format="FLAC") + encode(SECOND, format="FLAC"), sum(SECONDS)),
    "FLACs with tags glued": (
        lambda: id3(99) + encode(FIRST, format="FLAC") + TAG + id3(99) + encode(SECOND, format="FLAC"),
        sum(SECONDS),
    ),
    "AU that counts too little": (lambda: au_announcing(2 * FIRST.size), sum(SECONDS)),
    "AU that counts nothing": (lambda: au_announcing(0), sum(SECONDS)),
    "WAVs glued": (lambda: encode(FIRST) + encode(SECOND), sum(SECONDS)),
    "AIFFs glued": (lambda: encode(FIRST, format="AIFF") + encode(SECOND, format="AIFF"), sum(SECONDS)),
    "WAV and FLAC glued": (lambda: encode(FIRST) + encode(SECOND, format="FLAC"), sum(SECONDS)),
    "WAV that counts nothing": (lambda: wav_announcing(0), sum(SECONDS)),
}


@pytest.mark.parametrize(("make", "seconds"), WHOLE.values(), ids=WHOLE)
def test_sound_past_the_announced_end_is_read(tmp_path, make, seconds):
    path = tmp_path / "clip"
    path.write_bytes(make())
    waveform, warnings = read(path)
    assert warnings == []
    assert waveform.size / SAMPLE_RATE == pytest.approx(seconds, abs=0.15)  # codecs add part of a frame
    assert loudest(waveform[-SAMPLE_RATE:]) == pytest.approx(880, abs=4)
    stream = AudioStream(path)
    assert stream.warnings == []
    assert sum(piece.size for piece in stream) == waveform.size


def chunk(name, size, order="<"):
    return name + struct.pack(f"{order}I", size) + bytes(range(256)) * (size // 256) + bytes(size % 256)


# What follows the sound and is nobody's loss.
ADDED = {
    "WAV and a chunk": encode(BOTH) + chunk(b"LIST", 50_000),
    "WAV and two chunks": encode(BOTH) + chunk(b"bext", 6_000) + chunk(b"id3 ", 9_000),
    "AIFF and a chunk": encode(BOTH, format="AIFF") + chunk(b"JUNK", 50_000, ">"),
    "WAV and zeros": encode(BOTH) + bytes(50_000),
    "WAV and a tag": encode(BOTH) + b"APETAGEX" + bytes(range(256)) * 40,
    "MP3 and a tag": mp3(BOTH) + b"APETAGEX" + bytes(range(256)) * 40,
    "FLAC and a tag": encode(BOTH, format="FLAC") + TAG,
    "Ogg and zeros": ogg(BOTH, "VORBIS") + bytes(5_000),
}


@pytest.mark.parametrize("content", ADDED.values(), ids=ADDED)
def test_what_is_added_to_a_recording_is_no_alarm(content):
    waveform, warnings = read(content)
    assert warnings == []
    assert waveform.size == pytest.approx(BOTH.size, abs=SAMPLE_RATE // 7)


def counting_less(form):
    """Let a header count as much as the first tone has, and put the rest behind the end of the file."""
    made, cut = encode(BOTH, format=form, subtype="PCM_16"), 2 * SECOND.size
    short = encode(FIRST, format=form, subtype="PCM_16")
    assert len(made) - len(short) == cut
    return short + made[-cut:]


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64", "AIFF", "CAF"])
def test_bytes_that_are_not_read_are_counted(form):
    waveform, warnings = read(counting_less(form))
    assert waveform.size == FIRST.size
    (warning,) = warnings
    assert f"{2 * SECOND.size:,} bytes after the announced end were not read" in warning


def test_an_mp3_whose_note_counts_too_few_frames_says_what_was_not_read():
    content = mp3(BOTH)
    note = max(content.find(b"Xing"), content.find(b"Info"))
    frames = struct.unpack_from(">I", content, note + 8)[0]
    waveform, (warning,) = read(patched(content, note + 8, struct.pack(">I", 2 * frames // 5)))
    assert waveform.size / SAMPLE_RATE == pytest.approx(2 / 5 * sum(SECONDS), abs=0.15)
    unread = len(content) * (1 - waveform.size / BOTH.size)
    counted = int(
        warning.split(" bytes after the announced end were not read")[0].split()[-1].replace(",", "")
    )
    assert counted == pytest.approx(unread, rel=0.1)


def test_a_link_of_another_rate_is_not_read_and_counted():
    other = ogg(tone(880, 1.5, 48_000), "VORBIS", 48_000)
    waveform, (warning,) = read(ogg(FIRST, "VORBIS") + other)
    assert waveform.size == FIRST.size
    assert f"{len(other):,} bytes after the announced end were not read" in warning


@pytest.mark.parametrize("counted", [True, False])
def test_an_mp3_that_ends_within_a_frame_keeps_what_is_there(rng, counted):
    content = mp3(rng.uniform(-0.3, 0.3, 5 * SAMPLE_RATE).astype(np.float32), counted=counted)
    waveform, warnings = read(content[: int(0.6 * len(content)) - 7])
    assert waveform.size / SAMPLE_RATE == pytest.approx(3, abs=0.3)
    assert any("truncated" in warning for warning in warnings) or not counted


def test_sound_before_a_damage_is_kept_to_the_last_frame(rng):
    """The decoder of FLAC gives a block up as a whole; what it had decoded of it is used."""
    noise = rng.uniform(-0.5, 0.5, 3 * SAMPLE_RATE).astype(np.float32)
    content = encode(noise, format="FLAC")
    waveform, (warning,) = read(patched(content, 2 * len(content) // 3, bytes(2000)))
    assert "truncated" in warning
    assert 1.7 * SAMPLE_RATE < waveform.size < 2.1 * SAMPLE_RATE
    np.testing.assert_allclose(waveform, noise[: waveform.size], atol=1e-4)


# More than 4 GiB --------------------------------------------------------------------------------------------

HUGE = 2**32 + 2 * FIRST.size  # bytes of sound; on the disk there is next to nothing


def sparse(path, head, size, tail=b""):
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + size)
        file.seek(len(head) + size)
        file.write(tail)
    return path


def wav_head(riff, data, before=b""):
    return (
        *(b"RIFF", struct.pack("<I", riff % 2**32), b"WAVE", encode(FIRST)[12:36], before),
        *(b"data", struct.pack("<I", data % 2**32)),
    )


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (wav_head(36 + HUGE, HUGE), b""),
        (wav_head(36 + HUGE, HUGE), chunk(b"LIST", 300)),
        (wav_head(80 + HUGE, HUGE, chunk(b"LIST", 36)), b""),
        (wav_head(-1, -1), b""),
        (wav_head(0, 0), b""),
    ],
    ids=["modulo", "with a chunk behind", "with a chunk before", "streamed", "broken off"],
)
def test_a_wav_file_may_be_longer_than_its_sizes_can_tell(tmp_path, head, tail):
    path = sparse(tmp_path / "long.wav", b"".join(head), HUGE, tail)
    with open_recording(path) as recording:
        assert recording.announced == pytest.approx(HUGE // 2, abs=len(tail))
        assert next(recording.blocks()).shape[1] == 1


@pytest.mark.slow
def test_a_wav_file_of_more_than_4_gib_is_read_to_its_last_word(tmp_path):
    path = sparse(tmp_path / "long.wav", b"".join(wav_head(36 + HUGE, HUGE)), HUGE)
    with path.open("r+b") as file:
        file.seek(-2 * SECOND.size, os.SEEK_END)
        file.write((SECOND * 32767).astype("<i2").tobytes())
    stream = AudioStream(path)
    assert stream.size == HUGE // 2
    (last,) = deque(stream, maxlen=1)
    assert loudest(last[-SAMPLE_RATE:]) == pytest.approx(880, abs=4)


# Channels ---------------------------------------------------------------------------------------------------


def call(rng, overlap):
    """Two voices on two channels, noise that swells as syllables do, at the same time for some seconds."""
    time = np.arange(8 * SAMPLE_RATE) / SAMPLE_RATE
    speech = 0.1 * rng.standard_normal((time.size, 2)) * (1 + np.sin(2 * np.pi * 4 * time))[:, np.newaxis]
    speech[time > 4 + overlap, 0] = 0
    speech[time < 4, 1] = 0
    return speech.clip(-0.9, 0.9).astype(np.float32)


@pytest.mark.parametrize("overlap", [0.0, 0.2, 2.0])
def test_two_people_who_speak_at_once_on_two_channels_are_told(rng, overlap):
    _, warnings = read(encode(call(rng, overlap)))
    assert len(warnings) == (overlap > 1)
    assert all("the two channels hold different sounds at the same time" in warning for warning in warnings)


@pytest.mark.parametrize(
    "mixed",
    [
        lambda one, two: np.stack([one, 0.5 * one], 1),  # one voice in the middle, or to one side
        lambda one, two: np.stack([one + 0.2 * two, one - 0.2 * two], 1),  # and with a room around it
        lambda one, two: np.stack([one, 0 * one], 1),
        lambda one, two: np.stack([one, 0.01 * two], 1),  # a channel that hums
        lambda one, two: np.stack([one, two, one], 1),
    ],
)
def test_other_recordings_with_channels_are_not_taken_for_two_people(rng, mixed):
    one, two = call(rng, 4.0).T
    _, warnings = read(encode(mixed(one, two).clip(-1, 1)))
    assert warnings == []


def test_one_channel_can_be_read_alone(rng):
    both = call(rng, 2.0)
    content = encode(both, subtype="FLOAT")
    for channel in (0, 1):
        warnings = []
        waveform = load_audio(content, channel=channel, on_warning=warnings.append)
        np.testing.assert_array_equal(waveform, both[:, channel])
        assert warnings == []
    with pytest.raises(ValueError, match="expected at least 3 channels, but found 2"):
        load_audio(content, channel=2)


# Piece by piece ---------------------------------------------------------------------------------------------


@pytest.fixture
def write(tmp_path):
    """Write samples of shape (frames, channels) as a file."""

    def to(samples, rate=16_000, name="clip.wav", **options):
        soundfile.write(tmp_path / name, samples, rate, **options)
        return tmp_path / name

    return to


def hiss(rng, frames, channels=1, level=0.2):
    return (level * rng.standard_normal((frames, channels))).clip(-0.9, 0.9).astype(np.float32)


def at_once(path):
    said = []
    return load_audio(path, on_warning=said.append), said


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_pieces_joined_are_what_the_loader_returns(write, rng, rate, channels):
    path = write(hiss(rng, round(rate * 9.37), channels), rate)
    stream = AudioStream(path)
    whole, _ = at_once(path)
    for _ in range(2):  # it can be gone through again
        np.testing.assert_array_equal(np.concatenate(list(stream)), whole)
    assert stream.size == whole.size
    assert stream.seconds == whole.size / 16_000


def test_oddities_are_those_that_the_loader_finds(write, rng):
    loud = hiss(rng, 50_000)
    clipped = (20 * loud).clip(-1, 1)
    opposite = np.concatenate([loud, -loud], axis=1)
    odd = {
        "loud.wav": (3 * loud, {"subtype": "FLOAT"}),
        "clipped.wav": (clipped, {}),
        "opposite.wav": (opposite, {}),
        "silent.wav": (0.0003 * loud + 0.2, {"subtype": "FLOAT"}),
        "short.wav": (loud[:800], {}),
        "plain.wav": (loud, {}),
    }
    for name, (samples, options) in odd.items():
        path = write(samples, name=name, **options)
        whole, said = at_once(path)
        stream = AudioStream(path)
        assert stream.warnings == said, name
        assert bool(said) is (name != "plain.wav")
        np.testing.assert_allclose(np.concatenate(list(stream)), whole, atol=1e-6)
        assert stream.silent is (name == "silent.wav")


def test_a_truncated_file_is_read_as_far_as_it_goes(write, rng, tmp_path):
    path = write(hiss(rng, 100_000))
    short = tmp_path / "short.wav"
    short.write_bytes(path.read_bytes()[:100_000])
    stream = AudioStream(short)
    assert stream.warnings == at_once(short)[1]
    assert "truncated" in stream.warnings[0]
    assert sum(block.size for block in stream) == stream.size == at_once(short)[0].size


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes"), (b"no sound at all", "looks like text"), (b"RIFF0000WAVE", "damaged or cut short")],
)
def test_what_the_loader_refuses_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        AudioStream(path)


def test_samples_that_are_no_numbers_are_refused(write, rng):
    samples = hiss(rng, 70_000)
    samples[66_000] = np.nan
    with pytest.raises(ValueError, match="1 of 70000 samples are NaN"):
        AudioStream(write(samples, subtype="FLOAT"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.wav: there is no such file"):
        AudioStream(tmp_path / "nothing.wav")


def test_bytes_files_and_arrays_are_streams_too(write, rng):
    path = write(hiss(rng, 40_000))
    whole, _ = at_once(path)
    with path.open("rb") as file:
        for source in (path.read_bytes(), file, whole):
            np.testing.assert_array_equal(np.concatenate(list(AudioStream(source))), whole)


def test_memory_does_not_grow_with_the_recording(tmp_path, rng):
    path = tmp_path / "long.wav"
    seconds = hiss(rng, 10 * 44_100, 2, level=0.05)
    with soundfile.SoundFile(path, "w", 44_100, 2) as file:
        for _ in range(30):
            file.write(seconds)  # together 106 MB of float32
    code = (
        "import sys; from resource import RUSAGE_SELF, getrusage\n"
        "from asrscope.audio import AudioStream\n"
        "peak = lambda: getrusage(RUSAGE_SELF).ru_maxrss\n"
        "before = peak(); stream = AudioStream(sys.argv[1])\n"
        "print(sum(block.size for block in stream), peak() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    size, kilobytes = map(int, run.stdout.split())
    assert size == 300 * 16_000
    assert kilobytes < 30_000
