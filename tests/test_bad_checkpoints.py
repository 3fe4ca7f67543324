"""A saved model that is damaged, hostile or of two halves is refused in one sentence, before it is made."""

import json
import pickle
import random
import re
import shutil
import time
import tracemalloc

import pytest
import torch
from safetensors.torch import load_file, save_file

from asrscope.loading import checkpoints, load
from asrscope.saving.provenance import provenance_of


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    """A very small model in a folder, to be copied."""
    from conftest import _make_model

    folder = tmp_path_factory.mktemp("saved") / "model"
    model, processor = _make_model(tokenizer, 0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    return tmp_path / "model"


def change(name, **values):
    """Set values in a JSON file; a name with a dot is one level down."""

    def damage(folder):
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        for key, value in values.items():
            *outer, inner = key.split("__")
            place = settings
            for part in outer:
                place = place[part]
            place[inner] = value
        (folder / name).write_text(json.dumps(settings), encoding="utf-8")

    return damage


def write(name, content):
    def damage(folder):
        (folder / name).write_bytes(content)

    return damage


def remove(name):
    return lambda folder: (folder / name).unlink()


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def weights(act):
    """Change the tensors in the file of the weights."""

    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        act(tensors)
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors"
        )

    return damage


def spoil(value):
    def act(tensors):
        tensors["multi_modal_projector.up.weight"][0, 0] = value

    return weights(act)


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


class Trap:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code was run')",))


def trap(folder):
    (folder / "model.safetensors").write_bytes(pickle.dumps(Trap()))


def narrower(tensors):
    name = "language_model.model.embed_tokens.weight"
    tensors[name] = tensors[name][:-1]


CODE = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}
DAMAGE = {
    # the configuration
    "config missing": (remove("config.json"), "is no model of this package"),
    "config cut": (cut("config.json", 100), "is no model of this package"),
    "config empty": (write("config.json", b""), "is no model of this package"),
    "config a list": (write("config.json", b'["model_type"]'), "is no model of this package"),
    "config deep": (write("config.json", 100_000 * b"["), "is no model of this package"),
    "config no text": (write("config.json", bytes(range(256))), "is no model of this package"),
    "another kind": (change("config.json", model_type="whisper"), "is no model of this package"),
    "part a list": (change("config.json", text_config=[1]), "no model can be built of these settings"),
    "width a word": (change("config.json", text_config__hidden_size="wide"), "no model can be built"),
    "width negative": (change("config.json", text_config__hidden_size=-8), "expected hidden_size up to"),
    "width zero": (change("config.json", text_config__hidden_size=0), "no model can be|do not belong"),
    "width huge": (change("config.json", text_config__hidden_size=2**40), "expected hidden_size up to"),
    "width large": (change("config.json", text_config__hidden_size=2**20), "do not belong together|no model"),
    "a billion layers": (
        change("config.json", text_config__num_hidden_layers=10**9),
        "expected num_hidden_layers up to 1000, but found 1000000000",
    ),
    "a billion encoder layers": (
        change("config.json", audio_config__encoder_layers=10**9),
        "expected encoder_layers up to 1000",
    ),
    "vocabulary huge": (change("config.json", text_config__vocab_size=2**24), "do not belong together"),
    "window huge": (
        change("config.json", audio_config__max_source_positions=2**23),
        "do not belong together",
    ),
    "stack of nothing": (change("config.json", stack_factor=0), "no model can be built"),
    "stack huge": (change("config.json", stack_factor=2**20), "do not belong together"),
    "stack changed": (change("config.json", stack_factor=4), "do not belong together"),
    "norm unknown": (change("config.json", projector_norm="batch"), "no model can be built"),
    "padding beyond": (change("config.json", text_config__pad_token_id=10**6), "no model can be built"),
    "no seconds": (change("config.json", trained_seconds=0.0), "no model can be built .* trained_seconds 0"),
    "lead too long": (
        change("config.json", audio_config__lead_positions=10**6),
        "expected lead_positions from 0 to .*, but found 1000000",
    ),
    "seconds NaN": (change("config.json", trained_seconds=float("nan")), "trained_seconds nan"),
    # code
    "remote code": (
        change("config.json", auto_map=CODE),
        "names code of its own .auto_map., which is never run",
    ),
    "remote code in a part": (change("config.json", text_config__auto_map=CODE), "names code of its own"),
    "remote tokenizer": (
        change("tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Tok", None]}),
        "names code of its own",
    ),
    "remote processor": (
        change("processor_config.json", auto_map={"AutoProcessor": "evil.P"}),
        "names code of its own",
    ),
    "remote kernel": (
        change("config.json", attn_implementation="somebody/kernel"),
        "names code of its own .attn_implementation.",
    ),
    # the weights
    "weights missing": (remove("model.safetensors"), "holds no .*safetensors file"),
    "weights pickled": (pickled, "can run code when it is read, so it is never"),
    "weights a trap": (trap, "no safetensors file"),
    "weights empty": (write("model.safetensors", b""), "cut short, damaged or no safetensors file"),
    "weights cut": (cut("model.safetensors", 20_000), "cut short, damaged"),
    "weights cut in the header": (cut("model.safetensors", 100), "cut short, damaged"),
    "weights of a header huge": (
        write("model.safetensors", (2**62).to_bytes(8, "little") + b"{}"),
        "cut short, damaged",
    ),
    "weights text": (write("model.safetensors", b"<!doctype html><title>404</title>"), "cut short, damaged"),
    "weights of another shape": (weights(narrower), "embed_tokens.weight: expected shape"),
    "weight NaN": (spoil(float("nan")), "1 of .* weights in multi_modal_projector.up.weight are NaN"),
    "weight infinite": (spoil(float("inf")), "1 of .* weights in multi_modal_projector.up.weight are NaN"),
    "index to nowhere": (
        write("model.safetensors.index.json", b'{"weight_map": {"a": "gone.safetensors"}}'),
        "gone.safetensors is missing",
    ),
    "index damaged": (write("model.safetensors.index.json", b"{"), "is damaged: expected a weight_map"),
    # the rest
    "tokenizer missing": (remove("tokenizer.json"), "tokenizer or processor cannot be read|belong together"),
    "tokenizer cut": (cut("tokenizer.json", 500), "tokenizer.json: it is damaged: expected JSON"),
    "tokenizer an object": (write("tokenizer.json", b"{}"), "its tokenizer or processor cannot be read"),
    "tokenizer settings cut": (cut("tokenizer_config.json", 20), "is damaged: expected JSON"),
    "tokenizer of another model": (
        change("config.json", audio_token_id=7),
        "audio token: expected 7, but found",
    ),
    "processor missing": (remove("processor_config.json"), "tokenizer or processor|belong together"),
    "processor cut": (cut("processor_config.json", 30), "is damaged: expected JSON"),
    "processor of another stack": (
        change("processor_config.json", stack_factor=2),
        "do not belong together .stack_factor: expected 5, but found 2.",
    ),
    "processor of other bands": (
        change("processor_config.json", feature_extractor__feature_size=128),
        "do not belong together .mel bands: expected 80, but found 128.",
    ),
    "processor of another window": (
        change(
            "processor_config.json", feature_extractor__chunk_length=30, feature_extractor__n_samples=480_000
        ),
        "do not belong together .samples in a window",
    ),
    "generation settings cut": (cut("generation_config.json", 5), "is damaged: expected JSON"),
    "claims a list": (write("provenance.json", b"[]"), "expected a JSON object"),
    "claims without sense": (write("provenance.json", b'{"encoder": 5}'), "expected 'trained' and 'sha256'"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_one_clear_sentence_and_costs_nothing(folder, damage, message):
    damage(folder)
    tracemalloc.start()
    began = time.process_time()  # of the processor: what else the machine does does not count
    try:
        with pytest.raises((OSError, ValueError), match=message) as caught:
            load(folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak < 50e6
    assert time.process_time() - began < 30


def test_the_kinds_of_damage_are_counted(audit_record):
    assert len(DAMAGE) >= 50
    audit_record("bad_checkpoints", {"kinds": len(DAMAGE)})


def test_a_sound_model_is_loaded_as_before(folder):
    model, processor = load(folder)
    assert model.config.stack_factor == processor.stack_factor == 5


def test_what_is_missing_is_random_and_called_so(folder):
    """A checkpoint of the encoder and decoder alone is no error: provenance says what is untrained."""
    weights(lambda tensors: [tensors.pop(name) for name in list(tensors) if "projector" in name])(folder)
    model, _ = load(folder)
    origins = {part.part: part for part in provenance_of(model)}
    assert origins["projector"].source == "random initialization"
    assert origins["projector"].trained is False


def test_a_model_larger_than_the_memory_is_refused_before_it_is_made(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "free_memory", lambda: 1000)
    with pytest.raises(ValueError, match=r"model needs .* GB of memory, but 0\.0 GB are free"):
        load(folder)


def test_an_untrusted_file_of_settings_is_not_read_at_any_length(folder, monkeypatch):
    monkeypatch.setattr(checkpoints, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match="far too large for settings"):
        load(folder)


HOSTILE = [-1, 0, 1, 3, 2**20, 2**31, 2**63, 10**30, 0.5, float("nan"), "", "x", None, [], {}, True, [1] * 50]


def numbers(settings, prefix=()):
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from numbers(value, (*prefix, name))
        else:
            yield "__".join((*prefix, name))


def test_no_value_of_the_configuration_ends_in_anything_else(saved, folder, audit_record):
    """Each setting in turn, and pairs of them, with values that no model has."""
    names = sorted(numbers(json.loads((saved / "config.json").read_text(encoding="utf-8"))))
    rng = random.Random(11)
    outcomes = {"loaded": 0, "refused": 0}
    for _ in range(300):
        chosen = {rng.choice(names): rng.choice(HOSTILE) for _ in range(rng.choice([1, 1, 2]))}
        shutil.copy(saved / "config.json", folder / "config.json")
        change("config.json", **chosen)(folder)
        try:
            load(folder)
            outcomes["loaded"] += 1
        except (OSError, ValueError) as error:
            assert "\n" not in str(error), chosen
            outcomes["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{chosen}: {error!r}") from error
    assert min(outcomes.values()) > 20
    audit_record("bad_configurations", outcomes)


def test_the_command_line_refuses_in_one_line(folder, capsys):
    from typer.testing import CliRunner

    from asrscope.cli import app

    spoil(float("nan"))(folder)
    result = CliRunner().invoke(app, ["transcribe", "samples", "--model", str(folder)])
    assert result.exit_code == 2
    assert re.search(r"asrscope: error: .* are NaN or infinite", result.stderr)
    assert len(result.stderr.strip().splitlines()) == 1
