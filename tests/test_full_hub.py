"""The large pair from the Hub: the real downloading code, against a server on this machine."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_kit import (
    DECODER,
    ENCODER,
    projector_shapes,
    random_tensors,
    write_own_projector,
    write_projector,
)
from hub_server import Hub, point_to, serve

from asrscope.loading import load
from asrscope.loading.pair import PINNED
from asrscope.saving.provenance import provenance_of

PROJECTOR = "someone/projector"


@pytest.fixture
def hub(full_parts, tmp_path):
    """A server with the pair at its pinned commits, and a published projector."""
    own = Hub()
    own.add(ENCODER, full_parts["encoder"], PINNED[ENCODER])
    own.add(DECODER, full_parts["decoder"], PINNED[DECODER])
    tensors = random_tensors(projector_shapes(2, 12))
    own.add(PROJECTOR, write_projector(tmp_path / "published", tensors, {"stack_factor": 2}))
    with serve(own):
        yield own


@pytest.fixture
def cache(hub, tmp_path, monkeypatch):
    point_to(monkeypatch, hub, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def projector(tmp_path):
    write_own_projector(tmp_path / "projector.safetensors")
    return tmp_path / "projector.safetensors"


def test_the_pair_is_downloaded_at_the_pinned_commits_and_says_so(hub, cache):
    model, processor = load("full", projector=PROJECTOR)
    found = provenance_of(model)
    assert [part.source for part in found] == [ENCODER, PROJECTOR, DECODER]
    commits = [PINNED[ENCODER], hub.branches[PROJECTOR, "main"], PINNED[DECODER]]
    assert [part.revision for part in found] == commits
    assert [part.trained for part in found] == [True, None, True]  # nobody vouches for the projector
    assert processor.prompt().count("Transcribe: <|audio|>") == 1
    resolved = {path for method, path in hub.requests if method == "GET" and "/resolve/" in path}
    assert {path.split("/resolve/")[1].split("/")[0] for path in resolved} == set(commits)
    assert not any(path.endswith(("generation_config.json", ".bin")) for path in resolved if ENCODER in path)


def test_what_is_in_the_cache_is_not_downloaded_again_and_serves_without_a_network(
    hub, cache, projector, monkeypatch
):
    first, _ = load("full", projector=projector)
    hub.requests.clear()
    load("full", projector=projector)
    assert not [path for method, path in hub.requests if method == "GET" and "/resolve/" in path]
    hub.requests.clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    again, _ = load("full", projector=projector)
    assert hub.requests == []
    assert provenance_of(again) == provenance_of(first)


def test_a_server_that_is_gone_leaves_the_cache(hub, cache, projector, monkeypatch):
    load("full", projector=projector)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    model, _ = load("full", projector=projector)
    assert provenance_of(model)[0].revision == PINNED[ENCODER]


def test_what_was_downloaded_with_bars_is_a_home_for_a_program_without_a_network(
    hub, projector, tmp_path, monkeypatch, capfd
):
    home = tmp_path / "home"
    point_to(monkeypatch, hub, home / "hub")
    load("full", projector=projector)
    assert re.search(r"\d+%\|", capfd.readouterr().err)  # the library's own bars
    moved = shutil.move(home, tmp_path / "copied to another machine")
    hub.requests.clear()
    code = f"import asrscope; asrscope.load('full', projector={str(projector)!r}); print('loaded')"
    offline = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(moved), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | offline, capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.returncode) == ("loaded\n", 0), run.stderr
    assert hub.requests == []


def test_weights_stored_twice_on_the_hub_are_downloaded_once(hub, cache, full_parts, projector):
    twice = full_parts["encoder"] / "model.fp32-00001-of-00002.safetensors"
    shutil.copy(full_parts["encoder"] / "model.safetensors", twice)
    load("full", projector=projector)
    assert not any("fp32" in path for _, path in hub.requests if "/resolve/" in path)


def test_another_revision_is_loaded_and_vouched_for_by_nobody(hub, cache, full_parts, projector):
    other = "b" * 40
    hub.add(ENCODER, full_parts["encoder"], other)
    model, _ = load("full", projector=projector, encoder_revision=other)
    assert (provenance_of(model)[0].revision, provenance_of(model)[0].trained) == (other, None)


@pytest.mark.parametrize("revision", ["c" * 40, "no-such-branch"])
def test_a_wrong_revision_is_one_clear_error(hub, cache, projector, revision):
    said = rf"{ENCODER} is no folder here, .* \(404 .*Revision Not Found .*{revision}.*\)\. Check both at"
    with pytest.raises(OSError, match=said) as error:
        load("full", projector=projector, encoder_revision=revision)
    assert "\n" not in str(error.value)


def test_a_wrong_name_is_one_clear_error(hub, cache, projector):
    said = r"someone/nothing is no folder here, .* \(404 .*Repository Not Found .*\)\. .*: hf auth login"
    with pytest.raises(OSError, match=said) as error:
        load("full", projector=projector, decoder="someone/nothing")
    assert "\n" not in str(error.value)


def test_pickled_weights_on_the_hub_are_not_downloaded(hub, cache, full_parts, projector):
    (full_parts["encoder"] / "model.safetensors").rename(full_parts["encoder"] / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"holds no \*\.safetensors file"):
        load("full", projector=projector)
    assert not any(path.endswith(".bin") for _, path in hub.requests)


@pytest.mark.parametrize("how", ["offline", "no answer"])
def test_without_the_hub_one_error_says_all_that_can_be_done(tmp_path, monkeypatch, how):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # between its attempts
    nowhere = Hub()
    nowhere.endpoint = "http://127.0.0.1:9"
    point_to(monkeypatch, nowhere, tmp_path / "cache", offline=how == "offline")
    with pytest.raises(OSError, match="could be neither downloaded nor found") as error:
        load("full", projector=PROJECTOR)
    message = str(error.value)
    assert "\n" not in message
    for told in (
        f"needs {PROJECTOR} and {ENCODER} and {DECODER}",
        f"hf download {ENCODER} --revision {PINNED[ENCODER]}",
        f"hf download {DECODER} --revision {PINNED[DECODER]}",
        f"hf download {PROJECTOR}",
        *("HF_HOME", "HF_HUB_OFFLINE=1", "encoder='FOLDER'"),
    ):
        assert told in message
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_download_that_broke_off_is_not_taken_for_whole(hub, cache, projector, monkeypatch):
    load("full", projector=projector)
    for shard in cache.rglob("snapshots/*/model-00002-of-00002.safetensors"):
        shard.unlink()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        OSError, match=rf"needs {DECODER}, which could be neither|00002-of-00002\.safetensors is missing"
    ):
        load("full", projector=projector)


def test_the_command_that_the_error_gives_exists():
    from huggingface_hub.cli.hf import main

    assert callable(main)
    assert shutil.which("hf", path=str(Path(sys.executable).parent)) is not None
