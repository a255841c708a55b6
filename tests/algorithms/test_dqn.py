"""DQN and Rainbow's tricks: targets against the definitions, learning in probes, exact counts."""

import signal
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from probes import Probe, cut_short, same_states

import rlbook
from rlbook.algorithm import split
from rlbook.algorithms.dqn import DQN
from rlbook.algorithms.rainbow import Rainbow
from rlbook.data.replay import Replay
from rlbook.nn.torch_networks import NoisyLinear
from rlbook.ops.distributional import action_values
from rlbook.patterns.rollout_worker import CHUNK
from rlbook.patterns.synchronous import gradients_in_parts
from rlbook.schedules import Linear

TRICKS = {
    "none": {},
    "double": {"double": True},
    "prioritized": {"prioritized": True},
    "dueling": {"dueling": True},
    "n_step": {"n_step": 3},
    "distributional": {"distributional": True, "v_min": -2.0, "v_max": 2.0},
    "noisy": {"noisy": True},
}
ALL = {name: value for own in TRICKS.values() for name, value in own.items()}
EVERY = {**TRICKS, "all": ALL}
WORDS = [name for name in TRICKS if name not in ("none", "n_step")]
OFF = {**dict.fromkeys(WORDS, False), "n_step": 1}
POLE = {"v_min": 0.0, "v_max": 100.0}
TINY = {
    "hidden": (16, 16),
    "learning_starts": 100,
    "steps_per_update": 1.0,
    "target_every": 20,
    "epsilon": 0.5,
    "learning_rate": Linear(5e-3, 1e-5, steps=1_900),
    "batch_size": 32,
}


def with_tricks(env, **options):
    """An agent with those of Rainbow's additions that are named, and no others."""
    return Rainbow(env, **(OFF | options))


def dqn_or(own):
    """What makes an agent with these additions: `DQN` for none of them."""
    return with_tricks if own else DQN


def values_of(agent, obs):
    """The action values of some observations, (B, A)."""
    out = agent.algorithm.network(agent.observations.encode_all(obs))
    return action_values(out, getattr(agent.algorithm, "support", np.zeros(0, np.float32)))


# Targets.


@pytest.mark.parametrize("distributional", [False, True])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dueling", [False, True])
def test_the_targets_of_an_agent_are_their_definition(double, distributional, dueling):
    agent = with_tricks(
        "CartPole-v1", double=double, distributional=distributional, dueling=dueling, seed=1, **POLE
    )
    agent.learn(800)
    rng = np.random.default_rng(0)
    for network in (agent.algorithm.network, agent.algorithm.target_network):  # that they disagree
        shape = network.get_weights().shape
        network.set_weights(rng.normal(scale=0.3, size=shape).astype(np.float32))
    batch = agent.replay.sample(64)
    online, target = (
        net(batch.next_obs).astype(np.float64)
        for net in (agent.algorithm.network, agent.algorithm.target_network)
    )
    atoms = agent.algorithm.support.astype(np.float64)

    def mean(out):
        if not distributional:
            return out
        p = np.exp(out) / np.exp(out).sum(axis=-1, keepdims=True)
        return p @ atoms

    assert (mean(online).argmax(1) != mean(target).argmax(1)).sum() > 5
    for row, found in enumerate(agent.algorithm.targets(batch)):
        a = (mean(online) if double else mean(target))[row].argmax()
        g, d = float(batch.returns[row]), float(batch.discounts[row])
        if not distributional:
            assert found == pytest.approx(g + d * target[row, a], rel=1e-5, abs=1e-5)
            continue
        p = np.exp(target[row, a]) / np.exp(target[row, a]).sum()
        apart = abs(np.clip(g + d * atoms, atoms[0], atoms[-1])[None] - atoms[:, None])
        expected = (1 - apart / (atoms[1] - atoms[0])).clip(0, 1) @ p
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("make", [DQN, with_tricks])
def test_the_gradient_is_that_of_hubers_loss(make):
    agent = make("CartPole-v1", hidden=(8,))
    agent.learn(800)
    batch = agent.replay.sample(64)
    scales = np.linspace(0, 3, 64, dtype=np.float32)  # so that some errors are above 1
    batch = batch._replace(returns=batch.returns * scales)
    found = agent.algorithm.gradients(batch).vector
    weights = torch.from_numpy(agent.get_weights().copy()).requires_grad_()
    predicted, following = (
        q_values(agent.algorithm.network, each, torch.from_numpy(obs))
        for each, obs in (
            (weights, batch.obs),
            (torch.from_numpy(agent.algorithm.target_network.get_weights()), batch.next_obs),
        )
    )
    predicted = predicted[range(64), batch.actions]
    targets = torch.from_numpy(batch.returns) + torch.from_numpy(batch.discounts) * (
        following.amax(dim=1).detach()
    )
    assert 0 < ((targets - predicted).abs() > 1).sum() < 64
    torch.nn.functional.huber_loss(predicted, targets).backward()
    np.testing.assert_allclose(found, weights.grad.numpy(), rtol=1e-4, atol=1e-6)


def q_values(network, weights, obs):
    """What a `Dense` network says, so that torch can differentiate it."""
    *hidden, (weight, bias) = network.layers(weights)
    for inner, inner_bias in hidden:
        obs = torch.relu(obs @ inner.T + inner_bias)
    return obs @ weight.T + bias


@pytest.mark.parametrize("own", EVERY.values(), ids=EVERY)
def test_a_gradient_is_the_weighted_mean_of_those_of_its_steps(own):
    agent = with_tricks("CartPole-v1", **(own | POLE))
    agent.learn(1_000)
    weights = np.random.default_rng(0).uniform(0.1, 1, 8).astype(np.float32)
    batch = agent.replay.sample(8)._replace(weights=weights)
    alone = [
        agent.algorithm.gradients(each._replace(weights=np.ones(1, np.float32))).vector
        for each in split(batch, 8)
    ]
    found = agent.algorithm.gradients(batch).vector
    expected = sum(w * g for w, g in zip(weights, alone, strict=True)) / 8
    assert np.linalg.norm(found) > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_batches_are_drawn_with_the_beta_of_the_schedule_and_priorities_are_the_newest_errors():
    agent = with_tricks(
        "CartPole-v1", prioritized=True, alpha=0.7, beta=Linear(0.2, 1.0, 4_000), num_envs=1,
        rollout_steps=1, steps_per_update=1, learning_starts=100, batch_size=8, hidden=(8,),
    )  # fmt: skip
    betas, newest, replay = [], {}, agent.replay
    sample, update = replay.sample, replay.update_priorities

    def watched_sample(size, beta):
        betas.append((agent.timesteps, beta))
        return sample(size, beta)

    def watched_update(rows, errors):
        newest.update(zip(rows.tolist(), errors.tolist(), strict=True))
        update(rows, errors)

    replay.sample, replay.update_priorities = watched_sample, watched_update
    agent.learn(140)
    assert betas == [(t, pytest.approx(0.2 + 0.8 * t / 4_000)) for t in range(101, 141)]
    rows = list(newest)  # which are places, too, in the one ring that is not full yet
    stored = replay.to_arrays()["replay_priorities"][rows]
    expected = (np.abs(list(newest.values())) + 1e-6) ** 0.7
    np.testing.assert_allclose(stored, expected, rtol=1e-5)
    assert len(newest) > 40


def test_each_word_reaches_what_it_names():
    agent = Rainbow("CartPole-v1", n_step=4, gamma=0.9, prioritized=True, alpha=0.3)
    memory = agent.replay
    assert (memory.n_step, memory.gamma, memory.prioritized, memory.alpha) == (4, 0.9, True, 0.3)
    memory = DQN("CartPole-v1", n_step=3, gamma=0.8, replay_order="latest").replay
    assert (memory.n_step, memory.gamma, memory.prioritized) == (3, 0.8, False)
    assert memory.order == "latest" and with_tricks("CartPole-v1").replay.order == "random"
    module = with_tricks("CartPole-v1", dueling=True).algorithm.network.module
    assert module.value is not None and module.noise_size == 0
    module = with_tricks("CartPole-v1", noisy=True).algorithm.network.module
    assert isinstance(module.advantage.out, NoisyLinear) and module.value is None


def test_rainbow_is_all_six_additions_as_published():
    settings = Rainbow("CartPole-v1").settings
    assert all(getattr(settings, word) for word in WORDS)
    assert (settings.n_step, settings.alpha, settings.num_atoms) == (3, 0.5, 51)
    assert DQN("CartPole-v1").settings.n_step == 1 and not hasattr(DQN("CartPole-v1"), "double")


def test_rainbow_without_its_additions_is_dqn_to_the_last_bit():
    plain, without = train(DQN), train(with_tricks)
    assert same(plain, without) and plain.algorithm.updates > 0


def test_noise_is_learned_and_is_another_for_each_use_and_update():
    agent = with_tricks("CartPole-v1", noisy=True, double=True, hidden=(16,), learning_starts=100)
    one, two, three = agent.algorithm._noises()
    assert not np.allclose(one, two) and not np.allclose(two, three) and not np.allclose(one, three)
    agent.algorithm.updates += 1
    assert not np.allclose(agent.algorithm._noises()[0], one)
    agent.algorithm.updates -= 1
    sigma = agent.algorithm.network.module.advantage.out.weight_sigma
    before = sigma.detach().clone()
    agent.learn(400)
    assert agent.algorithm.updates and (sigma != before).float().mean() > 0.9


# What is counted.


class Counting(gymnasium.Env):
    """Episodes of five steps, each of which pays its number."""

    def __init__(self):
        self.observation_space = gymnasium.spaces.Box(0, 10, (1,))
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(1, self.t, np.float32), float(self.t), self.t == 5, False, {}


@pytest.mark.parametrize("steps, updates", [(99, 0), (100, 0), (103, 0), (104, 1), (200, 25)])
def test_updates_begin_and_go_on_exactly_when_they_are_due(steps, updates):
    agent = DQN(
        Counting, num_envs=1, rollout_steps=1, learning_starts=100, steps_per_update=4, batch_size=8
    )
    agent.learn(steps)
    assert agent.algorithm.updates == updates


def test_the_target_network_is_a_copy_exactly_when_it_is_due():
    agent = DQN(
        Counting, num_envs=1, rollout_steps=1, learning_starts=50, steps_per_update=1,
        target_every=7, batch_size=8,
    )  # fmt: skip
    copied = []

    def look(agent):
        if np.array_equal(agent.algorithm.target_network.get_weights(), agent.get_weights()):
            copied.append(agent.algorithm.updates)

    agent.learn(50 + 30, callback=look)
    assert [each for each in copied if each] == [7, 14, 21, 28]


def test_epsilon_is_that_of_each_step():
    agent = DQN(Counting, num_envs=2, epsilon=Linear(1.0, 0.0, steps=100))
    agent.timesteps = 10
    np.testing.assert_allclose(agent.exploration(3), [[0.9, 0.89], [0.88, 0.87], [0.86, 0.85]])


def test_environments_explore_each_by_themselves():
    """Random actions of different environments, and of different steps, are independent."""
    agent = DQN(Counting, num_envs=8)
    group = agent.rollout_workers()
    [rollout] = group.call("rollout", agent.get_weights(), 2_000, np.ones((2_000, 8)))
    actions = rollout.actions
    assert abs(actions.mean() - 0.5) < 0.02
    correlations = np.corrcoef(actions)[np.triu_indices(8, k=1)]
    assert np.abs(correlations).max() < 0.1  # 4.5 standard errors
    assert abs(np.corrcoef(actions[:, 1:].ravel(), actions[:, :-1].ravel())[0, 1]) < 0.04


@pytest.mark.parametrize("trick", TRICKS)
def test_importance_weights_reach_every_branch_of_the_loss(trick):
    agent = with_tricks("CartPole-v1", **TRICKS[trick])
    agent.learn(1_000)
    batch = agent.replay.sample(16)
    half = np.where(np.arange(16) < 8, 1.0, 0.0).astype(np.float32)
    first = type(batch)._make(column[:8] for column in batch._replace(weights=half))
    weighted = agent.algorithm.gradients(batch._replace(weights=half)).vector
    alone = agent.algorithm.gradients(first).vector
    assert np.linalg.norm(weighted) > 0
    np.testing.assert_allclose(weighted, alone / 2, rtol=1e-4, atol=1e-6)


# What is learned.


def constant(state, action):
    return state, 1.0, True


def by_action(state, action):
    return state, float(action), True


def delayed(state, action):
    """Nothing for the first step, and 1 for the second, whatever is done."""
    return min(state + 1, 2), float(state == 1), state == 1


def by_observation(state, action):
    return state, 1.0 if state else -1.0, True


def learned(rule, states, starts, own, seed=3):
    make = dqn_or(own)
    agent = make(lambda: Probe(rule, states, starts), seed=seed, gamma=0.9, **(TINY | own))
    agent.learn(2_000)
    return values_of(agent, np.arange(states))


IN_TORCH = ("dueling", "noisy", "all")
CASES = [
    pytest.param(own, id=name, marks=[pytest.mark.slow] if name in IN_TORCH else [])
    for name, own in EVERY.items()
]


def assert_learned(values, expected, own):
    """Both actions of each observation are worth so much."""
    # Whoever explores by noise alone may never try what looks worse, and is right not to.
    found = values.max(axis=1, keepdims=True) if own.get("noisy") else values
    np.testing.assert_allclose(found, np.array(expected)[:, None] + 0 * found, atol=0.01)


@pytest.mark.parametrize("own", CASES)
def test_probe_constant_reward(own):
    assert_learned(learned(constant, 1, 1, own), [1.0], own)


@pytest.mark.parametrize("own", CASES)
def test_probe_reward_by_action(own):
    np.testing.assert_allclose(learned(by_action, 1, 1, own), [[0.0, 1.0]], atol=0.01)


@pytest.mark.parametrize("own", CASES)
def test_probe_delayed_reward(own):
    assert_learned(learned(delayed, 3, 1, own)[:2], [0.9, 1.0], own)


@pytest.mark.parametrize("own", CASES)
def test_probe_two_observations(own):
    assert_learned(learned(by_observation, 2, 2, own), [-1.0, 1.0], own)


def one_for_ever(state, action):
    return state, 1.0, False


ENDS = [
    pytest.param(DQN, {}, id="DQN"),
    pytest.param(DQN, {"n_step": 3}, id="DQN-n_step"),
    pytest.param(Rainbow, {"v_min": -3.0, "v_max": 3.0}, id="Rainbow"),
]


@pytest.mark.parametrize("kind, own", ENDS)
def test_a_truncated_episode_bootstraps(kind, own):
    agent = kind(cut_short(one_for_ever, 4), seed=2, gamma=0.5, **(TINY | own))
    agent.learn(2_000)
    np.testing.assert_allclose(values_of(agent, [0]), 2.0, atol=0.01 if kind is DQN else 0.05)


@pytest.mark.parametrize("kind, own", ENDS)
def test_a_terminated_one_does_not(kind, own):
    agent = kind(lambda: Probe(constant), seed=2, gamma=0.5, **(TINY | own))
    agent.learn(2_000)
    np.testing.assert_allclose(values_of(agent, [0]), 1.0, atol=0.01 if kind is DQN else 0.05)


# The promise.


def train(agent_class=DQN, **options):
    own = {"learning_starts": 100, "hidden": (16,), "batch_size": 16, "num_envs": 2 * CHUNK + 3}
    agent = agent_class("CartPole-v1", seed=5, **(own | options))
    agent.learn(1_500)
    return agent


def same(one, other):
    """Two agents know the same, stand where they stood, and remember the same, to the last bit."""
    arrays, others = ({**a.algorithm.get_state(), **a.history.to_arrays()} for a in (one, other))
    del arrays["timing"], others["timing"]
    return same_states(arrays, others) and same_states(one._states, other._states)


@pytest.mark.parametrize(
    "trick", ["none", pytest.param("noisy", marks=pytest.mark.slow), "prioritized"]
)
def test_the_number_of_workers_changes_nothing(trick):
    own = TRICKS[trick]
    alone = train(dqn_or(own), **own)
    assert all(same(alone, train(dqn_or(own), workers=n, **own)) for n in (2, 3, 7))


def test_another_seed_gives_other_numbers():
    assert not same(train(), train(epsilon=0.5))


def test_parts_of_a_batch_give_the_same_wherever_they_are_computed():
    alone = train(gradient_parts=4)
    assert same(alone, train(gradient_parts=4, pattern="data_parallel", workers=3))


@pytest.mark.parametrize("kind", [DQN, Rainbow])
@pytest.mark.parametrize("parts", [4, 5])  # of equal sizes, and not
def test_the_mean_of_parts_is_the_whole_but_for_rounding(kind, parts):
    algorithm = train(kind).algorithm
    batch = algorithm.sample()
    one, several = algorithm.gradients(batch), gradients_in_parts(algorithm, parts)(batch)
    assert np.linalg.norm(one.vector) > 0
    np.testing.assert_allclose(several.vector, one.vector, rtol=1e-3, atol=1e-5)
    assert several.metrics["td_error"] == pytest.approx(one.metrics["td_error"], rel=1e-5)
    if kind is Rainbow:
        np.testing.assert_array_equal(several.priorities[0], batch.rows)
        np.testing.assert_allclose(several.priorities[1], one.priorities[1], rtol=1e-4, atol=1e-6)
    else:
        assert one.priorities is None and several.priorities is None


def test_learning_in_parts_takes_the_steps_of_their_mean(monkeypatch):
    """`gradient_parts=4` cuts each batch in four; one part is the batch itself."""
    for parts, expected in (1, 1), (4, 4):
        agent, sizes, applied = DQN("CartPole-v1", gradient_parts=parts, **TINY), [], []
        gradients, apply = agent.algorithm.gradients, agent.algorithm.apply

        def seen(part, gradients=gradients, sizes=sizes):
            sizes.append(len(part.obs))
            return gradients(part)

        monkeypatch.setattr(agent.algorithm, "gradients", seen)
        monkeypatch.setattr(
            agent.algorithm, "apply", lambda g, apply=apply, all=applied: (all.append(g), apply(g))
        )
        agent.learn(200)
        assert sizes == [32 // expected] * (expected * len(applied)) and len(applied) == 100


@pytest.mark.parametrize("kind", [DQN, pytest.param(Rainbow, marks=pytest.mark.slow)])
def test_a_saved_agent_goes_on_as_if_nothing_had_happened(kind, tmp_path):
    first = train(kind)
    first.save(tmp_path / "agent.rlbook")
    again = kind.load(tmp_path / "agent.rlbook", workers=2)
    assert same(first, again)
    first.learn(500)
    again.learn(500)
    assert same(first, again) and first.algorithm.updates > 0


@pytest.mark.slow
def test_a_world_of_ours_goes_on_too(tmp_path):
    first = DQN("rlbook/Snake-v0", learning_starts=100, hidden=(16,), num_envs=3)
    first.learn(300)
    first.save(tmp_path / "agent.rlbook")
    again = DQN.load(tmp_path / "agent.rlbook")
    first.learn(300)
    again.learn(300)
    assert same(first, again)


# What goes wrong.


class Broken(Counting):
    def __init__(self, reward=1.0, obs=0.0):
        super().__init__()
        self.broken = reward, obs

    def step(self, action):
        obs, reward, *rest = super().step(action)
        if self.t == 3:
            reward, obs = self.broken[0], np.full(1, self.broken[1], np.float32)
        return obs, reward, *rest


@pytest.mark.parametrize(
    "broken, what", [({"reward": np.nan}, "reward nan"), ({"obs": np.inf}, r"observation \[inf\]")]
)
def test_numbers_that_are_not_finite_stop_training_and_lose_nothing(broken, what, tmp_path):
    agent = DQN(lambda: Broken(**broken), num_envs=2, rollout_steps=2)
    with pytest.raises(ValueError, match=f"environment 0 returned the {what} in its step 2"):
        agent.learn(1_000)
    assert agent.timesteps == 4 == agent.replay.to_arrays()["replay_counts"].sum()
    assert np.isfinite(agent.get_weights()).all()


@pytest.mark.parametrize("prioritized", [False, True])
@pytest.mark.parametrize("num_envs", [1, 3, 16])
@pytest.mark.parametrize("n_step", [1, 3])
def test_the_smallest_memory_that_is_allowed_learns_also_from_the_shortest_episodes(
    n_step, num_envs, prioritized
):
    """Every other row is then no transition, but where one led."""
    settings = {"batch_size": 16, "learning_starts": 64, "hidden": (8,), "n_step": n_step}
    settings |= {"replay_capacity": 32, "prioritized": prioritized, "num_envs": num_envs}
    agent = with_tricks(lambda: Probe(lambda state, action: (0, 1.0, True)), **settings)
    agent.learn(3_000)
    assert agent.algorithm.updates == (agent.timesteps - 64) // 2


def test_distributions_that_returns_do_not_fit_in_are_told_once():
    """Else all that they say is the outermost atom, and nothing is left to choose by."""
    settings = TINY | {"distributional": True, "num_envs": 2}
    make = lambda: Probe(lambda state, action: (0, 1.0, True))  # noqa: E731
    with warnings.catch_warnings(record=True, action="default") as told:
        with_tricks(make, v_min=-0.5, v_max=0.5, **settings).learn(400)
    assert ["beyond v_min=-0.5 and v_max=0.5" in str(each.message) for each in told] == [True]
    with warnings.catch_warnings(action="error"):
        with_tricks(make, v_min=-1.0, v_max=1.0, **settings).learn(400)


@pytest.mark.parametrize("prioritized", [False, True])
def test_ctrl_c_finds_steps_remembered_whole_or_not_at_all(prioritized, monkeypatch):
    """It comes between the rows and their count, and between the memory and the agent's."""
    agent = with_tricks(Counting, num_envs=2, prioritized=prioritized, **TINY)
    for where in (Replay, "_note"), (Rainbow, "record"):
        with monkeypatch.context() as patched:
            before = getattr(*where)

            def interrupted(self, *args, before=before):
                signal.raise_signal(signal.SIGINT)
                return before(self, *args)

            patched.setattr(*where, interrupted)
            with pytest.raises(KeyboardInterrupt):
                agent.learn(400)
        arrays = agent.replay.to_arrays()
        assert arrays["replay_counts"].sum() == agent.timesteps > 0
        assert len(agent.replay) == arrays["replay_rows"]["ready"].sum()
        agent.replay.load_arrays(arrays)  # which turns down what is damaged
    agent.learn(400)


def test_what_ctrl_c_becomes_in_a_compiled_call_is_ctrl_c(monkeypatch):
    agent = DQN(Counting, num_envs=2, **TINY)

    def compiled_call(*args):
        raise SystemError("returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr(agent, "record", compiled_call)
    with pytest.raises(KeyboardInterrupt):
        agent.learn(400)


def test_a_file_says_what_the_agent_is(tmp_path):
    DQN(Counting, num_envs=2, **TINY).save(tmp_path / "agent")
    for name in ("learning_rate", "seed"):
        with pytest.raises(TypeError, match=f"{name} must not be given, since the file says"):
            DQN.load(tmp_path / "agent", env=Counting, **{name: 1})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"env": "Pendulum-v1"}, "action_space must be discrete for Rainbow, got Box"),
        ({"replay_capacity": 10}, "replay_capacity.*128.*"),
        ({"n_step": 10**12}, "n_step.*from 1 to 100000"),
        (
            {"replay_order": "latest"},
            "replay_order must be 'random' with prioritized=True, got 'latest'",
        ),
        ({"v_min": 1e8, "v_max": 1e8 + 1}, "v_max must be above v_min=100000000.0, got 100000001"),
        ({"replay_order": "oldest"}, "replay_order must be one of 'random', 'latest', got 'old"),
        ({"epsilon": 2}, "epsilon.*2"),
        ({"double": 1}, "double.*1"),
        ({"v_min": 1.0, "v_max": 0.0}, r"v_max.*0\.0"),
        ({"hidden": ()}, r"hidden must be a tuple such as \(64, 64\), got \(\)"),
        ({"v_min": 1.0, "v_max": 1.0}, "v_max must be above v_min=1.0, got 1.0"),
        ({"gradient_parts": 65}, "gradient_parts.*from 1 to 64"),
        ({"pattern": "data_parallel", "workers": 2}, "gradient_parts must be at least 1 for each"),
        ({"learning_rate": 0}, "learning_rate must be above 0, got 0"),
        ({"pattern": "both"}, "pattern must be one of 'synchronous', 'data_parallel', 'asyn"),
        ({"device": "tpu"}, "device must be one of 'auto', 'cpu', 'cuda', got 'tpu'"),
    ],
)
def test_what_is_not_allowed_is_said(options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Rainbow(**({"env": "CartPole-v1"} | options))
    if not options.keys() & {"double", "v_min"} and options != {"replay_order": "latest"}:
        with pytest.raises(ValueError, match=f"^{message}".replace("Rainbow", "DQN")):
            DQN(**({"env": "CartPole-v1"} | options))


def test_names_that_do_not_exist_are_told_with_what_comes_near():
    with pytest.raises(TypeError, match="Rainbow has no argument 'duelling': did you mean 'dueli"):
        Rainbow("CartPole-v1", duelling=True)
    with pytest.raises(TypeError, match="DQN has no argument 'dueling'"):
        DQN("CartPole-v1", dueling=True)


def test_files_of_others_and_damaged_files(tmp_path):
    path = tmp_path / "agent.rlbook"
    rlbook.QLearning("rlbook/FrozenLake-v0").save(path)
    with pytest.raises(ValueError, match=r"holds a QLearning agent: load it with QLearning.load"):
        DQN.load(path)
    train().save(path)
    with pytest.raises(ValueError, match="does not fit this environment"):
        DQN.load(path, env="Acrobot-v1")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="is damaged, or no model file of rlbook"):
        DQN.load(path)
