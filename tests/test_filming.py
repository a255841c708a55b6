"""Tests of films as HTML."""

import gymnasium
import pytest
from IPython.display import HTML

import rlbook


def lake(**options):
    return gymnasium.make("rlbook/FrozenLake-v0", **{"render_mode": "rgb_array", **options})


class Walker:
    def predict(self, obs, deterministic=True):
        return 2


def frames(html):
    return html.data.count("data:image/png")


def test_a_film_ends_with_its_episode():
    env = lake(desc=["SFFG"], is_slippery=False)
    film = rlbook.film(Walker(), env, title="To the fish")
    assert isinstance(film, HTML)
    assert frames(film) == 4  # the start, and three steps


def test_a_film_ends_after_max_frames():
    assert frames(rlbook.film(Walker(), lake(desc=["SF"]), max_frames=3, fps=2)) == 3


def test_no_figure_stays_open():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    rlbook.film(Walker(), lake(), max_frames=1)
    assert plt.get_fignums() == before


def test_what_cannot_be_filmed_is_refused():
    with pytest.raises(ValueError, match=r"env\.render_mode must be 'rgb_array', got 'ansi'"):
        rlbook.film(Walker(), lake(render_mode="ansi"))
    with pytest.raises(ValueError, match="max_frames must be a whole number of at least 1, got 0"):
        rlbook.film(Walker(), lake(), max_frames=0)


def test_a_film_plays_without_the_internet():
    html = rlbook.film(Walker(), lake(), max_frames=2).data
    assert "<link" not in html and "<script src" not in html
    assert 'class="fa' not in html  # letters of a font that would have to be fetched
