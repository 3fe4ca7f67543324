"""From clips to what the model reads: log-mel features, and a prompt with one placeholder per audio token."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoProcessor, BatchFeature, ProcessorMixin
from transformers.models.whisper.feature_extraction_whisper import WhisperFeatureExtractor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from asrscope.audio import SAMPLE_RATE, check_waveform
from asrscope.encoder import FRAMES_PER_POSITION
from asrscope.features import HOP_LENGTH, log_mel
from asrscope.model import AsrScopeConfig
from asrscope.projector import count_audio_tokens

__all__ = ["PROMPT_TOKEN", "AsrScopeProcessor", "pad_batch"]

PROMPT_TOKEN = "<|prompt|>"  # stands in an instruction once for each vector of a learned prompt


class AsrScopeProcessor(ProcessorMixin):
    """Feature extractor, tokenizer and prompt of one model.

    Parameters
    ----------
    feature_extractor : WhisperFeatureExtractor
        Holds the number of mel bands and the length of the encoder's window. The features themselves are
        computed by `asrscope.features.log_mel`, which does not pad.
    tokenizer : PreTrainedTokenizerBase
        The decoder's tokenizer; its chat template frames the prompt.
    chat_template : str, optional
        Replaces the tokenizer's chat template.
    audio_token : str
        The placeholder that the prompt holds once for each audio token.
    instruction : str
        What the prompt asks for. The clip comes after it, or where the placeholder stands in it.
    stack_factor : int
        Encoder positions in one audio token, as in the model's config.
    pad_audio : bool
        Whether clips are padded to the encoder's whole window, as in the model's config.
    remainder : {"cut", "pad"}
        What the projector does with a remainder of positions, as in the model's config.
    system_prompt : str
        What the prompt says before the user's turn; empty for no such turn.
    """

    feature_extractor: WhisperFeatureExtractor
    tokenizer: PreTrainedTokenizerBase
    chat_template: str | None
    audio_token: str
    audio_token_id: int
    instruction: str
    stack_factor: int
    pad_audio: bool
    remainder: str
    system_prompt: str

    @no_type_check  # from_pretrained reads the names of the arguments from the code object: no wrapper here
    def __init__(  # noqa: PLR0917
        self,
        feature_extractor: WhisperFeatureExtractor,
        tokenizer: PreTrainedTokenizerBase,
        chat_template: str | None = None,
        audio_token: str = "<|audio|>",
        instruction: str = "transcribe: ",
        stack_factor: int = 5,
        pad_audio: bool = False,
        remainder: str = "cut",
        system_prompt: str = "",
    ) -> None:
        self.audio_token = audio_token
        self.audio_token_id = tokenizer.convert_tokens_to_ids(audio_token)
        self.instruction = instruction
        self.stack_factor = stack_factor
        self.pad_audio = pad_audio
        self.remainder = remainder
        self.system_prompt = system_prompt
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)

    @property
    def model_input_names(self) -> list[str]:
        """Names of what a call returns."""
        return ["input_ids", "attention_mask", "input_features", "frame_mask"]

    def prompt(self) -> str:
        """Text of the prompt, with one placeholder where the clip belongs."""
        asked = self.instruction
        content = asked if self.audio_token in asked else asked + self.audio_token
        system = [{"role": "system", "content": self.system_prompt}] if self.system_prompt else []
        # A template that knows no thinking mode ignores the flag; SmolLM3's would think aloud without it.
        return str(
            self.tokenizer.apply_chat_template(
                [*system, {"role": "user", "content": content}],
                chat_template=self.chat_template,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
        )

    def features(self, waveform: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "n_mels frames"]:
        """Compute the log-mel spectrogram that the encoder reads.

        Parameters
        ----------
        waveform : np.ndarray, shape (samples,)
            Mono audio at 16 kHz in [-1, 1].

        Returns
        -------
        np.ndarray, shape (n_mels, frames)
            At the clip's true length, but long enough for one audio token; or padded with silence to the
            encoder's window, if the model was trained so.

        Raises
        ------
        ValueError
            If the clip is empty, not finite, or longer than the encoder's window.
        """
        window = self.feature_extractor.n_samples
        if waveform.size > window:
            rate = self.feature_extractor.sampling_rate
            raise ValueError(
                f"The encoder takes clips of up to {window / rate:g} s, but found "
                f"{waveform.size / rate:.2f} s. Make sure to cut longer audio, as transcribe() does."
            )
        shortest = self.stack_factor * FRAMES_PER_POSITION * HOP_LENGTH
        samples = window if self.pad_audio else max(shortest, waveform.size)
        # The clip is padded, not its features: the floor of a spectrogram depends on its loudest sound.
        padded = np.pad(waveform, (0, samples - waveform.size)) if waveform.size else waveform
        return log_mel(padded, self.feature_extractor.feature_size)

    def count_audio_tokens(self, frames: int) -> int:
        """Count the audio tokens of a spectrogram of so many frames."""
        return count_audio_tokens(frames // FRAMES_PER_POSITION, self.stack_factor, self.remainder)

    def __call__(
        self,
        audio: Any,
        text: str | Sequence[str] | None = None,
        *,
        sampling_rate: float | int = SAMPLE_RATE,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare one clip or a batch of clips for the model.

        Parameters
        ----------
        audio : np.ndarray [shape=(samples,)], tensor or list of numbers, or a list or tuple of these
            One clip or several, mono: floats in [-1, 1], or integers as `asrscope.check_waveform` takes them.
        text : str or sequence of str, optional
            Prompts in the place of the usual one, each with one audio placeholder.
        sampling_rate : float or int
            Samples per second; another rate than 16,000 is resampled.
        return_tensors : {"pt"}
            Those of PyTorch are the only ones that the model takes.
        **kwargs
            Passed on to the tokenizer.

        Returns
        -------
        BatchFeature
            ``input_ids`` and ``attention_mask``, shape (batch, prompt_positions), padded on the left so that
            every prompt ends where writing starts; ``input_features``, shape (batch, n_mels, frames), padded
            on the right; ``frame_mask``, shape (batch, frames), True where a frame belongs to the clip.

        Raises
        ------
        ValueError
            If there are not as many prompts as clips, a prompt has not exactly one placeholder or was cut, or
            a clip is empty, not finite, too long, or not one channel of samples.
        """
        if return_tensors != "pt":
            raise ValueError(f"The model takes return_tensors='pt', but found {return_tensors!r}.")
        many = isinstance(audio, list | tuple) and all(np.ndim(clip) > 0 for clip in audio[:1])
        clips = [_as_clip(clip, sampling_rate) for clip in (audio if many else [audio])]
        prompts = (
            [self.prompt()] * len(clips) if text is None else [text] if isinstance(text, str) else list(text)
        )
        if not clips or len(prompts) != len(clips):
            raise ValueError(
                f"Expected one prompt for each clip, but found {len(prompts)} prompts and {len(clips)} clips."
            )
        spectrograms = [self.features(clip) for clip in clips]
        expanded = [
            self._expand(prompt, self.count_audio_tokens(spectrogram.shape[1]))
            for prompt, spectrogram in zip(prompts, spectrograms, strict=True)
        ]
        # The template has written every special token that belongs there.
        tokenizer_kwargs = {"padding": True, "padding_side": "left", "add_special_tokens": False, **kwargs}
        tokens = self.tokenizer(expanded, return_tensors="pt", **tokenizer_kwargs)
        kept = (tokens["input_ids"] == self.audio_token_id).sum(-1).tolist()
        if kept != [prompt.count(self.audio_token) for prompt in expanded]:
            raise ValueError(
                "Each prompt must keep a placeholder for each of its clip's audio tokens, but the tokenizer "
                "cut some off. Make sure to leave out truncation and max_length."
            )
        features, mask = pad_batch([spectrogram.T for spectrogram in spectrograms])  # (batch, frames, n_mels)
        return BatchFeature(
            {
                "input_ids": tokens["input_ids"],
                "attention_mask": tokens["attention_mask"],
                "input_features": features.transpose(1, 2).contiguous(),
                "frame_mask": mask,
            }
        )

    def _expand(self, prompt: str, audio_tokens: int) -> str:
        """Repeat the prompt's one placeholder for each audio token."""
        if (found := prompt.count(self.audio_token)) != 1:
            raise ValueError(
                f"Each prompt must hold {self.audio_token} once, where its clip belongs, "
                f"but found it {found} times in {prompt!r}."
            )
        return prompt.replace(self.audio_token, self.audio_token * audio_tokens)


def _as_clip(audio: Any, sampling_rate: float | int) -> np.ndarray:
    """Bring a clip into the package's form, if it is not what the package's own loader gives."""
    if isinstance(audio, str | Path):
        raise ValueError(
            f"Expected samples, but found {str(audio)!r}. Make sure to read it with load_audio()."
        )
    own = isinstance(audio, np.ndarray) and (audio.ndim, audio.dtype, sampling_rate) == (1, "f4", SAMPLE_RATE)
    return audio if own and np.abs(audio).max(initial=0.0) <= 1.0 else check_waveform(audio, sampling_rate)


def pad_batch(arrays: Sequence[np.ndarray], value: int = 0, multiple: int = 1) -> tuple[Tensor, Tensor]:
    """Stack arrays of different lengths, shape (batch, longest, ...), and tell where they hold data.

    The longest is rounded up to a ``multiple``: fewer shapes, fewer kernels to choose.
    """
    lengths = np.array([len(array) for array in arrays])
    longest = -(-lengths.max() // multiple) * multiple
    padded = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(padded), torch.from_numpy(np.arange(longest) < lengths[:, None])


AutoProcessor.register(AsrScopeConfig, AsrScopeProcessor)
