"""Shapes lie where they should, and have smooth edges."""

import numpy as np

from rlbook_envs.scene import Scene

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def darkness(scene):
    """How much of each pixel is painted, from 0 to 1."""
    return 1 - scene.pixels()[..., 0] / 255


def test_size_and_background():
    pixels = Scene(3, 2.5, 10, (1, 2, 3)).pixels()
    assert pixels.shape == (25, 30, 3) and pixels.dtype == np.uint8
    assert (pixels == (1, 2, 3)).all()


def test_a_disc_covers_its_area_around_its_centre():
    scene = Scene(4, 4, 32, WHITE)
    scene.disc((1.5, 2.5), 1.0, BLACK)
    painted = darkness(scene)
    assert abs(painted.sum() / 32**2 - np.pi) < 0.02
    y, x = np.indices(painted.shape)
    middle = (painted * x).sum() / painted.sum(), (painted * y).sum() / painted.sum()
    np.testing.assert_allclose(middle, (1.5 * 32 - 0.5, 2.5 * 32 - 0.5), atol=0.05)
    edge = (painted > 0.02) & (painted < 0.98)
    assert edge.any()  # no pixel steps


def test_a_line_covers_its_area_and_has_round_ends():
    scene = Scene(6, 4, 32, WHITE)
    scene.line((1, 1), (5, 3), 0.5, BLACK)
    length = np.hypot(4, 2)
    assert abs(darkness(scene).sum() / 32**2 - (0.5 * length + np.pi * 0.25**2)) < 0.03


def test_a_box_covers_its_area_and_its_corners_can_be_round():
    for radius in (0.0, 0.3):
        scene = Scene(4, 4, 32, WHITE)
        scene.box((0.5, 1), (3.5, 3), BLACK, radius=radius)
        area = 3 * 2 - (4 - np.pi) * radius**2
        assert abs(darkness(scene).sum() / 32**2 - area) < 0.03
        assert (darkness(scene)[33, 17] > 0.9) == (radius == 0.0)  # the corner


def test_opacity_mixes_with_what_is_below():
    scene = Scene(1, 1, 8, WHITE)
    scene.box((0, 0), (1, 1), BLACK, opacity=0.25)
    assert abs(int(scene.pixels()[4, 4, 0]) - 191) <= 1


def test_what_lies_outside_is_cut_off():
    scene = Scene(2, 2, 16, WHITE)
    scene.disc((0, 0), 1.0, BLACK)
    scene.disc((50, 50), 1.0, BLACK)
    scene.disc((-50, 1), 1.0, BLACK)
    assert abs(darkness(scene).sum() / 16**2 - np.pi / 4) < 0.03
