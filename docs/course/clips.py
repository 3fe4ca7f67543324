"""Write the clips of the package as a corpus for `asrscope train projector`."""

import csv
import json
import sys
from pathlib import Path

import soundfile

import asrscope

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
lesson = Path(asrscope.__file__).parent / "data" / "lesson"
sets = json.loads((lesson / "lesson.json").read_text(encoding="utf-8"))["sets"]
described = sets["train"]
recording = asrscope.load_audio(lesson / described["file"])  # all clips, end to end
rows = [("file_name", "text")]
for number, clip in enumerate(described["clips"]):
    waveform = recording[clip["first"] : clip["first"] + clip["samples"]]
    rows.append((f"{number:04}.flac", clip["text"]))
    soundfile.write(folder / rows[-1][0], waveform, asrscope.SAMPLE_RATE)
with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows(rows)
print(f"{len(rows) - 1} clips are in {folder}")
