"""Rollouts: rows as Gymnasium's vector environments give them, and that nothing depends on who else
is in the worker, or on which worker goes on."""

import gc
import itertools
import pickle
import uuid

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from probes import LAKE, same_states, stored

from rlbook.algorithm import Algorithm, Decision, Problem, RandomStreams
from rlbook.algorithms.dqn import DQN
from rlbook.data.rollout import Rollout, gather
from rlbook.envs.actions import actions_of
from rlbook.envs.making import compiled_world, env_maker
from rlbook.envs.observations import Observations, observations_of
from rlbook.envs.vector import EnvList
from rlbook.nn.q_network import q_network
from rlbook.nn.threads import one_thread
from rlbook.ops.sampling import explore_uniformly
from rlbook.patterns.rollout_worker import CHUNK, Chunks, RolloutWorker
from rlbook_envs.streams import ENVIRONMENT, POLICY, stream_key

SEED = 11


class Toy(Algorithm):
    """An algorithm that only acts, and without a network."""

    def __init__(self, problem):
        self.problem = problem

    def make_network(self):
        raise AssertionError("there is none")

    def set_weights(self, weights):
        raise AssertionError("there are none")

    def batches(self, rollout):
        return iter(())

    def gradients(self, batch):
        raise AssertionError("nothing is learned")


class Random(Toy):
    """Any action, as each environment's own stream of numbers says."""

    def act(self, obs, memory, random, exploration):
        actions = np.zeros(len(obs), np.int64)
        explore_uniformly(actions, self.problem.actions.n, np.ones(len(obs)), *random)
        return Decision(actions)


class Remembers(Random):
    """Its memory counts the steps of the episode, and where it has been; it notes them, too."""

    def initial_memory(self, number):
        return {"steps": np.zeros(number, np.int64), "way": np.zeros((number, 2), np.float32)}

    def act(self, obs, memory, random, exploration):
        decision = super().act(obs, memory, random, exploration)
        way = memory["way"] + np.stack([decision.actions, random.counters], axis=1)
        after = {"steps": memory["steps"] + 1, "way": way.astype(np.float32)}
        extras = {"before": memory["steps"], "way": after["way"]}
        return Decision(decision.actions, extras, after)


class Walk(gymnasium.Env):
    """A random walk of normally distributed steps, which ends outside (-2, 2): chance of its own.

    It pays the action for every step; the last one is also truncated if the walk was long.
    """

    def __init__(self, rewards=float):
        self.rewards, self.seed = rewards, None
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed = self.seed if seed is None else seed
        self.obs = self.np_random.normal(size=2)
        return self.obs.copy(), {}

    def step(self, action):
        self.obs = self.obs + self.np_random.normal(size=2) / 2 + action / 10
        out = bool(np.abs(self.obs).max() > 2)
        return self.obs.copy(), self.rewards(action), out, out and self.obs[0] > 0, {}


def short(env_id, steps=9, **options):
    return lambda: gymnasium.make(env_id, max_episode_steps=steps, **options)


ENVS = {
    "its own chance": Walk,
    "ordinary": env_maker("CartPole-v1"),
    "with a time limit": short("CartPole-v1"),
    "numbers": short("FrozenLake-v1"),
    "our world": short(LAKE),
    "our world of boxes": env_maker("rlbook/CartPole-v0"),
}
EACH = pytest.mark.parametrize("make_env", [pytest.param(make, id=k) for k, make in ENVS.items()])


def worker(make_env, shares, index=0, states=None, kind=Random, seed=SEED):
    env, number = make_env(), sum(map(len, shares))
    algorithm = kind(Problem(observations_of(env), actions_of(env.action_space), number, seed))
    return RolloutWorker(index, shares, make_env, algorithm, states or [None] * number)


def rollout(worker, steps, number):
    return worker.rollout(None, steps, np.zeros((steps, number)))


def states_after(found):
    """Where the environments of a rollout stand after it, as an agent notes it."""
    return [{**state, "obs": obs} for state, obs in zip(found.states, found.last_obs, strict=True)]


def seed_of(number, seed=SEED, ours=False):
    """What environment `number` is seeded with."""
    key = int(stream_key(seed, ENVIRONMENT, number))
    return key if ours else key % 2**31


def play(make_env, number, actions, seed=SEED, clock=0):
    """What Gymnasium itself shows for these actions, and the episodes that end."""
    env, rows, episodes = make_env(), [], []
    obs, _ = env.reset(seed=seed_of(number, seed, compiled_world(env) is not None) + clock)
    ended, total, length = False, 0.0, 0
    for t, action in enumerate(actions.tolist()):
        if ended:
            rows.append((obs, 0.0, False, False))
            obs, _ = env.reset()
            ended, total, length = False, 0.0, 0
            continue
        next_obs, reward, terminated, truncated, _ = env.step(action)
        rows.append((obs, reward, terminated, truncated))
        total, length, ended = total + reward, length + 1, terminated or truncated
        if ended:
            episodes.append((t, number, total, length))
        obs = next_obs
    return [list(column) for column in zip(*rows, strict=True)], episodes


def assert_equal(one, other):
    """Two rollouts are the same but for the seconds that they took."""
    assert same_states(one._replace(seconds={})._asdict(), other._replace(seconds={})._asdict())


# Rows


@EACH
def test_rows_and_episodes_are_those_of_the_environment_stepped_by_hand(make_env):
    """Rows after an end hold the last observation; their action is ignored, their reward is 0."""
    found = rollout(worker(make_env, [[0, 1, 2]]), 150, 3)
    encode = observations_of(make_env()).encode_all
    expected = []
    for i in range(3):
        (obs, *columns), episodes = play(make_env, i, found.actions[i])
        np.testing.assert_array_equal(found.obs[i], encode(obs))
        for name, column in zip(("rewards", "terminated", "truncated"), columns, strict=True):
            np.testing.assert_array_equal(getattr(found, name)[i], column)
        expected += episodes
    assert len(expected) > 10
    np.testing.assert_array_equal(found.episodes, sorted(expected))
    assert found.rewards.dtype == found.episodes.dtype == np.float64
    assert found.actions.dtype == np.int64 and found.terminated.dtype == np.bool_


def test_our_worlds_run_compiled_and_others_do_not():
    found = {name: compiled_world(make()) is not None for name, make in ENVS.items()}
    assert [name for name, compiled in found.items() if compiled] == [
        "our world",
        "our world of boxes",
    ]


@EACH
def test_several_rollouts_are_one_long_one(make_env):
    """Also where an episode goes on, or had just ended, between them."""
    whole = rollout(worker(make_env, [[0, 1]]), 60, 2)
    pieces = worker(make_env, [[0, 1]])
    parts = [rollout(pieces, steps, 2) for steps in (1,) * 30 + (13, 17)]
    for name in Rollout._fields[:6]:
        joined = np.concatenate([getattr(part, name) for part in parts], axis=1)
        np.testing.assert_array_equal(joined, getattr(whole, name))
    starts = np.cumsum([0] + [part.rewards.shape[1] for part in parts])
    for part, before in zip(parts, starts, strict=False):
        part.episodes[:, 0] += before
    np.testing.assert_array_equal(np.concatenate([p.episodes for p in parts]), whole.episodes)
    assert same_states(states_after(parts[-1]), states_after(whole))


@EACH
def test_another_seed_is_another_run(make_env):
    one, other = (rollout(worker(make_env, [[0]], seed=seed), 30, 1) for seed in (1, 2))
    assert (one.actions != other.actions).any() and (one.obs != other.obs).any()


def test_seconds_are_spent_acting_and_in_the_environment():
    found = rollout(worker(Walk, [[0]]), 5, 1)
    assert set(found.seconds) == {"acting", "environment"}
    assert all(value > 0 for value in found.seconds.values())


def test_exploration_is_that_of_the_step_and_of_the_environment():
    seen = []

    class Looks(Random):
        def act(self, obs, memory, random, exploration):
            seen.append((random.counters.copy(), exploration.copy()))
            return super().act(obs, memory, random, exploration)

    one = worker(Walk, [[0, 1], [2, 3]], index=1, kind=Looks)
    one.rollout(None, 3, np.arange(12.0).reshape(3, 4))
    assert [counters[2:].tolist() for counters, _ in seen] == [[0, 0], [1, 1], [2, 2]]
    assert [row[2:].tolist() for _, row in seen] == [[2, 3], [6, 7], [10, 11]]


def test_weights_reach_the_algorithm():
    class Told(Random):
        def set_weights(self, weights):
            self.weights = weights

    one = worker(Walk, [[0]], kind=Told)
    one.rollout("new", 1, np.zeros((1, 1)))
    assert one.algorithm.weights == "new"


# What follows the last row, what is no transition, what an algorithm notes and remembers


@EACH
def test_the_observation_after_a_rollout_begins_the_next_one(make_env):
    one = worker(make_env, [[0, 1, 2]])
    parts = [rollout(one, 7, 3) for _ in range(20)]
    for part, after in itertools.pairwise(parts):
        np.testing.assert_array_equal(part.last_obs, after.obs[:, 0])
        np.testing.assert_array_equal(part.next_obs()[:, :-1], part.obs[:, 1:])
        np.testing.assert_array_equal(part.next_obs()[:, -1], part.last_obs)
    seen = [part.last_obs.copy() for part in parts]
    rollout(one, 7, 3)  # which changes nothing in what was told before
    for part, before in zip(parts, seen, strict=True):
        np.testing.assert_array_equal(part.last_obs, before)


@EACH
def test_rows_that_only_begin_an_episode_are_not_valid(make_env):
    """They follow each end, also where it was in the last row of the rollout before."""
    one = worker(make_env, [[0, 1, 2]])
    parts = [rollout(one, steps, 3) for steps in (1,) * 40 + (60,)]
    ended, valid = (
        np.concatenate([get(part) for part in parts], axis=1)
        for get in (lambda part: part.terminated | part.truncated, lambda part: part.valid)
    )
    assert valid[:, 0].all() and ended.sum() > 10
    np.testing.assert_array_equal(valid[:, 1:], ~ended[:, :-1])


def steps_before(found, start):
    """How many steps of its episode there were before each row, counted by hand."""
    expected = np.zeros(found.valid.shape, np.int64)
    for row, count in enumerate(start):
        for t in range(expected.shape[1]):
            expected[row, t] = count
            count = count + 1 if found.valid[row, t] else 0
    return expected


@EACH
def test_memory_is_carried_on_and_begins_anew_with_an_episode(make_env):
    one, start = worker(make_env, [[0, 1, 2]], kind=Remembers), np.zeros(3, np.int64)
    for steps in (1,) * 20 + (30, 50):
        found = rollout(one, steps, 3)
        np.testing.assert_array_equal(found.memory["steps"], start)
        expected = steps_before(found, start)
        np.testing.assert_array_equal(found.extras["before"], expected)
        start = np.where(found.valid[:, -1], expected[:, -1] + 1, 0)
    assert (found.extras["before"][~found.valid] > 0).all() and (~found.valid).any()
    assert found.extras["way"].shape == (3, 50, 2) and found.extras["way"].dtype == np.float32


@EACH
@pytest.mark.parametrize("shares", [[[0], [1, 2]], [[0], [1], [2]]], ids=str)
def test_memory_and_extras_do_not_depend_on_the_workers_and_are_restored(make_env, shares):
    first, states = worker(make_env, [[0, 1, 2]], kind=Remembers), None
    apart = [worker(make_env, shares, i, kind=Remembers) for i in range(len(shares))]
    for steps in (1, 8, 13):
        found = rollout(first, steps, 3)
        assert_equal(found, gather([rollout(each, steps, 3) for each in apart]))
        states = stored(states_after(found))
        assert same_states(states_after(found), first.get_states())
    again = [worker(make_env, shares, i, states, kind=Remembers) for i in range(len(shares))]
    expected = rollout(first, 21, 3)
    assert_equal(expected, gather([rollout(each, 21, 3) for each in again]))
    assert expected.memory["steps"].any() and len(expected.extras) == 2


def test_a_snapshot_restores_the_memory_of_a_worker_that_has_gone_on():
    one = worker(Walk, [[0, 1]], kind=Remembers)
    rollout(one, 5, 2)
    saved = one.get_state()
    expected = rollout(one, 10, 2)
    one.set_state(saved)
    assert_equal(rollout(one, 10, 2), expected)


def test_memory_begins_anew_with_games_that_cannot_be_brought_back():
    first = worker(Games(), [[0, 1, 2]], kind=Remembers)
    saved = states_after(rollout(first, 3, 3))
    assert first.memory["steps"].any()
    first.set_state(saved)  # also in a worker that has gone on
    again = worker(Games(), [[0, 1, 2]], states=saved, kind=Remembers)
    for one in (first, again):
        found = rollout(one, 3, 3)
        assert not found.memory["steps"].any() and not found.extras["before"][:, 0].any()


def test_an_algorithm_without_memory_has_none():
    found = rollout(worker(Walk, [[0, 1]]), 4, 2)
    assert found.memory is None and found.extras == {}
    parts = [rollout(worker(Walk, [[0], [1]], i), 4, 2) for i in range(2)]
    assert gather(parts).memory is None and gather(parts).extras == {}


# Who has which environments, and who goes on


@EACH
@pytest.mark.parametrize("shares", [[[0], [1, 2]], [[0, 1], [2]], [[0], [1], [2]]], ids=str)
def test_another_worker_goes_on_bit_for_bit_also_in_other_shares(make_env, shares):
    whole = [[0, 1, 2]]
    first = worker(make_env, whole)
    for steps in (1, 1, 5, 10, 12):  # among them, a place where an episode has just ended
        states = stored(states_after(rollout(first, steps, 3)))
        others = [worker(make_env, shares, i, states) for i in range(len(shares))]
        again = worker(make_env, whole, states=stored(first.get_states()))
        found = gather([rollout(other, 21, 3) for other in others])
        assert_equal(rollout(again, 21, 3), found)
    # And the first one, which nobody interrupted, does what they do.
    assert_equal(rollout(first, 21, 3), found)


@EACH
@pytest.mark.parametrize("ended", [False, True])
def test_states_are_told_in_the_middle_of_an_episode_and_at_its_end(make_env, ended):
    """What the test above relies on: these places are met."""
    one = worker(make_env, [[0, 1, 2]])
    states = [state for _ in range(30) for state in rollout(one, 1, 3).states]
    assert any(state["ended"] is ended for state in states)
    assert any(state["episode"][1] > 1 for state in states)


def test_a_snapshot_of_a_worker_is_its_states():
    """The backends ask for it by these names when a worker has died."""
    first, other = worker(Walk, [[0, 1]]), worker(Walk, [[0, 1]])
    rollout(first, 17, 2)
    other.set_state(stored(first.get_state()))
    assert_equal(rollout(first, 10, 2), rollout(other, 10, 2))


@pytest.mark.parametrize("before", [(5, 9), (9, 5), (5, 0), (0, 5)], ids=str)
def test_environments_that_have_come_to_different_steps_go_on_in_one_worker(before):
    """As when a run with asynchronous workers was interrupted, and goes on with fewer of them."""
    shares = [[0, 1], [2, 3]]
    apart = [worker(Walk, shares, i) for i in range(2)]
    states = [[None, None], [None, None]]
    for i, steps in enumerate(before):
        if steps:
            states[i] = stored(states_after(rollout(apart[i], steps, 4)))
    together = rollout(worker(Walk, [[0, 1, 2, 3]], states=states[0] + states[1]), 15, 4)
    expected = gather([rollout(each, 15, 4) for each in apart])
    np.testing.assert_array_equal(together.obs, expected.obs)
    np.testing.assert_array_equal(together.actions, expected.actions)


class Games:
    """Makes walks, several as a batch, which cannot be moved to another process."""

    def __call__(self):
        return Walk()

    def batch(self, seeds):
        found = EnvList(Walk, actions_of(Walk().action_space), [seed % 2**31 for seed in seeds])
        born = uuid.uuid4().hex
        found.restorable, found.get_row = False, lambda row: {"born": born}
        found.begin_anew = lambda clocks: [
            each.env.reset(seed=each.seed + int(clock))[0]
            for each, clock in zip(found.envs, clocks, strict=True)
        ]
        return found


def test_what_cannot_be_taken_elsewhere_begins_anew():
    first = worker(Games(), [[0, 1, 2]])
    before = [rollout(first, 8, 3) for _ in range(2)][-1]
    states = stored(states_after(before))
    others = [worker(Games(), [[0], [1, 2]], i, states) for i in range(2)]
    after = gather([rollout(other, 40, 3) for other in others])
    fresh = gather([rollout(worker(Games(), [[0], [1, 2]], i), 40, 3) for i in range(2)])
    assert (after.obs[:, 0] != fresh.obs[:, 0]).all()  # they are other games than the first ones,
    assert (after.actions != fresh.actions).any()  # for the clock went on
    assert [state["counter"] for state in after.states] == [16 + 40] * 3
    # And an episode counts from its own beginning.
    for number in range(3):
        (obs, *_), episodes = play(Games(), number, after.actions[number], clock=16)
        np.testing.assert_array_equal(after.obs[number], np.float32(obs))
        assert after.episodes[after.episodes[:, 1] == number].tolist() == list(map(list, episodes))
    assert len(after.episodes) > 5


@pytest.mark.parametrize(
    "make_env, expected",
    [pytest.param(Games(), [0, 1, 2], id="games")]
    + [pytest.param(make, [], id=name) for name, make in ENVS.items()],
)
def test_an_agent_knows_which_environments_have_begun_anew(make_env, expected):
    """Those that cannot be taken elsewhere, wherever workers are launched again; no others."""
    agent = DQN(make_env, num_envs=3, seed=SEED)

    def go_on():
        group = agent.rollout_workers()
        [found] = group.call("rollout", agent.get_weights(), 5, agent.exploration(5))
        marked = agent.mark_interrupted(found)
        agent.record(found)
        return marked.envs[marked.interrupted].tolist()

    for expected_first in ([], expected, expected):
        assert go_on() == expected_first
        assert go_on() == []
        end_workers(agent)


def end_workers(agent):
    """End the workers of an agent as an interruption of `learn` does."""
    agent._workers.end()


def test_of_several_environments_those_that_have_begun_anew_are_named():
    agent = DQN(Games(), num_envs=3, workers=2, seed=SEED)
    for expected in ([], [2]):
        group = agent.rollout_workers()
        found = group.call("rollout", agent.get_weights(), 5, agent.exploration(5))
        assert [each.envs.tolist() for each in found] == [[0, 1], [2]]
        marked = agent.mark_interrupted(found[1])
        assert marked.envs[marked.interrupted].tolist() == expected
        agent.record(found[1])  # of the others, nothing has been heard
        assert not agent.mark_interrupted(gather(found)).interrupted.any()
        end_workers(agent)


# Environments that cannot be brought back: what was observed would never follow what is observed


class Lost(gymnasium.Env):
    """A walk of steps of size 1, whose chance no seed reaches; by chance, it may end."""

    def __init__(self, ends=0.0):
        self.ends, self.chance, self.over = ends, np.random.default_rng(), True
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.obs, self.over = self.chance.integers(-1_000, 1_000, size=1).astype(float), False
        return self.obs.copy(), {}

    def step(self, action):
        assert not self.over
        self.obs += self.chance.choice([-1, 1])
        self.over = bool(self.chance.random() < self.ends)
        return self.obs.copy(), 1.0, self.over, False, {}


class Endless(Walk):
    def step(self, action):
        obs, reward, *_ = super().step(action)
        return obs, reward, False, False, {}


class Breaks(Endless):
    """Raises an error in the first step after it has been seeded again."""

    seeded = 0

    def reset(self, *, seed=None, options=None):
        self.seeded += seed is not None
        return super().reset(seed=seed)

    def step(self, action):
        if self.seeded == 2:
            self.seeded = 0
            raise RuntimeError("I was played before")
        return super().step(action)


LOST = {
    "its own chance": Lost,
    "normalised by what was seen": lambda: gymnasium.wrappers.NormalizeObservation(Endless()),
    "an error": Breaks,
}


@pytest.mark.parametrize("make_env", [pytest.param(make, id=name) for name, make in LOST.items()])
def test_an_environment_that_cannot_be_brought_back_begins_anew_and_says_so_once(make_env):
    agent = DQN(make_env, num_envs=3, learning_starts=1_000, rollout_steps=5)
    agent.learn(3 * 10)
    assert len(agent.replay) == 3 * 9  # what the last step of each led to will be seen
    end_workers(agent)
    with pytest.warns(UserWarning, match="cannot be brought back to where it stood") as told:
        agent.learn(3 * 10)
        assert len(agent.replay) == 3 * (9 + 9)  # but no: it was left
        end_workers(agent)
        agent.learn(3 * 10)
    assert len(agent.replay) == 3 * (9 + 9 + 9)
    assert len(told) == 1
    assert all(state["counter"] == 30 and state["episode"][1] == 10 for state in agent._states)


@pytest.mark.parametrize("make_env", [pytest.param(make, id=name) for name, make in LOST.items()])
def test_workers_that_are_kept_go_on_in_any_environment(make_env, recwarn):
    agent = DQN(make_env, num_envs=3, learning_starts=1_000, rollout_steps=5)
    for calls in (1, 2, 3):
        agent.learn(3 * 10)
        assert len(agent.replay) == 3 * (10 * calls - 1)
    assert not len(recwarn)


@pytest.mark.parametrize("ends", [0.0, 0.3])
def test_a_memory_holds_no_step_that_there_never_was(ends):
    agent = DQN(
        lambda: Lost(ends), num_envs=4, learning_starts=10**6, replay_order="latest", workers=2
    )
    agent.learn(4 * 7)
    with pytest.warns(UserWarning, match="cannot be brought back"):
        for _ in range(20):
            end_workers(agent)
            agent.learn(4 * 7)
    batch = agent.replay.sample(len(agent.replay))
    assert (np.abs(batch.next_obs - batch.obs) == 1).all()
    assert len(batch.obs) > (300 if ends else 450)
    assert agent.history.episode_returns.tolist() == agent.history.episode_lengths.tolist()


def test_of_an_episode_that_had_ended_nothing_is_lost():
    """The next step begins another in any case."""

    class Brief(Lost):
        def step(self, action):
            return (*super().step(action)[:2], True, False, {})

    agent = DQN(Brief, num_envs=2, learning_starts=1_000)
    for calls in range(1, 5):  # each ends with the end of an episode
        agent.learn(2 * (1 if calls == 1 else 2))
        end_workers(agent)
        assert all(state["ended"] for state in agent._states)
        assert len(agent.replay) == 2 * (calls - 1)
    agent.learn(2)
    assert len(agent.replay) == 2 * calls


def test_a_worker_that_is_built_again_in_another_place_is_found_out():
    """Also without a snapshot, where it plays its calls again and comes to other steps."""
    agent = DQN(Lost, num_envs=2)
    first, again = (worker(Lost, [[0, 1]], seed=seed) for seed in (1, 2))
    agent.record(rollout(first, 5, 2))
    rollout(again, 5, 2)
    with pytest.warns(UserWarning, match="Lost.* cannot be brought back"):
        assert agent.mark_interrupted(rollout(again, 5, 2)).interrupted.all()


def test_an_environment_may_keep_random_numbers_in_the_old_way():
    class Old(Walk):
        def reset(self, *, seed=None, options=None):
            if seed is not None:
                self.np_random = np.random.RandomState(seed)
            self.obs = self.np_random.normal(size=2)
            return self.obs.copy(), {}

    first = worker(Old, [[0, 1]])
    states = stored(states_after(rollout(first, 3, 2)))
    again = worker(Old, [[0, 1]], states=states)
    assert [state["counter"] for state in again.get_states()] == [3, 3]


def test_a_function_that_makes_one_environment_for_all_is_refused():
    shared = Walk()
    for make in (lambda: shared, lambda: gymnasium.wrappers.TimeLimit(shared, 5)):
        worker(make, [[0]])
        with pytest.raises(
            ValueError, match="env must be a function that makes a new environment whenever"
        ):
            worker(make, [[0, 1]])


class Door(Walk):
    """Counts how many are open."""

    open = 0

    def __init__(self):
        super().__init__()
        Door.open += 1

    def close(self):
        Door.open -= 1


@pytest.mark.parametrize("closed", [True, False])
def test_environments_are_closed_with_their_agent(closed):
    for _ in range(2):
        agent = DQN(Door, num_envs=3, workers=2, seed=SEED)
        for _ in range(2):
            agent.learn(30)
            gc.collect()
            assert Door.open == 3
        if closed:
            agent.close()
        else:
            del agent
        gc.collect()
        assert Door.open == 0


# How long an episode is already, its state tells in little


def test_the_state_of_a_long_episode_is_small():
    one = worker(Endless, [[0]])
    rollout(one, 10_000, 1)
    assert len(pickle.dumps(one.get_states())) < 11_000


# Chunks


def problem(num_envs, observations=None):
    actions = actions_of(spaces.Discrete(3))
    return Problem(observations or Observations((1,)), actions, num_envs, SEED)


class Bits(Toy):
    """Tells the bits of what a network says, instead of an action."""

    def act(self, obs, memory, random, exploration):
        values = self.network(obs)  # (N, 2) float32
        assert len(obs) == CHUNK
        return Decision(np.ascontiguousarray(values).view(np.int64)[:, 0])


@pytest.mark.parametrize(
    "shape, hidden",
    [((4,), (256, 256)), ((10, 10), (256,)), ((3, 10, 10), (64,)), ((4, 40, 40), (128,))],
    ids=["dense", "board", "channels", "frames"],
)
@one_thread()
def test_what_a_row_is_told_does_not_depend_on_who_else_is_in_the_worker(shape, hidden):
    num_envs, observations = 2 * CHUNK + 3, Observations(shape)
    algorithm = Bits(problem(num_envs, observations))
    algorithm.network = q_network(observations, 2, hidden, seed=1)
    rng = np.random.default_rng(2)
    obs = rng.normal(size=(num_envs, *shape)).astype(np.float32)

    def act(numbers):
        num = len(numbers)
        random = RandomStreams(np.zeros(num, np.uint64), np.zeros(num, np.int64))
        return Chunks(numbers, algorithm).act(obs[numbers], None, random, np.zeros(num)).actions

    alone = act(np.arange(num_envs))
    assert len(np.unique(alone)) == num_envs
    for workers in (2, 3, 4, 7, num_envs):
        shares = np.array_split(np.arange(num_envs), workers)
        np.testing.assert_array_equal(np.concatenate([act(share) for share in shares]), alone)


@pytest.mark.parametrize("numbers", [[0], [7], [8], [15, 16], range(8), range(5, 19), range(19)])
def test_chunks_give_each_row_its_own(numbers):
    class Same(Toy):
        def act(self, obs, memory, random, exploration):
            keys, counters = random
            for each in (obs[:, 0], exploration, memory["one"], memory["pair"][:, 1]):
                assert len(each) == CHUNK
                np.testing.assert_array_equal(each, keys)
            extras = {"obs": obs.copy(), "key": keys.copy()}
            after = {"one": memory["one"] + 1, "pair": 2 * memory["pair"]}
            return Decision(keys.astype(np.int64) + counters, extras, after)

    numbers = np.array(numbers)
    chunks = Chunks(numbers, Same(problem(19)))
    for counters in (3 * numbers, 1_000 - numbers):  # each its own
        mine = 100.0 + numbers
        random = RandomStreams(mine.astype(np.uint64), counters)
        memory = {"one": mine, "pair": np.stack([mine, mine], axis=1)}
        decision = chunks.act(mine[:, None].astype(np.float32), memory, random, mine)
        np.testing.assert_array_equal(decision.actions, mine + counters)
        np.testing.assert_array_equal(decision.extras["obs"], mine[:, None])
        np.testing.assert_array_equal(decision.extras["key"], random.keys)
        np.testing.assert_array_equal(decision.memory["one"], mine + 1)
        np.testing.assert_array_equal(decision.memory["pair"], 2 * memory["pair"])


@pytest.mark.parametrize("num_envs", [1, 3, CHUNK])
def test_fewer_environments_than_a_chunk_act_at_once(num_envs):
    sizes = []

    class Counts(Random):
        def act(self, obs, memory, random, exploration):
            sizes.append(len(obs))
            return super().act(obs, memory, random, exploration)

    rollout(worker(Walk, [list(range(num_envs))], kind=Counts), 2, num_envs)
    assert sizes == [num_envs] * 2


# Putting rollouts together


@EACH
def test_gathered_rollouts_are_those_of_one_worker(make_env):
    shares = [[0, 1], [2], [3, 4]]
    alone = rollout(worker(make_env, [[0, 1, 2, 3, 4]]), 80, 5)
    parts = [rollout(worker(make_env, shares, i), 80, 5) for i in range(3)]
    together = gather(parts)
    assert_equal(alone, together)
    order = together.episodes[:, :2].tolist()
    assert order == sorted(order) and len({number for _, number in order}) == 5
    for name, value in together.seconds.items():
        assert value == pytest.approx(sum(part.seconds[name] for part in parts))
    assert gather([alone]) is alone


def test_streams_are_those_of_the_environments_numbers():
    keys = worker(Walk, [[0, 1], [2, 3]], index=1).random.keys
    assert keys.tolist() == [int(stream_key(SEED, POLICY, i)) for i in (2, 3)]


# What goes wrong


class Fails(Walk):
    """Gives what it is told, in step 2 from 0, where its seed is that of environment 4."""

    def __init__(self, reward=0.0, obs=0.0):
        super().__init__()
        self.steps, self.wrong = 0, (reward, obs)

    def step(self, action):
        self.steps += 1
        obs, reward, _, _, _ = super().step(0)
        if self.steps == 3 and self.seed == seed_of(4):
            return obs + self.wrong[1], reward + self.wrong[0], False, False, {}
        return obs, reward, False, False, {}


@pytest.mark.parametrize("steps", [(6,), (1,) * 6, (2, 4)], ids=str)
@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"reward": np.nan}, "reward nan"),
        ({"reward": -np.inf}, "reward -inf"),
        ({"obs": np.nan}, r"observation \[nan nan\]"),
    ],
)
def test_numbers_that_are_not_finite_are_named_by_environment_and_step(wrong, what, steps):
    one = worker(lambda: Fails(**wrong), [[0, 1, 2], [3, 4, 5]], index=1)
    message = f"environment 4 returned the {what} in its step 2: rewards and observations must be"
    with pytest.raises(ValueError, match=message):
        for each in steps:
            rollout(one, each, 6)


def test_all_others_are_finite():
    found = rollout(worker(lambda: Fails(reward=np.nan), [[0, 1, 2], [3, 4, 5]]), 6, 6)
    assert np.isfinite(found.rewards).all()
