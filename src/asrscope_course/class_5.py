"""Class 5, looking inside: nearest tokens, attention, the lens, counterfactuals."""

import numpy as np
import torch
from numpy import ndarray

from asrscope.encoder import SECONDS_PER_POSITION, encode
from asrscope.features import log_mel
from asrscope.inside.counterfactual import mask_span
from asrscope.inside.decoder import word_mask
from asrscope_course.arrays import EPS, cosines, normed, real_lens, softmax
from asrscope_course.engine import exercise
from asrscope_course.kinds import Choice, Function, Number
from asrscope_course.material import clip, random_array, tiny, waveform
from asrscope_course.sizes import lengths
from asrscope_course.texts import Text

__all__: list[str] = []

NEIGHBORS = 3  # positions that the convolutions and the windows reach
MOST = 0.9


@exercise("5.1")
def _nearest(text: Text) -> Function:
    return Function(
        text.filled(),
        lambda audio, table: cosines(audio, table).argmax(axis=1),
        lambda rng: [
            (random_array(rng, tokens, 4), random_array(rng, 30, 4) * rng.uniform(0.2, 5, size=(30, 1)))
            for tokens in (20, 40)
        ],
        mistakes={
            "dot_product": lambda audio, table: (audio @ table.T).argmax(axis=1),
            "distance": lambda audio, table: np.linalg.norm(audio[:, None] - table[None], axis=2).argmin(
                axis=1
            ),
            "cosines": lambda audio, table: cosines(audio, table).max(axis=1),
            "opposite": lambda audio, table: cosines(audio, table).argmin(axis=1),
            "other_axis": lambda audio, table: cosines(audio, table).argmax(axis=0),
        },
    )


@exercise("5.2")
def _causal(text: Text) -> Function:
    return Function(
        text.filled(),
        lambda scores: softmax(np.where(_earlier(scores), scores, -np.inf)),
        lambda rng: [(random_array(rng, size, size),) for size in (2, 5, 8)],
        mistakes={
            "no_mask": softmax,
            "after_softmax": lambda scores: np.where(_earlier(scores), softmax(scores), 0),
            "zero_score": lambda scores: softmax(np.where(_earlier(scores), scores, 0)),
            "other_triangle": lambda scores: softmax(np.where(_earlier(scores).T, scores, -np.inf)),
            "columns": lambda scores: softmax(np.where(_earlier(scores), scores, -np.inf).T).T,
        },
    )


@exercise("5.3")
def _chance(text: Text) -> Number:
    model, _ = tiny()
    words = clip().words
    tokens = lengths(len(waveform()) / 16_000, model.config).audio_tokens
    seconds = model.config.stack_factor * SECONDS_PER_POSITION
    inside = int(word_mask(words, tokens, seconds)[2].sum())
    return Number(
        text.filled(clip=clip().name, word=words[2][0], inside=inside, tokens=tokens),
        inside / tokens,
        within=0.01,
        mistakes={
            "words": 1 / len(words),
            "one_token": 1 / tokens,
            "inverse": 1 / inside,
            "nothing": 0.0,
            "outside": 1 - inside / tokens,
        },
    )


@exercise("5.4")
def _lens(text: Text) -> Function:
    return Function(
        text.filled(eps=EPS),
        real_lens,
        lambda rng: [
            (random_array(rng, positions, 6) + 1, random_array(rng, 6), random_array(rng, 12, 6))
            for positions in (1, 4, 9)
        ],
        mistakes={
            "no_norm": lambda hidden, _weight, table: hidden @ table.T,
            "layer_norm": lambda hidden, weight, table: (
                normed(hidden - hidden.mean(axis=1, keepdims=True)) * weight @ table.T
            ),
            "no_weight": lambda hidden, _weight, table: normed(hidden) @ table.T,
            "length": lambda hidden, weight, table: (
                hidden / np.linalg.norm(hidden, axis=1, keepdims=True) * weight @ table.T
            ),
            "probabilities": lambda hidden, weight, table: softmax(real_lens(hidden, weight, table)),
        },
    )


@exercise("5.5")
def _silenced(text: Text) -> Choice:
    model, _ = tiny()
    word, start, end = clip().words[-1]
    mels = [
        log_mel(sound, model.config.audio_config.num_mel_bins)
        for sound in (waveform(), mask_span(waveform(), start, end))
    ]
    with torch.inference_mode():
        before, after = (encode(model.audio_tower, torch.from_numpy(mel)[None]) for mel in mels)
    changed = (before != after).any(-1)[0].numpy()
    first, last = int(start / SECONDS_PER_POSITION), int(end / SECONDS_PER_POSITION) + 1
    outside = np.ones(len(changed), dtype=bool)
    outside[max(0, first - NEIGHBORS) : last + NEIGHBORS] = False
    share = float(changed[outside].mean())
    return Choice(
        text.filled(clip=clip().name, word=word, percent=100 * share),
        0 if not changed.any() else 1 if share == 0 else 3 if share > MOST else 2,
    )


def _earlier(scores: ndarray) -> ndarray:
    """Mark where a position may look."""
    return np.tri(len(scores), dtype=bool)
