"""Clips written down together are written as each by itself."""

import numpy as np
import pytest

import asrscope
from asrscope_recipe.writing import write_down


@pytest.fixture(scope="module")
def loaded():
    return asrscope.load("tiny")


@pytest.fixture(scope="module")
def traces(loaded):
    return [asrscope.trace(*loaded, sample.path) for sample in asrscope.load_samples()]


def test_a_batch_of_clips_is_written_as_each_by_itself(loaded, traces, monkeypatch):
    from asrscope_recipe import writing

    model, _ = loaded
    monkeypatch.setattr(writing, "POSITIONS_AT_ONCE", 500)  # batches of a few
    hidden = [trace.encoder_hidden_states for trace in traces]
    assert len({len(states) for states in hidden}) > 3  # so there is padding
    assert write_down(model.multi_modal_projector, loaded, hidden) == [trace.text for trace in traces]


def test_a_random_projector_gets_no_further_than_a_clips_length_allows(traces):
    model, processor = asrscope.load("tiny", random_projector=True)
    states = np.asarray(traces[0].encoder_hidden_states)[:20]
    (text,) = write_down(model.multi_modal_projector, (model, processor), [states])
    assert len(processor.tokenizer.encode(text)) <= 0.4 * 12 + 8 + 1
