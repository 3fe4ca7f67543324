"""How far apart two crowds of vectors are: norms, cosines, centroids, a line between them, and a flat map.

For audio tokens among the text tokens of a decoder this is called the modality gap. None of these numbers
says whether the decoder understands the vectors: that is what it writes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Map", "centroid_distance", "flat_map", "nearest_cosines", "spread", "told_apart"]


@dataclass(frozen=True, eq=False)
class Map:
    """A flat map: the directions in which some vectors differ most.

    Attributes
    ----------
    center : np.ndarray [shape=(dim,)]
        Mean of the vectors that the map was made of.
    axes : np.ndarray [shape=(n_axes, dim)]
        Directions of unit length, at right angles to each other. The entry of largest size is positive.
    explained : np.ndarray [shape=(n_axes,)]
        Part of the vectors' variance along each axis, in falling order.
    """

    center: Float[np.ndarray, " dim"]
    axes: Float[np.ndarray, "n_axes dim"]
    explained: Float[np.ndarray, " n_axes"]

    def place(self, vectors: Float[np.ndarray, "count dim"]) -> Float[np.ndarray, "count n_axes"]:
        """Find the places of vectors on the map.

        Parameters
        ----------
        vectors : np.ndarray, shape (count, dim)
            Any vectors of the same space.

        Returns
        -------
        np.ndarray, shape (count, n_axes)
            Coordinates along each axis.
        """
        places: Float[np.ndarray, "count n_axes"] = (vectors - self.center) @ self.axes.T
        return places


def flat_map(vectors: Float[np.ndarray, "count dim"], n_axes: int = 2) -> Map:
    """Draw a map of vectors by principal components, from a singular value decomposition.

    Parameters
    ----------
    vectors : np.ndarray, shape (count, dim)
        At least one more than there are axes.
    n_axes : int
        Axes of the map.

    Returns
    -------
    Map
        Its axes, and how much of the vectors' variance they show. What they do not show is not small merely
        because it is not on the map.

    Raises
    ------
    ValueError
        If there are too few vectors, or they do not differ.
    """
    center = vectors.mean(axis=0)
    if min(len(vectors) - 1, vectors.shape[1]) < n_axes or not (vectors != vectors[0]).any():
        raise ValueError(
            f"Expected more than {n_axes} different vectors of {n_axes} or more dimensions, "
            f"but found shape {vectors.shape}."
        )
    _, sizes, axes = np.linalg.svd(vectors - center, full_matrices=False)
    # The sign of an axis is arbitrary; fixed, so that a map is the same on every machine.
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    variances = np.square(sizes)
    return Map(center, (axes * np.sign(largest))[:n_axes], (variances / variances.sum())[:n_axes])


def nearest_cosines(
    vectors: Float[np.ndarray, "count dim"], others: Float[np.ndarray, "others dim"]
) -> Float[np.ndarray, " count"]:
    """Cosine of each vector to the one of the others that points most nearly the same way.

    Parameters
    ----------
    vectors : np.ndarray, shape (count, dim)
        From where to look.
    others : np.ndarray, shape (others, dim)
        Where to look.

    Returns
    -------
    np.ndarray, shape (count,)
        Between -1 and 1.
    """
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (vectors, others)]
    best: Float[np.ndarray, " count"] = (unit[0] @ unit[1].T).max(axis=1)
    return best


def spread(vectors: Float[np.ndarray, "count dim"]) -> float:
    """Root mean square distance of vectors from their centroid.

    Parameters
    ----------
    vectors : np.ndarray, shape (count, dim)
        The vectors.

    Returns
    -------
    float
        In the unit of the vectors.
    """
    return float(np.sqrt(np.square(vectors - vectors.mean(axis=0)).sum(axis=1).mean()))


def centroid_distance(
    first: Float[np.ndarray, "count dim"], second: Float[np.ndarray, "others dim"]
) -> float:
    """Distance between the centroids of two crowds, in units of the second one's spread.

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
    return float(np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))) / spread(second)


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
