"""Pictures, tested through their data."""

import numpy as np
import pytest

from rlbook_envs.drawing import Canvas

RED, BLUE = (255, 0, 0), (0, 0, 200)


def test_shape_and_dtype():
    picture = Canvas(2, 3, 10).pixels()
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    assert not picture.any()


def test_fill_paints_one_tile():
    canvas = Canvas(2, 3, 4)
    canvas.fill(1, 2, RED)
    picture = canvas.pixels()
    assert (picture[4:, 8:] == RED).all()
    picture[4:, 8:] = 0
    assert not picture.any()


def test_ellipse_has_its_area_and_its_place():
    canvas = Canvas(1, 1, 100)
    canvas.ellipse(0, 0, (0.3, 0.6), (0.2, 0.1), RED)
    red = canvas.pixels()[:, :, 0] / 255
    assert red.sum() / 100**2 == pytest.approx(np.pi * 0.2 * 0.1, rel=0.01)
    y, x = np.indices(red.shape) + 0.5
    assert (x * red).sum() / red.sum() == pytest.approx(30, abs=0.1)
    assert (y * red).sum() / red.sum() == pytest.approx(60, abs=0.1)


def test_edges_are_smooth():
    canvas = Canvas(1, 1, 20)
    canvas.ellipse(0, 0, (0.5, 0.5), (0.4, 0.4), RED)
    assert len(np.unique(canvas.pixels()[:, :, 0])) > 2


@pytest.mark.parametrize("corners", [[(0, 0), (1, 0), (0, 1)], [(0, 1), (1, 0), (0, 0)]])
def test_polygon(corners):
    canvas = Canvas(1, 1, 100)
    canvas.polygon(0, 0, corners, RED)
    red = canvas.pixels()[:, :, 0]
    assert red[10, 10] == 255
    assert red[90, 90] == 0
    assert (red / 255).sum() / 100**2 == pytest.approx(0.5, abs=0.01)


def test_polygon_that_is_not_convex():
    canvas = Canvas(1, 1, 50)
    canvas.polygon(0, 0, [(0, 0), (0.5, 0.6), (1, 0), (1, 1), (0, 1)], RED)
    red = canvas.pixels()[:, :, 0]
    assert red[5, 25] == 0
    assert red[45, 25] == 255
    assert red[5, 1] == 255


def test_shapes_are_clipped_to_their_tile():
    canvas = Canvas(1, 2, 10)
    canvas.ellipse(0, 0, (1.0, 0.5), (0.5, 0.5), RED)
    picture = canvas.pixels()
    assert picture[:, :10].any()
    assert not picture[:, 10:].any()


def test_opacity_mixes():
    canvas = Canvas(1, 1, 5)
    canvas.fill(0, 0, RED)
    canvas.polygon(0, 0, [(0, 0), (1, 0), (1, 1), (0, 1)], BLUE, 0.25)
    assert (canvas.pixels() == (191, 0, 50)).all()
