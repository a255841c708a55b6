"""The replay buffer and its rings, against plain Python, definitions, Gymnasium's frame stacks."""

import pickle
import re
import tracemalloc
from statistics import NormalDist

import gymnasium
import numpy as np
import pytest

from rlbook import saving
from rlbook.data.replay import (
    SMALLEST_ERROR,
    Replay,
    bytes_needed,
    free_memory,
    importance_weights,
    priorities,
)
from rlbook.envs.actions import actions_of
from rlbook_envs.streams import (
    REPLAY,
    random_bits,
    stream_key,
    uniform,
)

IGNORED = -1  # the action of a row after an end


def random_rows(num_envs, steps, seed=0, ending=0.15):
    """Rows as a vector environment gives them; an observation says whose and which it is.

    Actions are the number of the row, or IGNORED.
    """
    rng = np.random.default_rng(seed)
    obs = np.stack(np.broadcast_arrays(np.arange(num_envs)[:, None], np.arange(steps)), -1)
    ends = rng.random((num_envs, steps)) < ending
    for t in range(1, steps):
        ends[:, t] &= ~ends[:, t - 1]
    after = np.zeros_like(ends)
    after[:, 1:] = ends[:, :-1]
    terminated = ends & (rng.random((num_envs, steps)) < 0.5)
    actions = np.where(after, IGNORED, obs[:, :, 1])
    rewards = np.where(after, 0.0, rng.normal(size=(num_envs, steps))).astype(np.float32)
    return obs.astype(np.float32), actions, rewards, terminated, ends & ~terminated


def part(rows, envs, steps):
    """Those rows of these environments and steps."""
    return [column[envs, steps] for column in rows]


def expected_transitions(rows, n, gamma):
    """By (environment, row): the return, the discount, and the row that it leads to."""
    _, actions, rewards, terminated, truncated = rows
    found = {}
    for env in range(actions.shape[0]):
        for t in range(actions.shape[1]):
            if actions[env, t] == IGNORED:
                continue
            total, discount, k = 0.0, 1.0, 0
            while True:
                total += discount * float(rewards[env, t + k])
                discount *= gamma
                k += 1
                ended = terminated[env, t + k - 1] or truncated[env, t + k - 1]
                if ended or k == n or t + k == actions.shape[1]:
                    break
            if t + k < actions.shape[1]:  # else its next observation is still to come
                found[env, t] = total, discount * (not terminated[env, t + k - 1]), t + k
    return found


def everything(replay):
    """All that can be sampled, by (environment, row), in the form of `expected_transitions`."""
    whole = Replay.sample(replay, len(replay))
    starts = [(int(env), int(t)) for env, t in whole.obs]
    assert len(set(starts)) == len(starts)
    assert whole.actions.tolist() == [t for _, t in starts]
    assert whole.next_obs[:, 0].tolist() == [env for env, _ in starts]
    next_rows = whole.next_obs[:, 1].astype(int).tolist()
    numbers = zip(whole.returns.tolist(), whole.discounts.tolist(), next_rows, strict=True)
    return dict(zip(starts, numbers, strict=True))


def same_transitions(found, expected):
    assert found.keys() == expected.keys()
    for start, (total, discount, next_row) in expected.items():
        assert found[start][0] == pytest.approx(total, abs=1e-6)
        assert found[start][1] == pytest.approx(discount, abs=1e-6)
        assert found[start][2] == next_row


def latest(capacity, num_envs, **options):
    return Replay(capacity, num_envs, (2,), np.float32, order="latest", **options)


def filled(num_envs=3, steps=200, capacity=1000, seed=0, **options):
    """A replay with random rows, and the rows."""
    rows = random_rows(num_envs, steps, seed)
    replay = Replay(capacity, num_envs, (2,), np.float32, **options)
    replay.add(*rows)
    return replay, rows


def same_batches(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


# Transitions


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10])
@pytest.mark.parametrize("num_envs", [1, 4])
def test_transitions_are_what_plain_python_makes_of_the_rows(n, num_envs):
    for seed in range(5):
        rows = random_rows(num_envs, 150, seed)
        replay = latest(1000, num_envs, n_step=n, gamma=0.9)
        replay.add(*rows)
        same_transitions(everything(replay), expected_transitions(rows, n, 0.9))


def test_a_truncated_step_bootstraps_from_the_final_observation_and_a_terminated_one_does_not():
    """Two episodes by hand: rows 2 and 5 are where rows 1 and 4 led; row 6 waits for its next."""
    obs = np.arange(7, dtype=np.float32).reshape(1, 7, 1)
    rewards = [[1.0, 2.0, 0.0, 4.0, 8.0, 0.0, 16.0]]
    terminated = [[False, False, False, False, True, False, False]]
    truncated = [[False, True, False, False, False, False, False]]
    replay = Replay(20, 1, (1,), np.float32, n_step=3, gamma=0.5, order="latest")
    replay.add(obs, [[0, 1, 99, 3, 4, 99, 6]], rewards, terminated, truncated)
    batch = replay.sample(4)
    assert batch.obs.ravel().tolist() == [4, 3, 1, 0]
    assert batch.actions.tolist() == [4, 3, 1, 0]
    assert batch.returns.tolist() == [8, 4 + 0.5 * 8, 2, 1 + 0.5 * 2]
    assert batch.discounts.tolist() == [0, 0, 0.5, 0.25]
    assert batch.next_obs.ravel().tolist() == [5, 5, 2, 2]


def test_both_terminated_and_truncated_is_terminated():
    replay = latest(10, 1)
    obs = np.zeros((1, 2, 2), np.float32)
    replay.add(obs, [[0, 0]], [[1.0, 0.0]], [[True, False]], [[True, False]])
    assert replay.sample(1).discounts == [0]


def test_types_and_shapes_of_a_batch():
    replay, _ = filled(n_step=2)
    batch = replay.sample(32)
    kinds = [(np.float32, (32, 2)), (np.int64, (32,)), (np.float32, (32,)), (np.float32, (32,))]
    kinds += [(np.float32, (32, 2)), (np.float32, (32,)), (np.int64, (32,))]
    assert [(a.dtype, a.shape) for a in batch] == kinds
    assert (batch.weights == 1).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float64, np.bool_])
@pytest.mark.parametrize("shape", [(), (3, 4)])
def test_observations_of_any_shape_and_dtype_come_back_as_they_were(dtype, shape):
    obs = np.random.default_rng(0).integers(0, 200, (1, 30, *shape)).astype(dtype)
    replay = Replay(100, 1, shape, dtype, order="latest")
    none = np.zeros((1, 30), bool)
    replay.add(obs, none.astype(int), none.astype(float), none, none)
    batch = replay.sample(29)
    assert batch.obs.dtype == dtype
    assert np.array_equal(batch.obs[::-1], obs[0, :-1])
    assert np.array_equal(batch.next_obs[::-1], obs[0, 1:])


# Rings


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize(("capacity", "num_envs"), [(30, 1), (31, 3), (1, 1), (2, 4)])
def test_the_oldest_rows_make_way(capacity, num_envs, n):
    """After each addition what is left is whole, and it is all that can be left."""
    rows = random_rows(num_envs, 200, seed=capacity)
    replay, step = latest(capacity, num_envs, n_step=n), 7
    length = -(-capacity // num_envs) + n
    for begin in range(0, 200, step):
        replay.add(*part(rows, slice(None), slice(begin, begin + step)))
        now = part(rows, slice(None), slice(begin + step))
        expected = expected_transitions(now, n, 0.99)
        oldest = now[1].shape[1] - length
        expected = {start: what for start, what in expected.items() if start[1] >= oldest}
        assert len(replay) == len(expected)
        if expected:
            same_transitions(everything(replay), expected)


def test_without_ends_a_full_memory_holds_its_capacity():
    for num_envs, stack, n in ((1, 1, 1), (4, 1, 3), (2, 3, 2)):
        rows = random_rows(num_envs, 400, ending=0.0)
        replay = latest(120, num_envs, n_step=n, stack=stack)
        replay.add(*rows)
        assert len(replay) == 120


@pytest.mark.parametrize("options", [{}, {"prioritized": True}, {"stack": 3, "n_step": 4}])
def test_it_does_not_matter_in_how_many_pieces_rows_are_added(options):
    rows = random_rows(3, 300)
    whole, pieces = (Replay(90, 3, (2,), np.float32, **options) for _ in range(2))
    whole.add(*rows)  # more than it has room for, in one call
    begin = 0
    for steps in [1, 2, 50, 0, 3, 1, 43, 200]:
        pieces.add(*part(rows, slice(None), slice(begin, begin + steps)))
        begin += steps
    one, other = whole.to_arrays(), pieces.to_arrays()
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert same_batches(whole.sample(20), pieces.sample(20))


def test_environments_may_be_added_to_at_different_times():
    """Each has a ring of its own: what the others do changes nothing in it."""
    rows, n = random_rows(4, 120), 3
    replay = latest(400, 4, n_step=n)
    replay.add(*part(rows, slice(1, 3), slice(0, 60)), envs=slice(1, 3))
    replay.add(*part(rows, [3, 0], slice(0, 120)), envs=[3, 0])
    replay.add(*part(rows, [2], slice(60, 61)), envs=np.array([2]))
    expected = {}
    for env, steps in ((0, 120), (1, 60), (2, 61), (3, 120)):
        of_all = expected_transitions(part(rows, slice(None), slice(0, steps)), n, 0.99)
        oldest = steps - 103  # of a full ring; less than 0 while there is room
        expected |= {s: what for s, what in of_all.items() if s[0] == env and s[1] >= oldest}
    same_transitions(everything(replay), expected)


# Drawing


def wilson_hilferty(freedom, probability):
    """The quantile of χ² (Wilson and Hilferty, "The distribution of chi-square", PNAS 1931)."""
    z, spread = NormalDist().inv_cdf(probability), 2 / (9 * freedom)
    return freedom * (1 - spread + z * spread**0.5) ** 3


def chi_square(replay, batches, batch_size, shares):
    """The statistic of the numbers of draws, against shares by (environment, row)."""
    drawn = np.concatenate([replay.sample(batch_size).obs for _ in range(batches)])
    keys, counts = np.unique(drawn, axis=0, return_counts=True)
    found = {(int(e), int(t)): c for (e, t), c in zip(keys, counts, strict=True)}
    assert found.keys() <= shares.keys()
    total = batches * batch_size
    assert min(shares.values()) * total > 5  # or the statistic is not distributed as χ²
    return sum((found.get(s, 0) - p * total) ** 2 / (p * total) for s, p in shares.items())


def test_the_quantile_is_that_of_the_tables():
    assert wilson_hilferty(100, 0.95) == pytest.approx(124.342, abs=0.05)
    assert wilson_hilferty(100, 0.999) == pytest.approx(149.449, abs=0.1)


def test_uniform_draws_are_uniform():
    replay, rows = filled(num_envs=3, steps=100, capacity=150, seed=1, n_step=2)
    starts = [s for s in expected_transitions(rows, 2, 0.99) if s[1] >= 100 - 52]
    assert len(replay) == len(starts)
    shares = dict.fromkeys(starts, 1 / len(starts))
    statistic = chi_square(replay, 200, 100, shares)
    freedom = len(starts) - 1
    assert wilson_hilferty(freedom, 0.0005) < statistic < wilson_hilferty(freedom, 0.9995)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_prioritised_draws_are_in_proportion_to_priority(alpha):
    replay, rows = filled(num_envs=2, steps=60, prioritized=True, alpha=alpha)
    errors = {start: 0.2 + start[1] / 10 for start in expected_transitions(rows, 1, 0.99)}
    seen = replay.sample(len(replay))  # equal priorities, one in each stratum: all of them
    keys = [(int(e), int(t)) for e, t in seen.obs]
    assert set(keys) == errors.keys()
    replay.update_priorities(seen.rows, [(-1) ** key[1] * errors[key] for key in keys])
    weights = {key: (error + SMALLEST_ERROR) ** alpha for key, error in errors.items()}
    total = sum(weights.values())
    shares = {key: weight / total for key, weight in weights.items()}
    freedom = len(shares) - 1
    # Batches of one have but one stratum: they are independent draws.
    independent = chi_square(replay, 10_000, 1, shares)
    assert wilson_hilferty(freedom, 0.0005) < independent < wilson_hilferty(freedom, 0.9995)
    assert chi_square(replay, 400, 100, shares) < wilson_hilferty(freedom, 0.9995)
    alike = dict.fromkeys(shares, 1 / len(shares))
    assert chi_square(replay, 400, 100, alike) > 10 * freedom


def test_draws_are_stratified():
    """With equal priorities, each part of the total is that of one transition, or of two."""
    replay = Replay(200, 1, (2,), np.float32, prioritized=True)
    replay.add(*random_rows(1, 101, ending=0.0))
    assert replay.sample(100).actions.tolist() == list(range(100))
    halves = [replay.sample(50).actions for _ in range(20)]
    assert all((actions // 2 == np.arange(50)).all() for actions in halves)
    assert 0.4 < np.mean(np.array(halves) % 2) < 0.6


def test_uniform_draws_are_a_function_of_seed_and_counter():
    """Written out: number k of the stream says which row; no transition, and the next is drawn."""
    rows = random_rows(1, 50, ending=0.0)
    replay = Replay(100, 1, (2,), np.float32, seed=9)
    replay.add(*rows)
    key, expected, counter = stream_key(9, REPLAY, 0), [], 0
    while len(expected) < 40:
        row = int(uniform(random_bits(key, counter)) * 50)
        counter += 1
        expected += [row] * (row < 49)  # the last has no next observation yet
    assert [*replay.sample(15).actions, *replay.sample(25).actions] == expected


@pytest.mark.parametrize("options", [{}, {"prioritized": True}])
def test_the_same_seed_gives_the_same_batches(options):
    def batches(seed):
        replay = Replay(300, 3, (2,), np.float32, n_step=3, seed=seed, **options)
        found = []
        for step in range(10):
            replay.add(*random_rows(3, 40, step))
            found.append(replay.sample(16, 0.4))
            replay.update_priorities(found[-1].rows, found[-1].returns)
        return np.concatenate([batch.rows for batch in found])

    assert np.array_equal(batches(3), batches(3))
    assert not np.array_equal(batches(3), batches(4))


def test_the_latest_are_the_newest_of_all_environments():
    replay = latest(300, 3)
    rows = random_rows(3, 50, ending=0.0)
    replay.add(*rows)
    first = replay.sample(7)
    assert first.actions.tolist() == [48, 48, 48, 47, 47, 47, 46]
    assert same_batches(first, replay.sample(7))


# Priorities


def test_priorities_and_importance_weights_are_their_definitions():
    errors = np.array([0.0, -2.0, 0.5])
    np.testing.assert_allclose(priorities(errors, 0.6), (np.abs(errors) + 1e-6) ** 0.6, rtol=1e-15)
    replay, _ = filled(prioritized=True, alpha=0.7)
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = replay.sample(64).rows
        replay.update_priorities(rows, rng.normal(size=64) ** 3)
    for beta in (0.0, 0.4, 1.0):
        batch = replay.sample(64, beta)
        weights = replay.to_arrays()["replay_priorities"]
        places = row_places(replay, batch.rows)
        probabilities = weights[places] / weights.sum()
        expected = (len(replay) * probabilities) ** -beta
        np.testing.assert_allclose(batch.weights, expected / expected.max(), rtol=1e-6)
        assert batch.weights.max() == 1
        np.testing.assert_allclose(
            importance_weights(probabilities, len(replay), beta), batch.weights, rtol=1e-6
        )


def row_places(replay, rows):
    """Where rows lie in a ring of each environment that lies behind that of the one before."""
    length = replay.to_arrays()["replay_rows"].shape[1]
    return rows % replay.num_envs * length + rows // replay.num_envs % length


def test_new_transitions_have_the_highest_priority_so_far_also_after_it_was_loaded():
    replay, _ = filled(num_envs=1, steps=50, prioritized=True, alpha=0.5)
    assert set(replay.to_arrays()["replay_priorities"]) == {0.0, 1.0}
    batch = replay.sample(8)
    replay.update_priorities(batch.rows, np.full(8, 16.0))
    replay.update_priorities(batch.rows, np.full(8, 0.01))  # a fall does not lower the highest
    loaded = Replay(1000, 1, (2,), np.float32, prioritized=True, alpha=0.5)
    loaded.load_arrays(replay.to_arrays())
    for memory in (replay, loaded):
        before = memory.to_arrays()["replay_priorities"].copy()
        memory.add(*random_rows(1, 5, ending=0.0))
        after = memory.to_arrays()["replay_priorities"]
        added = after[before != after]
        assert len(added) >= 4
        assert np.allclose(added, 4.0, rtol=1e-6)


def test_what_cannot_be_sampled_has_priority_zero():
    rows = random_rows(2, 300)
    replay = Replay(80, 2, (2,), np.float32, prioritized=True, n_step=3, stack=2)
    for begin in range(0, 300, 11):
        replay.add(*part(rows, slice(None), slice(begin, begin + 11)))
        arrays = replay.to_arrays()
        ready = arrays["replay_rows"]["ready"].ravel()
        assert np.array_equal(arrays["replay_priorities"] > 0, ready)
        assert len(replay) == ready.sum()
        if len(replay) >= 8:
            batch = replay.sample(8)
            assert (batch.actions != IGNORED).all()
            replay.update_priorities(batch.rows, batch.returns)


def test_updates_of_rows_that_are_gone_or_no_transition_change_nothing():
    rows = random_rows(2, 200)
    replay = Replay(60, 2, (2,), np.float32, prioritized=True)
    replay.add(*part(rows, slice(None), slice(0, 60)))
    early = replay.sample(20).rows
    replay.add(*part(rows, slice(None), slice(60, 200)))  # now other rows lie in their places
    before = replay.to_arrays()["replay_priorities"].copy()
    replay.update_priorities(early, np.full(20, 100.0))
    newest = 199 * 2, 199 * 2 + 1  # their next observation has not come
    after_end = np.flatnonzero(rows[1][0] == IGNORED)[-1] * 2
    never = 400, -2
    replay.update_priorities(np.array([*newest, after_end, *never]), np.full(5, 100.0))
    assert np.array_equal(replay.to_arrays()["replay_priorities"], before)
    replay.add(*random_rows(2, 4, ending=0.0))
    assert replay.to_arrays()["replay_priorities"].max() == 1  # nor do they count as the highest


def test_without_priorities_an_update_is_in_vain_and_harmless():
    replay, _ = filled()
    replay.update_priorities(replay.sample(4).rows, np.ones(4))
    assert (replay.sample(4).weights == 1).all()


# Stacks of frames


class Clock(gymnasium.Env):
    """Shows the time since its beginning; episodes last from 1 to 9 steps."""

    observation_space = gymnasium.spaces.Box(0, 255, (2, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)
    began = 0

    def show(self):
        return np.full((2, 3), (10 * self.began + self.time) % 256, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time, self.began = 0, self.began + 1
        self.length = int(self.np_random.integers(1, 10))
        return self.show(), {}

    def step(self, action):
        self.time += 1
        ended = self.time == self.length
        return self.show(), 1.0, ended and self.began % 2 == 0, ended and self.began % 2 == 1, {}


@pytest.mark.parametrize("capacity", [1000, 40])
@pytest.mark.parametrize(("stack", "n"), [(2, 1), (4, 1), (4, 3)])
def test_stacks_are_those_of_gymnasium(stack, n, capacity):
    env = gymnasium.wrappers.FrameStackObservation(Clock(), stack, padding_type="reset")
    options = {"stack": stack, "n_step": n, "gamma": 1.0, "order": "latest"}
    replay = Replay(capacity, 1, (2, 3), np.uint8, **options)
    obs, _ = env.reset(seed=3)
    stacks, ended = [], False
    for _ in range(150):
        stacks.append(np.array(obs))
        reward, terminated, truncated = 0.0, False, False
        if ended:
            obs, _ = env.reset()
        else:
            obs, reward, terminated, truncated, _ = env.step(0)
        ended = terminated or truncated
        row = stacks[-1][None, None, -1], [[len(stacks) - 1]], [[reward]]
        replay.add(*row, [[terminated]], [[truncated]])
    batch = replay.sample(len(replay))
    assert batch.obs.shape == (len(replay), stack, 2, 3) and len(replay) > 15
    assert batch.actions.min() == 0 or capacity == 40
    for k, row in enumerate(batch.actions):
        assert np.array_equal(batch.obs[k], stacks[row])
        taken = int(batch.returns[k])  # each step paid 1, undiscounted
        assert np.array_equal(batch.next_obs[k], stacks[row + taken])


# Memory


@pytest.mark.parametrize("options", [{}, {"stack": 4}, {"prioritized": True, "n_step": 3}])
def test_bytes_are_told_before_they_are_allocated(options):
    for capacity, num_envs in ((1, 1), (1000, 7)):
        arguments = capacity, num_envs, (5, 3), np.float32
        needed = bytes_needed(*arguments, **options)
        tracemalloc.start()
        replay = Replay(*arguments, **options)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert replay.nbytes == needed
        assert needed <= taken < needed + 20_000


def test_a_frame_is_stored_once():
    """Also of stacks of four, with priorities: at most 1.1 frames a transition."""
    frame = 84 * 84
    replay = Replay(2000, 8, (84, 84), np.uint8, stack=4, prioritized=True)
    assert replay.nbytes / 2000 < 1.1 * frame
    assert bytes_needed(1_000_000, 8, (84, 84), np.uint8, stack=4, prioritized=True) < 1.1e6 * frame


def test_too_large_a_buffer_is_refused_with_the_capacity_that_would_fit():
    if free_memory() is None:
        pytest.skip("this system does not tell how much memory is free")
    with pytest.raises(MemoryError) as caught:
        Replay(10**9, 8, (84, 84), np.uint8, stack=4)
    found = re.fullmatch(
        r"capacity must be at most (\d+) to fit into ([\d.]+) GB of free memory, got "
        r"1000000000, which needs 7072\.0 GB",
        str(caught.value),
    )
    assert found
    fitting, free = int(found[1]), float(found[2]) * 1e9
    assert bytes_needed(fitting, 8, (84, 84), np.uint8, stack=4) == pytest.approx(free, abs=0.06e9)


# Saving


@pytest.mark.parametrize(
    "options", [{}, {"prioritized": True}, {"order": "latest"}, {"stack": 3, "n_step": 2}]
)
@pytest.mark.parametrize("way", ["file", "pickle"])
def test_what_was_saved_goes_on_bit_for_bit(options, way, tmp_path):
    def go_on(memory):
        batches = []
        for seed in range(5):
            memory.add(*random_rows(3, 30, seed))
            batches.append(memory.sample(32, 0.5))
            memory.update_priorities(batches[-1].rows, batches[-1].returns)
        return batches

    replay, _ = filled(capacity=300, **options)
    for _ in range(5):
        batch = replay.sample(32)
        replay.update_priorities(batch.rows, batch.returns)
    if way == "pickle":
        other = pickle.loads(pickle.dumps(replay))
    else:
        saving.save(tmp_path / "model", "test", {}, replay.to_arrays())
        _, arrays = saving.load(tmp_path / "model", "test")
        other = Replay(300, 3, (2,), np.float32, seed=1, **options)  # the seed is saved too
        other.load_arrays(arrays)
    assert len(other) == len(replay)
    for mine, its in zip(go_on(replay), go_on(other), strict=True):
        assert same_batches(mine, its)


ACTIONS = {
    "box": gymnasium.spaces.Box(-2.0, 2.0, (3,)),
    "multi-discrete": gymnasium.spaces.MultiDiscrete([3, 1000]),
    "multi-binary": gymnasium.spaces.MultiBinary([2, 2]),
}


@pytest.mark.parametrize("space", ACTIONS.values(), ids=ACTIONS)
@pytest.mark.parametrize("options", [{}, {"prioritized": True}, {"order": "latest", "n_step": 3}])
def test_actions_of_any_space_come_back_as_they_were_also_from_a_file(space, options, tmp_path):
    actions, rng = actions_of(space), np.random.default_rng(0)
    obs, _, *columns = random_rows(3, 100)
    if actions.kind == "box":
        stored = rng.normal(size=(3, 100, *actions.shape)).astype(actions.dtype)
    else:
        sizes = np.array(actions.sizes).reshape(actions.shape)
        stored = rng.integers(sizes, size=(3, 100, *actions.shape)).astype(actions.dtype)

    def make():
        return Replay(
            200, 3, (2,), np.float32, action_shape=actions.shape, action_dtype=actions.dtype,
            **options,
        )  # fmt: skip

    def assert_as_they_were(batch):
        envs, steps = batch.obs.astype(int).T
        np.testing.assert_array_equal(batch.actions, stored[envs, steps])
        assert batch.actions.dtype == actions.dtype
        assert all(each in space for each in actions.decode(batch.actions))

    replay, again = make(), make()
    replay.add(obs, stored, *columns)
    assert_as_they_were(replay.sample(64))
    saving.save(tmp_path / "model", "test", {}, replay.to_arrays())
    again.load_arrays(saving.load(tmp_path / "model", "test")[1])
    for _ in range(3):
        batch = again.sample(64)
        assert_as_they_were(batch)
        assert same_batches(batch, replay.sample(64))


def test_what_does_not_fit_is_not_loaded():
    replay, _ = filled()
    with pytest.raises(ValueError, match="arrays must have 'replay_obs' for the replay buffer"):
        replay.load_arrays({})
    other, _ = filled(capacity=500)
    before = {name: array.copy() for name, array in replay.to_arrays().items()}
    message = r"^array 'replay_obs' must be float32 \(1005, 2\), got float32 \(504, 2\)$"
    with pytest.raises(ValueError, match=message):
        replay.load_arrays(other.to_arrays())
    after = replay.to_arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    prioritized, _ = filled(prioritized=True)
    with pytest.raises(ValueError, match="arrays must have 'replay_priorities' for the replay"):
        prioritized.load_arrays(replay.to_arrays())


@pytest.mark.parametrize(
    ("name", "index", "value", "wrong"),
    [
        ("counts", 0, -1, "impossible counts"),
        ("waiting", 1, 10**9, "impossible counts"),
        ("counts", 2, 0, "impossible counts"),  # but there are rows that wait
        ("rows", (0, 300), (0.0, 0, True), "transitions that were never added"),
        ("priorities", 5, np.nan, "impossible priorities"),
        ("priorities", -1, 1.0, "impossible priorities"),  # of a row that is not there
    ],
)
def test_a_damaged_buffer_is_not_loaded(name, index, value, wrong):
    """Some of these would else have compiled loops run for ever."""
    replay, _ = filled(prioritized=True)
    arrays = {key: array.copy() for key, array in replay.to_arrays().items()}
    arrays[f"replay_{name}"][index] = value
    before = pickle.dumps(replay.to_arrays())
    with pytest.raises(ValueError, match=f"^the replay buffer is damaged: it holds {wrong}$"):
        replay.load_arrays(arrays)
    assert pickle.dumps(replay.to_arrays()) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
def test_a_maximum_priority_that_cannot_be_is_not_loaded(value):
    replay, _ = filled(prioritized=True)
    arrays = replay.to_arrays() | {"replay_max_priority": np.array(value)}
    with pytest.raises(
        ValueError, match="the replay buffer is damaged: it holds impossible priorities"
    ):
        replay.load_arrays(arrays)


def test_counts_that_would_leave_rows_without_names_are_not_loaded():
    replay, _ = filled()
    arrays = replay.to_arrays()
    with pytest.raises(
        ValueError, match="the replay buffer is damaged: it holds impossible counts"
    ):
        replay.load_arrays(arrays | {"replay_counts": arrays["replay_counts"] + 2**62})


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"capacity": 0}, "capacity must be a whole number of at least 1, got 0"),
        ({"capacity": 1e6}, "capacity must be a whole number of at least 1, got 1000000.0"),
        ({"num_envs": 0}, "num_envs must be a whole number of at least 1, got 0"),
        ({"n_step": 0}, "n_step must be a whole number of at least 1, got 0"),
        ({"stack": 0}, "stack must be a whole number of at least 1, got 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"gamma": 1.1}, "gamma must be a number from 0 to 1, got 1.1"),
        ({"alpha": -0.1}, "alpha must be a number from 0 to 1, got -0.1"),
        ({"prioritized": 1}, "prioritized must be True or False, got 1"),
        ({"order": "first"}, "order must be one of 'random', 'latest', got 'first'"),
        (
            {"order": "latest", "prioritized": True},
            "order must be 'random' with prioritized=True, got 'latest'$",
        ),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Replay(**{"capacity": 10, "num_envs": 2, "obs_shape": (2,), "obs_dtype": "f4"} | options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": np.zeros((2, 5, 3), "f4")}, "obs must have shape (2, T, 2), got (2, 5, 3)"),
        ({"obs": np.zeros((3, 5, 2), "f4")}, "obs must have shape (2, T, 2), got (3, 5, 2)"),
        ({"obs": np.zeros((2, 5, 2))}, "obs must have dtype float32, got float64"),
        (
            {"rewards": np.zeros((2, 4))},
            "rewards must have shape (2, 5) to match obs, got (2, 4)",
        ),
        (
            {"actions": np.zeros((2, 5))},
            "actions must be whole numbers, got dtype float64",
        ),
        (
            {"terminated": np.zeros((2, 5), int)},
            "terminated must be booleans, got dtype int64",
        ),
        ({"envs": [0, 2]}, "envs must be a slice or different numbers from 0 to 1, got [0, 2]"),
        ({"envs": [1, 1]}, "envs must be a slice or different numbers from 0 to 1, got [1, 1]"),
        ({"envs": [0, -1]}, "envs must be a slice or different numbers from 0 to 1, got [0, -1]"),
        (
            {"envs": [True, False]},
            "envs must be a slice or different numbers from 0 to 1, got [True, False]",
        ),
    ],
)
def test_rows_that_are_refused_change_nothing(changes, message):
    replay = Replay(50, 2, (2,), np.float32)
    names = "obs", "actions", "rewards", "terminated", "truncated"
    rows = dict(zip(names, random_rows(2, 5), strict=True))
    before = pickle.dumps(replay.to_arrays())
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replay.add(**rows | changes)
    assert pickle.dumps(replay.to_arrays()) == before


def test_what_sampling_and_updating_refuse():
    replay, _ = filled(num_envs=1, steps=10, prioritized=True)
    size = len(replay)
    with pytest.raises(
        ValueError, match=r"^batch_size must be a whole number of at least 1, got 0$"
    ):
        replay.sample(0)
    too_many = f"^batch_size must be at most {size}, the number of .* sampled, got {size + 1}$"
    with pytest.raises(ValueError, match=too_many):
        replay.sample(size + 1)
    with pytest.raises(ValueError, match=r"^batch_size must be at most 0, .* sampled, got 1$"):
        Replay(10, 1, (2,), np.float32).sample(1)
    with pytest.raises(ValueError, match=r"^beta must be a number from 0 to 1, got 1\.5$"):
        replay.sample(2, 1.5)
    rows = replay.sample(2).rows
    with pytest.raises(ValueError, match=r"^td_errors\[1\] must be a finite number, got nan$"):
        replay.update_priorities(rows, [1.0, float("nan")])
    with pytest.raises(
        ValueError, match=r"^td_errors must have shape \(2,\), as rows has, got \(3,\)$"
    ):
        replay.update_priorities(rows, [1.0, 1.0, 1.0])


# Episodes that were left.


@pytest.mark.parametrize("n_step", [1, 3])
def test_a_cut_episode_was_truncated_where_its_last_observation_is(n_step):
    """Of rows 0 1 2 | 3 4 5 6, all but 2, whose next observation is not known, can be sampled."""
    cut_up, ended = (Replay(100, 1, (1,), np.float32, n_step=n_step, gamma=0.5) for _ in range(2))
    obs = np.arange(7, dtype=np.float32).reshape(1, 7, 1)
    columns = np.zeros((1, 7), np.int64), obs[:, :, 0] + 1, np.zeros((2, 1, 7), np.bool_)

    def add(replay, rows, truncated):
        flags = columns[2][0, :, rows], truncated[:, rows]
        replay.add(obs[:, rows], columns[0][:, rows], columns[1][:, rows], *flags)

    add(cut_up, slice(0, 3), columns[2][1])
    cut_up.cut([0])
    add(cut_up, slice(3, 7), columns[2][1])
    # The same, had the environment said that its second step was truncated.
    add(ended, slice(0, 7), np.arange(7)[None] == 1)
    assert len(cut_up) == len(ended) == 2 + 4 - n_step
    for mine, others in zip(cut_up.sample(len(ended)), ended.sample(len(ended)), strict=True):
        np.testing.assert_array_equal(mine, others)


def test_what_had_ended_is_not_cut_again():
    replay = Replay(100, 1, (1,), np.float32)
    obs, no = np.zeros((1, 3, 1), np.float32), np.zeros((1, 3), np.bool_)
    replay.cut()
    replay.add(obs, no.astype(int), no.astype(float), np.array([[False, True, False]]), no)
    replay.cut()
    assert len(replay) == 2
    assert sorted(replay.sample(2).discounts.tolist()) == [0.0, np.float32(0.99)]
