"""A clip from the microphone of this computer, with the optional package sounddevice."""

from typing import Any

import numpy as np
from jaxtyping import Float32

from asrscope.audio import check_waveform

__all__ = ["record"]


def record(seconds: float = 5.0) -> Float32[np.ndarray, " samples"]:
    """Record a clip from the default microphone; returns when it is done.

    Parameters
    ----------
    seconds : float
        Length of the clip.

    Returns
    -------
    np.ndarray, shape (samples,)
        Mono, 16 kHz, in [-1, 1], as `asrscope.audio.load_audio` returns it.

    Raises
    ------
    ImportError
        If sounddevice or the library PortAudio, which it needs, is not installed.
    OSError
        If there is no microphone, or it may not be used.
    ValueError
        If the length is not positive, or nothing but zeros was recorded.
    """
    if not seconds > 0:
        raise ValueError(f"expected a length above 0 s, but found {seconds:g}")
    sounddevice = _sounddevice()
    try:
        rate = round(sounddevice.query_devices(kind="input")["default_samplerate"])
        frames = round(seconds * rate)
        # At the device's own rate: not every one can do 16 kHz.
        samples = sounddevice.rec(frames, samplerate=rate, channels=1, dtype="float32", blocking=True)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise OSError(
            f"the microphone cannot be used ({error}): connect one, choose it in the settings of the system, "
            "and allow this program to use it"
        ) from error
    if not samples.any():
        raise ValueError(
            "the microphone gave nothing but zeros: turn it up, and allow this program to use it in the "
            "settings of the system"
        )
    return check_waveform(samples[:, 0], rate)


def _sounddevice() -> Any:
    try:
        import sounddevice  # noqa: PLC0415 - only those who record need it
    except ImportError as error:
        raise ImportError(
            'to record, install the package sounddevice: pip install "asrscope[microphone]"'
        ) from error
    except OSError as error:  # what it raises without its library
        raise ImportError(
            "sounddevice needs the library PortAudio: on Debian and Ubuntu, apt-get install libportaudio2"
        ) from error
    return sounddevice
