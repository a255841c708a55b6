"""Chapter 07: its checkers, and their right solutions against the library."""

import gymnasium
import numpy as np
import pytest
import torch
from checking import message_of

from rlbook import check, comparison
from rlbook.check.rainbow import EXERCISES
from rlbook.data.replay import Replay, importance_weights, priorities
from rlbook.envs.observations import observations_of
from rlbook.nn.torch_networks import NoisyLinear, QNetwork
from rlbook.ops.distributional import project_distribution
from rlbook.ops.value_learning import double_q_learning_targets

# Solutions, each written out as its equation.


def my_targets(rewards, terminated, online, target, gamma):
    targets = np.array(rewards)
    for i in range(len(targets)):
        if not terminated[i]:
            targets[i] += gamma * target[i, np.argmax(online[i])]
    return targets


def my_weights(priorities, drawn, alpha, beta):
    chances = [p**alpha / sum(q**alpha for q in priorities) for p in priorities]
    weights = [(len(priorities) * chances[i]) ** -beta for i in drawn]
    return np.array([weight / max(weights) for weight in weights])


def my_dueling_values(values, advantages):
    rows = zip(values[:, 0], advantages, strict=True)
    return np.array([[v + a - sum(row) / len(row) for a in row] for v, row in rows])


def my_projection(support, returns, discounts, probabilities):
    spacing = support[1] - support[0]
    projected = np.zeros_like(probabilities)
    for i in range(len(returns)):
        for j, z in enumerate(support):
            moved = min(max(returns[i] + discounts[i] * z, support[0]), support[-1])
            for k, atom in enumerate(support):
                projected[i, k] += max(1 - abs(moved - atom) / spacing, 0) * probabilities[i, j]
    return projected


def my_middle(scores):
    ordered = sorted(scores.tolist())
    quarter = int(len(ordered) / 4)
    middle = ordered[quarter : len(ordered) - quarter]
    return sum(middle) / len(middle)


class DeepSea(gymnasium.Env):
    observation_space = gymnasium.spaces.Discrete(25)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell = 0
        return self.cell, {}

    def step(self, action):
        row, column = divmod(self.cell, 5)
        reward = -0.002 if action else 0.0
        if row == 4:
            return self.cell, reward + (1.0 if action and column == 4 else 0.0), True, False, {}
        column = min(column + 1, 4) if action else max(column - 1, 0)
        self.cell = 5 * (row + 1) + column
        return self.cell, reward, False, False, {}


SOLUTIONS = {
    "double_targets": my_targets,
    "importance_weights": my_weights,
    "dueling_values": my_dueling_values,
    "projection": my_projection,
    "interquartile_mean": my_middle,
    "deep_sea": DeepSea,
}


def cases(name):
    return EXERCISES[name].cases


def test_what_is_planted():
    planted = {name: {m.name for m in each.mistakes} for name, each in EXERCISES.items()}
    everywhere = {"discount dropped", "bootstrap through a terminal state", "sign"}
    assert planted["double_targets"] >= everywhere | {
        "wrong action's value",
        "one network does both",
        "networks swapped",
    }
    assert planted["importance_weights"] >= {"sign", "off by one", "alpha dropped", "beta dropped"}
    assert planted["dueling_values"] >= {"mean not subtracted", "maximum instead of mean", "sign"}
    assert planted["projection"] >= {
        "no clipping",
        "nearer atom gets all",
        "shares the wrong way round",
        "mass lost where an atom lands on another",
        "discount dropped",
        "return dropped",
        "not divided by the spacing",
        "sign",
        "off by one",
    }
    assert planted["interquartile_mean"] >= {
        "plain mean",
        "median",
        "not sorted",
        "a quarter in total",
        "rounding up",
        "off by one",
    }
    assert planted["deep_sea"] >= {"does not terminate", "cost dropped", "last step moves"}


# What the cases hold


def test_networks_differ_on_what_is_best():
    for _, _, online, target, _ in cases("double_targets"):
        assert (online.max(axis=1) != target.max(axis=1)).all()
    apart = [(c[2].argmax(axis=1) != c[3].argmax(axis=1)).any() for c in cases("double_targets")]
    assert np.mean(apart) > 0.8
    assert any(case[1].any() and not case[1].all() for case in cases("double_targets"))


def test_rows_are_drawn_twice_and_the_least_likely_one_not_always():
    found = cases("importance_weights")
    assert all((case[0] > 0).all() for case in found)
    assert any(len(np.unique(drawn)) < len(drawn) for _, drawn, _, _ in found)
    assert any(p[drawn].min() > p.min() for p, drawn, _, _ in found)
    assert {case[2] for case in found} >= {0.0, 0.6, 1.0}
    assert {case[3] for case in found} >= {0.0, 0.4, 1.0}


def test_two_streams_have_their_shapes():
    for values, advantages in cases("dueling_values"):
        assert values.shape == (len(advantages), 1)
    assert any(len(a) == a.shape[1] for _, a in cases("dueling_values"))
    assert any(len(a) != a.shape[1] for _, a in cases("dueling_values"))


def test_atoms_land_between_on_and_beyond_others():
    between = on = below = beyond = 0
    for support, returns, discounts, probabilities in cases("projection"):
        np.testing.assert_allclose(np.diff(support), support[1] - support[0], rtol=1e-12)
        assert probabilities.shape == (len(returns), len(support))
        places = returns[:, None] + discounts[:, None] * support
        places = (places - support[0]) / (support[1] - support[0])
        inside = places[(places >= 0) & (places <= len(support) - 1)]
        exact = inside == inside.round()
        assert (exact == (abs(inside - inside.round()) < 1e-9)).all(), "never by a hair's breadth"
        between, on = between + (~exact).sum(), on + exact.sum()
        below, beyond = below + (places < 0).sum(), beyond + (places > len(support) - 1).sum()
    assert min(between, on, below, beyond) > 100
    assert any((case[2] == 0).any() for case in cases("projection")), "nothing follows"


def test_runs_of_every_number():
    numbers = {len(scores) for (scores,) in cases("interquartile_mean")}
    assert numbers == set(range(4, 21))


def test_the_treasure_is_found_and_missed_by_a_step():
    episodes = [tuple(episode) for case in cases("deep_sea") for episode in case]
    assert {len(episode) for episode in episodes} == {5}
    assert {(1, 1, 1, 1, 0), (1, 1, 1, 1, 1)} < set(episodes)
    assert any(episode[0] == 0 for episode in episodes), "into the wall"


# What they say of other solutions


def test_a_wrong_solution_is_shown_where_it_differs():
    text = message_of("double_targets", lambda *arguments: my_targets(*arguments) + 1e-3)
    assert "the result should be" in text
    assert "  terminated = [" in text
    assert "  online =\n" in text


def test_neither_the_number_of_rows_nor_the_sum_matters(capsys):
    def shorter(priorities, drawn, alpha, beta):
        weights = priorities[drawn] ** (-alpha * beta)
        return weights / weights.max()

    check.importance_weights(shorter)
    assert capsys.readouterr().out == "importance_weights: correct (200 cases)\n"


def test_values_of_the_wrong_shape():
    text = message_of(
        "dueling_values",
        lambda values, advantages: my_dueling_values(values, advantages).mean(axis=1),
    )
    assert "returns shape (" in text
    assert "it should return float64 of shape (" in text
    text = message_of("dueling_values", lambda values, advantages: values[:, 1] + advantages)
    assert "raised IndexError" in text


@pytest.mark.parametrize(
    "mistake, kept, added", [("mass lost", 0, True), ("overwritten", 1, False)]
)
def test_projections_as_they_are_often_written(mistake, kept, added):
    def from_floor_to_ceil(support, returns, discounts, probabilities):
        spacing = support[1] - support[0]
        moved = np.clip(returns[:, None] + discounts[:, None] * support, support[0], support[-1])
        b = (moved - support[0]) / spacing
        lower, upper = np.floor(b).astype(int), np.ceil(b).astype(int)
        shares = upper + kept * (lower == upper) - b, b - lower
        projected, rows = np.zeros_like(probabilities), np.arange(len(returns))[:, None]
        for place, share in zip((lower, upper), shares, strict=True):
            if added:
                np.add.at(projected, (rows, place), share * probabilities)
            else:
                projected[rows, place] += share * probabilities
        return projected

    assert message_of("projection", from_floor_to_ceil).startswith(f"projection: {mistake}")


def test_scores_must_stay_as_they_are():
    def sorts(scores):
        scores.sort()
        return my_middle(scores)

    assert "changes scores, which must stay as it is" in message_of("interquartile_mean", sorts)


def test_a_world_with_a_mistake_of_its_own():
    class Bonus(DeepSea):
        def step(self, action):
            obs, reward, *rest = super().step(action)
            return obs, reward + 0.5 * (obs == 10), *rest

    text = message_of("deep_sea", Bonus)
    assert "after reset(), the steps right, left should give observation 10, reward 0, " in text


def test_a_world_that_raises_and_one_with_other_spaces():
    class Unfinished(DeepSea):
        def step(self, action):
            if self.cell >= 20:
                raise IndexError("row 5 is out of range")
            return super().step(action)

    assert "raised IndexError: row 5 is out of range" in message_of("deep_sea", Unfinished)

    class Larger(DeepSea):
        observation_space = gymnasium.spaces.Discrete(30)

    assert "observation_space should be Discrete(25)" in message_of("deep_sea", Larger)


def test_the_best_return_of_the_deep_sea():
    env = DeepSea()
    env.reset()
    rewards = [env.step(1)[1] for _ in range(5)]
    assert rewards[-1] == pytest.approx(0.998)
    assert sum(rewards) == pytest.approx(0.99)


# The exercises are the library's own functions.


def test_equation_7_1_is_the_librarys_double_q_learning():
    for rewards, terminated, online, target, gamma in cases("double_targets"):
        discounts = gamma * (1 - terminated)
        found = double_q_learning_targets(rewards, discounts, target, online)
        np.testing.assert_allclose(found, my_targets(rewards, terminated, online, target, gamma))


def test_equations_7_2_and_7_3_are_the_librarys_importance_weights():
    for errors, drawn, alpha, beta in cases("importance_weights"):
        powers = priorities(errors, alpha)
        found = importance_weights(powers[drawn] / powers.sum(), len(errors), beta)
        np.testing.assert_allclose(found, my_weights(errors, drawn, alpha, beta), rtol=1e-4)


def test_equation_7_4_is_the_librarys_duelling_head():
    seen = observations_of(gymnasium.make("CartPole-v1"))
    network = QNetwork(seen, 3, (8, 8), dueling=True)
    obs = torch.rand(5, 4)
    with torch.inference_mode():
        features = network.body(obs)
        values, advantages = network.value(features).numpy(), network.advantage(features).numpy()
        assert (values.shape, advantages.shape) == ((5, 1), (5, 3))
        found = network(obs).numpy()
    np.testing.assert_allclose(found, my_dueling_values(values, advantages), rtol=1e-5, atol=1e-6)


def test_equation_7_6_is_the_librarys_projection():
    for case in cases("projection"):
        found = project_distribution(*(each.astype(np.float32) for each in case))
        np.testing.assert_allclose(found, my_projection(*case), atol=1e-5)


def test_the_interquartile_mean_is_the_librarys():
    for (scores,) in cases("interquartile_mean"):
        assert comparison.interquartile_mean(scores) == pytest.approx(my_middle(scores))


def test_equation_7_5_is_the_librarys_return_of_several_rewards():
    """G = r₁ + γ r₂ + … + γ^{n-1} r_n, and γ^n for the value that follows."""
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5):
        rewards = rng.normal(size=20)
        replay = Replay(100, 1, (1,), np.float32, n_step=n, gamma=0.9, order="latest")
        obs = np.arange(20, dtype=np.float32).reshape(1, 20, 1)
        nothing = np.zeros((1, 20), bool)
        replay.add(obs, np.zeros((1, 20), int), rewards[None], nothing, nothing)
        batch = replay.sample(len(replay))
        steps = batch.obs[:, 0].astype(int)
        for t, found, discount in zip(steps, batch.returns, batch.discounts, strict=True):
            right = sum(0.9**k * rewards[t + k] for k in range(n))
            assert found == pytest.approx(right, abs=1e-5)
            assert discount == pytest.approx(0.9**n)


def test_equation_7_7_is_the_librarys_noisy_layer():
    """y = (μ + σ ⊙ ε_out ε_inᵀ) x + μ_b + σ_b ⊙ ε_out, number by number."""
    torch.manual_seed(0)
    layer, x, noise = NoisyLinear(3, 2), torch.randn(4, 3), torch.randn(4, 5)
    with torch.no_grad():
        layer.weight_sigma.uniform_(-1, 1), layer.bias_sigma.uniform_(-1, 1)
        found = layer(x, noise)
        for row, out in np.ndindex(4, 2):
            e_in, e_out = noise[row, :3], noise[row, 3 + out]
            right = float(layer.bias[out] + layer.bias_sigma[out] * e_out)
            for i in range(3):
                weight = layer.weight[out, i] + layer.weight_sigma[out, i] * e_out * e_in[i]
                right += float(weight * x[row, i])
            assert float(found[row, out]) == pytest.approx(right, abs=1e-5)
