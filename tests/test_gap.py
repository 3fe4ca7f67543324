import numpy as np
import pytest

from asrscope_course.gap import centroid_distance, told_apart


@pytest.fixture
def crowds(rng):
    """Two crowds in 5 dimensions: the second lies 10 further along the third axis."""
    return rng.standard_normal((400, 5)), rng.standard_normal((300, 5)) + np.array([0, 0, 10, 0, 0])


def test_centroids_are_as_far_apart_as_the_crowds_were_moved(crowds):
    first, second = crowds
    assert centroid_distance(first, second) == pytest.approx(10 / np.sqrt(5), rel=0.05)
    assert centroid_distance(2 * first, 2 * second) == pytest.approx(centroid_distance(first, second))
    assert centroid_distance(first, first[::-1]) == pytest.approx(0, abs=1e-12)


def test_crowds_far_apart_are_told_apart_and_one_crowd_is_not(crowds, rng):
    first, second = crowds
    assert told_apart(first, second) == 1
    same = rng.standard_normal((3000, 5))
    assert told_apart(same[:2000], same[2000:]) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="two vectors or more in each, but found 1 and 300"):
        told_apart(first[:1], second)
