"""The logit lens: what the decoder would write if it stopped after each of its layers.

Every layer adds to the vector of a position, and the last layer's vector is normed and compared with the
table of tokens to give the scores of the next token. The lens does the same with the vectors in between. They
were not made to be read so: what the lens shows is a way of looking, not a record of thoughts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64

from asrscope.decoder import split_pieces
from asrscope.inside.forcing import forced_inputs
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.scope.traces import Word

__all__ = ["Lens", "logit_lens", "more_within"]

N_TOP = 5  # tokens kept for each position and layer


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
        True within each word, as `asrscope.inside.attention.word_mask` tells.

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
