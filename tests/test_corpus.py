"""Corpora of recordings, whole and as a stream: no row and no letter is lost without a word."""

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
from asrscope.training.corpus import Corpus, plain_text, written_text

pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",  # pandas, in the reader of tables
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning",
)


def features(waveform):
    return log_mel(waveform, 80)


def read_all(corpus):
    """What can be used, by the id of its row; and of the others, why not."""
    good, bad = {}, {}
    for name, row in corpus.rows():
        try:
            good[name] = corpus.read(row)
        except (OSError, ValueError) as error:
            bad[name] = str(error)
    return good, bad


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


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """What `datasets` stores, each test for itself."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")


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
def test_every_row_comes_with_spectrogram_text_and_speaker(request, tmp_path, kind, streaming):
    folder = request.getfixturevalue(kind)
    found, bad = read_all(Corpus(folder, features, streaming=streaming))
    samples = load_samples()
    assert bad == {}
    assert [one.text for one in found.values()] == [sample.text for sample in samples]
    for one, sample in zip(found.values(), samples, strict=True):
        np.testing.assert_array_equal(one.log_mel, features(load_audio(sample.path)).T)
    speakers = (
        [str(60 + n % 2) for n in range(len(samples))] if kind == "parquet" else ["null"] * len(samples)
    )
    assert [one.speaker for one in found.values()] == speakers
    assert list(found)[1] == ("61-70968-0001" if kind == "parquet" else "row 1")


def test_one_parquet_file_is_a_corpus(parquet, tmp_path):
    (file,) = parquet.iterdir()
    assert len(Corpus(file, features)) == len(load_samples())


def test_the_package_for_decoding_is_not_asked_for(parquet, tmp_path):
    import sys

    read_all(Corpus(parquet, features))
    assert {"torchcodec", "torchaudio"}.isdisjoint(sys.modules)


@pytest.mark.parametrize("streaming", [False, True])
def test_each_bad_row_says_what_is_wrong_with_it(tmp_path, streaming):
    rows = good_rows()[:2]
    for name, (row, _) in bad_rows().items():
        rows.insert(1, {"id": name, "speaker_id": 1, **row})
    folder = write_parquet(tmp_path / "corpus", rows)
    good, bad = read_all(Corpus(folder, features, streaming=streaming))
    assert list(good) == ["61-70968-0000", "61-70968-0001"]
    assert bad.keys() == bad_rows().keys()
    for name, reason in bad.items():
        assert reason.startswith(bad_rows()[name][1])
        assert reason


def test_clips_longer_than_the_encoder_takes_are_said(parquet, tmp_path):
    good, bad = read_all(Corpus(parquet, features, max_seconds=2.0))
    long = [sample for sample in load_samples() if len(load_audio(sample.path)) > 32_000]
    assert len(good) == len(load_samples()) - len(long)
    assert len(bad) == len(long) > 0
    assert all("at most 2 s can be used" in reason for reason in bad.values())


def test_a_limit_counts_rows(parquet, tmp_path):
    corpus = Corpus(parquet, features, limit=3)
    assert len(corpus) == len(list(corpus.rows())) == 3
    assert [name for name, _ in corpus.rows(2)] == ["61-70968-0002"]


def folder_of_recordings(folder, names, **columns):
    folder.mkdir()
    lines = [json.dumps({"file_name": name, "text": "words", **columns}) for name in names]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Corpus(folder, features)


def test_names_that_climb_out_are_refused_and_links_are_followed(tmp_path):
    soundfile.write(tmp_path / "blob", np.ones(1600) * 0.1, 16_000, format="WAV")
    names = ["../blob", "sub/../../blob", str(tmp_path / "blob"), "link.wav", "sub/../link.wav"]
    corpus = folder_of_recordings(tmp_path / "corpus", names)
    (tmp_path / "corpus" / "link.wav").symlink_to(tmp_path / "blob")  # as the Hub's cache has its files
    good, bad = read_all(corpus)
    assert list(good) == ["row 3", "row 4"]
    assert list(bad) == ["row 0", "row 1", "row 2"]
    assert all("lies outside" in reason for reason in bad.values())


def test_a_table_of_pieces_is_refused(tmp_path):
    with pytest.raises(ValueError, match="the column 'offset' says that rows are pieces of recordings"):
        folder_of_recordings(tmp_path / "corpus", ["long.wav"], offset=2.5, duration=1.0)


def test_what_a_corpus_is_made_of_is_noticed(tmp_path):
    corpus = folder_of_recordings(tmp_path / "corpus", ["a.wav"], corrected="other words")

    def identity(**options):
        return Corpus(tmp_path / "corpus", features, **options).identity

    same = identity()
    assert same == corpus.identity == json.loads(json.dumps(same))
    assert identity(text_column="corrected") != same
    assert identity(style="written") != same
    (tmp_path / "corpus" / "a.wav").write_bytes(b"come later")
    later = identity()
    assert later != same
    (tmp_path / "corpus" / "metadata.jsonl").write_text('{"file_name": "a.wav", "text": "mended"}\n')
    assert identity() not in (later, same)


@pytest.mark.parametrize("streaming", [False, True])
def test_recordings_behind_a_linked_folder_are_noticed_and_other_files_are_not(tmp_path, streaming):
    """A link to a folder is read through; what training writes beside the recordings is none of them."""
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "corpus"
    folder_of_recordings(folder, ["sub/a.wav", "sub/b.wav", "x" * 300])
    (folder / "sub").symlink_to(tmp_path / "elsewhere")

    def identity():
        return Corpus(folder, features, streaming=streaming).identity

    same = identity()
    (folder / "encodings.npy").write_bytes(b"made of it")
    assert identity() == same
    (tmp_path / "elsewhere" / "b.wav").write_bytes(b"come later")
    assert identity() != same


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"text_column": "words"}, ValueError, "expected a column of text named words, but found id, audio"),
        ({"split": "dev"}, ValueError, "dev"),
    ],
)
def test_what_a_corpus_has_not_is_one_clear_error(parquet, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        Corpus(parquet, features, **options)


def test_a_corpus_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        Corpus(tmp_path / "nowhere", features)


@pytest.mark.parametrize(
    ("said", "plain", "written"),
    [
        ("MISTER QUILTER IS THE APOSTLE", "mister quilter is the apostle", "Mister quilter is the apostle."),
        ("“Don’t,” she said!", "don't she said", "Don't, she said!"),
        ("the dogs' 3 bowls", "the dogs' 3 bowls", "The dogs' 3 bowls."),
        ("it costs 3.5 %, at 10:30", "it costs 3.5 at 10:30", "It costs 3.5 %, at 10:30."),
        (
            "at -5 or \u22123.5, 1/2 of 3-4",
            "at -5 or \u22123.5 1/2 of 3 4",
            "At -5 or \u22123.5, 1/2 of 3-4.",
        ),
        ("and/or - well -", "and or well", "And/or - well."),
        ("Ｆｕｌｌ　ｗｉｄｔｈ and naïve", "full width and naïve", "Full width and naïve."),
        (" ' ... ", "", ""),
        ("WELL <COMMA> YES <PERIOD>", "well yes", "Well yes."),
        ("<unk> so [laughter] right {breath}", "so right", "So right."),
        ("<noise>", "", ""),
        ("RUBOUT G M E F THREE", "rubout g m e f three", "Rubout G M E F three."),
        ("I SAW A B C", "i saw a b c", "I saw A B C."),
        ("GO A LITTLE FARTHER", "go a little farther", "Go a little farther."),
        ("if i go, i'll call", "if i go i'll call", "If I go, I'll call."),
        ("so he said,", "so he said", "So he said."),
        # Vowel signs and points belong to the letters before them; scripts without capitals stay as they are.
        ("नमस्ते दुनिया।", "नमस्ते दुनिया", "नमस्ते दुनिया।"),
        ("สวัสดีครับ ที่นี่", "สวัสดีครับ ที่นี่", "สวัสดีครับ ที่นี่"),
        ("வணக்கம்", "வணக்கம்", "வணக்கம்"),
        ("שָׁלוֹם", "שָׁלוֹם", "שָׁלוֹם"),
        ("مُحَمَّد", "مُحَمَّد", "مُحَمَّد"),
        ("می‌روم", "می‌روم", "می‌روم"),
        ("\u0663\u066b\u0665", "\u0663\u066b\u0665", "\u0663\u066b\u0665"),  # 3.5 in Arabic digits
        ("un col·legi \u00b7 dos", "un col·legi dos", "Un col·legi \u00b7 dos."),
        ("צה\u05f4ל", "צה\u05f4ל", "צה\u05f4ל"),
    ],
)
def test_transcripts_keep_their_letters_and_numbers(said, plain, written):
    assert plain_text(said) == plain
    assert written_text(said) == written


def test_what_is_dropped_from_texts_is_counted(tmp_path):
    rows = [{**row, "text": f"{row['text']} <COMMA> [laughter] <COMMA>"} for row in good_rows()[:2]]
    folder = write_parquet(tmp_path / "corpus", rows)
    corpus = Corpus(folder, features)
    good, _ = read_all(corpus)
    assert [one.text for one in good.values()] == [sample.text for sample in load_samples()[:2]]
    assert corpus.dropped == {"<COMMA>": 4, "[laughter]": 2}


def test_an_unknown_style_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a style of plain, written, as-is, but found 'loud'"):
        Corpus(tmp_path, features, style="loud")
