"""Train only a projector, between the encoder and the decoder of a checkpoint, on recordings of your own.

Encoder and decoder come from any model that `asrscope.loading.presets` can load, and stay as they are. The
loop is that of stage 3: only where the clips come from differs.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from asrscope.files import write_text
from asrscope.loading.presets import load
from asrscope.loading.provenance import provenance_of, write_provenance
from asrscope.model import AsrScopeForConditionalGeneration
from asrscope.processing import AsrScopeProcessor
from asrscope.projector import AudioProjector
from asrscope.training.curves import read_stages
from asrscope.training.encodings import EncoderPass, cache_encodings
from asrscope.training.options import Options
from asrscope.training.processes import join_processes
from asrscope.training.projector import FrozenDecoder, ProjectorRecipe, train_projector
from asrscope.training.run import Watch
from asrscope.training.speech_corpus import SpeechCorpus, SpeechShard, load_speech, write_speech

__all__ = [
    "FULL_RECIPE",
    "encode_corpus",
    "load_pair",
    "prepare_corpus",
    "train_on_corpus",
    "write_model",
]

# Between Whisper-large-v3-turbo and SmolLM3-3B: an audio token for each 80 ms of the padded window.
FULL_RECIPE = ProjectorRecipe(stack_factor=4, hidden_size=2048, learning_rate=5e-4, copies=1)

Loaded = tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor]


def load_pair(
    model: str, *, encoder: str | None = None, decoder: str | None = None
) -> tuple[AsrScopeForConditionalGeneration, AsrScopeProcessor, ProjectorRecipe]:
    """Load encoder and decoder, and say which recipe fits between them.

    Parameters
    ----------
    model : str
        ``"tiny"``, ``"full"``, or a folder with a saved model.
    encoder, decoder : str, optional
        With ``full``: Hub repository or folder to take in the place of the usual one.

    Returns
    -------
    AsrScopeForConditionalGeneration, AsrScopeProcessor, ProjectorRecipe
        The model, its processor, and the recipe with the sizes of the model's own projector.

    Raises
    ------
    ValueError
        If other parts are asked for than ``full`` has.
    """
    if model != "full":
        if encoder or decoder:
            raise ValueError(f"only the preset 'full' can be given another encoder or decoder, not {model!r}")
        loaded, processor = load(model)
        own = loaded.config
        recipe = ProjectorRecipe(
            stack_factor=own.stack_factor,
            hidden_size=own.projector_hidden_size,
            norm=own.projector_norm,
            mlp=own.projector_mlp,
        )
        return loaded, processor, recipe
    others = {part: named for part, named in (("encoder", encoder), ("decoder", decoder)) if named}
    loaded, processor = load("full", random_projector=True, **others)
    return loaded, processor, FULL_RECIPE


def prepare_corpus(
    corpus: SpeechCorpus,
    folder: Path,
    processor: AsrScopeProcessor,
    *,
    progress: Callable[[int, int | None], None] | None = None,
) -> tuple[list[SpeechShard], list[tuple[str, str]]]:
    """Keep the features of a corpus in ``folder``, and open them. Processes share the work.

    Returns
    -------
    list of SpeechShard
        The features.
    list of (str, str)
        Id and reason of every row that cannot be used.
    """
    accelerator = join_processes()
    write_speech(
        corpus,
        folder,
        processor.features,
        process=accelerator.process_index,
        processes=accelerator.num_processes,
        progress=progress,
    )
    accelerator.wait_for_everyone()
    (folder / "complete").touch()
    return load_speech(folder)


def encode_corpus(
    loaded: Loaded,
    shards: list[SpeechShard],
    folder: Path,
    recipe: ProjectorRecipe,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> EncoderPass:
    """Cache in ``folder/encodings`` what the encoder makes of a corpus.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model that lends its encoder.
    shards : list of SpeechShard
        What `prepare_corpus` returned.
    folder : Path
        Of the run; what is finished in it is kept.
    recipe : ProjectorRecipe
        Says how many copies of every clip to make.
    progress : callable, optional
        Called with (done, total).

    Returns
    -------
    EncoderPass
        The encoder at work on the corpus.
    """
    model, processor = loaded
    work = EncoderPass(model.audio_tower, shards, recipe.seed, fixed_length=processor.pad_audio)
    cache_encodings(work, folder / "encodings", recipe.copies, progress=progress)
    return work


def train_on_corpus(
    loaded: Loaded,
    work: EncoderPass,
    folder: Path,
    recipe: ProjectorRecipe,
    *,
    options: Options | None = None,
    watch: Watch | None = None,
) -> Path:
    """Train a projector from what `encode_corpus` has cached.

    Parameters
    ----------
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model that lends its decoder.
    work : EncoderPass
        What `encode_corpus` returned.
    folder : Path
        Of the run; the projector is trained in ``projector`` in it, or goes on there.
    recipe : ProjectorRecipe
        What to train.
    options : Options, optional
        How to compute it.
    watch : callable, optional
        See `asrscope.training.run.Run`.

    Returns
    -------
    Path
        The folder of the finished projector.
    """
    model, processor = loaded
    frozen = FrozenDecoder(model.language_model, processor.tokenizer, processor.prompt())
    return train_projector(
        folder / "encodings", frozen, folder / "projector", recipe, work=work, options=options, watch=watch
    )


def write_model(source: str, projector: Path, target: Path, seconds: float) -> Path:
    """Save a model with a newly trained projector in it, in half precision.

    Parameters
    ----------
    source : str
        ``"tiny"`` or the folder of the model that lent encoder and decoder.
    projector : Path
        The folder of the finished projector.
    target : Path
        Gets the model.
    seconds : float
        Longest clip that it was trained on.

    Returns
    -------
    Path
        ``target``.
    """
    model, processor = load(source)  # anew: nothing has touched its weights
    made: dict[str, Any] = json.loads((projector / "recipe.json").read_text(encoding="utf-8"))
    claims: dict[str, dict[str, Any]] = {
        part.part: {"trained": part.trained, "made_with": {"source": part.source, "sha256": part.sha256}}
        for part in provenance_of(model)
        if part.trained is not None
    }
    claims["projector"] = {"trained": True, "made_with": made}
    config = model.config
    bridge = AudioProjector(
        config.audio_config.d_model,
        config.text_config.hidden_size,
        made["stack_factor"],
        made["hidden_size"],
        norm=made["norm"],
        mlp=made["mlp"],
    )
    bridge.load_state_dict(load_file(projector / "model.safetensors"))
    model.multi_modal_projector = bridge
    config.stack_factor = processor.stack_factor = made["stack_factor"]
    config.projector_hidden_size = made["hidden_size"]
    config.projector_norm, config.projector_mlp = made["norm"], made["mlp"]
    config.trained_seconds = max(float(config.trained_seconds), seconds)
    model.half().save_pretrained(target)
    processor.save_pretrained(target)
    write_provenance(target, claims)
    curves = read_stages({"projector": projector})
    write_text(target / "training.json", json.dumps(curves) + "\n")
    return target
