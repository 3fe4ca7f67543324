"""What the decoder does with a transcript that is given to it: its probabilities, its attention, its layers.

Teacher forcing makes runs comparable token by token, whatever each of them would have written by itself.

Attention is a weighted mean: for each token, each head of each layer spreads a weight of 1 over all positions
before it. A large weight says that the head read much from there. It does not say that the head needed it:
for that, change the sound (see `asrscope.inside.counterfactual`).

The logit lens shows what the decoder would write if it stopped after each of its layers. Every layer adds to
the vector of a position, and the last layer's vector is normed and compared with the table of tokens to give
the scores of the next token. The lens does the same with the vectors in between. They were not made to be
read so: what the lens shows is a way of looking, not a record of thoughts.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int64
from transformers import BatchFeature

from asrscope.decoder import Written, split_pieces
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.scope.traces import Word, WordTimes

__all__ = [
    "AudioAttention",
    "Lens",
    "attend",
    "clockwork",
    "force",
    "forced_inputs",
    "logit_lens",
    "more_within",
    "share_inside",
    "transcript_ids",
    "word_log_probabilities",
    "word_mask",
]

N_TOP = 5  # tokens kept for each position and layer of the lens


# --- a transcript that is given ---


def transcript_ids(processor: AsrScopeProcessor, text: str) -> list[int]:
    """Tokens of a transcript, as the decoder writes it.

    Parameters
    ----------
    processor : AsrScopeProcessor
        The processor saved with the model.
    text : str
        The transcript.

    Returns
    -------
    list of int
        Token ids, without an end token.

    Raises
    ------
    ValueError
        If the text has no tokens.
    """
    ids: list[int] = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(f"Expected a transcript of at least one token, but found {text!r}.")
    return ids


def forced_inputs(
    processor: AsrScopeProcessor, waveform: Float32[np.ndarray, " samples"], ids: Sequence[int]
) -> tuple[BatchFeature, int]:
    """Prepare a clip with its prompt and a transcript behind it.

    Parameters
    ----------
    processor : AsrScopeProcessor
        The processor saved with the model.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    ids : sequence of int
        Tokens of the transcript.

    Returns
    -------
    BatchFeature
        What the model reads, a batch of one.
    int
        Number of positions of the prompt. The scores of token ``i`` of the transcript come from the position
        before it, ``prompt + i - 1``.

    Raises
    ------
    ValueError
        If the clip is empty, not finite or too long.
    """
    inputs = processor(audio=waveform)
    prompt = inputs["input_ids"].shape[1]
    behind = torch.tensor([list(ids)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], behind], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return inputs, prompt


@torch.inference_mode()
def force(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    waveform: Float32[np.ndarray, " samples"],
    ids: Sequence[int],
) -> Written:
    """Ask how probable a given transcript is, token by token.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    ids : sequence of int
        Tokens of the transcript, without the end token.

    Returns
    -------
    Written
        As if the decoder had written these tokens and its end token: each has the probability that the
        decoder gives it after the prompt, the clip and the tokens before it. In double precision, so that the
        logarithm of a very small probability is finite.

    Raises
    ------
    ValueError
        If the clip is empty, not finite or too long.
    """
    inputs, prompt = forced_inputs(processor, waveform, ids)
    logits = model(**inputs.to(model.device)).logits[0, prompt - 1 :]  # (tokens + 1, vocabulary)
    return Written(
        ids=list(ids),
        eos_id=processor.tokenizer.eos_token_id,
        probabilities=logits.double().softmax(dim=-1).cpu(),
    )


def word_log_probabilities(written: Written, words: Sequence[Word]) -> Float64[np.ndarray, " words"]:
    """Add up the logarithms of the probabilities of each word's tokens.

    Parameters
    ----------
    written : Written
        What `force` returned for a transcript.
    words : sequence of Word
        Words of the transcript, from a trace for example: which tokens they consist of counts, and not the
        probabilities that they carry.

    Returns
    -------
    np.ndarray, shape (words,)
        Natural logarithms; 0 is certain.
    """
    logs = np.log(written.token_probabilities)
    sums = [logs[word.first_token : word.last_token + 1].sum() for word in words]
    return np.array(sums, dtype=np.float64)


# --- where it looks ---


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


# --- between its layers ---


@dataclass(frozen=True, eq=False)
class Lens:
    """The most probable next tokens at each position, after each layer.

    Row 0 of ``layers`` is the decoder's input, row ``n`` what its layer ``n`` gives.

    Attributes
    ----------
    top_ids : np.ndarray [shape=(layers, positions, n_top)]
        Token ids, most probable first.
    top_probabilities : np.ndarray [shape=(layers, positions, n_top)]
        Their probabilities.
    top_texts : tuple of tuple of tuple of str
        The same tokens as text, by layer and position.
    of_transcript : np.ndarray [shape=(layers, positions, tokens)]
        Natural logarithm of the probability of each token of the transcript, at every position.
    entropy : np.ndarray [shape=(layers, positions)]
        Entropy of all probabilities in bits: 0 where one token is certain.
    is_audio : np.ndarray [shape=(positions,)]
        True where the position holds an audio token.
    """

    top_ids: Int64[np.ndarray, "layers positions n_top"]
    top_probabilities: Float32[np.ndarray, "layers positions n_top"]
    top_texts: tuple[tuple[tuple[str, ...], ...], ...]
    of_transcript: Float32[np.ndarray, "layers positions tokens"]
    entropy: Float32[np.ndarray, "layers positions"]
    is_audio: Bool[np.ndarray, " positions"]


@torch.inference_mode()
def logit_lens(
    model: AsrScopeForConditionalGeneration,
    processor: AsrScopeProcessor,
    waveform: Float32[np.ndarray, " samples"],
    ids: Sequence[int] = (),
    n_top: int = N_TOP,
) -> Lens:
    """Look through the lens at every position of a clip's prompt, and of a transcript behind it.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    processor : AsrScopeProcessor
        The processor saved with it.
    waveform : np.ndarray, shape (samples,)
        Mono audio at 16 kHz in [-1, 1].
    ids : sequence of int
        Tokens of a transcript; without them the decoder has read the prompt only.
    n_top : int
        How many tokens to keep for each position and layer.

    Returns
    -------
    Lens
        What stands closest to being written, layer by layer.

    Raises
    ------
    ValueError
        If the clip is empty, not finite or too long.
    """
    inputs, _ = forced_inputs(processor, waveform, ids)
    *between, last = model(**inputs.to(model.device), output_hidden_states=True).hidden_states
    # transformers returns the last layer's vectors as the norm leaves them.
    normed = torch.cat([model.language_model.model.norm(torch.cat(between)), last])
    logits = model.get_output_embeddings()(normed)  # (layers, positions, vocabulary)
    log_probabilities = logits.float().log_softmax(dim=-1)
    probabilities = log_probabilities.exp()
    best = probabilities.topk(n_top, dim=-1)
    entropy = -(probabilities * log_probabilities).sum(dim=-1) / np.log(2)
    top_ids = best.indices.cpu().numpy()
    return Lens(
        top_ids=top_ids,
        top_probabilities=best.values.cpu().numpy(),
        top_texts=tuple(tuple(split_pieces(processor.tokenizer, row) for row in layer) for layer in top_ids),
        of_transcript=log_probabilities[..., list(ids)].cpu().numpy(),
        entropy=entropy.cpu().numpy(),
        is_audio=(inputs["input_ids"][0] == processor.audio_token_id).cpu().numpy(),
    )


def more_within(
    lens: Lens, words: Sequence[Word], inside: Bool[np.ndarray, "words audio_tokens"]
) -> Float[np.ndarray, "layers pieces"]:
    """Measure whether the words can be read where they were spoken.

    Parameters
    ----------
    lens : Lens
        Of a clip with its transcript.
    words : sequence of Word
        Words of the transcript.
    inside : np.ndarray, shape (words, audio_tokens)
        True within each word, as `word_mask` tells.

    Returns
    -------
    np.ndarray, shape (layers, pieces)
        For each token of each word, in order: take one audio token within the word and one outside; how often
        is the token of the transcript more probable within? One half is chance. Ties count half.

    Raises
    ------
    ValueError
        If a word fills the whole clip or none of it: there is nothing to compare.
    """
    if not (inside.any(axis=1) & ~inside.all(axis=1)).all():
        raise ValueError("Expected audio tokens within and outside of each word, but found only one kind.")
    shares = []
    for word, within in zip(words, inside, strict=True):
        pieces = lens.of_transcript[:, lens.is_audio, word.first_token : word.last_token + 1]
        here, there = pieces[:, within, None], pieces[:, None, ~within]  # (layers, audio_tokens, 1, pieces)
        shares.append(((here > there) + 0.5 * (here == there)).mean(axis=(1, 2)))
    return np.concatenate(shares, axis=1)
