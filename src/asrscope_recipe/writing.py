"""Let the decoder write down clips whose encoder output is at hand, many at once.

Measuring a projector on hundreds of clips is quick this way: the encoder has been run already.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy import ndarray
from transformers import StoppingCriteriaList

from asrscope.decoder import LoopStop, max_new_tokens, text_of
from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.recognition.metrics import WordErrors, word_errors
from asrscope.training.batches import pad_batch
from asrscope.training.encodings import Encodings
from asrscope.training.projector import FrozenDecoder
from asrscope.training.spelling import Prompt

__all__ = ["count_errors", "write_down"]

CLIPS_AT_ONCE = 32


def write_down(projector: AudioProjector, decoder: FrozenDecoder, hidden: Sequence[ndarray]) -> list[str]:
    """Transcribe clips greedily from what the encoder made of them.

    Parameters
    ----------
    projector : AudioProjector
        Makes audio tokens of it.
    decoder : FrozenDecoder
        Reads them.
    hidden : sequence of np.ndarray, shape (positions, encoder_dim)
        The encoder's output for each clip, at its true length.

    Returns
    -------
    list of str
        The texts, in the order of the clips: up to rounding, what `asrscope.transcribe` writes.
    """
    prompt = Prompt(decoder.tokenizer, decoder.prompt)
    texts = [""] * len(hidden)
    order = sorted(range(len(hidden)), key=lambda item: len(hidden[item]))
    for first in range(0, len(order), CLIPS_AT_ONCE):
        items = order[first : first + CLIPS_AT_ONCE]
        limits = [max_new_tokens(len(hidden[item]) * SECONDS_PER_POSITION) for item in items]
        written = _generate(projector, decoder, prompt, [hidden[item] for item in items], max(limits))
        for item, limit, ids in zip(items, limits, written, strict=True):
            texts[item] = text_of(decoder.tokenizer, ids[:limit])
    return texts


@torch.inference_mode()
def _generate(
    projector: AudioProjector, decoder: FrozenDecoder, prompt: Prompt, hidden: list[ndarray], limit: int
) -> list[list[int]]:
    """Write some clips together, their prompts padded on the left so that all end in one place."""
    projector.eval()
    decoder.model.eval()
    tokens = [count_audio_tokens(len(states), projector.stack_factor) for states in hidden]
    stacked, _ = pad_batch([states.astype(np.float32) for states in hidden])
    audio = projector(stacked)  # (clips, audio_tokens of the longest, decoder_dim)
    prompts = [prompt.around(count) for count in tokens]
    longest = max(map(len, prompts))
    ids = torch.tensor([[prompt.padding] * (longest - len(own)) + own for own in prompts])
    mask = torch.tensor([[0] * (longest - len(own)) + [1] * len(own) for own in prompts])
    is_clip = torch.arange(audio.shape[1]) < torch.tensor(tokens)[:, None]
    is_audio = (ids == prompt.audio_token_id)[..., None]
    embeds = decoder.model.get_input_embeddings()(ids).masked_scatter(is_audio, audio[is_clip])
    written = decoder.model.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=limit,
        eos_token_id=decoder.tokenizer.eos_token_id,
        pad_token_id=prompt.padding,
        stopping_criteria=StoppingCriteriaList([LoopStop(decoder.tokenizer, 0)]),
    )
    found: list[list[int]] = written.tolist()
    return found


def count_errors(projector: AudioProjector, decoder: FrozenDecoder, clips: Encodings) -> list[WordErrors]:
    """Count what goes wrong in each clip.

    Parameters
    ----------
    projector : AudioProjector
        What is measured.
    decoder : FrozenDecoder
        Reads the audio tokens.
    clips : Encodings
        Encoder output and texts.

    Returns
    -------
    list of WordErrors
        One for each clip; `asrscope.recognition.metrics.total_errors` and
        `asrscope.recognition.metrics.bootstrap_interval` take them.
    """
    texts = write_down(projector, decoder, [clips.read(clip) for clip in clips.clips])
    return [word_errors(clip.text, text) for clip, text in zip(clips.clips, texts, strict=True)]
