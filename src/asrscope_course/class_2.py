"""Class 2, the architecture: lengths, sampling, stacking, the projector's view, audio in a prompt."""

import numpy as np
import torch
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE
from asrscope.projector import count_audio_tokens
from asrscope_course.arrays import grouped, stacked
from asrscope_course.engine import exercise
from asrscope_course.kinds import Case, Choice, Function, Number
from asrscope_course.material import random_array, tiny
from asrscope_course.sizes import lengths
from asrscope_course.texts import Text

__all__: list[str] = []

SECONDS = 2.5
TONE = 10_000  # Hz, above half the sampling rate
NYQUIST = SAMPLE_RATE // 2
POSITIONS, CHANGED = 60, 21  # of an encoder's output


@exercise("2.1")
def _count_tokens(text: Text) -> Function:
    return Function(
        text.filled(),
        count_audio_tokens,
        lambda rng: [(k * int(rng.integers(1, 300)) + rest, k) for k in (1, 2, 4, 5, 8) for rest in range(k)],
        mistakes={
            "rounded_up": lambda positions, k: -(-positions // k),
            "one_more": lambda positions, k: positions // k + 1,
            "overlapping": lambda positions, k: positions - k + 1,
            "not_cut": lambda positions, k: positions / k,
            "multiplied": lambda positions, k: positions * k,
        },
    )


@exercise("2.2")
def _tokens_of_a_clip(text: Text) -> Number:
    config = tiny()[0].config
    sizes, window = lengths(SECONDS, config), lengths(SECONDS, config, pad=True)
    return Number(
        text.filled(
            seconds=SECONDS,
            k=config.stack_factor,
            samples=sizes.samples,
            frames=sizes.frames,
            positions=sizes.positions,
            tokens=sizes.audio_tokens,
        ),
        sizes.audio_tokens,
        unit="audio tokens",
        mistakes={
            "samples": sizes.samples,
            "frames": sizes.frames,
            "positions": sizes.positions,
            "full_window": window.audio_tokens,
            "one_more": sizes.audio_tokens + 1,
        },
    )


@exercise("2.3")
def _stack(text: Text) -> Function:
    return Function(
        text.filled(),
        stacked,
        lambda rng: [(random_array(rng, k * 6 + rest, 4), k) for k, rest in ((2, 0), (2, 1), (5, 0), (5, 3))],
        mistakes={
            "averaged": lambda hidden, k: grouped(hidden, k).mean(axis=1),
            "one_kept": lambda hidden, k: grouped(hidden, k)[:, 0],
            "interleaved": lambda hidden, k: np.stack([row.T.ravel() for row in grouped(hidden, k)]),
            "far_apart": lambda hidden, k: np.hstack(np.split(hidden[: len(hidden) // k * k], k)),
            "padded": lambda hidden, k: stacked(np.pad(hidden, ((0, -len(hidden) % k), (0, 0))), k),
        },
    )


@exercise("2.4")
def _alias(text: Text) -> Number:
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE  # one second, so that bins are whole Hz
    heard = int(np.abs(np.fft.rfft(np.sin(2 * np.pi * TONE * time))).argmax())
    return Number(
        text.filled(tone=TONE, rate=SAMPLE_RATE, above=TONE - NYQUIST),
        heard,
        unit="Hz",
        mistakes={
            "not_mirrored": TONE,
            "stopped": NYQUIST,
            "distance": TONE - NYQUIST,
            "halved": TONE // 2,
            "vanished": 0,
        },
    )


@exercise("2.5")
def _view_of_the_projector(text: Text) -> Choice:
    model, _ = tiny()
    projector, k = model.multi_modal_projector, model.config.stack_factor
    width = model.config.audio_config.d_model
    with torch.inference_mode():
        hidden = torch.randn(1, POSITIONS, width, generator=torch.Generator().manual_seed(0))
        changed = hidden.clone()
        changed[0, CHANGED] += 1
        differ = int((projector(hidden) != projector(changed)).any(-1).sum())
    tokens = POSITIONS // k
    return Choice(
        text.filled(changed=CHANGED, differ=differ, tokens=tokens),
        0 if differ == 0 else 1 if differ == 1 else 2 if differ < tokens else 3,
    )


@exercise("2.6")
def _splice(text: Text) -> Function:
    return Function(
        text.filled(),
        _spliced,
        _prompts,
        mistakes={
            "in_front": _splice_in_front,
            "behind_the_text": lambda embeds, is_audio, audio: np.concatenate([embeds[~is_audio], audio]),
            "as_many_as_fit": _splice_some,
            "added": lambda embeds, is_audio, audio: embeds + _spliced(0 * embeds, is_audio, audio),
        },
    )


def _spliced(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    placeholders = int(is_audio.sum())
    if placeholders != len(audio):
        raise ValueError(
            f"expected one placeholder for each audio token, but found {placeholders}, {len(audio)}"
        )
    spliced = embeds.copy()
    spliced[is_audio] = audio
    return spliced


def _splice_in_front(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    _spliced(embeds, is_audio, audio)
    return np.concatenate([audio, embeds[len(audio) :]])


def _splice_some(embeds: ndarray, is_audio: ndarray, audio: ndarray) -> ndarray:
    spliced = embeds.copy()
    places = np.flatnonzero(is_audio)[: len(audio)]
    spliced[places] = audio[: len(places)]
    return spliced


def _prompts(rng: np.random.Generator) -> list[Case]:
    """Draw prompts with audio in the middle; in the last two the counts differ."""
    cases: list[Case] = []
    for tokens, given in ((3, 3), (7, 7), (4, 3), (4, 5)):
        is_audio = np.zeros(tokens + 5, dtype=bool)
        is_audio[3 : 3 + tokens] = True
        cases.append((random_array(rng, tokens + 5, 6), is_audio, random_array(rng, given, 6)))
    return cases
