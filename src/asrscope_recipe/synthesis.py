"""Speech from espeak-ng and flite, with the times of every phone and word that they themselves report.

espeak-ng is called through its C library: several times faster than a process a sentence, and the only way to
get its events. flite is a process a sentence: it prints its phone times with ``-psdur``.
"""

import ctypes
import ctypes.util
import functools
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32
from numpy import ndarray

from asrscope.audio import SAMPLE_RATE
from asrscope_recipe.sentences import read_sections

__all__ = [
    "HELD_OUT_VOICES",
    "TRAIN_VOICES",
    "Speech",
    "Voice",
    "random_voice",
    "synthesize",
    "training_voice",
]


@dataclass(frozen=True)
class Voice:
    """Who speaks, and how.

    Parameters
    ----------
    synthesizer : str
        ``espeak-ng`` or ``flite``.
    name : str
        espeak-ng: accent and variant, ``en-us+linda``. flite: the voice, ``slt``.
    rate : int
        Words a minute (flite: 170 is its own rate).
    pitch : int
        0 to 99; 50 is the voice's own.
    size : float
        Of the speaker: 1.1 makes all resonances and the pitch 10 % lower, as a vocal tract 10 % longer does.
        The rate stays.
    hertz : int, optional
        Mean pitch in place of ``pitch``. Only flite takes it, and of its voices all but ``rms``.
    """

    synthesizer: str
    name: str
    rate: int = 170
    pitch: int = 50
    size: float = 1.0
    hertz: int | None = None

    def __str__(self) -> str:
        """Name who speaks."""
        return f"{self.synthesizer} {self.name}"


@dataclass(frozen=True)
class Speech:
    """A synthesized clip and what was said when.

    Parameters
    ----------
    waveform : np.ndarray, shape (samples,)
        Mono, 16 kHz, in [-1, 1].
    phones : tuple of (str, float, float)
        The synthesizer's phones with start and end in seconds; silence is ``_``.
    words : tuple of (str, float, float)
        The words of the sentence with start and end in seconds.
    """

    waveform: Float32[ndarray, " samples"]
    phones: tuple[tuple[str, float, float], ...]
    words: tuple[tuple[str, float, float], ...]

    @property
    def text(self) -> str:
        """What was said."""
        return " ".join(word for word, _, _ in self.words)


RECORDED_VOICES = ("awb", "slt")  # of flite's; the others are joined from single sounds
# synthesizer -> names; an accent of a held-out variant may be known, its variant never is
_NAMES = {name: tuple(" ".join(lines).split()) for name, lines in read_sections("voices.txt").items()}
TRAIN_VOICES = {
    "espeak-ng": tuple(
        f"{accent}+{variant}".rstrip("+")
        for accent in _NAMES["accents"]
        for variant in ("", *_NAMES["variants"])
    ),
    "flite": _NAMES["flite"],
}
HELD_OUT_VOICES = {
    "espeak-ng": tuple(
        f"{accent}+{variant}" for accent in ("en-us", "en") for variant in _NAMES["held-out variants"]
    ),
    "flite": _NAMES["held-out flite"],
}


def random_voice(rng: random.Random, voices: dict[str, tuple[str, ...]], flite_share: float = 0.35) -> Voice:
    """Draw a voice with a rate and a pitch.

    Parameters
    ----------
    rng : random.Random
        The generator.
    voices : dict
        `TRAIN_VOICES` or `HELD_OUT_VOICES`, or a part of them.
    flite_share : float
        Share of flite: its few voices sound more human than espeak-ng's many.
    """
    if len(voices) == 1:
        (synthesizer,) = voices
    else:
        synthesizer = "flite" if rng.random() < flite_share else "espeak-ng"
    name = rng.choice(voices[synthesizer])
    return Voice(synthesizer, name, rate=rng.randint(125, 205), pitch=rng.randint(25, 75))


def training_voice(rng: random.Random, flite_share: float = 0.6) -> Voice:
    """Draw a voice to train on, disguised more often than not, so that no voice of the few becomes a cue.

    Only two voices to train on were recorded from people as whole sentences, and they sound most like the
    speech that matters: they come up most often, at any pitch between a low man's and a high woman's.

    Parameters
    ----------
    rng : random.Random
        The generator.
    flite_share : float
        Share of flite.
    """
    voice = random_voice(rng, TRAIN_VOICES, flite_share)
    if voice.synthesizer == "flite" and rng.random() < 0.5:
        voice = replace(voice, name=rng.choice(RECORDED_VOICES))
    if rng.random() < 0.3:
        return voice
    size = round(rng.uniform(0.86, 1.2), 3)
    hertz = round(80 * (240 / 80) ** rng.random()) if voice.synthesizer == "flite" else None
    return replace(voice, size=size, hertz=hertz)


def synthesize(text: str, voice: Voice) -> Speech:
    """Speak a sentence.

    Parameters
    ----------
    text : str
        Words separated by blanks.
    voice : Voice
        Who speaks.

    Returns
    -------
    Speech
        The clip, its phones and its words.

    Raises
    ------
    OSError
        If the synthesizer is not installed; the message says how to install it.
    ValueError
        If it knows no such voice, or says nothing.
    """
    # Played slower, a clip sounds lower and larger; spoken faster by as much, it keeps its length.
    spoken = replace(voice, rate=round(voice.rate * voice.size))
    speak = _library().speak if voice.synthesizer == "espeak-ng" else _flite
    speech = speak(text, spoken)
    if speech.waveform.size == 0 or not speech.phones:
        raise ValueError(f"{voice.synthesizer} voice {voice.name!r} said nothing for {text!r}")
    return speech


# --- espeak-ng ----------------------------------------------------------------------------------------------

_RETRIEVAL, _PHONEME_EVENTS = 1, 1  # AUDIO_OUTPUT_RETRIEVAL, espeakINITIALIZE_PHONEME_EVENTS
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_END_OF_LIST, _WORD, _PHONEME = 0, 1, 7  # espeak_EVENT_TYPE


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Espeak:
    """The C library, initialized once a process: it keeps one global state."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("espeak-ng") or "libespeak-ng.so.1"
        try:
            self.library: Any = ctypes.CDLL(name)
        except OSError as error:
            raise OSError(
                "espeak-ng is not installed. On Debian or Ubuntu: apt-get install espeak-ng"
            ) from error
        self.rate = self.library.espeak_Initialize(_RETRIEVAL, 0, None, _PHONEME_EVENTS)
        self.samples: list[ndarray] = []
        self.events: list[tuple[int, int, float, str]] = []
        self.callback = _Callback(self._receive)  # kept: the library holds no reference to it
        self.library.espeak_SetSynthCallback(self.callback)

    def _receive(self, wav: Any, count: int, events: Any) -> int:
        if wav and count > 0:
            self.samples.append(np.ctypeslib.as_array(wav, shape=(count,)).copy())
        index = 0
        while events[index].type != _END_OF_LIST:
            event = events[index]
            if event.type in (_WORD, _PHONEME):
                label = event.id.string.decode("utf-8", "replace") if event.type == _PHONEME else ""
                self.events.append((event.type, event.text_position, event.audio_position / 1000, label))
            index += 1
        return 0

    def speak(self, text: str, voice: Voice) -> Speech:
        self.samples, self.events = [], []
        if self.library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise ValueError(
                f"espeak-ng knows no voice {voice.name!r}. List them with: espeak-ng --voices=en"
            )
        self.library.espeak_SetParameter(_RATE, voice.rate, 0)
        self.library.espeak_SetParameter(_PITCH, voice.pitch, 0)
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, len(data), 0, 1, 0, 1, None, None)  # by character, UTF-8
        self.library.espeak_Synchronize()
        pcm = np.concatenate(self.samples) if self.samples else np.zeros(0, np.int16)
        rate = self.rate / voice.size
        seconds = pcm.size / rate
        waveform = soxr.resample(pcm.astype(np.float32) / 32768, rate, SAMPLE_RATE)
        marks = [
            (label or "_", time * voice.size) for kind, _, time, label in self.events if kind == _PHONEME
        ]
        phones = _spans(marks, seconds)
        starts = {place - 1: time * voice.size for kind, place, time, _ in self.events if kind == _WORD}
        begins = [starts.get(word.start()) for word in re.finditer(r"\S+", text)]
        return Speech(waveform, phones, _word_spans(text.split(), begins, phones))


def _spans(marks: list[tuple[str, float]], seconds: float) -> tuple[tuple[str, float, float], ...]:
    """Turn (label, start) marks into (label, start, end) spans."""
    ends = [time for _, time in marks[1:]] + [seconds]
    return tuple((label, start, end) for (label, start), end in zip(marks, ends, strict=True) if end > start)


def _word_spans(
    words: Sequence[str], begins: Sequence[float | None], phones: tuple[tuple[str, float, float], ...]
) -> tuple[tuple[str, float, float], ...]:
    """Give every word its start and end; those that begin together share their time by letters.

    espeak-ng runs some pairs together ("out of") and tells no time of the second.
    """
    sounding = [(start, end) for label, start, end in phones if not label.startswith("_")]
    if not sounding:
        return ()
    groups: list[tuple[float, list[str]]] = []
    for word, begin in zip(words, begins, strict=True):
        if groups and begin is None:
            groups[-1][1].append(word)
        else:
            groups.append((sounding[0][0] if begin is None else begin, [word]))
    limits = [*(begin for begin, _ in groups[1:]), sounding[-1][1]]
    spans = []
    for (begin, group), limit in zip(groups, limits, strict=True):
        inside = [(start, end) for start, end in sounding if begin - 1e-6 <= start < limit]
        first, last = (inside[0][0], inside[-1][1]) if inside else (begin, limit)
        letters, time = sum(map(len, group)), first
        for word in group:
            end = time + (last - first) * len(word) / letters
            spans.append((word, round(time, 3), round(end, 3)))
            time = end
    return tuple(spans)


@functools.lru_cache(maxsize=1)
def _library() -> _Espeak:
    return _Espeak()


# --- flite --------------------------------------------------------------------------------------------------


def _flite(text: str, voice: Voice) -> Speech:
    program = shutil.which("flite")
    if program is None:
        raise OSError("flite is not installed. On Debian or Ubuntu: apt-get install flite")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = [program, "-voice", voice.name, "-psdur", "-t", text, "-o", str(path)]
        command += ["--setf", f"duration_stretch={170 / voice.rate:.3f}"]
        if voice.hertz is not None:
            command += ["--setf", f"int_f0_target_mean={voice.hertz * voice.size:.1f}"]
        elif voice.name.startswith("kal"):  # the recorded voices keep their own
            command += ["--setf", f"int_f0_target_mean={95 + (voice.pitch - 50) * 0.6:.1f}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not path.exists():
            raise ValueError(f"flite voice {voice.name!r} failed for {text!r}: {done.stderr.strip()[:200]}")
        pcm, rate = soundfile.read(path, dtype="float32")
    phones, start = [], 0.0
    for item in done.stdout.split():
        label, _, mark = item.rpartition(":")
        end = float(mark) * voice.size
        phones.append(("_" if label == "pau" else label, start, end))
        start = end
    waveform = soxr.resample(pcm, rate / voice.size, SAMPLE_RATE)
    # It tells no times of words: each has as many phones as when it is spoken alone, about. In running speech
    # some lose or gain one, so the counts are scaled. One voice counts for all: only proportions matter.
    counts = [_flite_phone_count(program, word) for word in text.split()]
    sounding = [start for label, start, _ in phones if label != "_"]
    edges = np.round(np.cumsum([0, *counts[:-1]]) * len(sounding) / max(1, sum(counts))).astype(int)
    begins = [sounding[min(edge, len(sounding) - 1)] for edge in edges] if sounding else []
    begins = [None if begin in begins[:word] else begin for word, begin in enumerate(begins)]
    return Speech(waveform, tuple(phones), _word_spans(text.split(), begins, tuple(phones)))


@functools.lru_cache(maxsize=8192)
def _flite_phone_count(program: str, word: str) -> int:
    command = [program, "-voice", "kal", "-ps", "-t", word, "-o", "none"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return max(1, len([phone for phone in done.stdout.split() if phone != "pau"]))
