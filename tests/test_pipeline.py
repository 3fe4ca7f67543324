"""The pipeline of transformers with this package's model: every kind of input, lists, times, other models."""

import types

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutomaticSpeechRecognitionPipeline, pipeline

from asrscope.audio import load_audio
from asrscope.pipeline import SpeechRecognitionPipeline
from asrscope.samples import load_samples
from asrscope.transcribing import transcribe

TASK = "automatic-speech-recognition"


@pytest.fixture(scope="module")
def recognize(bundled):
    model, processor = bundled
    parts = {"tokenizer": processor.tokenizer, "feature_extractor": processor.feature_extractor}
    return pipeline(TASK, model=model, processor=processor, **parts)


@pytest.fixture(scope="module")
def sample():
    return load_samples()[0].path


@pytest.fixture(scope="module")
def waveform(sample):
    return load_audio(sample)


@pytest.fixture(scope="module")
def text(bundled, waveform):
    return transcribe(*bundled, waveform).text


def test_a_folder_is_enough_and_half_precision_is_for_storing(make_checkpoint, sample):
    recognize = pipeline(TASK, model=str(make_checkpoint()))
    assert type(recognize) is SpeechRecognitionPipeline
    assert recognize.model.dtype == torch.float32
    assert recognize(str(sample))["text"]


def test_every_kind_of_input_gives_the_same_text(recognize, sample, waveform, text):
    stereo = np.stack([waveform, waveform])
    decoder = types.SimpleNamespace(
        get_all_samples=lambda: types.SimpleNamespace(data=torch.from_numpy(stereo), sample_rate=16_000)
    )
    inputs = {
        "path": sample,
        "name": str(sample),
        "bytes": sample.read_bytes(),
        "samples": waveform,
        "float64": waveform.astype(np.float64),
        "tensor": torch.from_numpy(waveform),
        "stereo": stereo,
        "array": {"array": waveform, "sampling_rate": 16_000, "path": "not to be read"},
        "raw": {"raw": waveform, "sampling_rate": 16_000},
        "undecoded": {"bytes": sample.read_bytes(), "path": None},
        "undecoded path": {"bytes": None, "path": str(sample)},
        "decoder": decoder,
    }
    assert {kind: recognize(each)["text"] for kind, each in inputs.items()} == dict.fromkeys(inputs, text)


def test_other_rates_are_resampled_and_integers_scaled(recognize, waveform, tmp_path):
    soundfile.write(tmp_path / "48k.wav", np.repeat(waveform, 3), 48_000)
    expected = recognize(str(tmp_path / "48k.wav"))["text"]
    integers = (np.repeat(waveform, 3) * 32767).round().astype(np.int16)
    assert recognize({"array": integers, "sampling_rate": 48_000})["text"] == expected


def test_channels_that_cancel_each_other_do_not_end_in_silence(recognize, waveform, text):
    found = recognize({"array": np.stack([waveform, -waveform]), "sampling_rate": 16_000})
    assert found["text"] == text
    assert any("opposite phases" in warning for warning in found["warnings"])


def test_a_list_gives_a_list_and_an_iterator_an_iterator(recognize, bundled):
    clips = [load_audio(sample.path) for sample in load_samples()[:3]]
    expected = [transcribe(*bundled, clip).text for clip in clips]
    assert [found["text"] for found in recognize(clips, batch_size=2)] == expected
    lazy = recognize(iter(clips))
    assert not isinstance(lazy, list)
    assert [found["text"] for found in lazy] == expected


def test_a_long_recording_has_the_text_and_times_of_its_windows(recognize, bundled):
    recording = np.concatenate([load_audio(sample.path) for sample in load_samples()[:4]])
    found = recognize(recording, return_timestamps=True)
    expected = transcribe(*bundled, recording)
    assert found["text"] == expected.text
    assert [chunk["timestamp"] for chunk in found["chunks"]] == [(s.start, s.end) for s in expected.segments]
    assert found["confidence"] == pytest.approx(expected.confidence)
    shorter = recognize(recording, chunk_length_s=2.5, stride_length_s=0.5, return_timestamps=True)
    assert max(end - start for start, end in (chunk["timestamp"] for chunk in shorter["chunks"])) <= 2.5


def test_beams_can_be_asked_for_as_in_transformers(recognize, bundled, waveform):
    expected = transcribe(*bundled, waveform, num_beams=3)
    found = recognize(waveform, generate_kwargs={"num_beams": 3})
    assert found["confidence"] == pytest.approx(expected.confidence)
    assert recognize(waveform, num_beams=3)["text"] == expected.text


@pytest.mark.parametrize("kind", ["word", "char"])
def test_times_that_are_not_known_are_refused(recognize, waveform, kind):
    with pytest.raises(ValueError, match="no times of words"):
        recognize(waveform, return_timestamps=kind)


@pytest.mark.parametrize(
    ("inputs", "options", "message"),
    [
        ({"array": np.zeros(9, np.float32)}, {}, "'sampling_rate'"),
        ({}, {}, "an empty one"),
        (np.zeros((16_000, 2), np.float32), {}, "channels come first"),
        (b"no sound", {}, "looks like text"),
        (np.zeros(16_000, np.float32), {"temperature": 1.0}, "found temperature"),
    ],
    ids=["rate", "empty", "turned", "text", "option"],
)
def test_what_cannot_be_recognized_is_refused(recognize, inputs, options, message):
    with pytest.raises(ValueError, match=message):
        recognize(inputs, **options)


def test_a_model_without_its_processor_is_refused(make_model):
    model, processor = make_model()
    parts = {"tokenizer": processor.tokenizer, "feature_extractor": processor.feature_extractor}
    with pytest.raises(ValueError, match="Make sure to give it: pipeline"):
        pipeline(TASK, model=model, **parts)


def test_a_pipeline_can_be_saved_and_loaded(bundled, recognize, waveform, text, tmp_path):
    recognize.save_pretrained(tmp_path)
    bundled[1].save_pretrained(tmp_path)
    assert pipeline(TASK, model=str(tmp_path))(waveform)["text"] == text


def test_other_models_get_the_pipeline_of_transformers(tokenizer):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        vocab_size=12,
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    made = pipeline(
        TASK,
        model=Wav2Vec2ForCTC(config),
        feature_extractor=Wav2Vec2FeatureExtractor(),
        tokenizer=tokenizer,
    )
    assert type(made) is AutomaticSpeechRecognitionPipeline
