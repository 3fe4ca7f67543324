"""A recording piece by piece: the same samples and warnings as all at once, in little memory."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from asrscope.audio import AudioStream, load_audio


@pytest.fixture
def write(tmp_path):
    """Write samples of shape (frames, channels) as a file."""

    def to(samples, rate=16_000, name="clip.wav", **options):
        soundfile.write(tmp_path / name, samples, rate, **options)
        return tmp_path / name

    return to


def noise(rng, frames, channels=1, level=0.2):
    return (level * rng.standard_normal((frames, channels))).clip(-0.9, 0.9).astype(np.float32)


def at_once(path):
    said = []
    return load_audio(path, on_warning=said.append), said


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_pieces_joined_are_what_the_loader_returns(write, rng, rate, channels):
    path = write(noise(rng, round(rate * 9.37), channels), rate)
    stream = AudioStream(path)
    whole, _ = at_once(path)
    for _ in range(2):  # it can be gone through again
        np.testing.assert_array_equal(np.concatenate(list(stream)), whole)
    assert stream.size == whole.size
    assert stream.seconds == whole.size / 16_000


def test_oddities_are_those_that_the_loader_finds(write, rng):
    loud = noise(rng, 50_000)
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
    path = write(noise(rng, 100_000))
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
    samples = noise(rng, 70_000)
    samples[66_000] = np.nan
    with pytest.raises(ValueError, match="1 of 70000 samples are NaN"):
        AudioStream(write(samples, subtype="FLOAT"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.wav: there is no such file"):
        AudioStream(tmp_path / "nothing.wav")


def test_bytes_files_and_arrays_are_streams_too(write, rng):
    path = write(noise(rng, 40_000))
    whole, _ = at_once(path)
    with path.open("rb") as file:
        for source in (path.read_bytes(), file, whole):
            np.testing.assert_array_equal(np.concatenate(list(AudioStream(source))), whole)


def test_memory_does_not_grow_with_the_recording(tmp_path, rng):
    path = tmp_path / "long.wav"
    seconds = noise(rng, 10 * 44_100, 2, level=0.05)
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
