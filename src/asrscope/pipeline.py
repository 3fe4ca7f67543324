"""``transformers.pipeline("automatic-speech-recognition", model=...)`` for this package's models.

The task has one class for all models. This one stands in its place: for other models it makes the class of
transformers, and for ours it makes itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutomaticSpeechRecognitionPipeline, Pipeline

from asrscope.audio import SAMPLE_RATE, check_waveform
from asrscope.long_audio.streaming import AudioStream
from asrscope.long_audio.transcripts import Transcript
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.survey import CANCELLED_SHARE
from asrscope.transcribing import BATCH_SIZE, transcribe_all

__all__ = ["SpeechRecognitionPipeline"]

MOST_CHANNELS = 32  # more rows than that are samples: the array is turned


class SpeechRecognitionPipeline(AutomaticSpeechRecognitionPipeline):
    """Speech recognition as transformers offers it, with this package's reading of audio and its windows.

    A call takes what transformers' own takes: the name of a file, its bytes, a waveform at 16 kHz with shape
    (samples,) or (channels, samples), a dictionary with ``array`` or ``raw`` and ``sampling_rate`` or with
    ``path`` or ``bytes``, or a list or an iterator of these. It returns a dictionary with ``text``,
    ``confidence`` and ``warnings`` for each, and with ``chunks`` where times are asked for.

    Parameters
    ----------
    model : PreTrainedModel
        The model. If it is not of this package, a pipeline of transformers is made in place of this one.
    processor : AsrScopeProcessor, optional
        By default the one that was saved with the model.
    tokenizer, feature_extractor : object, optional
        Not needed: the processor has them.
    chunk_length_s : float, optional
        Longest window in seconds; by default as `asrscope.transcribing.transcribe_all` says.
    stride_length_s : float, optional
        Overlap of two windows in seconds, where there is no pause between them.
    return_timestamps : bool, default: False
        Whether to return the stretches of a recording with their times. Times of words are not known.
    num_beams : int, default: 1
        Beams of the search; ``generate_kwargs={"num_beams": ...}`` does the same.
    batch_size : int, optional
        Windows, of one recording or several, that are recognized together.
    **kwargs
        Options of every pipeline: ``device``, ``task`` and others.

    Raises
    ------
    ValueError
        If there is no processor, or an option is not known.
    """

    _pipeline_calls_generate = False  # generate is called by `asrscope.transcribing`

    def __new__(cls, model: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Make a pipeline of this class, or of transformers' own for a model that is not of this package."""
        if isinstance(model, AsrScopeForConditionalGeneration):
            return super().__new__(cls)
        return AutomaticSpeechRecognitionPipeline(model, *args, **kwargs)

    def __init__(
        self,
        model: AsrScopeForConditionalGeneration,
        *,
        processor: AsrScopeProcessor | None = None,
        tokenizer: Any = None,  # noqa: ARG002 - transformers passes them
        feature_extractor: Any = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> None:
        self.type = "asrscope"
        processor = processor or _saved_processor(model)
        Pipeline.__init__(
            self,
            model,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            processor=processor,
            **kwargs,
        )
        if self.device.type == "cpu" and model.dtype == torch.float16:
            model.float()  # half precision is for storing: a CPU computes in it slowly, or not at all
        model.eval()

    def _sanitize_parameters(
        self,
        chunk_length_s: float | int | None = None,
        stride_length_s: Any = None,
        return_timestamps: bool | str | None = None,
        num_beams: int | None = None,
        generate_kwargs: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        options = dict(generate_kwargs or {})
        beams = options.pop("num_beams", num_beams)
        if unknown := {**unknown, **options}:
            raise ValueError(
                "Expected chunk_length_s, stride_length_s, return_timestamps, num_beams or batch_size, "
                f"but found {', '.join(sorted(unknown))}. For anything else call model.generate."
            )
        if return_timestamps not in {None, True, False}:
            raise ValueError(
                f"Expected return_timestamps to be True or False, but found {return_timestamps!r}: this "
                "model gives no times of words or characters, only those of the stretches that it heard."
            )
        forward: dict[str, Any] = {}
        if chunk_length_s is not None:
            forward["window_seconds"] = chunk_length_s or None
        if stride_length_s is not None:
            # transformers lets windows overlap at both ends.
            both = stride_length_s if isinstance(stride_length_s, (int, float)) else sum(stride_length_s)
            forward["overlap_seconds"] = both
        if beams is not None:
            forward["num_beams"] = beams
        return {}, forward, {} if return_timestamps is None else {"times": bool(return_timestamps)}

    def __call__(self, inputs: Any, *, batch_size: int | None = None, **kwargs: Any) -> Any:
        """Recognize one recording, or each of a list or an iterator of them.

        Parameters
        ----------
        inputs : str, Path, bytes, np.ndarray, dict, or list or iterator of these
            The recordings, see the class.
        batch_size : int, optional
            Windows that are recognized together.
        **kwargs
            Options of the class, for this call.

        Returns
        -------
        dict, list of dict or iterator of dict
            The text of each; an iterator for an iterator or a dataset.
        """
        kwargs.pop("num_workers", None)  # reading is not what takes time
        _, forward, after = self._sanitize_parameters(**kwargs)
        forward = {
            "batch_size": batch_size or self._batch_size or BATCH_SIZE,
            **self._forward_params,
            **forward,
        }
        after = {**self._postprocess_params, **after}
        one = (str, Path, bytes, dict, np.ndarray, torch.Tensor)
        if isinstance(inputs, one) or hasattr(inputs, "read") or hasattr(inputs, "get_all_samples"):
            return next(self._each([inputs], forward, after))
        found = self._each(inputs, forward, after)
        return list(found) if isinstance(inputs, (list, tuple)) else found

    def preprocess(self, inputs: Any) -> AudioStream:
        """Open one recording, whatever form it has."""
        if hasattr(inputs, "get_all_samples"):  # a decoder, as `datasets` gives it
            samples = inputs.get_all_samples()
            inputs = {"array": samples.data, "sampling_rate": samples.sample_rate}
        rate = SAMPLE_RATE
        if isinstance(inputs, Mapping):
            samples = next((inputs[key] for key in ("raw", "array") if inputs.get(key) is not None), None)
            if samples is not None and inputs.get("sampling_rate"):
                inputs, rate = samples, inputs["sampling_rate"]
            elif samples is None and (inputs.get("bytes") or inputs.get("path")):
                inputs = inputs.get("bytes") or inputs["path"]
            else:
                raise ValueError(
                    "Expected a dictionary with 'array' or 'raw' and 'sampling_rate', or with 'path' or "
                    f"'bytes', but found {', '.join(map(repr, inputs)) or 'an empty one'}."
                )
        if isinstance(inputs, torch.Tensor):
            inputs = inputs.detach().cpu().numpy()
        if not isinstance(inputs, np.ndarray):
            return AudioStream(inputs)
        odd: list[str] = []
        stream = AudioStream(_one_channel(inputs, rate, odd))
        stream.warnings = list(dict.fromkeys([*odd, *stream.warnings]))
        return stream

    def _forward(self, model_inputs: AudioStream, **options: Any) -> Transcript:
        return next(transcribe_all(self.model, self.processor, [model_inputs], **options))

    def postprocess(self, model_outputs: Transcript, *, times: bool = False) -> dict[str, Any]:
        """Give a transcript the form that users of transformers know."""
        record: dict[str, Any] = {"text": model_outputs.text}
        if times:
            record["chunks"] = [
                {"text": segment.text, "timestamp": (segment.start, segment.end)}
                for segment in model_outputs.segments
                if segment.text
            ]
        return record | {
            "confidence": model_outputs.confidence,
            "warnings": list(model_outputs.warnings),
        }

    def _each(
        self, inputs: Iterable[Any], forward: dict[str, Any], after: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        streams = map(self.preprocess, inputs)
        with self.device_placement():
            for transcript in transcribe_all(self.model, self.processor, streams, **forward):
                yield self.postprocess(transcript, **after)


def _saved_processor(model: AsrScopeForConditionalGeneration) -> AsrScopeProcessor:
    """Load the processor that was saved with a model."""
    place = model.config._name_or_path
    try:
        if not place:
            raise OSError("the model was not loaded from a folder or a repository")
        processor: AsrScopeProcessor = AsrScopeProcessor.from_pretrained(place)
    except OSError as error:
        raise ValueError(
            f"Expected the model's processor, but found none ({error}). Make sure to give it: "
            "pipeline(..., model=model, processor=processor)."
        ) from error
    return processor


def _one_channel(samples: np.ndarray, rate: float | int, odd: list[str]) -> np.ndarray:
    """Check samples of shape (samples,) or (channels, samples) and average their channels; at 16 kHz."""
    if samples.ndim != 2:
        return check_waveform(samples, rate, on_warning=odd.append)
    if not 1 <= samples.shape[0] <= MOST_CHANNELS:
        raise ValueError(
            f"Expected a waveform of shape (samples,) or (channels, samples), but found {samples.shape}. "
            "Make sure that the channels come first."
        )
    channels = np.stack([check_waveform(channel, rate, on_warning=odd.append) for channel in samples])
    powers = np.square(channels).mean(axis=1)
    mean = channels.mean(axis=0)
    if len(channels) > 1 and np.square(mean).mean() < CANCELLED_SHARE * powers.mean():
        odd.append(
            "the waveform: the channels have opposite phases and cancel each other: "
            f"channel {int(powers.argmax()) + 1} of {len(channels)} is used"
        )
        return np.asarray(channels[powers.argmax()])
    return np.asarray(mean)
