"""The features of Granite Speech without torchaudio.

transformers computes them with torchaudio, whose wheels for CUDA break the import of transformers beside a
torch for the CPU. The same numbers come from `torch.stft` and a filter bank.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature
from transformers.audio_utils import mel_filter_bank
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.models.granite_speech.feature_extraction_granite_speech import (
    GraniteSpeechFeatureExtractor,
)

__all__ = ["GraniteFeatures"]

FLOOR = 1e-10  # of the power, before the logarithm
RANGE = 8.0  # decades below the loudest value that are kept
FRAMES_PER_COLUMN = 2


class GraniteFeatures(GraniteSpeechFeatureExtractor):
    """Compute what Granite Speech's encoder reads: two log-mel frames of 10 ms in each column.

    Parameters
    ----------
    sampling_rate : int
        Samples a second.
    n_fft, win_length, hop_length : int
        Length of the transform, of the window and of a step, in samples.
    n_mels : int
        Mel bands, between 0 Hz and half the sampling rate, on HTK's scale.
    projector_window_size, projector_downsample_rate : int
        Positions in one window of the Q-Former, and how many of them one of its queries stands for.
    padding_value : float
        What the base class pads with.
    **kwargs
        Passed on to the base class.
    """

    def __init__(  # noqa: PLR0917
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 512,
        win_length: int = 400,
        hop_length: int = 160,
        n_mels: int = 80,
        projector_window_size: int = 15,
        projector_downsample_rate: int = 5,
        padding_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # The parent's own __init__ asks for torchaudio; this is what it does besides.
        kwargs.pop("feature_size", None)
        SequenceFeatureExtractor.__init__(
            self, feature_size=n_mels, sampling_rate=sampling_rate, padding_value=padding_value, **kwargs
        )
        self.melspec_kwargs = {
            "sample_rate": sampling_rate,
            "n_fft": n_fft,
            "win_length": win_length,
            "hop_length": hop_length,
            "n_mels": n_mels,
        }
        self.projector_window_size = projector_window_size
        self.projector_downsample_rate = projector_downsample_rate

    @classmethod
    def from_dict(cls, feature_extractor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make an extractor from what a checkpoint says of it."""
        # A saved extractor keeps the sizes of its spectrogram one level down.
        return super().from_dict(
            {**feature_extractor_dict, **feature_extractor_dict.get("melspec_kwargs", {})}, **kwargs
        )

    def to_dict(self) -> dict[str, Any]:
        """List the settings under the name by which transformers knows them."""
        return {**super().to_dict(), "feature_extractor_type": "GraniteSpeechFeatureExtractor"}

    def __call__(
        self, audios: np.ndarray | Tensor | Sequence[np.ndarray | Tensor], device: str | None = "cpu"
    ) -> BatchFeature:
        """Compute the features of one clip or several.

        Parameters
        ----------
        audios : np.ndarray or torch.Tensor, or sequence of these
            Mono audio at 16 kHz in [-1, 1].
        device : str, optional
            Where to compute.

        Returns
        -------
        BatchFeature
            ``input_features``, shape (batch, columns, 2 * n_mels); ``audio_embed_sizes``, the number of audio
            tokens of each clip; ``input_features_mask``, shape (batch, audio_tokens).
        """
        waveforms, lengths = self._get_audios_and_audio_lengths(audios)
        sizes = self._get_num_audio_features(lengths)
        return BatchFeature(
            {
                "input_features": self._extract_mel_spectrograms(waveforms, device=device or "cpu"),
                "audio_embed_sizes": sizes,
                "input_features_mask": torch.arange(max(sizes)) < torch.tensor(sizes)[:, None],
            }
        )

    def _extract_mel_spectrograms(self, audio: Tensor, device: str = "cpu") -> Tensor:
        sizes = self.melspec_kwargs
        n_fft, n_mels = sizes["n_fft"], sizes["n_mels"]
        filters = mel_filter_bank(n_fft // 2 + 1, n_mels, 0.0, self.sampling_rate / 2, self.sampling_rate)
        spectrum = torch.stft(
            audio.float().to(device),
            n_fft,
            hop_length=sizes["hop_length"],
            win_length=sizes["win_length"],
            window=torch.hann_window(sizes["win_length"], device=device),
            return_complex=True,
        )  # (batch, frequencies, frames), with half a window of reflected sound at each end
        power = spectrum.abs().square()
        mel = power.transpose(1, 2) @ torch.from_numpy(filters).to(device, torch.float32)
        log_mel = mel.clamp(min=FLOOR).log10()  # (batch, frames, n_mels)
        log_mel = log_mel.clamp(min=log_mel.amax(dim=(1, 2), keepdim=True) - RANGE) / 4 + 1
        # An odd frame at the end is left out.
        frames = log_mel.shape[1] // FRAMES_PER_COLUMN * FRAMES_PER_COLUMN
        return log_mel[:, :frames].reshape(len(log_mel), -1, FRAMES_PER_COLUMN * n_mels)
