"""What has to be known of all samples of a recording before they are used."""

import numpy as np
from jaxtyping import Float32

__all__ = ["Survey", "mean_of_channels"]

MAX_AMPLITUDE = 2.0**31  # float files sometimes hold 32-bit integers; beyond that it is not sound
CLIPPED_LEVEL = 0.98  # a clipped sample stands at least this high ...
CLIPPED_SAMPLES = 10  # ... and is equal to its neighbor; a few such pairs happen in clean recordings
CANCELLED_SHARE = 0.01  # of the channels' power: less left in their mean means opposite phases


class Survey:
    """What has to be known of all samples of a recording; it is fed with one block after the other.

    Attributes
    ----------
    frames : int
        Frames seen so far; a frame has one sample for each channel.
    peak : float
        Largest absolute value.
    """

    def __init__(self) -> None:
        self.frames, self.peak = 0, 0.0
        self._samples = self._bad = self._flat = 0
        self._powers: np.ndarray | float = 0.0  # of each channel, summed
        self._mean_power = 0.0  # of their mean, summed
        self._last: np.ndarray | None = None  # the frame before the next block

    def add(self, block: Float32[np.ndarray, "frames channels"]) -> None:
        """Take the next frames into account.

        Parameters
        ----------
        block : numpy.ndarray
            Frames as stored, shape (frames, channels).
        """
        self.frames += len(block)
        self._samples += block.size
        bad = int(np.count_nonzero(~np.isfinite(block)))
        self._bad += bad
        if bad or not block.size:  # the recording will be refused: nothing else matters
            return
        peak = float(max(block.max(), -block.min()))
        self.peak = max(self.peak, peak)
        if peak >= CLIPPED_LEVEL:  # flat stretches: neighbors that are equal and as high as can be
            earlier = block[:-1] if self._last is None else np.concatenate([self._last, block[:-1]])
            here = block[len(block) - len(earlier) :]
            self._flat += int(np.count_nonzero((np.abs(here) >= CLIPPED_LEVEL) & (here == earlier)))
        self._last = block[-1:].copy()
        if block.shape[1] > 1:
            ones = np.ones(len(block), np.float32)
            self._powers += (ones @ np.square(block)).astype(np.float64)
            mean = mean_of_channels(block)
            self._mean_power += float(mean @ mean)

    def check(self, name: str) -> None:
        """Refuse what is no sound.

        Parameters
        ----------
        name : str
            What to call the recording.

        Raises
        ------
        ValueError
            If a sample is not finite, or far beyond all scales in use.
        """
        if self._bad:
            raise ValueError(
                f"{name}: {self._bad} of {self._samples} samples are NaN or infinite: export the audio again"
            )
        if self.peak > MAX_AMPLITUDE:
            raise ValueError(
                f"{name}: samples reach {self.peak:.3g}, expected values in [-1, 1]: export the audio again"
            )

    def loudest_of_cancelling(self) -> int | None:
        """Return the channel to use where the channels cancel each other, counted from 0; else None."""
        powers = np.atleast_1d(self._powers)
        if powers.size > 1 and self._mean_power < CANCELLED_SHARE * powers.mean():
            return int(powers.argmax())
        return None

    def oddities(self, name: str) -> list[str]:
        """Say what is odd about the samples as stored.

        Parameters
        ----------
        name : str
            What to call the recording.

        Returns
        -------
        list of str
            One sentence for each oddity.
        """
        found = []
        if self._flat >= CLIPPED_SAMPLES:
            found.append(
                f"{name}: {self._flat} samples are clipped at full scale: record with less gain if you can"
            )
        if self.peak > 1.0:
            found.append(
                f"{name}: samples reach {self.peak:.3g}, beyond full scale: "
                "the clip was scaled down to [-1, 1]"
            )
        return found


def mean_of_channels(block: Float32[np.ndarray, "frames channels"]) -> Float32[np.ndarray, " frames"]:
    """Average the channels of some frames; many times as fast as `numpy.mean` over so short an axis.

    Parameters
    ----------
    block : numpy.ndarray
        Frames, shape (frames, channels).

    Returns
    -------
    numpy.ndarray
        One channel, shape (frames,).
    """
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    return block @ np.full(channels, 1 / channels, np.float32)
