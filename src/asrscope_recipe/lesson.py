"""A few hundred clips to train a projector on in minutes, and others to test it on, small enough to ship.

All clips of a set lie end to end in one Opus file. Those to train on say sentences of the training split, in
training voices. Those to test on say sentences that no training has heard, in the same kind of voices.
"""

import itertools
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

import asrscope
from asrscope.audio import SAMPLE_RATE, load_audio
from asrscope_recipe.clips import write_manifest
from asrscope_recipe.codecs import write_sound
from asrscope_recipe.corpus import Clips, draw_utterance, spectrogram
from asrscope_recipe.sentences import distinct, sentences
from asrscope_recipe.synthesis import training_voice

__all__ = ["LESSON", "load_lesson", "make_lesson"]

LESSON = Path(asrscope.__file__).parent / "data" / "lesson"
# By name: the split of its sentences, and how many clips.
SETS: dict[str, tuple[str, int]] = {"train": ("train", 320), "held-out": ("test", 40)}
SEED = 71
WORDS = range(4, 9)  # in a sentence: short clips are quick to train on
COMPRESSION = 0.92  # of libsndfile's Opus: about 22 kilobits a second
PEAK = 0.7  # of each clip: the codec overshoots
GAP = SAMPLE_RATE // 20  # samples of silence after each clip, for what the codec smears


def load_lesson(n_mels: int, folder: Path = LESSON) -> dict[str, Clips]:
    """Read the clips that come with the package.

    Parameters
    ----------
    n_mels : int
        Mel bands that the encoder takes.
    folder : Path
        What `make_lesson` wrote.

    Returns
    -------
    dict of str to Clips
        ``train`` and ``held-out``: sources for `asrscope.training.encodings.cache_encodings`.
    """
    sets = json.loads((folder / "lesson.json").read_text(encoding="utf-8"))["sets"]
    found = {}
    for name, described in sets.items():
        waveform = load_audio(folder / described["file"])
        clips = []
        for number, place in enumerate(described["clips"]):
            cut = waveform[place["first"] : place["first"] + place["samples"]]
            clips.append((f"clip {number}", place["text"], partial(spectrogram, cut, n_mels)))
        found[name] = Clips(clips)
    return found


def make_lesson(folder: Path) -> Path:
    """Synthesize both sets and write them with their manifest.

    Parameters
    ----------
    folder : Path
        Gets an Ogg file for each set and ``lesson.json``.

    Returns
    -------
    Path
        The manifest: for each set ``file``, its ``sha256``, its ``seconds``, and of each clip ``text``,
        ``voice``, ``first`` sample and ``samples``.

    Raises
    ------
    OSError
        If a synthesizer is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    described = {name: _make_set(folder, name, *what) for name, what in SETS.items()}
    codec = soundfile.__libsndfile_version__
    return write_manifest(folder / "lesson.json", seed=SEED, libsndfile=codec, sets=described)


def _make_set(folder: Path, name: str, split: str, count: int) -> dict[str, Any]:
    """Write one set, and describe it."""
    rng = random.Random(f"lesson-{name}-{SEED}")
    parts: list[np.ndarray] = []
    clips: list[dict[str, Any]] = []
    first = 0
    short = (text for text in sentences(split, SEED) if len(text.split()) in WORDS)
    for sentence in itertools.islice(distinct(short), count):
        voice, speech = draw_utterance(rng, sentence, training_voice)
        waveform = (PEAK * speech.waveform / np.abs(speech.waveform).max()).astype(np.float32)
        place = {"text": speech.text, "voice": str(voice), "first": first, "samples": len(waveform)}
        clips.append(place)
        parts += [waveform, np.zeros(GAP, np.float32)]
        first += len(waveform) + GAP
    path = folder / f"{name}.ogg"
    form = {"format": "OGG", "subtype": "OPUS", "compression_level": COMPRESSION}
    return {
        "file": path.name,
        "sha256": write_sound(path, np.concatenate(parts), **form),
        "seconds": round(sum(clip["samples"] for clip in clips) / SAMPLE_RATE, 2),
        "clips": clips,
    }
