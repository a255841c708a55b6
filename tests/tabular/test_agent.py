"""Tests of the parts that all tabular agents share, with every method."""

import re

import gymnasium
import numpy as np
import pytest
from probes import LAKE, METHODS, Probe, agent_of, cut_short, same, short_lake

from rlbook import MonteCarlo, QLearning, Sarsa, saving
from rlbook.history import ACTIVITIES
from rlbook.schedules import Exponential, Harmonic, Linear
from rlbook.tabular import dynamic_programming as dp

every_method = pytest.mark.parametrize("name", METHODS)

# What is learned


def learned(name, make_env, steps=2000, **options):
    agent = agent_of(name, make_env, learning_rate=0.1, **options)
    agent.learn(steps)
    return agent.q


@every_method
def test_probe_constant_reward(name):
    q = learned(name, lambda: Probe(lambda state, action: (0, 1.0, True)))
    assert q == pytest.approx(np.ones((1, 2)), rel=0.01)


@every_method
def test_probe_reward_by_action(name):
    q = learned(name, lambda: Probe(lambda state, action: (0, 1.0 + action, True)))
    assert q == pytest.approx(np.array([[1.0, 2.0]]), rel=0.01)


@every_method
def test_probe_reward_by_observation(name):
    rule = lambda state, action: (state, 2.0 * state - 1, True)  # noqa: E731
    q = learned(name, lambda: Probe(rule, states=2, starts=2))
    assert q == pytest.approx(np.array([[-1.0, -1.0], [1.0, 1.0]]), rel=0.01)


@every_method
def test_probe_delayed_reward_is_discounted(name):
    rule = lambda state, action: ((state + 1) % 3, float(state == 2), state == 2)  # noqa: E731
    q = learned(name, lambda: Probe(rule, states=3), gamma=0.5, epsilon=0.5, steps=4000)
    assert q == pytest.approx(np.array([[0.25] * 2, [0.5] * 2, [1.0] * 2]), rel=0.01)


@pytest.mark.parametrize("limit", [1, 3])
@every_method
def test_probe_a_truncated_step_bootstraps_and_a_terminated_one_does_not(name, limit):
    """A reward of 1 for ever is worth 1 / (1 - γ), wherever a time limit cuts it."""
    options = {"gamma": 0.5, "epsilon": 0.5, "steps": 4000}
    truncated = learned(name, cut_short(lambda state, action: (0, 1.0, False), limit), **options)
    terminated = learned(name, cut_short(lambda state, action: (0, 1.0, True), limit), **options)
    assert truncated == pytest.approx(np.full((1, 2), 2.0), rel=0.01)
    assert terminated == pytest.approx(np.full((1, 2), 1.0), rel=0.01)


@every_method
def test_a_compiled_world_bootstraps_where_its_time_limit_cuts(name):
    """Ice without holes or goal, a reward of 1 for every step."""
    env = gymnasium.make(LAKE, desc=["SF"], reward_schedule=(0, 0, 1), max_episode_steps=3)
    options = {"gamma": 0.5, "epsilon": 0.5, "steps": 40_000}
    assert learned(name, env, **options) == pytest.approx(np.full((2, 4), 2.0), rel=0.01)


FADING = {"learning_rate": Harmonic(0.1, 50_000), "epsilon": Harmonic(1.0, 100_000)}
GOOD = {
    "q_learning": {},
    "double_q_learning": {},
    "sarsa": FADING,
    "expected_sarsa": FADING,
    "n_step_sarsa": FADING,
    "sarsa_lambda": FADING,
    "monte_carlo": FADING,
}


@pytest.mark.parametrize("name", GOOD)
def test_the_learned_policy_is_nearly_optimal_for_every_seed(name):
    table = dp.transition_table(LAKE)
    optimum = dp.start_value(table, dp.value_iteration(table).values)
    for seed in range(10):
        agent = agent_of(name, LAKE, seed=seed, num_envs=4, **GOOD[name])
        agent.learn(1_000_000)
        values = dp.policy_values(table, agent.predict(np.arange(16)))
        assert dp.start_value(table, values) >= 0.97 * optimum, seed


@every_method
def test_values_are_the_policys_own_or_off_policy_those_of_the_best(name):
    """By an agent whose every step is random. 20 other seeds came to within 0.041, or 0.066."""
    table, gamma = dp.transition_table(LAKE), 0.95
    best = dp.value_iteration(table, gamma).q
    own = dp.action_values(table, dp.policy_values(table, np.full((16, 4), 0.25), gamma), gamma)
    exact = best if name.endswith("q_learning") else own
    assert np.abs(best - own).max() > 0.2  # they are not easily confused
    options = {"epsilon": 1.0, "gamma": gamma, "learning_rate": Harmonic(0.1, 30_000)}
    if name == "monte_carlo_means":
        options["learning_rate"] = None
    agent = agent_of(name, gymnasium.make(LAKE, max_episode_steps=10_000), seed=3, **options)
    agent.learn(2_000_000)
    over = [5, 7, 11, 12, 15]  # holes and the goal, where nothing is done
    on = np.setdiff1d(np.arange(16), over)
    tolerance = 0.1 if name == "double_q_learning" else 0.06
    np.testing.assert_allclose(agent.q[on], exact[on], rtol=0, atol=tolerance)
    assert not agent.q[over].any()


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
    monkeypatch.setattr("rlbook.tabular.learner.perf_counter", tick)
    history = QLearning(env, sync_every=100).learn(500)
    assert sum(history.timing.values()) == pytest.approx(now[0] - 1.0)  # all but the first tick
    assert set(history.timing) == set(ACTIVITIES)
    assert min(history.timing.values()) >= 0 and history.timing["learning"] > 0


# Going on


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
@every_method
def test_learning_on_continues(name, env):
    once, twice = (agent_of(name, env, seed=5, num_envs=2, sync_every=250) for _ in range(2))
    once.learn(3000)
    twice.learn(1000)
    twice.learn(2000)
    assert same(once, twice)


@pytest.mark.parametrize("table", ["dense", "hash"])
@every_method
def test_rounds_of_one_environment_make_no_difference(name, table):
    """An episode goes on from one round into the next, with all that is remembered of it."""
    options = {"seed": 6, "table": table, "epsilon": Linear(1.0, 0.1, 1000)}
    one_round, many = (agent_of(name, short_lake(), sync_every=n, **options) for n in (1500, 3))
    one_round.learn(1500)
    many.learn(1500)
    # To put means together takes a multiplication and a division, which round.
    np.testing.assert_allclose(many._table, one_round._table, rtol=0, atol=1e-12)
    assert name == "monte_carlo_means" or np.array_equal(many._table, one_round._table)
    assert np.array_equal(many._counts, one_round._counts)
    assert np.array_equal(many.history.timesteps, one_round.history.timesteps)


def test_seeds_and_environments_differ():
    agents = [QLearning(LAKE, seed=seed, num_envs=n) for seed, n in ((0, 1), (1, 1), (0, 2))]
    for agent in agents:
        agent.learn(10_000)
    assert not np.array_equal(agents[0].q, agents[1].q)
    assert not np.array_equal(agents[0].q, agents[2].q)


@pytest.mark.parametrize("table", ["dense", "hash"])
@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
@every_method
def test_a_loaded_agent_goes_on_bit_for_bit_in_the_middle_of_an_episode(name, env, table, tmp_path):
    options = {"num_envs": 3, "sync_every": 123, "epsilon": Exponential(1.0, 0.1, 500)}
    agent = agent_of(name, env, seed=8, table=table, **options)
    agent.learn(1001)
    agent.predict(np.arange(16), deterministic=False)
    assert agent.history.episode_lengths.sum() < agent.timesteps
    remembered = [len(state["memory"][0]) for state in agent._states]
    assert any(remembered) is (agent._method().remembers != 0)
    agent.save(tmp_path / "agent.rlbook")
    loaded = type(agent).load(tmp_path / "agent.rlbook", workers=2)
    assert same(agent, loaded) and loaded.settings == agent.settings
    for one in (agent, loaded):
        one.learn(1500)
    assert same(agent, loaded)
    drawn = [one.predict(np.zeros(50, int), deterministic=False) for one in (agent, loaded)]
    assert np.array_equal(*drawn)


SNAKE = gymnasium.make("rlbook/Snake-v0", observation="window", size=5)


@pytest.mark.parametrize("env", [SNAKE, "Blackjack-v1"], ids=["hashed", "in parts"])
@every_method
def test_a_loaded_agent_goes_on_in_states_that_are_hashed_or_in_parts(name, env, tmp_path):
    agent = agent_of(name, env, seed=1, num_envs=2, sync_every=61, epsilon=0.5)
    agent.learn(401)
    agent.save(tmp_path / "agent.rlbook")
    loaded = type(agent).load(tmp_path / "agent.rlbook", env=env)
    for one in (agent, loaded):
        one.learn(300)
    assert same(agent, loaded)


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
    numbers |= {"epsilon": Linear(np.float32(1), 0.5, steps=np.int64(50))}
    flags = {Sarsa: "expected", QLearning: "double", MonteCarlo: "first_visit"}
    for kind, flag in flags.items():
        agent = kind(LAKE, sync_every=np.int64(50), **numbers, **{flag: np.True_})
        agent.learn(np.int64(100))
        agent.save(tmp_path / "agent.rlbook")
        loaded = kind.load(tmp_path / "agent.rlbook")
        assert same(loaded, agent) and loaded.settings == agent.settings


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("env", [LAKE, "FrozenLake-v1"])
@every_method
def test_after_an_interruption_learning_goes_on_from_the_last_round(name, env):
    def interrupt(agent):
        if agent.timesteps == 600:
            raise Interrupted

    whole, broken = (agent_of(name, env, seed=9, num_envs=2, sync_every=100) for _ in range(2))
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
    with pytest.raises(ValueError, match=r"^obs must be whole numbers from 0 to 15, got "):
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
    with pytest.raises(ValueError, match=rf"^{name}\b.*{re.escape(repr(value))}"):
        QLearning(LAKE, **argument)


@pytest.mark.parametrize("steps", [0, -5, 2.5])
def test_a_bad_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match="total_timesteps must be a whole number"):
        QLearning(LAKE).learn(steps)


def test_spaces_that_fit_no_table_are_refused():
    with pytest.raises(ValueError, match=r"^observation_space must be Discrete, ") as caught:
        QLearning("CartPole-v1")
    assert "\n" not in str(caught.value)

    env = Probe(None)
    env.action_space = gymnasium.spaces.Discrete(2, start=1)
    with pytest.raises(ValueError, match=r"^action_space must be Discrete and start at 0 "):
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


def test_a_file_without_its_states_is_refused(tmp_path):
    agent = QLearning(LAKE, table="hash")
    agent.learn(300)
    agent.save(tmp_path / "hashed.rlbook")
    header, arrays = saving.load(tmp_path / "hashed.rlbook", "QLearning")
    path = tmp_path / "other.rlbook"
    for states in (None, arrays["states"][:-1]):
        changed = {**arrays, "states": states}
        if states is None:
            del changed["states"]
        saving.save(path, "QLearning", header, changed)
        with pytest.raises(ValueError, match="holds a table of another environment"):
            QLearning.load(path)


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
    with pytest.raises(ValueError, match=r"nonsense\.rlbook is damaged|^seed must be "):
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


@pytest.mark.parametrize("obs", [(5, 20, 1), (-1, 3, 0), (5, 3), 7, "hit", (5, 3, None)])
def test_an_observation_of_several_parts_is_checked(obs):
    agent = QLearning("Blackjack-v1")
    assert agent.predict((14, 10, 0)) == 0
    with pytest.raises(ValueError, match=r"^obs must "):
        agent.predict(obs)
