"""Let synthesizers speak a corpus for `asrscope train projector`."""

import csv
import random
import sys
from itertools import islice
from pathlib import Path

import soundfile

from asrscope.audio import SAMPLE_RATE
from asrscope_recipe.sentences import sentences
from asrscope_recipe.synthesis import synthesize, training_voice

folder, count = Path(sys.argv[1]), int(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
voices = random.Random(0)
rows = [("file_name", "text")]
for number, text in enumerate(islice(sentences("train", seed=0), count)):
    clip = synthesize(text, training_voice(voices))
    rows.append((f"{number:04}.flac", text))
    soundfile.write(folder / rows[-1][0], clip.waveform, SAMPLE_RATE)
with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows(rows)
print(f"{count} clips are in {folder}")
