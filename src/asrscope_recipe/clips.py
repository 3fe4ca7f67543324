"""Make the clips that the package ships: sentences and voices that no training has heard.

The list was fixed before any model was trained, and is not chosen by what the model gets right.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from asrscope.audio import SAMPLE_RATE
from asrscope.saving import write_text
from asrscope_recipe.codecs import FLAC, write_sound
from asrscope_recipe.sentences import split_of
from asrscope_recipe.synthesis import HELD_OUT_VOICES, Voice, synthesize

__all__ = ["make_clips", "write_manifest"]

CLIPS = (
    ("captain", "the old captain told us a story about the sea", Voice("espeak-ng", "en-us+Andy", 150)),
    ("river", "we walked along the river until the sun went down", Voice("espeak-ng", "en-us+linda", 150)),
    ("letter", "there is a letter for you on the kitchen table", Voice("flite", "rms", 170)),
    ("train", "the train to the city leaves at seven o'clock", Voice("espeak-ng", "en-us+m7", 150)),
    ("piano", "she learned to play the piano when she was six", Voice("espeak-ng", "en-us+f5", 150)),
    ("milk", "he bought three apples and a bottle of milk", Voice("flite", "rms", 170)),
    ("spring", "the birds come back to the garden every spring", Voice("espeak-ng", "en+michel", 150)),
    ("museum", "do you know the way to the museum", Voice("espeak-ng", "en-us+steph3", 150)),
)
EDGE_SECONDS = 0.15  # silence before and after, as a recording has it


def make_clips(folder: Path) -> Path:
    """Synthesize the clips and write their manifest.

    Parameters
    ----------
    folder : Path
        Gets the FLAC files and ``clips.json``.

    Returns
    -------
    Path
        The manifest: for each clip ``file``, ``text``, ``voice``, ``seconds``, ``sha256`` of the file, and
        ``words`` with start and end in seconds as the synthesizer reports them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = []
    for name, text, voice in CLIPS:
        if split_of(text) == "train" or voice.name not in HELD_OUT_VOICES[voice.synthesizer]:
            raise ValueError(f"clip {name!r} is not held out of training: choose another sentence or voice")
        speech = synthesize(text, voice)
        edge = np.zeros(round(EDGE_SECONDS * SAMPLE_RATE), np.float32)
        # flite's clips begin and end with silence of their own
        own_edges = voice.synthesizer == "flite"
        waveform = speech.waveform if own_edges else np.concatenate([edge, speech.waveform, edge])
        shift = 0.0 if own_edges else EDGE_SECONDS
        waveform = 0.8 * waveform / np.abs(waveform).max()
        path = folder / f"{name}.flac"
        digest = write_sound(path, waveform, **FLAC)
        clips.append(
            {
                "file": path.name,
                "text": text,
                "voice": str(voice),
                "synthesizer": voice.synthesizer,
                "seconds": round(waveform.size / SAMPLE_RATE, 4),
                "sha256": digest,
                "words": [
                    [word, round(start + shift, 3), round(end + shift, 3)]
                    for word, start, end in speech.words
                ],
            }
        )
    return write_manifest(folder / "clips.json", clips=clips)


def write_manifest(path: Path, **content: Any) -> Path:
    """Write what was made, with the command that makes it, called as the file, and with its synthesizers."""
    made_with = {"command": f"asrscope-recipe {path.stem}"}
    for name in ("espeak-ng", "flite"):
        done = subprocess.run([name, "--version"], capture_output=True, text=True, check=False)
        # espeak-ng adds the path of its data, which differs from machine to machine
        made_with[name] = (
            (done.stdout or done.stderr).strip().splitlines()[-1].partition("  Data at")[0].strip()
        )
    write_text(path, json.dumps({"made_with": made_with, **content}, indent=1) + "\n")
    return path
