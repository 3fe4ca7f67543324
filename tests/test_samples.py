import hashlib
import json

import pytest

from asrscope.audio import load_audio
from asrscope.audio import samples as module
from asrscope.audio.samples import load_sample, load_samples


def test_there_are_six_or_more_clips_by_two_or_more_voices():
    samples = load_samples()
    assert len(samples) >= 6
    assert len({sample.name for sample in samples}) == len(samples)
    assert len({sample.voice for sample in samples}) >= 2


@pytest.mark.filterwarnings("error")
def test_every_clip_can_be_read_without_a_warning():
    for sample in load_samples():
        assert load_audio(sample.path).size > 16_000


def test_word_times_are_in_order_and_within_the_clip():
    for sample in load_samples():
        seconds = load_audio(sample.path).size / 16_000
        assert [word for word, _, _ in sample.words] == sample.text.split()
        edges = [edge for _, start, end in sample.words for edge in (start, end)]
        assert edges == sorted(edges)
        assert 0 <= edges[0] <= edges[-1] <= seconds


def test_the_manifest_describes_the_files():
    manifest = json.loads((module.CLIPS / "clips.json").read_text(encoding="utf-8"))
    files = {path.name for path in module.CLIPS.glob("*.flac")}
    assert files == {clip["file"] for clip in manifest["clips"]}
    for clip in manifest["clips"]:
        path = module.CLIPS / clip["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == clip["sha256"]
        assert load_audio(path).size / 16_000 == pytest.approx(clip["seconds"], abs=0.01)
    assert manifest["made_with"]


def test_a_clip_is_found_by_its_name():
    sample = load_samples()[-1]
    assert load_sample(sample.name) is sample


def test_an_unknown_name_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=rf"{load_samples()[0].name}.*but found 'no such clip'"):
        load_sample("no such clip")
