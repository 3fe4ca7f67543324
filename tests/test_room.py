"""What models take and machines have: held against published counts and against models at work."""

import re

import pytest
import torch

from asrscope.decoder import max_new_tokens
from asrscope.loading import room
from asrscope.loading.room import Need, check_room, devices, estimate, free_bytes
from asrscope_course import sizes

NEED = Need(encoder=1_000, projector=100, decoder=6_000, clip=500)


def test_the_large_pair_takes_what_is_published():
    pair = sizes.full_pair()
    need = estimate(pair)
    assert (need.encoder, need.decoder) == (2 * 636_968_960, 2 * 3_075_098_624)
    assert need.weights / 1e9 == pytest.approx(7.5, abs=0.1)
    layers = 3_075_098_624 - 128_256 * 2048  # all but the embeddings, norms aside
    for bits in (8, 4):
        saved = need.decoder - estimate(pair, decoder_bits=bits).decoder
        assert saved == pytest.approx(layers * (16 - bits) / 8, rel=0.05)
    assert estimate(pair, 32).weights == 2 * need.weights


@pytest.mark.parametrize(("wanted", "bits"), [("int8", 8), ("int4", 4)])
def test_quantized_weights_take_what_is_estimated(make_model, wanted, bits, tmp_path):
    pytest.importorskip("bitsandbytes")
    from transformers import SmolLM3ForCausalLM

    from asrscope.loading.pair import _fewer

    model, _ = make_model(
        text_config={
            "vocab_size": 300,
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "intermediate_size": 512,
            "pad_token_id": 0,
            "bos_token_id": None,
        }
    )
    model.language_model.bfloat16().save_pretrained(tmp_path)
    config, _, _ = _fewer(wanted, torch.bfloat16)
    made = SmolLM3ForCausalLM.from_pretrained(
        tmp_path, dtype=torch.bfloat16, device_map="cpu", quantization_config=config
    )
    weights = sum(weight.numel() * weight.element_size() for weight in made.parameters())
    expected = estimate(model, 16, bits).decoder
    assert weights <= expected  # the scales are counted, and lie beside the parameters
    assert weights == pytest.approx(expected, rel=0.12 if bits == 4 else 0.02)


def test_the_cache_and_the_logits_of_a_clip_are_counted():
    pair = sizes.full_pair()
    written = max_new_tokens(30.0)
    logits = 3 * written * 128_256 * 4
    positions = (estimate(pair).clip - logits) / 73_728  # keys and values of a position
    assert 300 + written < positions < 1000


def test_a_device_map_names_the_devices():
    assert devices(None) == devices("cpu") == ["cpu"]
    assert devices("cuda") == ["cuda"]
    assert devices(torch.device("cuda", 1)) == ["cuda:1"]
    assert devices("mps") == ["mps"]


@pytest.mark.parametrize("wrong", ["gpu", "", {"audio_tower": "cpu"}])
def test_what_is_no_device_is_one_clear_error(wrong):
    with pytest.raises(ValueError, match=r"device_map to be 'auto' or a device, such as 'cuda', but found"):
        check_room(NEED, wrong)


def test_auto_counts_every_gpu_and_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices("auto") == ["cuda:0", "cuda:1", "cpu"]
    free = {"cuda:0": 3_000, "cuda:1": 2_000, "cpu": 1_000}
    monkeypatch.setattr(room, "free_bytes", free.get)
    with pytest.raises(MemoryError, match=r"of memory on cuda:0 \+ cuda:1 \+ cpu, but"):
        check_room(NEED, "auto")
    free["cuda:0"] += 1_600  # together there is room to the byte
    assert "on cuda:0 + cuda:1 + cpu, 0.0 GB free" in check_room(NEED, "auto")
    free["cuda:1"] = None
    assert check_room(NEED, "auto").endswith("on cuda:0 + cuda:1 + cpu")


@pytest.mark.parametrize(("free", "fits"), [(7_600, True), (7_599, False), (None, True)])
def test_a_byte_too_few_is_too_few(monkeypatch, free, fits):
    monkeypatch.setattr(room, "free_bytes", lambda _: free)
    if fits:
        assert "full: weights" in check_room(NEED)
        return
    with pytest.raises(
        MemoryError, match=r"needs 0\.0 GB of memory on cpu, but 0\.0 GB are free\. Quantize .*int4"
    ):
        check_room(NEED)


def test_the_line_for_the_user_adds_up():
    told = check_room(Need(encoder=1_270_000_000, projector=50_000_000, decoder=0, clip=1_000_000), "meta")
    numbers = [float(number) for number in re.findall(r"\d+\.\d+", told)]
    assert numbers[0] == pytest.approx(sum(numbers[1:4]))


def test_free_memory_is_that_of_this_machine():
    import psutil

    assert 0 < free_bytes("cpu") <= psutil.virtual_memory().total


def test_a_limit_of_a_group_around_the_own_one_counts(tmp_path, monkeypatch):
    group = tmp_path / "fs" / "slurm" / "job"
    group.mkdir(parents=True)
    (tmp_path / "self").write_text("0::/slurm/job\n")
    for folder, limit, used in ((group, "max", 10), (group.parent, "1000", 400)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("inactive_file 50\n")
    monkeypatch.setattr("asrscope.audio.OWN_GROUP", tmp_path / "self")
    monkeypatch.setattr("asrscope.audio.CONTAINER", tmp_path / "fs")
    assert free_bytes("cpu") == 1000 - 400 + 50
    monkeypatch.setattr("asrscope.audio.OWN_GROUP", tmp_path / "nothing")
    assert free_bytes("cpu") > 10**6


def test_devices_that_do_not_tell_are_not_refused():
    assert free_bytes("meta") is None
