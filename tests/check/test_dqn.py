"""Chapter 06: its checkers, and its numbered equations written out against the library."""

import gymnasium
import numpy as np
import pytest
from checking import message_of

from rlbook.algorithms.dqn import DQN
from rlbook.check.dqn import EXERCISES
from rlbook.data.replay import Batch, Replay
from rlbook.nn.dense import Dense
from rlbook.ops.value_learning import q_learning_targets, take

# Solutions, each written out as its equation.


def my_targets(rewards, terminated, online, target, gamma):
    rows = zip(rewards, terminated, target, strict=True)
    return np.array([r if over else r + gamma * max(row) for r, over, row in rows])


def my_slopes(q, actions, targets):
    slopes = np.zeros_like(q)
    for i, action in enumerate(actions):
        slopes[i, action] = min(max(q[i, action] - targets[i], -1), 1) / len(q)
    return slopes


def my_ready_slots(count, after_end):
    size = len(after_end)
    rows = range(max(count - size, 0), count - 1)
    return np.array([row % size for row in rows if not after_end[row % size]], np.int64)


def my_n_step_targets(rewards, terminated, values, n, gamma):
    targets = np.zeros(len(rewards))
    for t in range(len(rewards)):
        last = min(t + n, len(rewards))
        ends = [k for k in range(t, last) if terminated[k]]
        if ends:
            last = ends[0] + 1
        targets[t] = sum(gamma ** (k - t) * rewards[k] for k in range(t, last))
        if not ends:
            targets[t] += gamma ** (last - t) * values[last]
    return targets


class KeyWorld(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(10)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell, self.key = 3, 0
        return 3, {}

    def step(self, action):
        self.cell = int(np.clip(self.cell + (1 if action else -1), 0, 4))
        if self.cell == 4:
            self.key = 5
        home = self.key > 0 and self.cell == 0
        return self.cell + self.key, float(home), home, False, {}


SOLUTIONS = {
    "dqn_targets": my_targets,
    "huber_slopes": my_slopes,
    "ready_slots": my_ready_slots,
    "n_step_targets": my_n_step_targets,
    "key_world": KeyWorld,
}


def test_what_is_planted():
    planted = {name: {m.name for m in each.mistakes} for name, each in EXERCISES.items()}
    everywhere = {"discount dropped", "bootstrap through a terminal state", "sign"}
    assert planted["dqn_targets"] >= everywhere | {
        "wrong action's value",
        "online network instead of the target network",
    }
    assert planted["n_step_targets"] >= everywhere | {"off by one"}
    assert planted["huber_slopes"] >= {"sign", "wrong action's value", "off by one"}


def test_cases_hold_what_is_easily_got_wrong():
    for *_, online, target, _ in EXERCISES["dqn_targets"].cases:
        assert (online.max(axis=1) != target.max(axis=1)).all(), "two networks"
    assert any(case[1].any() and not case[1].all() for case in EXERCISES["dqn_targets"].cases)
    for q, actions, targets in EXERCISES["huber_slopes"].cases:
        assert (np.abs(targets - take(q, actions)) < 1).any(), "an error that is not clipped"
    ready = EXERCISES["ready_slots"].cases
    assert any(count < len(after_end) for count, after_end in ready), "not full yet"
    assert any(count == len(after_end) for count, after_end in ready), "just full"
    assert any(count > 2 * len(after_end) for count, after_end in ready), "twice round"
    assert any(after_end.any() for _, after_end in ready)
    assert {case[3] for case in EXERCISES["n_step_targets"].cases} == {1, 2, 3, 4}


def test_a_wrong_solution_is_shown_where_it_differs():
    def nudged(*arguments):
        return my_targets(*arguments) + 1e-3

    text = message_of("dqn_targets", nudged)
    assert "the result should be" in text
    assert "  terminated = [" in text
    assert "  online =\n" in text


def test_a_batch_of_the_wrong_shape():
    text = message_of("huber_slopes", lambda q, actions, targets: my_slopes(q, actions, targets)[0])
    assert "returns shape (" in text
    assert "it should return float64 of shape (" in text


def test_arguments_must_stay_as_they_are():
    def overwrites(q, actions, targets):
        slopes = my_slopes(q, actions, targets)
        q[:] = slopes
        return slopes

    assert "changes q, which must stay as it is" in message_of("huber_slopes", overwrites)


def test_a_world_with_a_mistake_of_its_own():
    class Toll(KeyWorld):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward - 0.25 * (obs == 9), *rest

    text = message_of("key_world", Toll)
    assert "after reset(), the steps " in text
    assert "should give observation 9, reward 0, terminated False" in text


# The chapter's equations, from left to right as they are printed there.


@pytest.fixture
def rng():
    return np.random.default_rng(6)


def batch_of(rng, size=16, gamma=0.9):
    obs, next_obs = rng.normal(size=(2, size, 4)).astype(np.float32)
    returns = (3 * rng.normal(size=size)).astype(np.float32)
    discounts = (gamma * (rng.random(size) > 0.3)).astype(np.float32)
    actions = rng.integers(2, size=size)
    weights = np.ones(size, np.float32)
    return Batch(obs, actions, returns, discounts, next_obs, weights, np.arange(size))


def make_loss():
    return DQN("CartPole-v1", seed=1, device="cpu", hidden=(8,), replay_capacity=128).algorithm


def test_equation_6_1(rng):
    """θ ← θ + α δ ∇q_θ(s, a), of a linear network: x for w_a, 1 for b_a, and 0 for the others."""
    for _ in range(50):
        network, alpha = Dense((3, 2), seed=0), np.float32(rng.random())
        x, a, y = rng.normal(size=3).astype(np.float32), int(rng.integers(2)), float(rng.normal())
        (w, b), *_ = network.layers(network.get_weights())
        w, b = w.copy(), b.copy()
        delta = y - (w[a] @ x + b[a])
        w[a] += alpha * delta * x
        b[a] += alpha * delta
        out, backward = network.vjp(x[None])
        slopes = np.zeros_like(out)
        slopes[0, a] = out[0, a] - y
        network.set_weights(network.get_weights() - alpha * backward(slopes))
        (new_w, new_b), *_ = network.layers(network.get_weights())
        np.testing.assert_allclose(new_w, w, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(new_b, b, rtol=1e-5, atol=1e-6)


def test_equation_6_2(rng):
    """y = r + γ max_a' q_θ⁻(s', a'), without the second term where the step terminated."""
    for _ in range(50):
        batch, loss = batch_of(rng), make_loss()
        target = Dense((4, 8, 2), seed=int(rng.integers(100)))
        loss.target_network.set_weights(target.get_weights())
        q = target(batch.next_obs)
        right = []
        for i in range(len(q)):
            y = float(batch.returns[i])
            if batch.discounts[i] > 0:
                y += 0.9 * max(float(value) for value in q[i])
            right.append(y)
        np.testing.assert_allclose(loss.targets(batch), right, rtol=1e-5, atol=1e-5)
        found = q_learning_targets(batch.returns, batch.discounts, q)
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-5)


def test_equation_6_3(rng):
    """g_i = -clip(y_i - q_θ(s_i, a_i), -1, 1) / B: the derivative of the mean Huber loss."""
    q, targets = rng.normal(size=(16, 2)), 2 * rng.normal(size=16)
    actions = rng.integers(2, size=16)

    def huber_loss(q):
        delta = np.abs(targets - q[np.arange(16), actions])
        return np.where(delta <= 1, delta**2 / 2, delta - 0.5).mean()

    slopes = my_slopes(q, actions, targets)
    for cell in np.ndindex(q.shape):
        nudge = np.zeros_like(q)
        nudge[cell] = 1e-6
        numerical = (huber_loss(q + nudge) - huber_loss(q - nudge)) / 2e-6
        assert slopes[cell] == pytest.approx(numerical, abs=1e-6)


def test_the_library_goes_along_equation_6_3(rng):
    for _ in range(20):
        batch, loss = batch_of(rng), make_loss()
        out, backward = loss.network.vjp(batch.obs)
        slopes = my_slopes(out.astype(np.float64), batch.actions, loss.targets(batch))
        found = loss.gradients(batch)
        np.testing.assert_allclose(
            found.vector, backward(slopes.astype(np.float32)), rtol=1e-4, atol=1e-6
        )
        errors = loss.targets(batch) - take(out, batch.actions)
        assert (np.abs(errors) > 1).any(), "some are clipped"


def test_equation_6_4(rng):
    """y_t = r_{t+1} + … + γ^{n-1} r_{t+n} + γ^n v(s_{t+n}), as a replay memory has it."""
    length, gamma = 60, 0.9
    rewards = rng.normal(size=length).round(2)
    terminated = rng.random(length) < 0.1
    values = rng.normal(size=length + 1)
    for n in (1, 2, 3, 5):
        replay = Replay(200, 1, (1,), np.float32, n_step=n, gamma=gamma, order="latest")
        row = 0
        for t in range(length):  # an observation is its number; 1,000 more where an episode ended
            rows = [(t, rewards[t], terminated[t])] + [(1000 + t, 0.0, False)] * int(terminated[t])
            for obs, reward, over in rows:
                replay.add([[np.full(1, obs, np.float32)]], [[0]], [[reward]], [[over]], [[False]])
                row += 1
        batch = replay.sample(len(replay))
        steps = batch.obs[:, 0].astype(int)
        following = batch.next_obs[:, 0].astype(int)
        value = np.where(following >= 1000, 0.0, values[following % 1000])
        right = my_n_step_targets(rewards, terminated, values, n, gamma)[steps]
        assert len(steps) > length - n - 1
        np.testing.assert_allclose(batch.returns + batch.discounts * value, right, rtol=1e-5)
