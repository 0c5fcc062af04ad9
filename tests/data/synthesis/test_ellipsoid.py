import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import InputError
from data.synthesis.ellipsoid import Ellipsoids, Projection, project, random_rotations

SHAPE = (30, 36)


def whole(cavity, shape=SHAPE):
    """The chord map on the full detector."""
    canvas = np.zeros(shape)
    height, width = cavity.chord.shape
    canvas[cavity.y0 : cavity.y0 + height, cavity.x0 : cavity.x0 + width] = cavity.chord
    return canvas


def chords_by_pixel(ellipsoids, k, projection, shape=SHAPE):
    """Ray against quadric for one pixel after the other, as entry and exit in mm along the ray; the oracle."""
    entry, leave = np.zeros(shape), np.zeros(shape)
    for row in range(shape[0]):
        for column in range(shape[1]):
            foot = (np.array([column + 0.5, row + 0.5]) - projection.principal) * projection.pixel_mm
            start = np.array([*foot, 0.0])
            direction = np.array([0.0, 0.0, 1.0])
            if projection.source_mm is not None:
                direction = np.array([0.0, 0.0, projection.source_mm]) - start
                direction /= np.linalg.norm(direction)
            turned = ellipsoids.rotations[k].T
            m = turned @ direction / ellipsoids.semi_axes[k]
            q = turned @ (start - ellipsoids.centers[k]) / ellipsoids.semi_axes[k]
            a, b, c = m @ m, m @ q, q @ q - 1
            if b * b > a * c:
                root = np.sqrt(b * b - a * c)
                entry[row, column], leave[row, column] = (-b - root) / a, (-b + root) / a
    return entry, leave


def test_sphere_under_parallel_rays_has_the_closed_form():
    sphere = Ellipsoids([[2.0, 2.0, 2.0]], [np.eye(3)], [[3.0, 2.5, 7.0]])
    (cavity,) = project(sphere, Projection(pixel_mm=0.2), SHAPE)
    y, x = (np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5) * 0.2
    squared = 4.0 - (x - 3.0) ** 2 - (y - 2.5) ** 2
    expected = 2 * np.sqrt(np.maximum(squared, 0))
    np.testing.assert_allclose(whole(cavity), expected, rtol=1e-5)
    assert cavity.box == (5, 3, 25, 22)  # centers from 1.1 to 4.9 mm and from 0.7 to 4.3 mm
    assert (cavity.mask == (cavity.chord > 0)).all()


def test_sphere_in_perspective_has_the_closed_form():
    # The chord is 2 sqrt(r^2 - b^2), b the distance of the ray from the center.
    projection, center = Projection(0.2, 60.0, (18.0, 15.0)), np.array([1.0, -0.6, 20.0])
    (cavity,) = project(Ellipsoids([[1.5] * 3], [np.eye(3)], [center]), projection, SHAPE)
    y, x = (np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5 - np.reshape((15, 18), (2, 1, 1))) * 0.2
    rays = np.stack([x, y, np.full_like(x, -60.0)], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    distance = np.linalg.norm(np.cross(rays, center - [0, 0, 60.0]), axis=-1)
    np.testing.assert_allclose(whole(cavity), 2 * np.sqrt(np.maximum(2.25 - distance**2, 0)), rtol=1e-5)
    # Magnified by 60 / (60 - 20): the diameter of 3 mm shows as 4.5 mm, 22.5 pixels, and a little more aslant.
    assert 22 <= cavity.box[2] - cavity.box[0] <= 24


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([None, 40.0, 2000.0]))
def test_any_ellipsoid_is_as_ray_by_ray(seed, source):
    rng = np.random.default_rng(seed)
    projection = Projection(0.25, source, (18.0, 12.0))
    center = projection.lift(rng.uniform((-2, -2), (38, 32), (1, 2)), rng.uniform(4, 20))
    ellipsoid = Ellipsoids(rng.uniform(0.3, 3, (1, 3)), random_rotations(rng, 1), center)
    (cavity,) = project(ellipsoid, projection, SHAPE)
    entry, leave = chords_by_pixel(ellipsoid, 0, projection)
    assert ((whole(cavity) > 0) == (leave > entry)).all()
    inside = leave - entry > 1e-3  # a ray that grazes the surface has no relative accuracy
    np.testing.assert_allclose(whole(cavity)[inside], (leave - entry)[inside], rtol=1e-5)
    x1, y1, x2, y2 = cavity.box
    rows, columns = np.nonzero(leave > entry)
    assert (
        (x2 - x1) * (y2 - y1) == 0
        if not len(rows)
        else cavity.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    )


@pytest.mark.parametrize("source", [None, 50.0])
def test_overlapping_cavities_are_one_void(source):
    rng = np.random.default_rng(3)
    projection = Projection(0.25, source, (18.0, 15.0))
    centers = projection.lift(rng.uniform((13, 10), (23, 20), (3, 2)), np.array([9.0, 11.0, 18.0]))
    ellipsoids = Ellipsoids(rng.uniform(1, 2.5, (3, 3)), random_rotations(rng, 3), centers)
    joined, alone = project(ellipsoids, projection, SHAPE, groups=[1, 1, 1])[0], project(ellipsoids, projection, SHAPE)
    pieces = [chords_by_pixel(ellipsoids, k, projection) for k in range(3)]
    expected = np.zeros(SHAPE)
    for place in np.ndindex(SHAPE):
        reached = -np.inf
        for start, end in sorted((entry[place], leave[place]) for entry, leave in pieces):
            expected[place] += max(end - max(start, reached), 0)
            reached = max(reached, end)
    np.testing.assert_allclose(whole(joined), expected, rtol=1e-5, atol=1e-6)
    assert whole(joined).sum() < sum(whole(cavity).sum() for cavity in alone)  # the first two do overlap


def test_groups_come_in_the_order_of_their_numbers():
    centers = [[2.0, 2.0, 0.0], [5.0, 5.0, 0.0], [2.5, 2.0, 0.0]]
    three = Ellipsoids(np.full((3, 3), 0.75), [np.eye(3)] * 3, centers)
    first, second = project(three, Projection(0.2), SHAPE, groups=[7, 2, 7])
    assert first.box == (21, 21, 29, 29)
    assert (second.box[0], second.box[2]) == (6, 16)


def test_lifted_places_are_seen_where_they_were_asked_for():
    projection = Projection(0.1, 300.0, (15.0, 15.0))
    places = np.array([[30.0, 12.0], [3.0, 20.0]])
    small = Ellipsoids(np.full((2, 3), 0.3), [np.eye(3)] * 2, projection.lift(places, 100.0))
    for cavity, place in zip(project(small, projection, SHAPE), places, strict=True):
        x1, y1, x2, y2 = cavity.box
        assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx(tuple(place), abs=0.5)


def test_a_cavity_beside_the_detector_is_empty():
    ellipsoid = Ellipsoids([[1.0, 1.0, 1.0]], [np.eye(3)], [[-5.0, 3.0, 0.0]])
    for groups in (None, [0]):
        (cavity,) = project(ellipsoid, Projection(0.2), SHAPE, groups)
        assert cavity.chord.size == 0


def test_no_ellipsoids_give_no_cavities():
    assert project(Ellipsoids(np.zeros((0, 3)), random_rotations(np.random.default_rng(0), 0), []), Projection(),
                   SHAPE) == []  # fmt: skip


def test_input_errors_name_the_ellipsoid():
    with pytest.raises(InputError, match="ellipsoid 1: semi-axes"):
        Ellipsoids([[1, 1, 1], [1, 0, 1]], [np.eye(3)] * 2, np.zeros((2, 3)))
    with pytest.raises(InputError, match="ellipsoid 0: reaches to z = 51"):
        project(Ellipsoids([[1, 1, 1]], [np.eye(3)], [[0, 0, 50.0]]), Projection(1.0, 50.0), SHAPE)
    with pytest.raises(InputError, match="pixel_mm"):
        Projection(0.0)
    with pytest.raises(InputError, match="2 group numbers for 1 ellipsoids"):
        project(Ellipsoids([[1, 1, 1]], [np.eye(3)], [[0, 0, 0.0]]), Projection(), SHAPE, groups=[1, 2])
