"""Facts about the speech-language models of transformers, from the defaults of their configurations."""

from facts import Fact
from transformers import (
    GlmAsrConfig,
    GraniteSpeechConfig,
    Qwen2AudioConfig,
    VoxtralConfig,
    WhisperFeatureExtractor,
)

from asrscope.encoder import SECONDS_PER_POSITION
from asrscope.features import SECONDS_PER_FRAME

Facts = dict[str, Fact]

PAIR = 2  # positions that the encoders of Qwen2-Audio and Audio Flamingo 3 average (avg_pooler)


def native() -> Facts:
    """How each architecture makes audio tokens of encoder positions."""
    window = WhisperFeatureExtractor().chunk_length
    position = 1000 * SECONDS_PER_POSITION
    facts = {
        "native.window": Fact(window, "WhisperFeatureExtractor: chunk_length, in seconds"),
        "native.mels": Fact(Qwen2AudioConfig().audio_config.num_mel_bins, "Qwen2AudioConfig: num_mel_bins"),
        "native.position_ms": Fact(position, "duration of an encoder position", "g"),
        "native.pooled_ms": Fact(PAIR * position, "duration of two encoder positions", "g"),
    }
    for name, config in (("voxtral", VoxtralConfig()), ("glmasr", GlmAsrConfig())):
        audio = config.audio_config
        k = audio.intermediate_size // audio.hidden_size
        facts[f"native.{name}.k"] = Fact(k, f"{type(config).__name__}: intermediate_size / hidden_size")
        facts[f"native.{name}.ms"] = Fact(k * position, f"{k} x duration of an encoder position", "g")
        rows = round(1000 * window / (k * position))
        facts[f"native.{name}.window_tokens"] = Fact(rows, f"{window} s / duration of an audio token")
    granite = GraniteSpeechConfig()
    mels = granite.encoder_config.input_dim // 2
    return facts | {
        "native.granite.column": Fact(granite.encoder_config.input_dim, "GraniteSpeechConfig: input_dim"),
        "native.granite.mels": Fact(mels, "GraniteSpeechConfig: input_dim / 2 frames"),
        "native.granite.column_ms": Fact(2000 * SECONDS_PER_FRAME, "duration of two mel frames", "g"),
        "native.granite.window": Fact(granite.window_size, "GraniteSpeechConfig: window_size"),
        "native.granite.queries": Fact(
            granite.window_size // granite.downsample_rate,
            "GraniteSpeechConfig: window_size / downsample_rate",
        ),
        "native.granite.ms": Fact(
            granite.downsample_rate * position, "downsample_rate x duration of an encoder position", "g"
        ),
    }
