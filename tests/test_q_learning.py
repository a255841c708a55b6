"""Q-learning: its rules against the textbook's, what it learns, and that it goes on as it was."""

import re

import gymnasium
import numpy as np
import pytest
from probes import Probe, cut_short

from rlbook import QLearning, saving
from rlbook import dynamic_programming as dp
from rlbook.environment import env_maker, interface
from rlbook.history import ACTIVITIES
from rlbook.q_learning import double_q_learning_update, q_learning_update
from rlbook.tabular import (
    average_tables,
    epsilon_greedy,
    epsilon_greedy_probabilities,
    Memory,
    make_loop,
    one_step,
)
from rlbook_envs.chance import ENVIRONMENT, POLICY, stream_key
from rlbook_envs.compiled import compile

LAKE = "rlbook/FrozenLake-v0"


def same(one, other):
    """Two agents know the same, and remember the same, to the last bit."""
    arrays, others = (
        {"q": agent.q, "timesteps": agent.timesteps, **agent.history.to_arrays()}
        for agent in (one, other)
    )
    del arrays["timing"], others["timing"]
    assert arrays.keys() == others.keys()
    return all(np.array_equal(arrays[name], others[name]) for name in arrays)


def differing_tables(one, other):
    return not np.array_equal(one.q, other.q)


def transitions(count=200, states=5, actions=3):
    """Random arguments of an update: q, obs, action, reward, next_obs, terminated, α, γ."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield (
            rng.normal(size=(states, actions)), int(rng.integers(states)),
            int(rng.integers(actions)), rng.normal(), int(rng.integers(states)),
            bool(rng.integers(2)), rng.uniform(), rng.uniform(),
        )  # fmt: skip


# The rules


def test_update_is_equation_6_8():
    for q, obs, action, reward, next_obs, terminated, alpha, gamma in transitions():
        expected = q.copy()
        target = reward if terminated else reward + gamma * max(q[next_obs])
        td_error = target - q[obs, action]
        expected[obs, action] = q[obs, action] + alpha * td_error
        got = q_learning_update(q, obs, action, reward, next_obs, terminated, alpha, gamma)
        assert got == td_error
        assert np.array_equal(q, expected)


def test_double_update_is_equation_6_10():
    other = np.random.default_rng(1).normal(size=(5, 3))
    before = other.copy()
    for q, obs, action, reward, next_obs, terminated, alpha, gamma in transitions():
        expected = q.copy()
        value = other[next_obs, np.argmax(q[next_obs])]
        td_error = reward + (0 if terminated else gamma * value) - q[obs, action]
        expected[obs, action] = q[obs, action] + alpha * td_error
        rest = (obs, action, reward, next_obs, terminated, alpha, gamma)
        assert double_q_learning_update(q, other, *rest) == td_error
        assert np.array_equal(q, expected)
    assert np.array_equal(other, before)


@pytest.mark.parametrize("update", [q_learning_update, double_q_learning_update])
def test_a_terminated_step_is_worth_its_reward_alone(update):
    q = np.full((2, 2), 10.0)
    tables = (q, q.copy()) if update is double_q_learning_update else (q,)
    update(*tables, 0, 0, 1.0, 1, True, 1.0, 0.5)
    update(*tables, 0, 1, 1.0, 1, False, 1.0, 0.5)
    assert q[0].tolist() == [1.0, 6.0]


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("row", [(0.0, 3.0, 1.0, 2.0), (2.0, 1.0, 2.0, 2.0), (0.0, 0.0, 0.0, 0.0)])
def test_actions_are_as_frequent_as_their_probabilities(row, epsilon):
    q, act, n = np.array([row]), compile(epsilon_greedy), 20_000
    key = stream_key(3, POLICY, 0)
    counts = np.bincount([act(q, 0, epsilon, key, clock) for clock in range(n)], minlength=4)
    expected = n * epsilon_greedy_probabilities(q[0], epsilon)
    assert not counts[expected == 0].any()
    possible = expected > 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 21.1  # three degrees of freedom: above this once in ten thousand


def test_probabilities_share_what_is_left_among_the_best():
    tied = epsilon_greedy_probabilities(np.array([1.0, 5.0, 5.0, 5.0]), 0.4)
    assert np.allclose(tied, [0.1, 0.3, 0.3, 0.3])


def test_compiled_rules_equal_the_python_rules():
    compiled = {rule: compile(rule) for rule in (q_learning_update, double_q_learning_update)}
    other = np.random.default_rng(1).normal(size=(5, 3))
    for q, *rest in transitions():
        for rule, tables in ((q_learning_update, ()), (double_q_learning_update, (other,))):
            mine, theirs = q.copy(), q.copy()
            assert rule(mine, *tables, *rest) == compiled[rule](theirs, *tables, *rest)
            assert np.array_equal(mine, theirs)


def test_compiled_epsilon_greedy_equals_the_python_function():
    act, rng = compile(epsilon_greedy), np.random.default_rng(2)
    for clock in range(2000):
        q = rng.integers(3, size=(4, 5)).astype(float)  # with many ties
        case = (q, int(rng.integers(4)), rng.uniform(), stream_key(clock % 7, POLICY, 0), clock)
        assert act(*case) == epsilon_greedy(*case)


NOTHING = Memory(np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(1, int))


def test_compiled_loop_equals_the_python_loop():
    face = interface(env_maker(LAKE), 0)
    keys = stream_key(5, ENVIRONMENT, 0), stream_key(5, POLICY, 0)
    python = make_loop(*face.rules, epsilon_greedy, one_step(q_learning_update))
    results = []
    for loop in (python, compile(python)):
        q, visits = np.zeros((16, 4)), np.zeros((16, 4), np.int64)
        ended_at, lengths, returns = np.zeros(5000, int), np.zeros(5000, int), np.zeros(5000)
        arrays = q, visits, ended_at, returns, lengths
        schedule = np.full(5000, 0.2), np.full(5000, 0.1), 0.99
        where = -1, -1, 0, 0.0, 0
        learned = q, visits, NOTHING, *arrays[2:]
        place = loop(face.env, face.limit, *keys, *where, *learned, *schedule)
        results.append([*map(np.ndarray.tolist, arrays), *place])
    assert face.compiled
    assert results[0] == results[1]


def plain_average(q, tables, visits):
    mean = q.copy()
    for entry in np.ndindex(q.shape):
        total = sum(int(count[entry]) for count in visits)
        if total:
            weighted = zip(tables, visits, strict=True)
            mean[entry] = sum(t[entry] * (int(n[entry]) / total) for t, n in weighted)
    return mean


def test_average_weights_each_copy_by_its_visits():
    rng = np.random.default_rng(3)
    q, tables = rng.normal(size=(6, 3)), rng.normal(size=(4, 6, 3))
    visits = rng.integers(3, size=(4, 6, 3))
    visits[:, 0] = 0
    assert np.array_equal(average_tables(q, tables, visits), plain_average(q, tables, visits))


def test_average_of_one_visitor_is_its_copy_and_of_none_the_old_value():
    rng = np.random.default_rng(4)
    q, tables = rng.normal(size=(6, 3)), rng.normal(size=(4, 6, 3))
    visits = np.zeros((4, 6, 3), np.int64)
    visits[2, :5] = 7
    mean = average_tables(q, tables, visits)
    assert np.array_equal(mean[:5], tables[2, :5])
    assert np.array_equal(mean[5:], q[5:])


# What is learned


def textbook(seed, steps, alpha=0.05, gamma=0.99, epsilon=0.2):
    """Q-learning as a textbook writes it; the table, and each episode's end, return and length."""
    env = gymnasium.make(LAKE)
    q, key, episodes = np.zeros((16, 4)), stream_key(seed, POLICY, 0), []
    obs, _ = env.reset(seed=seed)
    total, begun = 0.0, 0
    for t in range(steps):
        action = epsilon_greedy(q, obs, epsilon, key, t)
        next_obs, reward, terminated, truncated, _ = env.step(action)
        q_learning_update(q, obs, action, reward, next_obs, terminated, alpha, gamma)
        total += reward
        obs = next_obs
        if terminated or truncated:
            episodes.append((t + 1, total, t + 1 - begun))
            total, begun = 0.0, t + 1
            obs, _ = env.reset()
    return q, episodes


@pytest.mark.parametrize("seed", [0, 77])
def test_a_textbook_loop_gives_the_very_same_table_and_history(seed):
    q, episodes = textbook(seed, 10_000)
    agent = QLearning(LAKE, seed=seed)
    history = agent.learn(10_000)
    assert np.array_equal(agent.q, q)
    columns = history.timesteps, history.episode_returns, history.episode_lengths
    assert list(zip(*map(np.ndarray.tolist, columns), strict=True)) == episodes
    assert sum(history.episode_returns) > 0


def test_the_learned_policy_is_nearly_optimal_for_every_seed():
    table = dp.transition_table(LAKE)
    optimum = dp.start_value(table, dp.value_iteration(table).values)
    for seed in range(10):
        agent = QLearning(LAKE, seed=seed, num_envs=4)
        agent.learn(1_000_000)
        values = dp.policy_values(table, agent.predict(np.arange(16)))
        assert dp.start_value(table, values) >= 0.97 * optimum, seed


def learned(make_env, steps=2000, **hyperparameters):
    agent = QLearning(make_env, learning_rate=0.1, **hyperparameters)
    agent.learn(steps)
    return agent.q


def test_probe_constant_reward():
    q = learned(lambda: Probe(lambda state, action: (0, 1.0, True)))
    assert q == pytest.approx(np.ones((1, 2)), rel=0.01)


def test_probe_reward_by_action():
    q = learned(lambda: Probe(lambda state, action: (0, 1.0 + action, True)))
    assert q == pytest.approx(np.array([[1.0, 2.0]]), rel=0.01)


def test_probe_reward_by_observation():
    q = learned(lambda: Probe(lambda state, action: (state, 2.0 * state - 1, True), 2, starts=2))
    assert q == pytest.approx(np.array([[-1.0, -1.0], [1.0, 1.0]]), rel=0.01)


def test_probe_delayed_reward_is_discounted():
    q = learned(
        lambda: Probe(lambda state, action: ((state + 1) % 3, float(state == 2), state == 2), 3),
        gamma=0.5,
    )
    assert q == pytest.approx(np.array([[0.25] * 2, [0.5] * 2, [1.0] * 2]), rel=0.01)


def test_probe_a_truncated_step_bootstraps_and_a_terminated_one_does_not():
    truncated = learned(cut_short(lambda state, action: (0, 1.0, False), 1), gamma=0.5)
    terminated = learned(cut_short(lambda state, action: (0, 1.0, True), 1), gamma=0.5)
    assert truncated == pytest.approx(np.full((1, 2), 2.0), rel=0.01)
    assert terminated == pytest.approx(np.full((1, 2), 1.0), rel=0.01)


def test_a_compiled_world_bootstraps_where_its_time_limit_cuts():
    """Ice without holes or goal, a reward of 1 for every step: worth 1 / (1 - γ) for ever."""
    env = gymnasium.make(LAKE, desc=["SF"], reward_schedule=(0, 0, 1), max_episode_steps=3)
    assert learned(env, 20_000, gamma=0.5) == pytest.approx(np.full((2, 4), 2.0), rel=0.01)


def test_an_environment_of_ones_own_is_learned_on():
    class Corridor(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(5)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.place = 0
            return 0, {}

        def step(self, action):
            self.place = max(0, self.place + 2 * action - 1)
            return self.place, -1, self.place == 4, False, {}

    agent = QLearning(Corridor, num_envs=2, gamma=1.0)
    agent.learn(4000)
    assert agent.predict(np.arange(4)).tolist() == [1, 1, 1, 1]


def test_a_wrapper_that_changes_rewards_is_not_bypassed():
    def firm():
        return gymnasium.make(LAKE, is_slippery=False)

    def doubled():
        return gymnasium.wrappers.TransformReward(firm(), lambda reward: 2 * reward)

    plain, wrapped = QLearning(firm, seed=3), QLearning(doubled, seed=3)
    plain.learn(5000)
    wrapped.learn(5000)
    assert plain.q.any()
    assert np.array_equal(wrapped.q, 2 * plain.q)  # doubling rounds nothing


# The record


def test_history_is_in_order_and_adds_up():
    agent = QLearning(LAKE, seed=1, num_envs=3, sync_every=100)
    agent.learn(5000)
    history = agent.learn(5000)
    steps = 2 * 5001  # each rounded up to a multiple of three
    assert agent.timesteps == steps
    assert np.all(np.diff(history.timesteps) >= 0)
    assert history.timesteps[0] > 0 and history.timesteps[-1] <= steps
    unfinished = steps - history.episode_lengths.sum()
    assert 0 <= unfinished < 3 * 100
    assert set(history.episode_returns) == {0.0, 1.0}
    assert history.metrics["timesteps"][-1] == steps
    assert history.metrics["td_error"][-1] > 0


def test_each_environment_keeps_its_own_count_of_steps():
    """Environment i takes the steps i + 1, i + 1 + n, …, so its episodes tile that sequence."""
    n = 3
    history = QLearning(LAKE, seed=2, num_envs=n, sync_every=50).learn(3000)
    ends = (history.timesteps - 1) // n + 1
    for number in range(n):
        mine = (history.timesteps - 1) % n == number
        assert np.array_equal(ends[mine], np.cumsum(history.episode_lengths[mine]))


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
def test_timing_adds_up_to_the_whole(env, monkeypatch):
    now = [0.0]

    def tick():
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr("rlbook.history.perf_counter", tick)
    monkeypatch.setattr("rlbook.tabular.perf_counter", tick)
    history = QLearning(env, sync_every=100).learn(500)
    assert sum(history.timing.values()) == pytest.approx(now[0] - 1.0)  # all but the first tick
    assert set(history.timing) == set(ACTIVITIES)
    assert min(history.timing.values()) >= 0 and history.timing["learning"] > 0


# Going on


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
def test_learning_on_continues(env):
    once, twice = (QLearning(env, seed=5, num_envs=2, sync_every=250) for _ in range(2))
    once.learn(3000)
    twice.learn(1000)
    twice.learn(2000)
    assert same(once, twice)


def test_rounds_of_one_environment_make_no_difference():
    one_round, many = QLearning(LAKE, seed=6), QLearning(LAKE, seed=6, sync_every=7)
    one_round.learn(5000)
    many.learn(5000)
    assert np.array_equal(one_round.q, many.q)
    assert np.array_equal(one_round.history.timesteps, many.history.timesteps)


def test_seeds_and_environments_differ():
    agents = [QLearning(LAKE, seed=seed, num_envs=n) for seed, n in ((0, 1), (1, 1), (0, 2))]
    for agent in agents:
        agent.learn(10_000)
    assert differing_tables(agents[0], agents[1]) and differing_tables(agents[0], agents[2])


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
def test_a_loaded_agent_goes_on_bit_for_bit_in_the_middle_of_an_episode(env, tmp_path):
    agent = QLearning(env, seed=8, num_envs=3, sync_every=123)
    agent.learn(2001)
    agent.predict(np.arange(16), deterministic=False)
    assert agent.history.episode_lengths.sum() < agent.timesteps
    agent.save(tmp_path / "agent.rlbook")
    loaded = QLearning.load(tmp_path / "agent.rlbook")
    assert same(agent, loaded)
    for one in (agent, loaded):
        one.learn(3000)
    assert same(agent, loaded)
    drawn = [one.predict(np.zeros(50, int), deterministic=False) for one in (agent, loaded)]
    assert np.array_equal(*drawn)


def test_a_loaded_agent_may_be_given_its_environment(tmp_path):
    path = tmp_path / "agent.rlbook"
    agent = QLearning(lambda: gymnasium.make(LAKE), seed=1)
    agent.learn(100)
    agent.save(path)
    with pytest.raises(ValueError, match="give env="):
        QLearning.load(path)
    assert same(QLearning.load(path, env=LAKE), agent)
    with pytest.raises(ValueError, match="another environment"):
        QLearning.load(path, env="CliffWalking-v1")


def test_arguments_may_be_numpy_numbers(tmp_path):
    numbers = {"seed": np.int64(1), "num_envs": np.int32(2), "gamma": np.float32(0.5)}
    agent = QLearning(LAKE, sync_every=np.int64(50), **numbers)
    agent.learn(np.int64(100))
    agent.save(tmp_path / "agent.rlbook")
    assert same(QLearning.load(tmp_path / "agent.rlbook"), agent)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
def test_after_an_interruption_learning_goes_on_from_the_last_round(env):
    def interrupt(agent):
        if agent.timesteps == 600:
            raise Interrupted

    whole, broken = (QLearning(env, seed=9, num_envs=2, sync_every=100) for _ in range(2))
    whole.learn(2000)
    with pytest.raises(Interrupted):
        broken.learn(2000, callback=interrupt)
    broken.learn(1400)
    assert same(whole, broken)


def test_the_callback_is_called_after_every_round():
    seen = []
    agent = QLearning(LAKE, num_envs=2, sync_every=100)
    agent.learn(500, callback=lambda agent: seen.append(agent.timesteps))
    assert seen == [200, 400, 500]


@pytest.mark.parametrize("progress, shown", [(True, True), (False, False), (None, False)])
def test_the_progress_bar_is_shown_when_asked_for(progress, shown, capsys):
    QLearning(LAKE).learn(100, progress=progress)
    assert ("100/100" in capsys.readouterr().err) is shown


# Predictions


def test_predictions_have_the_shape_of_what_was_asked():
    agent = QLearning(LAKE, seed=1)
    agent.q[:] = np.random.default_rng(0).normal(size=agent.q.shape)
    best = agent.q.argmax(axis=1)
    assert agent.predict(3) == best[3] and type(agent.predict(np.int64(3))) is int
    assert np.array_equal(agent.predict(np.arange(16).reshape(2, 8)), best.reshape(2, 8))
    assert agent.predict(np.arange(6), deterministic=False).shape == (6,)
    assert type(agent.predict(3, deterministic=False)) is int
    for deterministic in (True, False):
        assert agent.predict(np.empty(0, int), deterministic).tolist() == []


def test_random_predictions_are_epsilon_greedy_and_reproducible():
    agent, other = (QLearning(LAKE, seed=4, epsilon=0.5) for _ in range(2))
    for one in (agent, other):
        one.q[:, 2] = 1.0
    drawn = agent.predict(np.zeros(2000, int), deterministic=False)
    singly = [other.predict(0, deterministic=False) for _ in range(2000)]
    assert drawn.tolist() == singly
    assert np.mean(drawn == 2) == pytest.approx(0.625, abs=0.04)


@pytest.mark.parametrize("obs", [16, -1, 0.5, [0, 16], "left", None, True])
def test_an_observation_outside_the_table_is_refused(obs):
    with pytest.raises(ValueError, match=r"is not allowed: whole numbers from 0 to 15"):
        QLearning(LAKE).predict(obs)


# Errors


@pytest.mark.parametrize(
    "argument",
    [
        {"learning_rate": -0.1}, {"learning_rate": 0}, {"learning_rate": 1.5},
        {"learning_rate": float("nan")}, {"gamma": -0.1}, {"gamma": 1.01}, {"epsilon": 2},
        {"epsilon": -1}, {"initial_value": float("inf")}, {"sync_every": 0}, {"sync_every": 1.5},
        {"seed": -1}, {"seed": 0.5}, {"num_envs": 0}, {"workers": 0}, {"workers": 2},
        {"backend": "cluster"},
    ],
)  # fmt: skip
def test_a_bad_argument_is_named_with_its_value(argument):
    ((name, value),) = argument.items()
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r} is not allowed")):
        QLearning(LAKE, **argument)


@pytest.mark.parametrize("steps", [0, -5, 2.5])
def test_a_bad_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match="total_timesteps="):
        QLearning(LAKE).learn(steps)


def test_spaces_that_fit_no_table_are_refused():
    with pytest.raises(ValueError, match="needs observations that can be counted") as caught:
        QLearning("CartPole-v1")
    assert "\n" not in str(caught.value)

    env = Probe(None)
    env.action_space = gymnasium.spaces.Discrete(2, start=1)
    with pytest.raises(ValueError, match="needs Discrete actions 0 to n-1"):
        QLearning(lambda: env)


# Files that are not what they should be


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "agent.rlbook"
    agent = QLearning(LAKE, seed=1)
    agent.learn(300)
    agent.save(path)
    return path


def test_a_file_of_another_algorithm_is_told_apart(tmp_path):
    saving.save(tmp_path / "other.rlbook", "PPO", {}, {})
    with pytest.raises(ValueError, match=r"holds a PPO agent: load it with PPO\.load"):
        QLearning.load(tmp_path / "other.rlbook")


def test_a_damaged_file_is_a_value_error_or_harmless(model, tmp_path):
    whole, rng = model.read_bytes(), np.random.default_rng(0)
    path = tmp_path / "damaged.rlbook"
    for length in rng.integers(len(whole), size=60):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            QLearning.load(path)
    for position in rng.integers(len(whole), size=300):
        path.write_bytes(whole[:position] + b"\xff" + whole[position + 1 :])
        try:
            loaded = QLearning.load(path)
        except ValueError:
            continue
        assert same(loaded, QLearning.load(model))


@pytest.mark.parametrize("missing", ["env", "seed", "settings", "states", "q", "timing"])
def test_a_file_that_lacks_something_is_a_value_error(model, tmp_path, missing):
    header, arrays = saving.load(model, "QLearning")
    path = tmp_path / "lacking.rlbook"
    header.pop(missing, None)
    arrays.pop(missing, None)
    saving.save(path, "QLearning", header, arrays)
    with pytest.raises(ValueError, match=r"lacking\.rlbook is damaged"):
        QLearning.load(path)


@pytest.mark.parametrize("nonsense", [{"states": 5}, {"seed": "x"}, {"settings": {"beta": 1}}])
def test_a_file_that_holds_nonsense_is_a_value_error(model, tmp_path, nonsense):
    header, arrays = saving.load(model, "QLearning")
    saving.save(tmp_path / "nonsense.rlbook", "QLearning", header | nonsense, arrays)
    with pytest.raises(ValueError, match=r"nonsense\.rlbook is damaged|is not allowed"):
        QLearning.load(tmp_path / "nonsense.rlbook")


def test_a_file_cannot_have_a_module_imported(model, tmp_path, monkeypatch):
    """Gymnasium imports the module of an id such as `module:Name-v0`."""
    (tmp_path / "trap.py").write_text("raise SystemExit('the trap was sprung')")
    monkeypatch.syspath_prepend(tmp_path)
    header, arrays = saving.load(model, "QLearning")
    path = tmp_path / "trap.rlbook"
    saving.save(path, "QLearning", header | {"env": f"trap:{LAKE}"}, arrays)
    with pytest.raises(ValueError, match="give env="):
        QLearning.load(path)
    assert QLearning.load(path, env=LAKE).timesteps == 300
