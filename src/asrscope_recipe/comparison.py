"""What a model is set beside: other models, itself without a part of it, digits that people spoke."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from jaxtyping import Float32
from tqdm import tqdm
from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

from asrscope.audio import SAMPLE_RATE, find_audio
from asrscope.encoder import encode, lead_positions
from asrscope.loading import Loaded, load, untrained
from asrscope.projector import AudioProjector
from asrscope.recognition.metrics import Evaluation, Recognize, Result, Utterance, evaluate, normalize
from asrscope.recognition.transcribe import transcribe
from asrscope.training.finished import read_projector
from asrscope.training.projector import read_letters, read_nearest

__all__ = [
    "DIGITS",
    "QUICK",
    "RANDOM",
    "SEARCH",
    "SEED",
    "TOGETHER",
    "Peer",
    "count_right",
    "listen",
    "load_peer",
    "spoken_digits",
    "systems_beside",
    "together",
    "transcriber",
]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Systems that have a place of their own in a card.
RANDOM, QUICK, SEARCH = "a random projector", "a quick run", "beam search"
SEED = 0  # of the random projector
TOGETHER = "together"  # the name of all sets in one

Waveform = Float32[np.ndarray, " samples"]
Hidden = Float32[np.ndarray, "positions encoder_dim"]
Heard = dict[str, dict[str, Evaluation]]  # by set, by system


@dataclass(frozen=True)
class Peer:
    """A recognizer to compare with.

    Attributes
    ----------
    name, version : str
        The package.
    model : str
        Its acoustic model.
    model_bytes : int
        Size of all files of that model.
    recognize : callable
        Takes a waveform of shape (samples,), mono at 16 kHz, and returns the text.
    """

    name: str
    version: str
    model: str
    model_bytes: int
    recognize: Recognize


def load_peer(name: str) -> Peer:
    """Load pocketsphinx with the large-vocabulary model of US English that it comes with.

    Every clip is decoded as one whole utterance, so that no result depends on the clips before.

    Parameters
    ----------
    name : str
        ``"pocketsphinx"``: there is no other so far.

    Returns
    -------
    Peer
        The recognizer; its ``recognize`` can be given to `asrscope.recognition.metrics.evaluate`.

    Raises
    ------
    ValueError
        If the name is not known.
    ImportError
        If its package is not installed.
    """
    if name != "pocketsphinx":
        raise ValueError(f"expected a recognizer out of pocketsphinx, but found {name!r}")
    try:
        import pocketsphinx  # noqa: PLC0415 - needed for comparisons only
    except ImportError as error:
        raise ImportError(
            "the comparison needs pocketsphinx, which cannot be imported: "
            "install it with 'pip install pocketsphinx'"
        ) from error
    decoder = pocketsphinx.Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def recognize(waveform: Float32[np.ndarray, " samples"]) -> str:
        pcm = np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
        decoder.start_utt()
        decoder.process_raw(pcm.tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return "" if hypothesis is None else str(hypothesis.hypstr)

    folder = Path(decoder.config["hmm"]).parent
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Peer("pocketsphinx", version("pocketsphinx"), folder.name, size, recognize)


def spoken_digits(folder: str | Path) -> tuple[Utterance, ...]:
    """Find recordings of single spoken digits.

    The digit is the first one in the file's name that stands alone between underscores, hyphens, blanks or
    the ends of the name: 7 in ``7_jackson_0.wav``. Other recordings are left out.

    Parameters
    ----------
    folder : str or Path
        Where to look, also in the folders below.

    Returns
    -------
    tuple of Utterance
        Sorted by path; ``text`` is the digit's word.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or no such recording in it.
    """
    found = []
    for path in find_audio(folder):
        alone = [part for part in re.split(r"[_\-\s]", path.stem) if re.fullmatch("[0-9]", part)]
        if alone:
            found.append(Utterance(path.name, path, DIGITS[int(alone[0])]))
    if not found:
        raise FileNotFoundError(
            f"{folder}: no recordings of digits found: expected names such as 7_speaker_0.wav"
        )
    return tuple(found)


def transcriber(loaded: Loaded, beams: int | None = None) -> Recognize:
    """Let a model of ours be one of those that are compared."""
    return lambda waveform: transcribe(*loaded, waveform, num_beams=beams).text


def systems_beside(
    name: str,
    loaded: Loaded,
    *,
    others: Mapping[str, str | Path] = MappingProxyType({}),
    warm: Path | None = None,
    whisper: Path | None = None,
    peer: Peer | None = None,
) -> dict[str, Recognize]:
    """Name what is to hear the same clips.

    Parameters
    ----------
    name : str
        What to call the model that is measured.
    loaded : (AsrScopeForConditionalGeneration, AsrScopeProcessor)
        The model.
    others : mapping of str to str or Path
        Other models by name, as `asrscope.load` takes them; one that is called as the first is left out.
    warm : Path, optional
        Folder of a projector after the warm start: it is read without the decoder, too.
    whisper : Path, optional
        Folder of the whole Whisper model that the encoder comes from, with its own decoder.
    peer : Peer, optional
        Another recognizer.

    Returns
    -------
    dict of str to callable
        Each takes a waveform, shape (samples,), 16 kHz, and returns text. The model is the first, and a
        random projector between the same parts always among them. If the projector has a vote, so are the
        decoder without it; if its output is bound, the projector read by its nearest tokens; if it has a
        speller, the pair without it, and the letters that it hears, without a decoder; if the encoder hears a
        silence ahead of each clip, the pair without that.
    """
    model, processor = loaded
    systems = {name: transcriber(loaded)}
    systems |= {other: transcriber(load(place)) for other, place in others.items() if other != name}
    projector = model.multi_modal_projector
    if projector.ctc_weight:
        systems["the decoder alone"] = _changed(loaded, projector, ctc_weight=0.0)
    systems[RANDOM] = transcriber((untrained(model, SEED), processor))
    if projector.binding is not None:
        systems["the nearest tokens alone"] = _read(loaded, partial(_nearest, loaded, projector))
    if projector.speller is not None:
        systems["without letters"] = _changed(loaded, projector, speller=None)
        systems["the letters alone"] = _read(loaded, partial(read_letters, projector))
    if lead_positions(model.audio_tower.config):
        systems["no silence ahead"] = _changed(loaded, model.audio_tower.config, lead_positions=0)
    if warm is not None:
        after = read_projector(warm, model)
        systems["the warm start alone"] = _read(loaded, partial(_nearest, loaded, after))
    if whisper is not None:
        systems["Whisper's own decoder"] = _whisper(whisper)
    if peer is not None:
        systems[peer.name] = peer.recognize
    return systems


def _changed(loaded: Loaded, part: object, **changes: Any) -> Recognize:
    """Let a pair recognize with other attributes of one of its parts, and search as it does with its own."""
    beams = loaded[0].beams

    def recognize(waveform: Waveform) -> str:
        with patch.multiple(part, **changes):
            return transcribe(*loaded, waveform, num_beams=beams).text

    return recognize


def _read(loaded: Loaded, read: Callable[[Hidden], str]) -> Recognize:
    """Let something read the encoder's output without a decoder."""
    model, processor = loaded

    @torch.inference_mode()
    def recognize(waveform: Waveform) -> str:
        features = torch.from_numpy(processor.features(waveform))[None]
        return read(encode(model.audio_tower, features)[0].float().numpy())

    return recognize


def _nearest(loaded: Loaded, projector: AudioProjector, hidden: Hidden) -> str:
    table = loaded[0].get_input_embeddings().get_parameter("weight")
    return read_nearest(projector, table, hidden, loaded[1].tokenizer)


def _whisper(folder: Path) -> Recognize:
    model = WhisperForConditionalGeneration.from_pretrained(folder).float().eval()
    extractor = WhisperFeatureExtractor(feature_size=model.config.num_mel_bins)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def recognize(waveform: Waveform) -> str:
        features = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        ids = model.generate(features, max_new_tokens=200, do_sample=False)
        return str(tokenizer.decode(ids[0], skip_special_tokens=True))

    return recognize


def listen(systems: Mapping[str, Recognize], sets: Mapping[str, Iterable[Utterance]]) -> Heard:
    """Give each clip to all systems in turn, so that whatever else the machine does falls on all of them.

    Parameters
    ----------
    systems : mapping of str to callable
        What `systems_beside` returns.
    sets : mapping of str to iterable of Utterance
        The clips.

    Returns
    -------
    dict of str to dict
        For each set what each system made of it.

    Raises
    ------
    ValueError
        If a clip cannot be read.
    """
    heard: Heard = {}
    for name, utterances in sets.items():
        results: dict[str, list[Result]] = {system: [] for system in systems}
        for utterance in tqdm(utterances, name, disable=None):
            for system, recognize in systems.items():
                (result,) = evaluate([utterance], recognize).results
                if result.failure is not None:
                    raise ValueError(f"{utterance.name}: {system} failed: {result.failure}")
                results[system].append(result)
        heard[name] = {system: Evaluation(tuple(each)) for system, each in results.items()}
    return heard


def together(heard: Heard) -> dict[str, Evaluation]:
    """Put what each system made of all sets into one."""
    return {
        system: Evaluation(tuple(result for by in heard.values() for result in by[system].results))
        for system in next(iter(heard.values()))
    }


def count_right(heard: Evaluation) -> int:
    """Count the whole texts that are what was said, after normalization; a digit's word equals the digit."""
    return sum(normalize(result.text) == normalize(result.utterance.text) for result in heard.results)
