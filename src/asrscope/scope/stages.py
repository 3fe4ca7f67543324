"""The stages of the pipeline in order: one table that feeds plots, command line and course."""

from dataclasses import dataclass

from asrscope.audio import SAMPLE_RATE

__all__ = ["STAGES", "Axis", "Stage"]

SECONDS_PER_SAMPLE = 1 / SAMPLE_RATE


@dataclass(frozen=True)
class Axis:
    """One axis of a stage: its name, its unit, and the seconds that one step covers if it runs along time.

    ``seconds_per_step`` depends on the model but for the samples: `Trace.axes` fills it in.
    """

    name: str
    unit: str
    seconds_per_step: float | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline: what it is called, which field of the trace holds it, what its axes mean.

    ``parts`` names the parts of the model whose weights shape the stage.
    """

    key: str
    title: str
    field: str
    axes: tuple[Axis, ...]
    description: str
    parts: tuple[str, ...] = ()


STAGES: tuple[Stage, ...] = (
    Stage(
        key="waveform",
        title="Waveform",
        field="waveform",
        axes=(Axis("samples", "sample", SECONDS_PER_SAMPLE),),
        description="Air pressure over time, 16 000 numbers a second between -1 and 1.",
    ),
    Stage(
        key="log_mel",
        title="Log-mel spectrogram",
        field="log_mel",
        axes=(Axis("n_mels", "mel band"), Axis("frames", "frame")),
        description="Energy in each mel band every 10 ms, on a logarithmic scale.",
    ),
    Stage(
        key="encoder_output",
        title="Encoder output",
        field="encoder_hidden_states",
        axes=(Axis("positions", "encoder position"), Axis("encoder_dim", "dimension")),
        description="One vector every 20 ms; each has seen the whole clip through attention.",
        parts=("encoder",),
    ),
    Stage(
        key="audio_embeds",
        title="Projector output",
        field="audio_embeds",
        axes=(Axis("audio_tokens", "audio token"), Axis("decoder_dim", "dimension")),
        description="Neighboring encoder positions stacked and mapped to vectors of the decoder's width.",
        parts=("encoder", "projector"),
    ),
    Stage(
        key="nearest_tokens",
        title="Nearest text tokens",
        field="nearest_cosines",
        axes=(Axis("audio_tokens", "audio token"), Axis("n_nearest", "rank")),
        description="For each audio token, the text tokens whose embeddings point most nearly the same way.",
        parts=("encoder", "projector", "decoder"),
    ),
    Stage(
        key="prompt",
        title="Prompt",
        field="prompt_ids",
        axes=(Axis("prompt_positions", "position"),),
        description="What the decoder reads: text tokens, and one placeholder for each audio token.",
    ),
    Stage(
        key="decoder_words",
        title="Decoder output",
        field="words",
        axes=(Axis("words", "word"),),
        description="The words written, each with the probability that the decoder gave it.",
        parts=("encoder", "projector", "decoder"),
    ),
)
