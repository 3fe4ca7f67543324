"""Class 3, training: what is frozen, what a SwiGLU holds, the loss, and what training costs."""

import copy
import math

import numpy as np
import torch
from torch import nn

from asrscope_course.arrays import IGNORED, losses, real_loss, real_swiglu, sigmoid, silu
from asrscope_course.engine import exercise
from asrscope_course.kinds import Case, Choice, Function, Number
from asrscope_course.material import random_array, tiny
from asrscope_course.sizes import count_parameters, full_pair
from asrscope_course.texts import Text

__all__: list[str] = []

FROZEN_BYTES, TRAINED_BYTES = 2, 16
CLIPS, GPUS, EACH, TURNS = 100_000, 8, 4, 2


@exercise("3.1")
def _no_grad(text: Text) -> Choice:
    own = copy.deepcopy(tiny()[0]).requires_grad_(False)
    projector = own.multi_modal_projector.requires_grad_(True)
    hidden = torch.randn(1, 20, own.config.audio_config.d_model, generator=torch.Generator().manual_seed(0))
    embeds = projector(hidden)
    with torch.no_grad():
        loss = own.language_model(inputs_embeds=embeds).logits.logsumexp(-1).mean()
    if not loss.requires_grad:
        return Choice(text.filled(), 1)
    loss.backward()
    return Choice(text.filled(), 2 if projector.gate.weight.grad is None else 0)


@exercise("3.2")
def _projector_parameters(text: Text) -> Number:
    pair = full_pair()
    k, hidden = pair.config.stack_factor, pair.config.projector_hidden_size
    width, out = pair.config.audio_config.d_model, pair.config.text_config.hidden_size
    stacked = k * width
    matrices = 2 * stacked * hidden + hidden * out
    return Number(
        text.filled(k=k, width=width, hidden=hidden, out=out, stacked=stacked),
        count_parameters(pair.multi_modal_projector),
        unit="parameters",
        mistakes={
            "two_matrices": stacked + stacked * hidden + hidden * out + out,
            "no_norms": matrices,
            "not_stacked": width + 2 * width * hidden + hidden * out + out,
            "biases": stacked + matrices + out + 2 * hidden + out,
            "wrong_norm": stacked + matrices + stacked,
        },
    )


@exercise("3.3")
def _swiglu(text: Text) -> Function:
    shapes = ((10, 6), (10, 6), (4, 10))  # gate, up, down
    return Function(
        text.filled(),
        real_swiglu,
        lambda rng: [
            (random_array(rng, tokens, 6), *(random_array(rng, *shape) for shape in shapes))
            for tokens in (1, 5, 9)
        ],
        mistakes={
            "silu_on_up": lambda x, gate, up, down: ((x @ gate.T) * silu(x @ up.T)) @ down.T,
            "glu": lambda x, gate, up, down: (sigmoid(x @ gate.T) * (x @ up.T)) @ down.T,
            "reglu": lambda x, gate, up, down: (np.maximum(x @ gate.T, 0) * (x @ up.T)) @ down.T,
            "sum": lambda x, gate, up, down: (silu(x @ gate.T) + (x @ up.T)) @ down.T,
            "no_activation": lambda x, gate, up, down: ((x @ gate.T) * (x @ up.T)) @ down.T,
        },
    )


@exercise("3.4")
def _token_loss(text: Text) -> Function:
    return Function(
        text.filled(ignored=IGNORED),
        real_loss,
        _labeled,
        mistakes={
            "sum": lambda logits, labels: losses(logits, labels).sum(),
            "all_positions": lambda logits, labels: losses(logits, labels).sum() / len(labels),
            "bits": lambda logits, labels: losses(logits, labels).mean() / np.log(2),
            "probabilities": lambda logits, labels: -np.exp(-losses(logits, labels)).mean(),
            "last_row": lambda logits, labels: losses(logits, np.where(labels == IGNORED, -1, labels)).mean(),
        },
    )


@exercise("3.5")
def _loss_of_a_guess(text: Text) -> Number:
    vocabulary = tiny()[0].config.text_config.vocab_size
    guess = float(nn.functional.cross_entropy(torch.zeros(1, vocabulary), torch.zeros(1, dtype=torch.long)))
    return Number(
        text.filled(vocabulary=vocabulary),
        guess,
        within=0.003,
        mistakes={
            "bits": math.log2(vocabulary),
            "base_ten": math.log10(vocabulary),
            "probability": 1 / vocabulary,
            "certain": 0.0,
            "sign": -guess,
        },
    )


@exercise("3.6")
def _training_memory(text: Text) -> Number:
    pair = full_pair()
    trained = count_parameters(pair.multi_modal_projector)
    frozen = count_parameters(pair) - trained
    everything = TRAINED_BYTES * (frozen + trained) / 1e9
    sizes = {"frozen_bytes": FROZEN_BYTES, "trained_bytes": TRAINED_BYTES, "everything": everything}
    return Number(
        text.filled(frozen=frozen, trained=trained, **sizes),
        (FROZEN_BYTES * frozen + TRAINED_BYTES * trained) / 1e9,
        unit="GB",
        within=0.01,
        mistakes={
            "everything": everything,
            "projector_alone": TRAINED_BYTES * trained / 1e9,
            "nothing_trained": FROZEN_BYTES * (frozen + trained) / 1e9,
        },
    )


@exercise("3.7")
def _steps(text: Text) -> Number:
    together = GPUS * EACH * TURNS
    return Number(
        text.filled(clips=CLIPS, gpus=GPUS, each=EACH, turns=TURNS, together=together),
        -(-CLIPS // together),
        unit="steps",
        mistakes={
            "last_step_cut": CLIPS // together,
            "one_gpu": CLIPS // (EACH * TURNS),
            "no_accumulation": CLIPS // (GPUS * EACH),
            "batches": CLIPS // EACH,
        },
    )


def _labeled(rng: np.random.Generator) -> list[Case]:
    """Draw logits with labels, some of which are not counted."""
    cases: list[Case] = []
    for positions, ignored in ((4, 1), (9, 4), (12, 5)):
        labels = rng.integers(0, 7, size=positions)
        labels[:ignored] = IGNORED
        cases.append((random_array(rng, positions, 7), labels))
    return cases
