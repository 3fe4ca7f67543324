import numpy as np
import pytest

from asrscope.inside.gap import centroid_distance, flat_map, nearest_cosines, spread, told_apart


@pytest.fixture
def crowds(rng):
    """Two crowds in 5 dimensions: the second lies 10 further along the third axis."""
    return rng.standard_normal((400, 5)), rng.standard_normal((300, 5)) + np.array([0, 0, 10, 0, 0])


def test_a_map_shows_the_directions_of_largest_variance(rng):
    sizes = np.array([1.0, 5.0, 0.1, 3.0])
    vectors = rng.standard_normal((5000, 4)) * sizes + np.array([7, 0, 0, -2])
    found = flat_map(vectors)
    np.testing.assert_allclose(np.abs(found.axes), [[0, 1, 0, 0], [0, 0, 0, 1]], atol=0.05)
    np.testing.assert_allclose(found.explained, np.square(sizes[[1, 3]]) / np.square(sizes).sum(), rtol=0.05)
    np.testing.assert_allclose(found.center, vectors.mean(axis=0))
    places = found.place(vectors)
    np.testing.assert_allclose(places.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(places.var(axis=0) / vectors.var(axis=0).sum(), found.explained)


def test_a_map_of_all_axes_keeps_every_distance(rng):
    vectors = rng.standard_normal((9, 4))
    places = flat_map(vectors, 4).place(vectors)
    for row, other in ((0, 1), (3, 8)):
        expected = np.linalg.norm(vectors[row] - vectors[other])
        assert np.linalg.norm(places[row] - places[other]) == pytest.approx(expected)


def test_the_sign_of_an_axis_does_not_depend_on_the_order_of_the_vectors(rng):
    vectors = rng.standard_normal((50, 4)) * [4, 3, 2, 1]
    np.testing.assert_allclose(flat_map(vectors).axes, flat_map(vectors[::-1]).axes, atol=1e-9)


@pytest.mark.parametrize("shape", [(2, 5), (9, 1)])
def test_a_map_needs_vectors_to_differ_in(shape, rng):
    with pytest.raises(ValueError, match="more than 2 different vectors"):
        flat_map(rng.standard_normal(shape))
    with pytest.raises(ValueError, match="more than 2 different vectors"):
        flat_map(np.ones((9, 5)))


def test_the_nearest_cosine_is_that_of_the_best_direction():
    vectors, others = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 3.0], [5.0, 0.0], [-1.0, 0.0]])
    np.testing.assert_allclose(nearest_cosines(vectors, others), [1.0, np.sqrt(0.5)])


def test_centroids_are_as_far_apart_as_the_crowds_were_moved(crowds):
    first, second = crowds
    assert spread(second) == pytest.approx(np.sqrt(5), rel=0.05)
    assert centroid_distance(first, second) == pytest.approx(10 / spread(second), rel=0.05)
    assert centroid_distance(2 * first, 2 * second) == pytest.approx(centroid_distance(first, second))
    assert centroid_distance(first, first[::-1]) == pytest.approx(0, abs=1e-12)


def test_crowds_far_apart_are_told_apart_and_one_crowd_is_not(crowds, rng):
    first, second = crowds
    assert told_apart(first, second) == 1
    same = rng.standard_normal((3000, 5))
    assert told_apart(same[:2000], same[2000:]) == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="two vectors or more in each, but found 1 and 300"):
        told_apart(first[:1], second)
