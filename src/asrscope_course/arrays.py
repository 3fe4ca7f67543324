"""What functions of exercises are compared with, and pieces that usual mistakes are made of."""

import numpy as np
import torch
from numpy import ndarray
from torch import nn

from asrscope.projector import stack_frames

__all__ = [
    "IGNORED",
    "cosines",
    "grouped",
    "losses",
    "normed",
    "real_lens",
    "real_loss",
    "real_swiglu",
    "sigmoid",
    "silu",
    "softmax",
    "stacked",
]

IGNORED = -100  # label of a position that is not counted
EPS = 1e-6  # of the norms


def stacked(hidden: ndarray, k: int) -> ndarray:
    """Stack positions as the projector does."""
    stacked: ndarray = stack_frames(torch.from_numpy(hidden)[None], k)[0].numpy()
    return stacked


def grouped(hidden: ndarray, k: int) -> ndarray:
    """Cut into groups of neighbors: shape (groups, k, width)."""
    groups = len(hidden) // k
    return hidden[: groups * k].reshape(groups, k, hidden.shape[1])


def sigmoid(x: ndarray) -> ndarray:
    """Squeeze numbers between 0 and 1."""
    return np.asarray(1 / (1 + np.exp(-x)))


def silu(x: ndarray) -> ndarray:
    """Give x times its sigmoid."""
    return np.asarray(x * sigmoid(x))


def real_swiglu(x: ndarray, gate: ndarray, up: ndarray, down: ndarray) -> ndarray:
    """Compute the projector's middle layer with torch."""
    inputs, *weights = map(torch.from_numpy, (x, gate, up, down))
    opened = nn.functional.silu(inputs @ weights[0].T)
    result: ndarray = ((opened * (inputs @ weights[1].T)) @ weights[2].T).numpy()
    return result


def real_loss(logits: ndarray, labels: ndarray) -> float:
    """Compute the loss with torch."""
    return float(nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))


def losses(logits: ndarray, labels: ndarray) -> ndarray:
    """Of each labeled position."""
    counted = labels != IGNORED
    logits, labels = logits[counted], labels[counted]
    return np.asarray(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


def softmax(scores: ndarray) -> ndarray:
    """Turn scores into weights; each row sums to one."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def normed(hidden: ndarray) -> ndarray:
    """Divide each row by the root of its mean square."""
    return np.asarray(hidden / np.sqrt((hidden**2).mean(axis=1, keepdims=True) + EPS))


def cosines(audio: ndarray, table: ndarray) -> ndarray:
    """Compare each row of one array with each of the other."""
    lengths_of_rows = np.linalg.norm(table, axis=1)
    return np.asarray(audio @ table.T / np.linalg.norm(audio, axis=1)[:, None] / lengths_of_rows)


def real_lens(hidden: ndarray, weight: ndarray, table: ndarray) -> ndarray:
    """Apply an RMSNorm with torch, and compare with a table."""
    rows = nn.functional.rms_norm(torch.from_numpy(hidden), (hidden.shape[1],), torch.from_numpy(weight), EPS)
    scores: ndarray = (rows @ torch.from_numpy(table).T).numpy()
    return scores
