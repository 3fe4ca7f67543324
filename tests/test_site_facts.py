"""The numbers that pages state, held against the values that are known from elsewhere."""

import json
import re
import sys
from pathlib import Path

import pytest

EXTENSIONS = Path(__file__).resolve().parents[1] / "conf" / "extensions"
sys.path.insert(0, str(EXTENSIONS))

import facts  # noqa: E402 - found through the line above
import facts_asrscope  # noqa: E402

# Published sizes of openai/whisper-large-v3-turbo and HuggingFaceTB/SmolLM3-3B, and what follows by hand.
KNOWN = {
    "full.encoder.d_model": 1280,
    "full.encoder.layers": 32,
    "full.encoder.n_mels": 128,
    "full.encoder.positions": 1500,
    "full.encoder.seconds": 30,
    "full.encoder.ms_per_position": 20,
    "full.encoder.parameters": 636_968_960,
    "full.decoder.hidden_size": 2048,
    "full.decoder.layers": 36,
    "full.decoder.heads": 16,
    "full.decoder.kv_heads": 4,
    "full.decoder.vocab_size": 128_256,
    "full.decoder.nope_count": 9,
    "full.decoder.parameters": 3_075_098_624,
    "full.projector.k": 5,
    "full.projector.input_size": 5 * 1280,
    "full.projector.ms_per_token": 100,
    "full.projector.k2.parameters": 36_704_768,
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_large_pair_has_its_published_sizes(name):
    assert facts_asrscope.load_facts()[name].value == KNOWN[name]


def test_the_large_projector_is_two_norms_and_three_matrices():
    stacked, hidden, width = 6400, facts_asrscope.load_facts()["full.projector.hidden_size"].value, 2048
    expected = stacked + 2 * stacked * hidden + hidden * width + width
    assert facts_asrscope.load_facts()["full.projector.parameters"].value == expected


def test_memory_of_the_large_pair():
    full = facts_asrscope.load_facts()
    assert full["full.memory.bfloat16_gb"].text == "7.5"
    assert full["full.memory.encoder_gb"].text == "1.27"
    assert full["full.memory.decoder_gb"].text == "6.15"


def test_facts_of_the_clip_agree_with_each_other():
    values = {name: fact.value for name, fact in facts_asrscope.load_facts().items()}
    k = values["tiny.projector.k"]
    assert values["clip.samples"] == round(values["clip.seconds"] * values["audio.sample_rate"])
    assert values["clip.frames"] == 2 * values["clip.positions"]
    assert values["clip.audio_tokens"] == (values["clip.positions"] - k) // k + 1
    parts = ("encoder", "projector", "decoder")
    assert values["tiny.parameters"] == sum(values[f"tiny.{part}.parameters"] for part in parts)
    assert values["tiny.size_mb"] <= 20
    assert 0 <= values["tiny.wer.hand-written"] < 1


def test_every_fact_has_a_source_and_a_text():
    for name, fact in facts_asrscope.load_facts().items():
        assert fact.source, name
        assert fact.text, name


def test_large_numbers_are_grouped_and_measures_are_rounded():
    assert facts.Fact(636_968_960, "a config").text == "636,968,960"
    assert facts.Fact(7.4849, "a config", ".1f").text == "7.5"


def test_an_unknown_name_is_an_error_that_suggests_a_known_one():
    told = r"no fact is called 'full\.encoder\.layer'; did you mean 'full\.encoder\.layers'"
    with pytest.raises(KeyError, match=told):
        facts.find(facts_asrscope.load_facts(), "full.encoder.layer")


def test_every_fact_that_a_page_or_a_picture_names_is_computed():
    docs = EXTENSIONS.parents[1] / "docs"
    named = set()
    for page in docs.rglob("*.md"):
        named |= set(re.findall(r"\{fact\}`([^`]+)`", page.read_text(encoding="utf-8")))
    for picture in docs.rglob("*.svg"):
        named |= set(re.findall(r"@([a-z0-9_.]+)@", picture.read_text(encoding="utf-8")))
    assert len(named) > 40
    computed = set(facts_asrscope.load_facts())
    assert sorted(named - computed) == []
    # And no others: what is measured of a model, a system or a set is stated of one of them.
    stated = {name.rpartition(".")[2] for name in named}
    idle = {name for name in computed if name.rpartition(".")[2] not in stated}
    assert sorted(idle) == []


def test_memory_and_cache_of_the_large_pair_in_fewer_bits():
    values = {name: fact.value for name, fact in facts_asrscope.load_facts().items()}
    parameters = 636_968_960 + 3_075_098_624 + values["full.projector.parameters"]
    assert values["full.memory.int8_gb"] == parameters / 1e9
    assert values["full.kv.bytes_per_token"] == 2 * 36 * 4 * 128 * 2
    assert values["full.kv.mb_per_minute"] == pytest.approx(60 * 10 * 2 * 36 * 4 * 128 * 2 / 1e6)
    assert values["full.kv.bytes_per_token_every_head"] == 4 * values["full.kv.bytes_per_token"]


@pytest.mark.parametrize("name", ["tiny", "full"])
def test_the_matrices_of_a_projector_make_up_the_projector(name):
    values = {key: fact.value for key, fact in facts_asrscope.load_facts().items()}
    matrices = [
        values[f"{name}.projector.{part}.parameters"]
        for part in ("norm_in", "gate", "up", "down", "norm_out")
    ]
    assert sum(matrices) == values[f"{name}.projector.parameters"]


def test_measurements_are_those_of_the_checkpoint():
    path = EXTENSIONS.parents[1] / "src" / "asrscope" / "data" / "checkpoints" / "tiny" / "metrics.json"
    metrics = json.loads(path.read_text(encoding="utf-8"))
    values = {name: fact.value for name, fact in facts_asrscope.load_facts().items()}
    for name, by_system in metrics["test_sets"].items():
        result = by_system["tiny"]
        errors = sum(result[kind] for kind in ("substitutions", "insertions", "deletions"))
        assert values[f"tiny.wer.{name}"] == pytest.approx(errors / result["words"])
        assert values[f"tiny.wer.{name}.interval"] == f"{result['wer_low']:.2f} to {result['wer_high']:.2f}"
        assert values[f"tiny.wer.{name}.words"] == result["words"]
    assert values["random.wer"] == metrics["compared"]["together"]["a random projector"]["wer"]


def test_published_systems_add_up():
    values = {name: fact.value for name, fact in facts_asrscope.load_facts().items()}
    rates = {"voxtral": 12.5, "glmasr": 12.5, "audioflamingo3": 25, "qwen2_audio": 25, "granite_speech": 10}
    for name, rate in rates.items():
        parts = [values[f"{name}.{part}.parameters"] for part in ("encoder", "projector", "decoder")]
        assert sum(parts) == values[f"{name}.parameters"]
        assert values[f"{name}.projector.tokens_per_second"] == rate
    assert values["voxtral.encoder.parameters"] == values["full.encoder.parameters"]  # the same architecture
    assert values["voxtral.projector.k"] == values["glmasr.projector.k"] == 4
    assert values["qwen2_audio.lengths.10min.heard"] == 30


def test_the_page_lists_every_fact_once():
    docs = EXTENSIONS.parents[1] / "docs"
    page = (docs / "facts.md").read_text(encoding="utf-8")
    beginnings = " ".join(re.findall(r"^```\{facts-table\} (.+)$", page, re.MULTILINE)).split()
    for name in facts_asrscope.load_facts():
        assert sum(name.startswith(beginning) for beginning in beginnings) == 1, name
