"""Saving and publishing: what is kept, what the card says and does not say, and the way to the Hub."""

import json
import re
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import pytest
import torch
import yaml
from hub_server import Hub, point_to, serve

from asrscope import load
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.saving.provenance import provenance_of
from asrscope.saving.publishing import MARK, model_card, save_projector, write_folder

REPOSITORY = "me/speech"

# The Hub's library hands large files to httpx in a way that httpx will give up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub of our own, which the Hub's library in this process talks to."""
    from huggingface_hub import constants, hf_api

    with serve(Hub()) as own:
        point_to(monkeypatch, own, tmp_path / "cache")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(hf_api.api, "endpoint", own.endpoint)
        monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
        yield own


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


# Saving -----------------------------------------------------------------------------------------------------


def test_what_is_known_of_the_weights_is_kept_when_a_model_is_saved(bundled, tmp_path):
    model, processor = bundled
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, _ = load(tmp_path)
    assert [part.label for part in provenance_of(again)] == [part.label for part in provenance_of(model)]
    made_with = json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8"))["encoder"]["made_with"]
    assert made_with["source"] == "asrscope/data/checkpoints/tiny"


def test_a_random_part_is_saved_as_random(tmp_path):
    model, processor = load("tiny", random_projector=True)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    parts = {part.part: part.trained for part in provenance_of(load(tmp_path)[0])}
    assert parts == {"encoder": True, "projector": False, "decoder": True}


def test_of_a_model_that_nothing_vouches_for_nothing_is_claimed(make_model, tmp_path):
    model, _ = make_model()
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "provenance.json").exists()


def save_whole(model, folder):
    model.save_pretrained(folder)


def save_in_shards(model, folder):
    model.save_pretrained(folder, max_shard_size="100KB")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("save", "changes"),
    [
        pytest.param(save_whole, {}, id="other weights"),
        pytest.param(save_whole, {"stack_factor": 2}, id="another size"),
        pytest.param(save_in_shards, {"projector_hidden_size": 2000}, id="in shards, of which one has more"),
        pytest.param(save_projector, {"stack_factor": 2}, id="a projector alone"),
    ],
)
def test_models_that_threads_save_to_one_folder_are_not_mixed(make_checkpoint, tmp_path, save, changes):
    models = [load(make_checkpoint("one"))[0], load(make_checkpoint("two", seed=1, **changes))[0]]
    for number, model in enumerate(models):
        save(model, tmp_path / f"alone {number}")
    alone = [contents(tmp_path / f"alone {number}") for number in range(2)]
    assert alone[0] != alone[1]
    for turn in range(4):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(save, models, [tmp_path / f"together {turn}"] * 2))
        assert contents(tmp_path / f"together {turn}") in alone


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_models_that_processes_save_to_one_folder_are_not_mixed(make_checkpoint, tmp_path, method):
    models = [load(make_checkpoint(f"checkpoint {seed}", seed=seed))[0] for seed in range(2)]
    for number, model in enumerate(models):
        save_whole(model, tmp_path / f"alone {number}")
    save = AsrScopeForConditionalGeneration.save_pretrained  # new processes find what is in the package
    with ProcessPoolExecutor(2, get_context(method)) as pool:
        list(pool.map(save, models * 10, [tmp_path / "together"] * 20))
    alone = [contents(tmp_path / f"alone {number}") for number in range(2)]
    assert contents(tmp_path / "together") in alone


def test_a_projector_alone_is_put_between_its_encoder_and_decoder_again(full_parts, tmp_path):
    from hub_kit import write_own_projector

    write_own_projector(tmp_path / "projector.safetensors")
    options = {**full_parts, "dtype": torch.float32}
    model, processor = load("full", projector=tmp_path / "projector.safetensors", **options)
    folder = save_projector(model, tmp_path / "alone", processor=processor)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    again, same = load("full", projector=folder, **options)
    assert same.prompt() == processor.prompt()
    for name, tensor in model.multi_modal_projector.state_dict().items():
        torch.testing.assert_close(again.multi_modal_projector.state_dict()[name], tensor)
    clip = torch.randn(1, 128, 100)
    with torch.inference_mode():
        expected = model.get_audio_features(clip).pooler_output
        torch.testing.assert_close(again.get_audio_features(clip).pooler_output, expected)


def test_a_projector_is_refused_by_a_pair_that_it_was_not_made_for(bundled, full_parts, tmp_path):
    model, processor = bundled
    save_projector(model, tmp_path / "alone", processor=processor)
    with pytest.raises(ValueError, match="alone"):
        load("full", projector=tmp_path / "alone", **full_parts)


# The card ---------------------------------------------------------------------------------------------------


def test_the_card_says_what_is_counted_and_where_the_weights_come_from(bundled):
    model, _ = bundled
    card = model_card(model, repository=REPOSITORY)
    parts = provenance_of(model)
    assert MARK in card
    assert f"{sum(part.parameters for part in parts):,} parameters" in card
    for part in parts:
        assert f"| {part.part} | {part.parameters:,} | {part.label} |" in card
        assert part.sha256 in card
    assert f'from_pretrained("{REPOSITORY}")' in card


def test_the_card_claims_nothing_that_was_not_given(make_model):
    model, _ = make_model()
    card = model_card(model, repository=REPOSITORY)
    found = metadata(card)
    assert not {"license", "language", "base_model", "datasets", "metrics"} & set(found)
    assert found["pipeline_tag"] == "automatic-speech-recognition"
    assert "Not stated: ask the owner" in card
    assert "Error rates: not stated" in card
    assert "Languages: not stated" in card
    assert card.count("unverified weights") == 3
    assert "trained weights" not in card.replace("untrained", "")


def test_what_was_given_stands_in_the_card(bundled):
    card = model_card(
        bundled[0],
        repository=REPOSITORY,
        license="mit",
        language=["en", "de"],
        error_rates={"a | b": 0.123},
    )
    found = metadata(card)
    assert (found["license"], found["language"]) == ("mit", ["en", "de"])
    assert r"| a \| b | 12.3% |" in card
    assert "not stated" not in card.lower()


def test_an_untrained_part_is_named_in_bold(bundled):
    random, _ = load("tiny", random_projector=True)
    assert "**The projector is not trained.**" in model_card(random, repository=REPOSITORY)
    assert "not trained.**" not in model_card(bundled[0], repository=REPOSITORY)


def test_no_folder_of_a_machine_is_published(make_checkpoint, tmp_path):
    model, processor = load(make_checkpoint("secret-place"))
    write_folder(model, tmp_path / "out", repository=REPOSITORY, processor=processor)
    save_projector(model, tmp_path / "alone", processor=processor)
    for path in [*(tmp_path / "out").iterdir(), *(tmp_path / "alone").iterdir()]:
        if path.suffix != ".safetensors":
            assert str(tmp_path) not in path.read_text(encoding="utf-8"), path.name
    assert "secret-place (a local file)" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_program_in_the_card_of_a_projector_names_the_commits(bundled):
    from dataclasses import replace

    from asrscope.saving.provenance import attach_provenance

    model, _ = load("tiny")
    sources = {"encoder": "openai/whisper-large-v3-turbo", "decoder": "HuggingFaceTB/SmolLM3-3B"}
    attach_provenance(
        model,
        [
            replace(part, source=sources.get(part.part, part.source), revision=part.sha256[:40])
            if part.part in sources
            else part
            for part in provenance_of(model)
        ],
    )
    card = model_card(model, repository=REPOSITORY, only_projector=True)
    assert metadata(card)["base_model"] == list(sources.values())
    program = re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]
    compile(program, "card", "exec")
    for part in provenance_of(model):
        if part.part in sources:
            assert f'{part.part}_revision="{part.revision}"' in program
    assert "encoder and decoder are\nnot in it" in card
    assert "have licenses of their own" in card


# The Hub ----------------------------------------------------------------------------------------------------


def upload(folder):
    """What the command does that the page names."""
    from huggingface_hub import HfApi

    HfApi().create_repo(REPOSITORY, private=True, exist_ok=True)
    HfApi().upload_folder(repo_id=REPOSITORY, folder_path=folder)


def test_a_model_is_published_with_its_card_and_can_be_used_from_there(hub, bundled, tmp_path):
    model, processor = bundled
    write_folder(model, tmp_path / "look", repository=REPOSITORY, processor=processor, license="mit")
    upload(tmp_path / "look")
    files = hub.files[REPOSITORY, "main"]
    settings = {"config.json", "generation_config.json", "processor_config.json", "provenance.json"}
    tokens = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert set(files) - {".gitattributes"} == settings | tokens | {"README.md", "model.safetensors"}
    again, _ = load(tmp_path / "look")
    torch.testing.assert_close(again.state_dict(), model.state_dict(), atol=1e-3, rtol=1e-2)
    assert [part.trained for part in provenance_of(again)] == [True, True, True]
    assert metadata(files["README.md"].decode())["license"] == "mit"


def test_the_projector_can_go_alone(bundled, tmp_path):
    model, processor = bundled
    write_folder(model, tmp_path, repository=REPOSITORY, processor=processor, only_projector=True)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "config.json", "model.safetensors"}
    assert (tmp_path / "model.safetensors").stat().st_size < 8e6
    assert f'projector="{REPOSITORY}"' in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_card_is_written_anew_but_one_written_by_hand_is_left_alone(make_model, tmp_path):
    model, _ = make_model()
    card = tmp_path / "README.md"
    for license in ("mit", "apache-2.0"):
        write_folder(model, tmp_path, repository=REPOSITORY, license=license)
        assert metadata(card.read_text(encoding="utf-8"))["license"] == license
    by_hand = "---\nlicense: mit\n---\n# Mine\n"
    card.write_text(by_hand, encoding="utf-8")
    write_folder(model, tmp_path, repository=REPOSITORY, license="apache-2.0")
    assert card.read_text(encoding="utf-8") == by_hand


@pytest.mark.parametrize("name", ["a/b/c", "", "a b", "speech", "../x/.."])
def test_a_name_that_is_none_is_refused_before_the_work(make_model, tmp_path, name):
    with pytest.raises(ValueError, match="Expected a repository of the form owner/name"):
        write_folder(make_model()[0], tmp_path / "look", repository=name)
    assert not (tmp_path / "look").exists()
