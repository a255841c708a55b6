"""Atari games: what players see of them, and that a network can learn from it."""

import inspect

import gymnasium
import numpy as np
import pytest
from ale_py import vector_env

import rlbook
from rlbook.envs.atari import SIZE, STACK, Atari

BREAKOUT = Atari("ALE/Breakout-v5")
PLAY = {"learning_starts": 64, "batch_size": 8, "steps_per_update": 16.0, "num_envs": 2}


def play(batch, steps, seed=1):
    """Observations and what came with them, of random play: (T, N, …) each."""
    rng = np.random.default_rng(seed)
    rows = [(batch.reset().copy(), *np.zeros((3, len(batch.seeds))))]
    for _ in range(steps):
        obs, *others = batch.step(rng.integers(4, size=len(batch.seeds)))
        rows.append((obs.copy(), *others))
    return [np.array(column) for column in zip(*rows, strict=True)]


def test_what_is_seen():
    env = BREAKOUT()
    assert env.observation_space.shape == (STACK, SIZE, SIZE)
    assert env.action_space == gymnasium.spaces.Discrete(4)
    obs, _ = env.reset(seed=1)
    assert (obs == obs[-1]).all() and obs.any()
    later = [env.step(1)[0] for _ in range(3)]
    np.testing.assert_array_equal(later[2][0], obs[-1])
    np.testing.assert_array_equal(later[2][1:], [each[-1] for each in later])


def test_a_game_does_not_depend_on_those_beside_it():
    both, alone = BREAKOUT.batch([5, 6]), BREAKOUT.batch([6])
    rng = np.random.default_rng(2)
    np.testing.assert_array_equal(both.reset()[1], alone.reset()[0])
    for _ in range(300):
        actions = rng.integers(4, size=2)
        for mine, others in zip(both.step(actions), alone.step(actions[1:]), strict=True):
            np.testing.assert_array_equal(mine[1], others[0])


def test_the_row_after_an_end_holds_the_first_frame_of_the_next_game():
    obs, _, terminated, truncated = play(BREAKOUT.batch([3]), 600)
    ends = np.flatnonzero((terminated + truncated)[:, 0])
    assert len(ends) >= 2
    for end in ends[ends < 600]:
        first = obs[end + 1, 0]
        assert (first == first[-1]).all()


def test_rewards_are_clipped_unless_scores_are_asked_for():
    def rewards(clip):
        atari = Atari("ALE/SpaceInvaders-v5", clip_rewards=clip)
        return play(atari.batch([1]), 400)[1]

    assert rewards(True).max() == 1 and rewards(False).max() > 1


def test_a_network_learns_from_breakout(tmp_path):
    agent = rlbook.DQN("ALE/Breakout-v5", **PLAY, replay_capacity=1_000)
    before = agent.get_weights().copy()
    agent.learn(128)
    assert agent.algorithm.updates == 4
    assert np.isfinite(agent.get_weights()).all() and (agent.get_weights() != before).any()
    batch = agent.replay.sample(8)
    assert batch.obs.shape == (8, STACK, SIZE, SIZE) and batch.obs.dtype == np.uint8
    frames = agent.replay.to_arrays()["replay_obs"]
    assert frames.shape[1:] == (SIZE, SIZE)  # one frame a step
    stored = len(agent.replay)
    agent.learn(32)  # the same games go on
    assert len(agent.replay) >= stored + 32 - 2
    agent.save(tmp_path / "agent.rlbook")
    again = rlbook.DQN.load(tmp_path / "agent.rlbook")
    stored = len(again.replay)
    again.learn(32)  # games begin anew, so the last step of each is lost
    assert len(again.replay) <= stored + 32 - 2
    assert again.timesteps == 192
    env = BREAKOUT()
    obs, _ = env.reset(seed=1)
    for _ in range(30):
        obs, *_ = env.step(again.predict(obs))
    assert again.predict(obs, deterministic=False) in range(4)


def watched(agent):
    """The observations of each rollout that the agent's algorithm is given, as they come."""
    seen, batches = [], agent.algorithm.batches

    def look(rollout):
        seen.append(rollout.obs.copy())
        return batches(rollout)

    agent.algorithm.batches = look
    return seen


def test_stacks_are_rebuilt_from_frames_as_they_were_seen():
    agent = rlbook.DQN("ALE/Breakout-v5", num_envs=2, learning_starts=10_000, rollout_steps=400)
    seen = watched(agent)
    agent.learn(800)
    known = {obs.tobytes() for row in seen[0] for obs in row}
    batch = agent.replay.sample(200)
    assert all(obs.tobytes() in known for obs in (*batch.obs, *batch.next_obs))


def test_the_same_numbers_with_any_number_of_workers():
    def train(workers):
        agent = rlbook.DQN("ALE/Breakout-v5", workers=workers, replay_capacity=1_000, **PLAY)
        agent.learn(96)
        return agent.get_weights()

    np.testing.assert_array_equal(train(1), train(2))


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_that_are_built_again_play_other_games(workers):
    def first_frames():
        agent = rlbook.DQN("ALE/Breakout-v5", workers=workers, **{**PLAY, "learning_starts": 1_000})
        seen = watched(agent)
        for _ in range(3):
            agent.learn(80)
            agent._workers.end()  # as an interruption of `learn` does
        return seen[::5]

    calls, again = first_frames(), first_frames()
    for one, same in zip(calls, again, strict=True):
        np.testing.assert_array_equal(one, same)
    for env in range(2):
        assert len({frames[env].tobytes() for frames in calls}) == 3


def test_games_are_called_what_the_emulator_calls_them():
    names = ("Breakout", "SpaceInvaders", "TicTacToe3D")
    games = [Atari(f"ALE/{name}-v5").game for name in names]
    assert games == ["breakout", "space_invaders", "tic_tac_toe_3d"]
    obs, _ = Atari("ALE/TicTacToe3D-v5")().reset(seed=1)
    assert obs.shape == (STACK, SIZE, SIZE)


@pytest.mark.parametrize("env_id", ["ALE/Brakeout-v5", "ALE/"])
def test_a_game_that_does_not_exist(env_id):
    with pytest.raises(ValueError, match=f"^env must be an Atari game, got '{env_id}': "):
        rlbook.DQN(env_id)


def test_the_preprocessing_of_atari_is_the_one_that_is_told(monkeypatch):
    made, real = [], vector_env.AtariVectorEnv

    def recorded(*args, **options):
        bound = inspect.signature(real).bind(*args, **options)
        bound.apply_defaults()
        made.append(bound.arguments)
        return real(*args, **options)

    monkeypatch.setattr(vector_env, "AtariVectorEnv", recorded)
    Atari("ALE/Breakout-v5").batch([1, 2])
    expected = {
        "game": "breakout",
        "num_envs": 2,
        "frameskip": 4,
        "maxpool": True,
        "grayscale": True,
        "img_height": 84,
        "img_width": 84,
        "stack_num": 1,
        "repeat_action_probability": 0.25,
        "reward_clipping": True,
        "episodic_life": False,
        "full_action_space": False,
        "max_num_frames_per_episode": 108_000,
        "noop_max": 30,
        "use_fire_reset": True,
    }
    assert {name: made[-1][name] for name in expected} == expected
