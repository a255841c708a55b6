"""Rollouts: rows as Gymnasium's vector environments give them, and that nothing depends on who else
is in the worker, or on which worker goes on."""

import json
import uuid

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from probes import LAKE

from rlbook.dqn import DQN
from rlbook.environment import compiled_world, env_maker
from rlbook.networks import one_thread, q_network
from rlbook.observations import Observations, observations_of
from rlbook.rollout import CHUNK, Chunks, EnvList, Rollout, RolloutWorker, gather
from rlbook.sampling import explore_uniformly
from rlbook_envs.chance import ENVIRONMENT, POLICY, stream_key

SEED = 11


class Random:
    """Any action, as each environment's own stream of numbers says."""

    def __init__(self, num_actions):
        self.num_actions = num_actions

    def set_weights(self, weights):
        raise AssertionError("there are none")

    def act(self, obs, keys, clocks, explore):
        actions = np.zeros(len(obs), np.int64)
        explore_uniformly(actions, self.num_actions, np.ones(len(obs)), keys, clocks)
        return actions


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


def worker(make_env, shares, index=0, states=None, policy=None, seed=SEED):
    env = make_env()
    number = sum(map(len, shares))
    return RolloutWorker(
        index, shares, make_env, seed, observations_of(env), policy or Random(env.action_space.n),
        states or [None] * number,
    )  # fmt: skip


def rollout(worker, steps, number):
    return worker.rollout(None, steps, np.zeros((steps, number)))


def play(make_env, number, actions, seed=SEED):
    """What Gymnasium itself shows for these actions, and the episodes that end."""
    env, rows, episodes = make_env(), [], []
    obs, _ = env.reset(seed=int(stream_key(seed, ENVIRONMENT, number)))
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
    for name in Rollout._fields[:-2]:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert json.dumps(one.states) == json.dumps(other.states)


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
    for name in Rollout._fields[:5]:
        joined = np.concatenate([getattr(part, name) for part in parts], axis=1)
        np.testing.assert_array_equal(joined, getattr(whole, name))
    starts = np.cumsum([0] + [part.rewards.shape[1] for part in parts])
    for part, before in zip(parts, starts, strict=False):
        part.episodes[:, 0] += before
    np.testing.assert_array_equal(np.concatenate([p.episodes for p in parts]), whole.episodes)
    assert parts[-1].states == whole.states


@EACH
def test_another_seed_is_another_run(make_env):
    one, other = (rollout(worker(make_env, [[0]], seed=seed), 30, 1) for seed in (1, 2))
    assert (one.actions != other.actions).any() and (one.obs != other.obs).any()


def test_seconds_are_spent_acting_and_in_the_environment():
    found = rollout(worker(Walk, [[0]]), 5, 1)
    assert set(found.seconds) == {"acting", "environment"}
    assert all(value > 0 for value in found.seconds.values())


def test_explore_is_that_of_the_step_and_of_the_environment():
    seen = []

    class Looks(Random):
        def act(self, obs, keys, clocks, explore):
            seen.append((clocks.copy(), explore.copy()))
            return super().act(obs, keys, clocks, explore)

    one = worker(Walk, [[0, 1], [2, 3]], index=1, policy=Looks(3))
    one.rollout(None, 3, np.arange(12.0).reshape(3, 4))
    assert [clocks[2:].tolist() for clocks, _ in seen] == [[0, 0], [1, 1], [2, 2]]
    assert [row[2:].tolist() for _, row in seen] == [[2, 3], [6, 7], [10, 11]]


def test_weights_reach_the_policy():
    class Told(Random):
        def set_weights(self, weights):
            self.weights = weights

    policy = Told(3)
    worker(Walk, [[0]], policy=policy).rollout("new", 1, np.zeros((1, 1)))
    assert policy.weights == "new"


# Who has which environments, and who goes on


@EACH
@pytest.mark.parametrize("shares", [[[0], [1, 2]], [[0, 1], [2]], [[0], [1], [2]]], ids=str)
def test_another_worker_goes_on_bit_for_bit_also_in_other_shares(make_env, shares):
    whole = [[0, 1, 2]]
    first = worker(make_env, whole)
    for steps in (1, 1, 5, 10, 12):  # among them, a place where an episode has just ended
        states = json.loads(json.dumps(rollout(first, steps, 3).states))
        others = [worker(make_env, shares, i, states) for i in range(len(shares))]
        again = worker(make_env, whole, states=json.loads(json.dumps(first.get_states())))
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
    other.set_state(json.loads(json.dumps(first.get_state())))
    assert_equal(rollout(first, 10, 2), rollout(other, 10, 2))


@pytest.mark.parametrize("before", [(5, 9), (9, 5), (5, 0), (0, 5)], ids=str)
def test_environments_that_have_come_to_different_steps_go_on_in_one_worker(before):
    """As when a run with asynchronous workers was interrupted, and goes on with fewer of them."""
    shares = [[0, 1], [2, 3]]
    apart = [worker(Walk, shares, i) for i in range(2)]
    states = [[None, None], [None, None]]
    for i, steps in enumerate(before):
        if steps:
            states[i] = json.loads(json.dumps(rollout(apart[i], steps, 4).states))
    together = rollout(worker(Walk, [[0, 1, 2, 3]], states=states[0] + states[1]), 15, 4)
    expected = gather([rollout(each, 15, 4) for each in apart])
    np.testing.assert_array_equal(together.obs, expected.obs)
    np.testing.assert_array_equal(together.actions, expected.actions)


class Games:
    """Makes walks, several as a batch, which cannot be taken elsewhere; as `rlbook.atari` does."""

    def __call__(self):
        return Walk()

    def batch(self, seeds):
        found = EnvList(Walk, seeds)
        born = uuid.uuid4().hex
        found.restorable, found.get_row = False, lambda row: {"born": born}
        return found


def test_what_cannot_be_taken_elsewhere_begins_anew():
    first = worker(Games(), [[0, 1, 2]])
    before = [rollout(first, 8, 3) for _ in range(2)][-1]
    states = json.loads(json.dumps(before.states))
    others = [worker(Games(), [[0], [1, 2]], i, states) for i in range(2)]
    after = gather([rollout(other, 40, 3) for other in others])
    fresh = gather([rollout(worker(Games(), [[0], [1, 2]], i), 40, 3) for i in range(2)])
    np.testing.assert_array_equal(after.obs[:, 0], fresh.obs[:, 0])  # first observations
    assert (after.actions != fresh.actions).any()  # but the clock went on
    assert [state["clock"] for state in after.states] == [16 + 40] * 3
    # And an episode counts from its own beginning.
    for number in range(3):
        (obs, *_), episodes = play(Games(), number, after.actions[number])
        np.testing.assert_array_equal(after.obs[number], np.float32(obs))
        assert after.episodes[after.episodes[:, 1] == number].tolist() == list(map(list, episodes))
    assert len(after.episodes) > 5


@pytest.mark.parametrize(
    "make_env, expected",
    [pytest.param(Games(), [0, 1, 2], id="games")]
    + [pytest.param(make, [], id=name) for name, make in ENVS.items()],
)
def test_an_agent_knows_which_environments_have_begun_anew(make_env, expected):
    """Those that cannot be taken elsewhere, wherever `learn` has been called again; no others."""
    agent, numbers = DQN(make_env, num_envs=3, seed=SEED), [0, 1, 2]

    def go_on(group):
        [found] = group.call("rollout", agent.get_weights(), 5, agent.exploration(5))
        anew = agent.begun_anew(found, numbers)
        agent.record(found, numbers)
        return anew

    for expected_first in ([], expected, expected):
        group, _ = agent.launch()
        try:
            assert go_on(group) == expected_first
            assert go_on(group) == []
        finally:
            group.close()


def test_of_several_environments_those_that_have_begun_anew_are_named():
    agent = DQN(Games(), num_envs=3, workers=2, seed=SEED)
    for expected in ([], [2]):
        group, shares = agent.launch()
        try:
            assert shares == [[0, 1], [2]]
            found = group.call("rollout", agent.get_weights(), 5, agent.exploration(5))
        finally:
            group.close()
        assert agent.begun_anew(found[1], shares[1]) == expected
        agent.record(found[1], shares[1])  # of the others, nothing has been heard
        assert agent.begun_anew(gather(found), [0, 1, 2]) == []


# Chunks


class Bits:
    """Tells the bits of what a network says, instead of an action."""

    def __init__(self, network):
        self.network = network

    def act(self, obs, keys, clocks, explore):
        values = self.network(obs)  # (N, 2) float32
        assert len(obs) == CHUNK
        return np.ascontiguousarray(values).view(np.int64)[:, 0]


@pytest.mark.parametrize(
    "shape, hidden",
    [((4,), (256, 256)), ((10, 10), (256,)), ((3, 10, 10), (64,)), ((4, 40, 40), (128,))],
    ids=["dense", "board", "channels", "frames"],
)
@one_thread()
def test_what_a_row_is_told_does_not_depend_on_who_else_is_in_the_worker(shape, hidden):
    num_envs, observations = 2 * CHUNK + 3, Observations(shape)
    policy = Bits(q_network(observations, 2, hidden, seed=1))
    rng = np.random.default_rng(2)
    obs = rng.normal(size=(num_envs, *shape)).astype(np.float32)
    rest = np.zeros(num_envs, np.uint64), np.zeros(num_envs, np.int64), np.zeros(num_envs)

    def act(numbers):
        chunks = Chunks(numbers, num_envs, observations)
        return chunks.act(policy, obs[numbers], *(each[numbers] for each in rest))

    alone = act(np.arange(num_envs))
    assert len(np.unique(alone)) == num_envs
    for workers in (2, 3, 4, 7, num_envs):
        shares = np.array_split(np.arange(num_envs), workers)
        np.testing.assert_array_equal(np.concatenate([act(share) for share in shares]), alone)


@pytest.mark.parametrize("numbers", [[0], [7], [8], [15, 16], range(8), range(5, 19), range(19)])
def test_chunks_give_each_row_its_own(numbers):
    class Same:
        def act(self, obs, keys, clocks, explore):
            assert len(obs) == len(keys) == len(clocks) == len(explore) == CHUNK
            np.testing.assert_array_equal(obs[:, 0], keys)
            np.testing.assert_array_equal(explore, keys)
            return keys.astype(np.int64) + clocks

    numbers = np.array(numbers)
    chunks = Chunks(numbers, 19, Observations((1,)))
    for clocks in (3 * numbers, 1_000 - numbers):  # each its own
        obs, keys = (100.0 + numbers)[:, None].astype(np.float32), (100 + numbers).astype(np.uint64)
        actions = chunks.act(Same(), obs, keys, clocks, 100.0 + numbers)
        np.testing.assert_array_equal(actions, 100 + numbers + clocks)


@pytest.mark.parametrize("num_envs", [1, 3, CHUNK])
def test_fewer_environments_than_a_chunk_act_at_once(num_envs):
    sizes = []

    class Counts(Random):
        def act(self, obs, keys, clocks, explore):
            sizes.append(len(obs))
            return super().act(obs, keys, clocks, explore)

    rollout(worker(Walk, [list(range(num_envs))], policy=Counts(3)), 2, num_envs)
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
    keys = worker(Walk, [[0, 1], [2, 3]], index=1).keys
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
        if self.steps == 3 and self.seed == int(stream_key(SEED, ENVIRONMENT, 4)):
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
    message = f"environment 4 gave the {what} in its step 2: nothing can be learned"
    with pytest.raises(ValueError, match=message):
        for each in steps:
            rollout(one, each, 6)


def test_all_others_are_finite():
    found = rollout(worker(lambda: Fails(reward=np.nan), [[0, 1, 2], [3, 4, 5]]), 6, 6)
    assert np.isfinite(found.rewards).all()
