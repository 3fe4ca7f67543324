"""Word error rate over a collection of recordings: how certain it is, and where the errors are.

It is counted by voice, by length and under added noise, and the utterances that went worst are set beside
what was said. Any recognizer can be measured: `evaluate` takes a function from waveform to text.
"""

from asrscope.recognition.evaluation.measure import Recognize, evaluate
from asrscope.recognition.evaluation.noise import COLORS, Noise, add_noise
from asrscope.recognition.evaluation.results import Evaluation, Group, Result
from asrscope.recognition.evaluation.utterances import Utterance, read_utterances

__all__ = [
    "COLORS",
    "Evaluation",
    "Group",
    "Noise",
    "Recognize",
    "Result",
    "Utterance",
    "add_noise",
    "evaluate",
    "read_utterances",
]
