"""CartPole has the trajectories of Gymnasium's, alone and in a batch."""

import json
import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook_envs import cart_pole

ID = "rlbook/CartPole-v0"


def at(env, state):
    env.reset(seed=0)
    env.set_state({**env.get_state(), "state": list(state)})


def largest_difference(ours, theirs, act, steps):
    """Return the largest difference between the states of two trajectories."""
    worst = 0.0
    for _ in range(steps):
        action = act(theirs.state)
        obs, *mine, _ = ours.step(action)
        their_obs, *others, _ = theirs.step(action)
        assert mine == others  # reward, terminated, truncated
        np.testing.assert_allclose(obs, their_obs, atol=1e-8, rtol=4e-7)  # float32
        worst = max(worst, np.abs(ours.state - theirs.state).max())
        if mine[1]:
            break
    return worst


def test_trajectories_are_those_of_gymnasium():
    ours, theirs = cart_pole.make_env(), gymnasium.make("CartPole-v1").unwrapped
    rng, worst = np.random.default_rng(0), []
    for _ in range(500):
        # Also from states in which it moves fast.
        start = rng.uniform(-1, 1, 4) * rng.choice([(0.05,) * 4, (2.0, 3.0, 0.2, 3.0)])
        at(ours, start)
        theirs.reset()
        theirs.state = start.copy()
        worst.append(largest_difference(ours, theirs, lambda _: int(rng.integers(2)), 500))
    assert max(worst) < 1e-12


def test_a_step_of_a_balanced_pole_is_that_of_gymnasium_to_the_last_digit():
    # Over many steps a balanced pole is unstable and doubles a difference about every nine steps.
    # Here both therefore begin each step in the same state.
    ours, theirs = cart_pole.make_env(), gymnasium.make("CartPole-v1").unwrapped
    theirs.reset(seed=0)
    for _ in range(2000):
        at(ours, theirs.state)
        assert largest_difference(ours, theirs, lambda s: int(s[2] + 0.3 * s[3] > 0), 1) < 1e-15
        if abs(theirs.state[0]) > 2:
            theirs.reset()


@pytest.mark.parametrize(
    ("state", "action", "ends"),
    [
        ((2.39, 1.0, 0, 0), 1, True),  # beyond the right end of the track
        ((-2.39, -1.0, 0, 0), 0, True),
        ((2.3, 1.0, 0, 0), 1, False),
        ((0, 0, math.radians(11.9), 1.0), 1, True),
        ((0, 0, -math.radians(11.9), -1.0), 0, True),
        ((0, 0, math.radians(11.0), 0.1), 1, False),
    ],
)
def test_an_episode_ends_at_the_limits(state, action, ends):
    env = cart_pole.make_env()
    at(env, state)
    _, reward, terminated, truncated, _ = env.step(action)
    assert (reward, terminated, truncated) == (1.0, ends, False)


def test_episodes_begin_near_rest_anywhere_in_a_box():
    envs = cart_pole.make_vector_env(num_envs=4000)
    starts, _ = envs.reset(seed=0)
    assert np.abs(starts).max() <= 0.05
    assert np.abs(starts.mean(axis=0)).max() < 4 * 0.05 / np.sqrt(3 * 4000)
    np.testing.assert_allclose(starts.std(axis=0), 0.05 / np.sqrt(3), rtol=0.05)
    assert np.abs(np.corrcoef(starts.T) - np.eye(4)).max() < 0.08


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_row_does_not_depend_on_the_other_rows(mode):
    few, many = (cart_pole.make_vector_env(n, 60, mode) for n in (3, 1000))
    rng = np.random.default_rng(0)
    assert np.array_equal(few.reset(seed=7)[0], many.reset(seed=7)[0][:3])
    for _ in range(300):
        actions = rng.integers(2, size=1000)
        mine, theirs = few.step(actions[:3]), many.step(actions)
        for a, b in zip(mine[:4], theirs[:4], strict=True):
            assert np.array_equal(a, b[:3])
    # And row 0 is the single environment.
    env = gymnasium.wrappers.TimeLimit(cart_pole.make_env(), 60)
    envs = cart_pole.make_vector_env(2, 60, "SameStep")
    obs, rows = env.reset(seed=7)[0], envs.reset(seed=[7, 8])[0]
    for _ in range(200):
        assert np.array_equal(obs, rows[0])
        action = int(rng.integers(2))
        obs, _, terminated, truncated, _ = env.step(action)
        rows, _, ended, cut, infos = envs.step(np.array([action, 0]))
        assert (terminated, truncated) == (ended[0], cut[0])
        if terminated or truncated:
            assert np.array_equal(infos["final_obs"][0], obs)
            obs = env.reset()[0]


def test_the_state_survives_a_file():
    env = cart_pole.make_env()
    env.reset(seed=3)
    for _ in range(5):
        env.step(1)
    saved = json.loads(json.dumps(env.get_state(), default=np.ndarray.tolist))
    after = [env.step(0)[0] for _ in range(3)]
    other = cart_pole.make_env()
    other.set_state(saved)
    assert np.array_equal([other.step(0)[0] for _ in range(3)], after)


def test_a_batch_goes_on_from_a_saved_state():
    envs, other = (cart_pole.make_vector_env(5, 20) for _ in range(2))
    envs.reset(seed=1)
    actions = np.random.default_rng(0).integers(2, size=(40, 5))
    for row in actions[:20]:
        envs.step(row)
    other.set_state(envs.get_state())
    for row in actions[20:]:
        for a, b in zip(envs.step(row)[:4], other.step(row)[:4], strict=True):
            assert np.array_equal(a, b)


def test_a_longer_pole_falls_more_slowly():
    steps = []
    for half_length in (0.25, 0.5, 2.0):
        env = cart_pole.make_env(half_length=half_length)
        at(env, (0, 0, 0.05, 0))
        count, terminated = 0, False
        while not terminated:
            terminated = env.step(count % 2)[2]
            count += 1
        steps.append(count)
    assert steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mass", 1.0, "constants must be among gravity, .*, seconds, got mass"),
        ("gravity", 0.0, "gravity must be a number above 0, got 0.0"),
        ("force", -1.0, "force must be a number above 0, got -1.0"),
        ("seconds", float("nan"), "seconds must be a number above 0, got nan"),
    ],
)
def test_a_bad_constant_is_named(name, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        cart_pole.cart_pole(**{name: value})


def test_made_by_gymnasium_and_drawn():
    check_env(gymnasium.make(ID).unwrapped, skip_render_check=True)
    assert gymnasium.spec(ID).max_episode_steps == 500
    env = gymnasium.make(ID, render_mode="rgb_array")
    env.reset(seed=0)
    assert env.render().shape == (232, 480, 3)
    pole = cart_pole.Pole()
    left, right = (cart_pole.picture(pole, np.array([x, 0, 0, 0])) for x in (-1.0, 1.0))
    assert np.abs(left.astype(int) - right[:, ::-1]).mean() < 1  # mirror images
    assert "angle +5.7°" in cart_pole.text(pole, np.array([0, 0, 0.1, 0]))
