"""The parts of a model are found by their names, and what is missing is named."""

import pytest
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from asrscope.scope.anatomy import describe_anatomy, parts_of
from asrscope_course.architectures import ARCHITECTURES, tiny_random


def small_llama():
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_parts_of_every_kind_are_those_that_its_class_runs(architecture):
    model, _ = tiny_random(architecture)
    parts = parts_of(model)
    assert list(parts) == ["encoder", "projector", "decoder"]
    inner = model.model
    assert parts["decoder"] is inner.language_model
    assert parts["encoder"] is (inner.encoder if architecture == "granite_speech" else inner.audio_tower)
    assert parts["projector"] is (
        inner.projector if architecture == "granite_speech" else inner.multi_modal_projector
    )


def test_parts_at_the_top_of_a_model_go_before_those_one_level_down(make_model):
    model, _ = make_model()
    assert parts_of(model)["projector"] is model.multi_modal_projector
    wrapped = nn.Module()
    wrapped.model = model
    assert parts_of(wrapped)["projector"] is model.multi_modal_projector
    wrapped.projector = nn.Linear(2, 2)
    assert parts_of(wrapped)["projector"] is wrapped.projector


def test_a_part_that_is_missing_is_named_with_the_names_it_could_have():
    with pytest.raises(ValueError, match=r"Linear has no encoder .+, no projector .+, no decoder") as found:
        parts_of(nn.Linear(2, 2))
    assert "(audio_tower or encoder)" in str(found.value)
    assert "(multi_modal_projector or projector)" in str(found.value)
    llama = small_llama()
    llama.encoder, llama.language_model = nn.Identity(), None
    with pytest.raises(
        ValueError, match=r"LlamaForCausalLM has no projector \(.+\), no decoder \(language_model\)\."
    ):
        describe_anatomy(llama, tiny_random("glmasr")[1])


def test_a_config_without_the_placeholder_is_an_error():
    llama = small_llama()
    llama.encoder = llama.projector = llama.language_model = nn.Identity()
    with pytest.raises(ValueError, match=r"LlamaForCausalLM has no config\.audio_token_id"):
        describe_anatomy(llama, tiny_random("glmasr")[1])
