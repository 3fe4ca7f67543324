"""Where the decoder looks while it writes: its attention from each token to the sound, and a score for it.

Attention is a weighted mean: for each token, each head of each layer spreads a weight of 1 over all positions
before it. A large weight says that the head read much from there. It does not say that the head needed it:
for that, change the sound (see `asrscope.inside.counterfactual`).
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.inside.forcing import forced_inputs
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.scope.traces import Word, WordTimes

__all__ = ["AudioAttention", "attend", "clockwork", "share_inside", "word_mask"]


@dataclass(frozen=True, eq=False)
class AudioAttention:
    """Attention of a decoder while it writes a transcript.

    Attributes
    ----------
    weights : np.ndarray [shape=(layers, heads, tokens, prompt_positions)]
        Weight of each position of the prompt for each token of the transcript. It is read at the position
        *before* the token, where the token is chosen. What is missing to 1 went to the transcript so far.
    prompt_is_audio : np.ndarray [shape=(prompt_positions,)]
        True where the prompt holds an audio token.
    seconds_per_audio_token : float
        Seconds of sound behind one audio token.
    """

    weights: Float32[np.ndarray, "layers heads tokens prompt_positions"]
    prompt_is_audio: Bool[np.ndarray, " prompt_positions"]
    seconds_per_audio_token: float

    @property
    def audio(self) -> Float32[np.ndarray, "layers heads tokens audio_tokens"]:
        """The weights of the audio tokens."""
        return self.weights[..., self.prompt_is_audio]

    @property
    def on_audio(self) -> Float32[np.ndarray, "layers heads"]:
        """Part of the attention that goes to the sound; the rest goes to text, of prompt and transcript."""
        share: Float32[np.ndarray, "layers heads"] = self.audio.sum(axis=-1).mean(axis=-1)
        return share

    def of_words(self, words: Sequence[Word]) -> Float32[np.ndarray, "layers heads words audio_tokens"]:
        """Attention of each word over the sound alone: the mean over its tokens, scaled to a sum of 1.

        Parameters
        ----------
        words : sequence of Word
            Words of the transcript.

        Returns
        -------
        np.ndarray, shape (layers, heads, words, audio_tokens)
            How each head spreads, over time, what it gives to the sound.

        Raises
        ------
        ValueError
            If there are no words.
        """
        if not words:
            raise ValueError("Expected at least one word, but found none.")
        rows = [self.audio[:, :, word.first_token : word.last_token + 1].mean(axis=2) for word in words]
        attention = np.stack(rows, axis=2)  # (layers, heads, words, audio_tokens)
        scaled: Float32[np.ndarray, "layers heads words audio_tokens"] = attention / np.maximum(
            attention.sum(axis=-1, keepdims=True), np.finfo(np.float32).tiny
        )
        return scaled


@torch.inference_mode()
def attend(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    waveform: Float32[np.ndarray, " samples"],
    ids: Sequence[int],
) -> AudioAttention:
    """Record where every head looks while the decoder reads a clip and writes a given transcript.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    ids : sequence of int
        Tokens of the transcript: what the decoder wrote, or anything else.

    Returns
    -------
    AudioAttention
        The weights, from one run of the model over prompt and transcript.

    Raises
    ------
    ValueError
        If the clip is empty, not finite or too long, or the transcript has no tokens.
    """
    if not ids:
        raise ValueError("Expected a transcript of at least one token, but found none.")
    inputs, prompt = forced_inputs(processor, waveform, ids)
    is_audio = inputs["input_ids"][0, :prompt] == processor.audio_token_id
    layers = _eager(model)(**inputs.to(model.device), output_attentions=True).attentions
    rows = [layer[0, :, prompt - 1 : -1, :prompt].float().cpu() for layer in layers]
    return AudioAttention(
        weights=torch.stack(rows).numpy(),  # (layers, heads, tokens, prompt_positions)
        prompt_is_audio=is_audio.numpy(),
        seconds_per_audio_token=model.config.stack_factor * SECONDS_PER_POSITION,
    )


def _eager(model: AsrScopeForConditionalGeneration) -> AsrScopeForConditionalGeneration:
    """Make a twin, on the same weights, that computes attention step by step: fused kernels hold no weights.

    The model itself is left as it is: another thread may be running it.
    """
    twin = deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    twin.language_model.set_attn_implementation("eager")
    return twin


def word_mask(
    words: WordTimes, audio_tokens: int, seconds_per_audio_token: float
) -> Bool[np.ndarray, "words audio_tokens"]:
    """Tell which audio tokens lie within each word.

    Parameters
    ----------
    words : sequence of (str, float, float)
        Words with start and end in seconds.
    audio_tokens : int
        Number of audio tokens of the clip.
    seconds_per_audio_token : float
        Seconds of sound behind one audio token.

    Returns
    -------
    np.ndarray, shape (words, audio_tokens)
        True where the middle of the audio token lies within the word. A word so short that it holds no
        middle has the one audio token that its own middle lies in.

    Raises
    ------
    ValueError
        If a word ends before it starts, or lies outside of the clip.
    """
    middles = (np.arange(audio_tokens) + 0.5) * seconds_per_audio_token
    mask = np.zeros((len(words), audio_tokens), dtype=bool)
    for row, (word, start, end) in enumerate(words):
        own = int((start + end) / 2 / seconds_per_audio_token)
        if not (start <= end and 0 <= own < audio_tokens):
            raise ValueError(
                f"Expected words within the clip's {audio_tokens * seconds_per_audio_token:.2f} s, "
                f"but found {word!r} from {start} to {end} s."
            )
        mask[row] = (middles >= start) & (middles < end)
        if not mask[row].any():
            mask[row, own] = True
    return mask


def share_inside(
    attention: Float[np.ndarray, "*heads words audio_tokens"], inside: Bool[np.ndarray, "words audio_tokens"]
) -> Float[np.ndarray, "*heads words"]:
    """Score attention against the times at which the words were spoken.

    Parameters
    ----------
    attention : np.ndarray, shape (..., words, audio_tokens)
        Attention over time, each row with a sum of 1.
    inside : np.ndarray, shape (words, audio_tokens)
        True within each word.

    Returns
    -------
    np.ndarray, shape (..., words)
        The part of each word's attention that falls within the word. Attention spread evenly over the clip
        scores the word's share of the clip, and so does, on average, attention shuffled in time.
    """
    share: Float[np.ndarray, "*heads words"] = np.where(inside, attention, 0).sum(axis=-1)
    return share


def clockwork(words: int, audio_tokens: int) -> Float32[np.ndarray, "words audio_tokens"]:
    """Attention that knows the order of the words and nothing else: a control that does not listen.

    Parameters
    ----------
    words : int
        Number of words of the transcript.
    audio_tokens : int
        Number of audio tokens of the clip.

    Returns
    -------
    np.ndarray, shape (words, audio_tokens)
        Each word spreads a weight of 1 over its equal share of the clip, in order.
    """
    edges = np.arange(audio_tokens + 1) / audio_tokens * words  # of the audio tokens, counted in words
    # How much of each audio token lies in each word's share, from 0 to 1 word.
    starts = np.maximum(edges[:-1], np.arange(words)[:, None])
    ends = np.minimum(edges[1:], np.arange(1, words + 1)[:, None])
    weights: Float32[np.ndarray, "words audio_tokens"] = np.maximum(ends - starts, 0).astype(np.float32)
    return weights
