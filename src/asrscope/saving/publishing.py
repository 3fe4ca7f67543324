"""A model for others: its files, what is known of its weights, and a card that claims nothing else.

The Hub's own command publishes the folder: ``hf upload OWNER/NAME FOLDER``.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment
from safetensors.torch import save

from asrscope.saving import in_turn, write_bytes, write_text
from asrscope.saving.provenance import PARTS, hash_vocabulary, name_source, provenance_of, repository_of

__all__ = ["model_card", "save_projector", "write_folder"]

MARK = "<!-- written by asrscope from the model itself; a card without this line is left alone -->"


def save_projector(model: Any, folder: str | Path, *, processor: Any = None) -> Path:
    """Save the projector alone, with names and commits of the encoder and decoder that it belongs between.

    ``asrscope.load("full", projector=folder)`` puts the three together again.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model whose projector it is.
    folder : str or Path
        Where to write ``model.safetensors`` and ``config.json``; it is created.
    processor : AsrScopeProcessor, optional
        The model's processor; with it, the prompt is kept.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    folder = Path(folder)
    module = PARTS["projector"]
    weights = {
        f"{module}.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in getattr(model, module).state_dict().items()
    }
    config = model.config
    record: dict[str, Any] = {
        "model_type": "asrscope-projector",
        "stack_factor": config.stack_factor,
        "pad_audio": config.pad_audio,
        "lead_positions": getattr(config.audio_config, "lead_positions", 0),
        "trained_seconds": config.trained_seconds,
        **{key: value for key, value in config.to_dict().items() if key.startswith("projector_")},
        "audio_config": {"d_model": config.audio_config.d_model},
        "text_config": {"hidden_size": config.text_config.hidden_size},
    }
    known = {one.part: one for one in provenance_of(model)}
    for part, key in (("encoder", "audio_model"), ("decoder", "text_model")):
        record |= {f"{key}_id": repository_of(known[part]) or name_source(known[part])}
        record |= {f"{key}_revision": known[part].revision}
        record[f"{key}_sha256"] = known[part].sha256
    if processor is not None:
        asked, audio = processor.instruction, processor.audio_token
        record["user_prompt"] = asked.replace(audio, "<audio>") if audio in asked else f"{asked}<audio>"
        record["system_prompt"] = processor.system_prompt
        record["text_model_vocabulary"] = hash_vocabulary(processor.tokenizer)
        if processor.chat_template not in (None, processor.tokenizer.chat_template):
            record["chat_template"] = processor.chat_template
    with in_turn(folder):
        write_bytes(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
        write_text(folder / "config.json", json.dumps(record, indent=2) + "\n")
    return folder


def model_card(
    model: Any,
    *,
    repository: str,
    only_projector: bool = False,
    license: str | None = None,
    language: str | Iterable[str] | None = None,
    error_rates: Mapping[str, float] | None = None,
) -> str:
    """Write the model card, the README.md of a repository, from the model itself.

    Sizes are counted, the origin of each part is what its provenance says. What is not known is said to be
    not known: there is no license, language or error rate in it that was not given.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    repository : str
        Where it is to be published, ``owner/name``.
    only_projector : bool
        Whether the repository holds the projector alone.
    license : str, optional
        The license's identifier on the Hub, ``mit`` for example.
    language : str or iterable of str, optional
        Languages it is for, ``en`` for example.
    error_rates : mapping of str to float, optional
        Word error rates that were measured, by the name of the collection.

    Returns
    -------
    str
        Markdown with metadata before it.
    """
    parts = provenance_of(model)
    config = model.config
    languages = [language] if isinstance(language, str) else list(language or ())
    base = [
        replace(one, source=found)
        for one in parts
        if one.part != "projector" and (found := repository_of(one)) is not None
    ]
    data = ModelCardData(
        library_name="asrscope",
        pipeline_tag="automatic-speech-recognition",
        license=license,
        language=languages or None,
        base_model=[one.source for one in base] or None,
        tags=["asrscope", "speech-language-model", *(["projector"] if only_projector else [])],
    )
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"cell": _cell, "source": name_source}
    stored = getattr(model, PARTS["projector"]) if only_projector else model
    text = environment.from_string(
        (files("asrscope") / "data" / "card.md.jinja").read_text(encoding="utf-8")
    ).render(
        mark=MARK,
        version=version("asrscope"),
        repository=repository,
        only_projector=only_projector,
        parts=parts,
        stored=sum(p.numel() * p.element_size() for p in stored.parameters()),
        base=base,
        config=config,
        license=license,
        languages=languages,
        error_rates=error_rates or {},
    )
    return f"---\n{data.to_yaml()}\n---\n{text}"


def write_folder(
    model: Any,
    folder: str | Path,
    *,
    repository: str,
    processor: Any = None,
    only_projector: bool = False,
    **card: Any,
) -> None:
    """Write a folder for others: the model, or its projector, with a card that is written from it.

    A card that somebody has written by hand is left as it is.

    Parameters
    ----------
    model : AsrScopeForConditionalGeneration
        The model.
    folder : str or Path
        Where to write; it is created.
    repository : str
        Where it is to be published, ``owner/name``: the card says so.
    processor : AsrScopeProcessor, optional
        Its processor.
    only_projector : bool
        Whether to write the projector alone.
    **card
        License, language and so on, see `model_card`.

    Raises
    ------
    ValueError
        If the name is not of the form ``owner/name``.
    OSError
        If a file cannot be written.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"Expected a repository of the form owner/name, but found {repository!r}.")
    if only_projector:
        save_projector(model, folder, processor=processor)
    else:
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    file = Path(folder) / "README.md"
    if not file.exists() or MARK in file.read_text(encoding="utf-8"):
        text = model_card(model, repository=repository, only_projector=only_projector, **card)
        write_text(file, text)


def _cell(text: object) -> str:
    """Make a text safe in a cell of a Markdown table."""
    plain = re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", " ".join(str(text).split()))
    return plain.replace("&", "&amp;")
