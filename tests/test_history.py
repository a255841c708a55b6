"""The record of a run: what goes in comes out, and no second is lost."""

import csv

import numpy as np
import pytest

from rlbook.history import ACTIVITIES, History, Stopwatch
from rlbook.plotting import plot


@pytest.fixture
def history():
    made = History()
    made.add_episodes(np.array([3, 5]), np.array([1.0, -0.1]), np.array([3, 2]))
    made.add_episodes(np.array([9]), np.array([2.0]), np.array([4]))
    made.add_metrics(timesteps=5, td_error=0.5)
    made.add_metrics(timesteps=9, td_error=0.25)
    made.add_timing({"learning": 1.5, "waiting": 0.5})
    made.add_timing({"learning": 1.0})
    return made


def test_what_is_added_is_appended(history):
    assert len(history) == 3
    assert history.timesteps.tolist() == [3, 5, 9]
    assert history.episode_returns.tolist() == [1.0, -0.1, 2.0]
    assert history.episode_lengths.tolist() == [3, 2, 4]
    assert history.metrics["td_error"].tolist() == [0.5, 0.25]
    assert history.timing["learning"] == 2.5 and set(history.timing) == set(ACTIVITIES)


def test_arrays_hold_all_of_it(history):
    arrays = history.to_arrays()
    again = History.from_arrays(arrays).to_arrays()
    assert arrays.keys() == again.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, again[name]) and array.dtype == again[name].dtype


def test_a_frame_has_a_row_for_each_episode(history):
    frame = history.to_frame()
    assert list(frame.columns) == ["timesteps", "episode_returns", "episode_lengths"]
    assert np.array_equal(frame["episode_returns"], history.episode_returns)


def test_a_csv_file_has_the_exact_numbers(history, tmp_path):
    history.to_csv(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["episode_returns"]) for row in rows] == history.episode_returns.tolist()
    assert [int(row["timesteps"]) for row in rows] == [3, 5, 9]


def test_rounds_in_which_no_episode_ended_leave_nothing_behind(history):
    pieces = len(history._episodes)
    nothing = np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64)
    for _ in range(20_000):
        history.add_episodes(*nothing)
    assert len(history._episodes) == pieces
    assert history.recent_returns(2).tolist() == [-0.1, 2.0]
    assert history.recent_returns().tolist() == [1.0, -0.1, 2.0]
    assert len(history) == 3 and History().recent_returns().tolist() == []


def test_recent_returns_look_at_no_more_pieces_than_they_need(history):
    class Watched(list):
        seen = 0

        def __reversed__(self):
            for piece in super().__reversed__():
                self.seen += 1
                yield piece

    history._episodes = Watched(history._episodes)
    for number in range(20_000):
        history.add_episodes(np.array([10 + number]), np.array([float(number)]), np.array([1]))
    assert history.recent_returns(5).tolist() == [19_995, 19_996, 19_997, 19_998, 19_999]
    assert history._episodes.seen == 5


def test_it_says_what_it_holds(history):
    assert repr(history) == "History(3 episodes, mean return of the last 100: 0.967)"
    assert repr(History()) == "History(no episode has ended)"


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [0.0]
    monkeypatch.setattr("rlbook.history.perf_counter", lambda: now[0])
    return now


def test_a_lap_is_booked_on_its_activity(clock):
    watch = Stopwatch()
    for time, activity in ((2.0, "learning"), (3.0, "waiting"), (7.0, "learning")):
        clock[0] = time
        watch.lap(activity)
    assert watch.seconds["learning"] == 6.0 and watch.seconds["waiting"] == 1.0


@pytest.mark.parametrize(
    "parallel, expected",
    [
        (True, {"learning": 2.0, "waiting": 1.0, "communicating": 2.0}),
        (False, {"learning": 4.0, "waiting": 0.0, "communicating": 1.0}),
    ],
)
def test_workers_learn_and_wait_and_the_rest_is_communicating(clock, parallel, expected):
    watch = Stopwatch()
    clock[0] = 5.0
    watch.lap_workers([{"learning": 1.0}, {"learning": 3.0}], parallel)
    assert {name: watch.seconds[name] for name in expected} == expected


def test_what_workers_did_is_booked_by_activity(clock):
    watch = Stopwatch()
    clock[0] = 10.0
    watch.lap_workers(
        [{"acting": 1.0, "environment": 2.0}, {"acting": 3.0, "environment": 2.0}], True
    )
    expected = {"acting": 2.0, "environment": 2.0, "waiting": 1.0, "communicating": 5.0}
    assert {name: watch.seconds[name] for name in expected} == expected


@pytest.mark.parametrize("parallel", [True, False])
def test_clocks_that_disagree_lose_no_second(clock, parallel):
    watch = Stopwatch()
    clock[0] = 1.0
    watch.lap_workers([{"acting": 1.0, "environment": 3.0}] * 2, parallel)
    assert sum(watch.seconds.values()) == pytest.approx(1.0)
    assert min(watch.seconds.values()) >= 0
    watch.lap_workers([{"learning": 0.0}], parallel)
    assert sum(watch.seconds.values()) == pytest.approx(1.0)


def test_the_curve_is_the_moving_mean(history):
    ax = plot(history, window=2)
    (line,) = ax.lines
    assert line.get_xdata().tolist() == [5, 9]
    assert line.get_ydata() == pytest.approx([0.45, 0.95])
    assert plot(history, ax, window=50) is ax
    assert ax.lines[1].get_ydata() == pytest.approx([2.9 / 3])


def test_a_curve_needs_an_episode_and_a_window(history):
    with pytest.raises(
        ValueError, match="history must contain an episode that has ended, got none"
    ):
        plot(History())
    with pytest.raises(ValueError, match="window must be at least 1 episode, got 0"):
        plot(history, window=0)
