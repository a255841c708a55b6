"""Tests of `rlbook watch`: in the terminal, as a web page, and as an animation."""

import os
from pathlib import Path

import gymnasium
from PIL import Image

from rlbook import QLearning
from tests.cli.conftest import LAKE, on_a_terminal


def episode(player, seed, max_frames=100):
    """The texts and the returns of an episode, by hand."""
    env = gymnasium.make(LAKE, render_mode="ansi")
    obs, _ = env.reset(seed=seed)
    frames, total, ended = [env.render()], 0.0, False
    while not ended and len(frames) < max_frames:
        obs, reward, terminated, truncated, _ = env.step(player.predict(obs))
        frames.append(env.render())
        total += reward
        ended = terminated or truncated
    return frames, total


def test_every_moment_is_printed(trained, rlbook):
    frames, total = episode(QLearning.load("lake/checkpoint.rlbook"), seed=3)
    done = rlbook("watch", trained, "--seed", 3)
    assert done.code == 0 and done.err == ""
    position = -1
    for frame in frames:
        position = done.out.find(frame.strip(), position + 1)
        assert position > 0
    assert f"step {len(frames) - 1}: " in done.out
    assert done.out.strip().endswith(f"return {total:g}, terminated")


def test_json_has_the_frames(trained, rlbook):
    frames, total = episode(QLearning.load("lake/checkpoint.rlbook"), seed=3)
    assert rlbook("watch", trained, "--seed", 3, "--json").content == {
        "env": LAKE, "seed": 3, "steps": len(frames) - 1, "return": total, "ended": "terminated",
        "frames": frames,
    }  # fmt: skip
    said = rlbook("watch", trained, "--seed", 3, "--json", "--max-frames", 2).content
    assert said["frames"] == frames[:2] and said["ended"] is None


def test_a_random_player_plays_the_same_again(rlbook):
    watched = [rlbook("watch", "--random", "--env", LAKE, "--seed", seed).out for seed in (1, 1, 2)]
    assert watched[0] == watched[1]
    assert watched[0].splitlines()[2:] != watched[2].splitlines()[2:]
    assert watched[0].startswith(f"a random player on {LAKE}, seed 1")


def test_a_page(trained, rlbook):
    done = rlbook("watch", trained, "--out", "film.html", "--max-frames", 3)
    assert done.code == 0 and done.out.startswith("film.html")
    page = Path("film.html").read_text()
    assert page.startswith("<!doctype html>") and page.count("data:image/png") == 3
    assert f"<title>q_learning on {LAKE} after 2,000 steps</title>" in page
    assert set(os.listdir()) == {"film.html", "lake"}


def test_a_moving_picture(trained, rlbook):
    said = rlbook("watch", trained, "--out", "film.GIF", "--max-frames", 20, "--json").content
    assert said == {"env": LAKE, "seed": 0, "out": "film.GIF"}
    env = gymnasium.make(LAKE, render_mode="rgb_array")
    env.reset(seed=0)
    with Image.open("film.GIF") as film:
        assert film.size == env.render().shape[1::-1] and film.n_frames > 1


def test_a_terminal_shows_it_in_place():
    shown, process = on_a_terminal("stdout", "watch", "--random", "--env", LAKE, "--max-frames", 3)
    assert process.returncode == 0 and process.stderr.read() == ""
    assert "step 2: " in shown and "\x1b[1A" in shown  # the cursor went up
