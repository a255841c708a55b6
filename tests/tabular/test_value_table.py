"""The hash table, against a dictionary; and tables with it, against tables with all the rows."""

from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from probes import LAKE, METHODS, Probe, agent_of, same, short_lake

from rlbook import QLearning, Sarsa
from rlbook.tabular.value_table import locate, locate_all, make_rows
from rlbook_envs.compiled import compile
from rlbook_envs.streams import random_bits

LARGEST = 2**63 - 1


def colliding(slots, count):
    """States that all begin their search at slot 0 of a table of this number of slots."""
    found, state = [], 0
    while len(found) < count:
        if not int(random_bits(np.uint64(state), 0)) % slots:
            found.append(state)
        state += 1
    return found


def random_states(count=3000):
    rng = np.random.default_rng(0)
    near = rng.integers(500, size=count // 2)
    far = rng.choice([2**62, 2**62 + 1, LARGEST, LARGEST - 64, 3**24 * 9 - 1, 0], size=count // 4)
    anywhere = rng.integers(LARGEST, size=count - len(near) - len(far))
    return rng.permutation(np.concatenate([near, far, anywhere])).tolist()


@pytest.mark.parametrize("find", [locate, compile(locate)])
def test_rows_are_those_that_a_dictionary_gives(find):
    rows, expected = make_rows(np.zeros(0, np.int64), 3000), {}
    for state in random_states():
        assert find(rows, state) == expected.setdefault(state, len(expected))
    assert rows.taken[0] == len(expected)
    assert rows.states[: len(expected)].tolist() == list(expected)
    assert not rows.states[len(expected) :].any()
    known = [find(rows, state) for state in expected]
    assert known == list(range(len(expected))) and rows.taken[0] == len(expected)


@pytest.mark.parametrize("find", [locate, compile(locate)])
def test_states_that_collide_have_rows_of_their_own(find):
    rows = make_rows(np.zeros(0, np.int64), 30)
    states = colliding(len(rows.slots), 30)
    assert [find(rows, state) for state in states] == list(range(30))
    assert [find(rows, state) for state in reversed(states)] == list(reversed(range(30)))


def test_a_search_goes_on_at_the_other_end():
    rows = make_rows(np.zeros(0, np.int64), 4)
    last = len(rows.slots) - 1
    states = [s for s in range(5000) if int(random_bits(np.uint64(s), 0)) % (last + 1) == last][:4]
    assert [locate(rows, state) for state in states] == [0, 1, 2, 3]
    assert rows.slots[last] == 0 and rows.slots[:3].tolist() == [1, 2, 3]


@pytest.mark.parametrize("count, room", [(0, 1), (1, 0), (5, 3), (64, 64), (1000, 1)])
def test_there_is_room_for_what_was_asked_for_and_half_the_slots_stay_free(count, room):
    states = np.random.default_rng(1).choice(10**9, size=count + room, replace=False)
    rows = make_rows(states[:count], room)
    assert rows.states[:count].tolist() == states[:count].tolist()
    locate_all(rows, states[count:])
    assert rows.taken[0] == count + room == len(rows.states)
    assert np.count_nonzero(rows.slots >= 0) == count + room <= len(rows.slots) / 2


# Agents


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_a_hash_table_holds_the_numbers_of_a_dense_one(name, num_envs):
    options = {"seed": 4, "num_envs": num_envs, "sync_every": 130, "initial_value": 0.25}
    dense, hashed = (agent_of(name, short_lake(), table=t, **options) for t in ("dense", "hash"))
    for agent in (dense, hashed):
        agent.learn(3000)
    assert dense.states is None and 6 < len(hashed.states) == len(hashed.q) <= 12
    assert sorted(set(hashed.states.tolist())) == sorted(hashed.states.tolist())
    assert np.array_equal(hashed._table, dense._table[hashed.states])
    assert np.array_equal(hashed._counts, dense._counts[hashed.states])
    never = np.setdiff1d(np.arange(12), hashed.states)
    assert not dense._counts[never].any() and np.all(dense._table[never] == 0.25)
    arrays, others = dense.history.to_arrays(), hashed.history.to_arrays()
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays if name != "timing")
    everywhere = np.arange(12).reshape(3, 4)
    assert np.array_equal(hashed.action_values(everywhere), dense.action_values(everywhere))
    assert np.array_equal(hashed.predict(everywhere), dense.predict(everywhere))


def far_apart(numbers):
    """A ring of states whose numbers lie far apart; right is the way to the reward."""

    class Ring(Probe):
        def __init__(self):
            super().__init__(None, LARGEST, starts=3)

        def reset(self, **options):
            super().reset(**options)
            return numbers[self.state], {}

        def step(self, action):
            self.state = (self.state + 2 * action - 1) % len(numbers)
            home = self.state == len(numbers) - 2
            return numbers[self.state], float(home), home, False, {}

    return lambda: gymnasium.wrappers.TimeLimit(Ring(), 30)


@pytest.mark.parametrize("name", METHODS)
def test_states_of_huge_numbers_are_learned_like_small_ones(name):
    """A table of them all would take 2⁶⁷ bytes."""
    huge = [2**62, 7, LARGEST - 1, 2**62 - 1, 2**61 + 5, 0, 3**38]
    options = {"seed": 2, "num_envs": 2, "sync_every": 100}
    small, large = (
        agent_of(name, far_apart(numbers), table="hash", **options)
        for numbers in (list(range(7)), huge)
    )
    for agent in (small, large):
        agent.learn(2000)
    assert [huge[state] for state in small.states.tolist()] == large.states.tolist()
    assert np.array_equal(small._table, large._table) and small._table.any()
    assert np.array_equal(large.predict(huge), small.predict(np.arange(7)))
    assert large.predict(12345) == 0 and not large.action_values(12345).any()


def test_which_kind_of_table_it_is():
    assert QLearning(LAKE).states is None
    assert QLearning(LAKE, table="hash").q.shape == (0, 4)
    assert QLearning(far_apart([0, 1, 2])).states is not None  # too many to count in advance
    window = {"observation": "window", "size": 6}
    assert Sarsa(gymnasium.make("rlbook/Snake-v0", **window)).states is not None
    features = gymnasium.make("rlbook/Snake-v0", observation="features", size=6)
    assert Sarsa(features).q.shape == (729, 4)


def test_states_are_in_the_order_in_which_they_were_met_and_the_table_grows_with_them():
    env = gymnasium.make("rlbook/Snake-v0", observation="window", size=6)
    agent = QLearning(env, seed=3, num_envs=2, sync_every=50)
    seen = []
    agent.learn(2000, callback=lambda agent: seen.append(agent.states))
    sizes = [len(states) for states in seen]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    for before, after in pairwise(seen):
        assert np.array_equal(before, after[: len(before)])
    assert len(set(seen[-1].tolist())) == len(seen[-1]) == len(agent.q)


@pytest.mark.parametrize("name", METHODS)
def test_the_number_of_workers_makes_no_difference_to_what_is_met(name):
    env = gymnasium.make("rlbook/Snake-v0", observation="window", size=5)
    agents = [
        agent_of(name, env, seed=1, num_envs=4, workers=workers, sync_every=60, epsilon=0.5)
        for workers in (1, 2, 4)
    ]
    for agent in agents:
        agent.learn(1500)
    assert same(agents[0], agents[1]) and same(agents[0], agents[2])
    assert len(agents[0].states) > 50


def test_predictions_in_states_that_were_never_met():
    agent = QLearning(LAKE, table="hash", initial_value=0.5, epsilon=0.5)
    everywhere = np.arange(16)
    assert not agent.predict(everywhere).any()  # before anything was learned
    assert np.all(agent.action_values(everywhere) == 0.5)
    agent.learn(60)
    met = agent.states
    never = np.setdiff1d(everywhere, met)
    assert len(never) > 5
    assert not agent.predict(never).any() and np.all(agent.action_values(never) == 0.5)
    assert np.array_equal(agent.action_values(met), agent.q)
    assert agent.predict(int(met[0])) == agent.q[0].argmax()
    drawn = agent.predict(np.full(400, never[0]), deterministic=False)
    assert set(drawn.tolist()) == {0, 1, 2, 3}  # all actions are worth the same there
    with pytest.raises(ValueError, match=r"^obs must be whole numbers from 0 to 15, got 16$"):
        agent.predict(16)


@pytest.mark.parametrize("bad", ["sparse", "", None, 1])
def test_there_are_three_kinds(bad):
    with pytest.raises(
        ValueError, match=rf"^table must be one of 'auto', 'dense', 'hash', got {bad!r}$"
    ):
        QLearning(LAKE, table=bad)
