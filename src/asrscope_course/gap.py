"""How far apart two crowds of vectors are: their centroids, and how well the nearer one tells them apart.

For audio tokens among the text tokens of a decoder this is called the modality gap. None of these numbers
says whether the decoder understands the vectors: that is what it writes.
"""

import numpy as np
from jaxtyping import Float

__all__ = ["centroid_distance", "told_apart"]


def centroid_distance(
    first: Float[np.ndarray, "count dim"], second: Float[np.ndarray, "others dim"]
) -> float:
    """Distance between the centroids of two crowds, in units of the second one's spread.

    The spread is the root mean square distance of its vectors from their centroid.

    Parameters
    ----------
    first : np.ndarray, shape (count, dim)
        One crowd.
    second : np.ndarray, shape (others, dim)
        The crowd that sets the unit.

    Returns
    -------
    float
        0 if the centroids are the same.
    """
    center = second.mean(axis=0)
    spread = np.sqrt(np.square(second - center).sum(axis=1).mean())
    return float(np.linalg.norm(first.mean(axis=0) - center) / spread)


def told_apart(
    first: Float[np.ndarray, "count dim"], second: Float[np.ndarray, "others dim"], seed: int = 0
) -> float:
    """Tell two crowds apart by the nearer centroid, found on one half of each and tried on the other.

    Parameters
    ----------
    first : np.ndarray, shape (count, dim)
        One crowd.
    second : np.ndarray, shape (others, dim)
        The other; both count alike, whatever their sizes.
    seed : int
        Of the halves.

    Returns
    -------
    float
        Part that is told rightly: 1 if a plane divides the crowds, one half by chance.

    Raises
    ------
    ValueError
        If a crowd has no two vectors.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"Expected two vectors or more in each, but found {len(first)} and {len(second)}.")
    rng = np.random.default_rng(seed)
    halves = [np.array_split(rng.permutation(rows), 2) for rows in (first, second)]
    centers = [known.mean(axis=0) for known, _ in halves]
    away = centers[1] - centers[0]
    middle = (centers[0] + centers[1]) / 2
    sides = [(tried - middle) @ away for _, tried in halves]  # negative: nearer to the first centroid
    return float(((sides[0] < 0).mean() + (sides[1] > 0).mean()) / 2)
