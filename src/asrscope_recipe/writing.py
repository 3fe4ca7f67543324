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
from asrscope.loading import Loaded
from asrscope.processing import pad_batch
from asrscope.projector import AudioProjector, count_audio_tokens
from asrscope.recognition.metrics import WordErrors, word_errors
from asrscope.training.batches import Prompt, put_together
from asrscope.training.encodings import Clip
from asrscope.training.run import fill_batches

__all__ = ["count_errors", "write_down"]

POSITIONS_AT_ONCE = 5_000  # of the encoder's output, padding included


@torch.inference_mode()
def write_down(projector: AudioProjector, loaded: Loaded, hidden: Sequence[ndarray]) -> list[str]:
    """Transcribe clips greedily from what the encoder made of them.

    Parameters
    ----------
    projector : AudioProjector
        Makes audio tokens of it.
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        Lends the decoder, which reads them, and its prompt.
    hidden : sequence of np.ndarray, shape (positions, encoder_dim)
        The encoder's output for each clip, at its true length.

    Returns
    -------
    list of str
        The texts, in the order of the clips: up to rounding, what `asrscope.transcribe` writes.
    """
    decoder, prompt = loaded[0].language_model.eval(), Prompt(loaded[1], projector.prompt_vectors)
    projector.eval()
    texts = [""] * len(hidden)
    for items in fill_batches(list(map(len, hidden)), POSITIONS_AT_ONCE):
        stacked, _ = pad_batch([hidden[item].astype(np.float32) for item in items])
        audio = projector(stacked, decoder.get_input_embeddings().weight)
        prompts = [
            prompt.around(count_audio_tokens(len(hidden[item]), projector.stack_factor)) for item in items
        ]
        backward = [np.array(own[::-1]) for own in prompts]  # padded on the left, all end in one place
        ids, mask = (tensor.flip(1) for tensor in pad_batch(backward, prompt.padding))
        limits = [max_new_tokens(len(hidden[item]) * SECONDS_PER_POSITION) for item in items]
        written = decoder.generate(
            inputs_embeds=put_together(decoder, ids, audio, projector.prompt, prompt),
            attention_mask=mask.long(),
            do_sample=False,
            max_new_tokens=max(limits),
            eos_token_id=prompt.end,
            pad_token_id=prompt.padding,
            stopping_criteria=StoppingCriteriaList([LoopStop(prompt.tokenizer, 0)]),
        )
        for item, limit, tokens in zip(items, limits, written.tolist(), strict=True):
            texts[item] = text_of(prompt.tokenizer, tokens[:limit])
    return texts


def count_errors(projector: AudioProjector, loaded: Loaded, clips: Sequence[Clip]) -> list[WordErrors]:
    """Count what goes wrong in each clip, for `asrscope.recognition.metrics.total_errors`."""
    texts = write_down(projector, loaded, [clip.hidden for clip in clips])
    return [word_errors(clip.text, text) for clip, text in zip(clips, texts, strict=True)]
