"""Very small random checkpoints of the architectures that transformers ships, in the layout of the Hub."""

from pathlib import Path

from asrscope_course.architectures import ARCHITECTURES, tiny_random

__all__ = ["ARCHITECTURES", "NEEDS_TORCHAUDIO", "save_tiny", "tiny_random"]

NEEDS_TORCHAUDIO = "granite_speech"  # to be read from a folder: its processor in transformers does


def save_tiny(architecture: str, folder: Path, *, seed: int = 0) -> Path:
    """Write model, processor and tokenizer as `save_pretrained` does; returns the directory."""
    model, processor = tiny_random(architecture, seed=seed)
    path = folder / architecture
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'audio' %}<|bos|><sound><|eos|>{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def other_models():
    """Architectures beside the five that keep the same names, by model_type: very small, random."""
    import torch
    import transformers as t

    from asrscope_course.architectures import _audio_config, _features, _text_config, _tokenizer

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<sound>", "<|bos|>", "<|eos|>"]
    tokenizer = _tokenizer(special, end="<|im_end|>", chat_template=CHAT)
    tokenizer.audio_token, tokenizer.audio_bos_token, tokenizer.audio_eos_token = special[3:]
    torch.manual_seed(0)
    music = t.MusicFlamingoConfig(
        audio_config=_audio_config("audioflamingo3_encoder"),
        text_config=_text_config("qwen2", tokenizer),
        audio_token_id=3,
        audio_bos_token_id=4,
        audio_eos_token_id=5,
    )
    moss = t.MossTranscribeDiarizeConfig(
        audio_config=_audio_config("moss_transcribe_diarize_audio", num_mel_bins=80),
        text_config=_text_config("qwen3", tokenizer),
        audio_token_id=3,
    )
    qwen3 = t.Qwen3ASRConfig(
        audio_config={
            "model_type": "qwen3_asr_encoder",
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 64,
            "output_dim": 48,
            "downsample_hidden_size": 8,
        },
        text_config=_text_config("qwen3", tokenizer),
        audio_token_id=3,
        timestamp_token_id=5,
        pad_token_id=0,
        eos_token_id=2,
    )
    granite, its_processor = tiny_random("granite_speech")
    sizes = granite.config.to_dict()
    del sizes["model_type"]
    sizes["encoder_config"] |= {"model_type": "granite_speech_plus_encoder", "cat_hidden_layers": [1]}
    sizes["projector_config"]["encoder_hidden_size"] *= 2
    plus = t.GraniteSpeechPlusForConditionalGeneration(t.GraniteSpeechPlusConfig(**sizes))
    return {
        "musicflamingo": (
            t.MusicFlamingoForConditionalGeneration(music).eval(),
            t.MusicFlamingoProcessor(
                _features(), tokenizer, CHAT, "<sound>", audio_bos_token="<|bos|>", audio_eos_token="<|eos|>"
            ),
        ),
        "moss_transcribe_diarize": (
            t.MossTranscribeDiarizeForConditionalGeneration(moss).eval(),
            t.MossTranscribeDiarizeProcessor(
                t.MossTranscribeDiarizeFeatureExtractor(), tokenizer, CHAT, "<sound>", "<|bos|>", "<|eos|>"
            ),
        ),
        "qwen3_asr": (
            t.Qwen3ASRForConditionalGeneration(qwen3).eval(),
            t.Qwen3ASRProcessor(t.Qwen3ASRFeatureExtractor(), tokenizer, CHAT),
        ),
        "granite_speech_plus": (plus.eval(), its_processor),
    }
