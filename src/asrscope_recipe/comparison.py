"""What the bundled model is set beside: another recognizer, and digits that people spoke."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from asrscope.audio import SAMPLE_RATE, find_audio
from asrscope.loading import Loaded
from asrscope.recognition.metrics import Evaluation, Recognize, Result, Utterance, evaluate, normalize
from asrscope.recognition.transcribe import transcribe

__all__ = ["DIGITS", "Peer", "count_right", "listen", "load_peer", "spoken_digits", "transcriber"]

WHOLE = ("own", "beams")  # who hears every clip, whatever the limit
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


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


def listen(
    systems: Mapping[str, Recognize], utterances: Iterable[Utterance], limit: int | None = None
) -> dict[str, Evaluation]:
    """Give each clip to all systems in turn; clips beyond the limit only to those that hear every clip."""
    results: dict[str, list[Result]] = {name: [] for name in systems}
    for number, utterance in enumerate(tqdm(utterances, "listening", disable=None)):
        for name, recognize in systems.items():
            if name in WHOLE or limit is None or number < limit:
                (result,) = evaluate([utterance], recognize).results
                if result.failure is not None:
                    raise ValueError(f"{utterance.name}: {name} failed: {result.failure}")
                results[name].append(result)
    return {name: Evaluation(tuple(each)) for name, each in results.items()}


def count_right(heard: Evaluation) -> int:
    """Count the whole texts that are what was said, after normalization; a digit's word equals the digit."""
    return sum(normalize(result.text) == normalize(result.utterance.text) for result in heard.results)
