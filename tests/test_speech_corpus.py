"""Corpora of recordings: read as they are stored, whole and as a stream; no bad row is lost silently."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
import soundfile
from corpus_kit import good_rows, shout, write_parquet

from asrscope.audio import load_audio
from asrscope.audio.samples import load_samples
from asrscope.features import log_mel
from asrscope.training.speech_corpus import SpeechCorpus, load_speech, plain_text, write_speech

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",  # pandas, in the reader of tables
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)


def bad_rows():
    """One row for each thing that goes wrong, and what is said of it."""
    stereo = io.BytesIO()
    soundfile.write(stereo, np.zeros((0, 2)), 16_000, format="WAV")
    sound = good_rows()[0]["audio"]
    return {
        "silent text": ({"audio": sound, "text": " ... "}, "no words in its text"),
        "no text": ({"audio": sound, "text": None}, "no words in its text"),
        "torn": ({"audio": {"bytes": sound["bytes"][:40], "path": "x.flac"}, "text": "a"}, ""),
        "no sound": ({"audio": {"bytes": None, "path": None}, "text": "a"}, "no sound"),
        "no samples": ({"audio": {"bytes": stereo.getvalue(), "path": "x.wav"}, "text": "a"}, ""),
        "noise": ({"audio": {"bytes": b"not a recording", "path": "x.wav"}, "text": "a"}, ""),
    }


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    return write_parquet(tmp_path_factory.mktemp("parquet") / "corpus", good_rows())


@pytest.fixture(scope="module")
def audiofolder(tmp_path_factory):
    """A folder of recordings with a table."""
    folder = tmp_path_factory.mktemp("folder") / "corpus"
    (folder / "train").mkdir(parents=True)
    with (folder / "train" / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "transcription", "speaker"])
        for sample in load_samples():
            shutil.copy(sample.path, folder / "train")
            table.writerow([sample.path.name, shout(sample.text), "null"])
    return folder


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", ["parquet", "audiofolder"])
def test_every_row_comes_as_waveform_text_and_speaker(request, tmp_path, kind, streaming):
    folder = request.getfixturevalue(kind)
    corpus = SpeechCorpus(folder, streaming=streaming, cache_dir=tmp_path)
    found, samples = list(corpus), load_samples()
    assert [one.text for one in found] == [sample.text for sample in samples]
    for one, sample in zip(found, samples, strict=True):
        assert one.waveform.dtype == np.float32
        np.testing.assert_array_equal(one.waveform, load_audio(sample.path))
    speakers = (
        [str(60 + n % 2) for n in range(len(samples))] if kind == "parquet" else ["null"] * len(samples)
    )
    assert [one.speaker for one in found] == speakers
    assert found[1].id == ("61-70968-0001" if kind == "parquet" else "row 1")
    assert corpus.bad == 0


def test_the_package_for_decoding_is_not_asked_for(parquet, tmp_path):
    import sys

    list(SpeechCorpus(parquet, cache_dir=tmp_path))
    assert {"torchcodec", "torchaudio"}.isdisjoint(sys.modules)


@pytest.mark.parametrize("streaming", [False, True])
def test_bad_rows_are_reported_with_their_id_and_counted(tmp_path, streaming):
    rows = good_rows()[:2]
    for name, (row, _) in bad_rows().items():
        rows.insert(1, {"id": name, "speaker_id": 1, **row})
    folder = write_parquet(tmp_path / "corpus", rows)
    reported = []
    corpus = SpeechCorpus(
        folder, streaming=streaming, cache_dir=tmp_path / "hub", on_bad=lambda *what: reported.append(what)
    )
    assert [one.id for one in corpus] == ["61-70968-0000", "61-70968-0001"]
    assert corpus.bad == len(reported) == len(bad_rows())
    for name, reason in reported:
        expected = bad_rows()[name][1]
        assert reason.startswith(expected)
        assert reason


def test_clips_longer_than_the_encoder_takes_are_reported(parquet, tmp_path):
    reported = {}
    corpus = SpeechCorpus(parquet, max_seconds=2.0, cache_dir=tmp_path, on_bad=reported.__setitem__)
    long = [sample for sample in load_samples() if len(load_audio(sample.path)) > 32_000]
    assert len(list(corpus)) == len(load_samples()) - len(long)
    assert len(reported) == len(long) > 0
    assert all("at most 2 s can be used" in reason for reason in reported.values())


def test_a_limit_counts_rows(parquet, tmp_path):
    corpus = SpeechCorpus(parquet, limit=3, cache_dir=tmp_path)
    assert len(corpus) == len(list(corpus)) == 3
    assert [number for number, _ in corpus.rows(2)] == [2]


def test_a_path_out_of_the_folder_is_refused(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    soundfile.write(tmp_path / "private.wav", np.ones(1600) * 0.1, 16_000)
    line = {"file_name": "../private.wav", "text": "secret"}
    (folder / "metadata.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    reported = {}
    corpus = SpeechCorpus(folder, cache_dir=tmp_path / "hub", on_bad=reported.__setitem__)
    assert list(corpus) == []
    assert "lies outside" in reported["row 0"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text_column": "words"}, ValueError, "expected a column of text named words, but found id, audio"),
        ({"split": "dev"}, ValueError, "dev"),
    ],
)
def test_what_a_corpus_has_not_is_one_clear_error(parquet, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        SpeechCorpus(parquet, cache_dir=tmp_path, **options)


def test_a_corpus_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        SpeechCorpus(tmp_path / "nowhere", cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("MISTER QUILTER IS THE APOSTLE", "mister quilter is the apostle"),
        ("“Don’t,” she said -- twenty-one times!", "don't she said twenty one times"),
        ("the dogs' 3 bowls", "the dogs' 3 bowls"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ_and naïve", "full width and naïve"),
        (" ' ... ", ""),
    ],
)
def test_transcripts_become_plain_words(written, plain):
    assert plain_text(written) == plain


def features(waveform):
    return log_mel(waveform, 80)


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr("asrscope.training.speech_corpus.ROWS_PER_SHARD", 3)


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_hold_every_row_once_and_the_bad_ones_by_name(tmp_path, small_shards, streaming):
    rows = good_rows()
    rows.insert(4, {**rows[0], "id": "mute", "text": ""})
    folder = write_parquet(tmp_path / "corpus", rows)
    corpus = SpeechCorpus(folder, streaming=streaming, cache_dir=tmp_path / "hub")
    seen = []
    write_speech(corpus, tmp_path / "shards", features, progress=lambda *done: seen.append(done))
    shards, bad = load_speech(tmp_path / "shards")
    assert [name for name, _ in bad] == ["mute"]
    assert [len(shard.utterances) for shard in shards] == [3, 2, 3]
    texts = [utterance["text"] for shard in shards for utterance in shard.utterances]
    assert texts == [sample.text for sample in load_samples()]
    last = shards[-1].utterances[-1]
    mel = shards[-1].log_mel[last["start"] : last["start"] + last["frames"]]
    expected = features(load_audio(load_samples()[-1].path)).T
    np.testing.assert_allclose(mel, expected, atol=2e-3)
    assert seen == [(n, None if streaming else len(rows)) for n in (3, 6, 9)]


def test_writing_goes_on_where_it_stopped_and_processes_share_it(parquet, tmp_path, small_shards):
    corpus = SpeechCorpus(parquet, cache_dir=tmp_path / "hub")

    def stop(done, _total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_speech(corpus, tmp_path / "one", features, progress=stop)
    kept = (tmp_path / "one" / "00000.jsonl").stat().st_mtime_ns
    write_speech(corpus, tmp_path / "one", features)
    assert (tmp_path / "one" / "00000.jsonl").stat().st_mtime_ns == kept
    for process in range(2):
        write_speech(corpus, tmp_path / "two", features, process=process, processes=2)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    assert one == two
    assert len([name for name in one if name.endswith(".jsonl")]) == 3


def test_a_folder_belongs_to_one_corpus(parquet, tmp_path):
    write_speech(SpeechCorpus(parquet, limit=1, cache_dir=tmp_path / "hub"), tmp_path / "shards", features)
    other = SpeechCorpus(parquet, limit=2, cache_dir=tmp_path / "hub")
    with pytest.raises(ValueError, match="another corpus"):
        write_speech(other, tmp_path / "shards", features)


def test_a_corpus_without_a_usable_row_is_an_error(tmp_path):
    folder = write_parquet(tmp_path / "corpus", [{**good_rows()[0], "text": "-"}])
    write_speech(SpeechCorpus(folder, cache_dir=tmp_path / "hub"), tmp_path / "shards", features)
    with pytest.raises(ValueError, match="no row of the corpus can be used; 1 cannot"):
        load_speech(tmp_path / "shards")
