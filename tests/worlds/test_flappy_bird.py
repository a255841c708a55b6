"""Tests of Flappy Bird: examples by hand, a second implementation, and both observations."""

import json

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook_envs import flappy_bird
from rlbook_envs.flappy_bird import FLAP, WAIT, Game, State, scripted_action
from rlbook_envs.streams import (
    random_bits,
    reset_key,
    step_key,
    stream_key,
    uniform,
)

ID = "rlbook/FlappyBird-v0"
VIEWS = ("features", "pixels")
GAME = Game(100)


def state_of(y=200, speed=0, pipe=80, gap=150, second_gap=100, third_gap=221, score=3):
    return State(y, speed, pipe, gap, second_gap, third_gap, score)


def fly(state, *actions):
    """What happens when these actions are taken one after the other."""
    shown = []
    for number, action in enumerate(actions):
        state, reward, terminated = flappy_bird.step(
            GAME, state, action, random_bits(np.uint64(number), 0)
        )
        shown.append((state, reward, terminated))
    return shown


def see(world, state):
    out = np.zeros(world.space.shape, world.space.dtype)
    world.observe(world.params, state, out.reshape(-1))
    return out


def test_an_episode_begins_as_in_the_published_game():
    state = flappy_bird.reset(GAME, np.uint64(1))
    assert (state.y, state.speed, state.pipe, state.score) == (244, -9, 288, 0)
    assert len({state.gap, state.second_gap, state.third_gap}) == 3


def test_gaps_lie_at_all_heights_alike():
    counts = np.zeros(400)
    for key in range(14_200):
        counts[flappy_bird.random_gap(GAME, random_bits(np.uint64(key), 0))] += 1
    assert counts[80:222].sum() == 14_200 and counts[80:222].min() > 0
    assert ((counts[80:222] - 100) ** 2 / 100).sum() < 208  # 141 degrees; once in five thousand
    narrow = {flappy_bird.random_gap(Game(200), random_bits(np.uint64(k), 0)) for k in range(2000)}
    assert (min(narrow), max(narrow)) == (80, 121)


def test_a_flap_throws_it_up_and_gravity_takes_it_down():
    far = state_of(y=200, speed=4, pipe=200)
    flight = [(s.y, s.speed) for s, *_ in fly(far, FLAP, WAIT, WAIT, FLAP, FLAP, WAIT)]
    assert flight == [(191, -9), (183, -8), (176, -7), (167, -9), (158, -9), (150, -8)]


def test_it_falls_no_faster_than_10():
    flight = [(s.y, s.speed) for s, *_ in fly(state_of(y=100, speed=7, pipe=200), *[WAIT] * 5)]
    assert flight == [(108, 8), (117, 9), (127, 10), (137, 10), (147, 10)]


def test_pipes_come_nearer_and_new_ones_come_after_them():
    state = state_of(y=150, pipe=-48, second_gap=120)
    before, after = (fly(state._replace(pipe=pipe), WAIT)[0][0] for pipe in (-44, -48))
    assert (before.pipe, before.gap, before.second_gap, before.third_gap) == (-48, 150, 120, 221)
    assert (after.pipe, after.gap, after.second_gap) == (144 - 52, 120, 221)
    assert after.third_gap == flappy_bird.random_gap(GAME, random_bits(np.uint64(0), 0))


def test_a_pipe_pays_once():
    # The middles, 26 and 17 from the left edges, meet when the pipe is at 48.
    flight = fly(state_of(y=190, pipe=60), FLAP, WAIT, WAIT, WAIT, WAIT, WAIT)
    assert [(s.pipe, s.score, r) for s, r, _ in flight] == [
        (56, 3, 0.0), (52, 3, 0.0), (48, 4, 1.0), (44, 4, 0.0), (40, 4, 0.0), (36, 4, 0.0),
    ]  # fmt: skip
    assert not any(terminated for *_, terminated in flight)


@pytest.mark.parametrize(
    ("state", "dies"),
    [
        # The upper pipe ends at 150. The bird may be as high, but not higher.
        ({"y": 149, "speed": 0}, False),
        ({"y": 148, "speed": 0}, True),
        # The lower one begins at 250, and the bird is 24 high.
        ({"y": 225, "speed": 0}, False),
        ({"y": 226, "speed": 0}, True),
        # Its beak is at 91: a pipe that is there after the frame is not yet touched.
        ({"y": 300, "speed": 0, "pipe": 95}, False),
        ({"y": 300, "speed": 0, "pipe": 94}, True),
        # Its tail is at 57: a pipe that ends there is no longer touched.
        ({"y": 300, "speed": 0, "pipe": 9}, False),
        ({"y": 300, "speed": 0, "pipe": 10}, True),
        # The ground is at 404.
        ({"y": 378, "speed": 0, "pipe": 200}, False),
        ({"y": 379, "speed": 0, "pipe": 200}, True),
        ({"y": 379, "speed": 9, "pipe": 200}, True),
        # A pipe has no upper end.
        ({"y": -60, "speed": 0, "pipe": 95}, False),
        ({"y": -60, "speed": 0, "pipe": 91}, True),
    ],
)
def test_touching_is_the_end(state, dies):
    ((after, reward, terminated),) = fly(state_of(**state), WAIT)
    assert (reward, terminated) == ((-1.0, True) if dies else (0.0, False))
    assert after.y <= 404 - 24 and after.score == 3


def test_who_dies_in_the_middle_of_a_pipe_has_not_passed_it():
    (middle,) = fly(state_of(y=150, speed=-5, pipe=52), WAIT)
    assert (middle[0].score, *middle[1:]) == (3, -1.0, True)


def test_a_bird_two_heights_above_the_screen_cannot_flap():
    def speed(y, action):
        return fly(state_of(y=y, speed=-3, pipe=200), action)[0][0].speed

    assert [speed(y, FLAP) for y in (-20, -47, -48, -80)] == [-9, -9, -2, -2]
    # The top of the screen itself does nothing.
    flight = fly(state_of(y=5, speed=-9, pipe=200), *[WAIT] * 20)
    assert [s.y for s, *_ in flight][:4] == [-3, -10, -16, -21] and not flight[-1][2]
    assert flight[-1][0].y > 0


class PlainBird:
    """The same game with lists of boxes that move, as one would write it for a screen."""

    def __init__(self, key):
        self.top, self.speed, self.score = 244, -9, 0
        keys = (random_bits(key, n) for n in range(3))
        self.pipes = [[288 + 144 * n, self.gap(c)] for n, c in enumerate(keys)]

    @staticmethod
    def gap(key):
        return 80 + int(uniform(key) * 142)

    def step(self, flaps, key):
        if flaps and self.top > -48:
            self.speed = -9
        elif self.speed < 10:
            self.speed += 1
        self.top += self.speed
        if self.top + 24 >= 404:
            return -1.0, True
        passed = 0
        for pipe in self.pipes:
            middle_before = pipe[0] + 26
            pipe[0] -= 4
            passed += pipe[0] + 26 <= 57 + 17 < middle_before
            left = max(pipe[0], 57)
            right = min(pipe[0] + 52, 57 + 34)
            if left < right and not pipe[1] <= self.top <= pipe[1] + 100 - 24:
                return -1.0, True
        if self.pipes[0][0] + 52 <= 0:
            self.pipes.pop(0)
            self.pipes.append([self.pipes[-1][0] + 144, self.gap(key)])
        self.score += passed
        return float(passed), False


def test_it_is_the_game_that_another_program_plays():
    env, rng = flappy_bird.make_env(), np.random.default_rng(0)
    obs, _ = env.reset(seed=11)
    key = stream_key(11, 0, 0)
    plain, best = PlainBird(reset_key(key, 0)), 0
    for counter in range(6000):
        state = State(*env.state.tolist())
        assert (state.y, state.speed, state.score) == (plain.top, plain.speed, plain.score)
        gaps = (state.gap, state.second_gap, state.third_gap)
        assert [[state.pipe + 144 * n, gap] for n, gap in enumerate(gaps)] == plain.pipes
        # As a rule it plays well, so that it gets somewhere.
        action = int(scripted_action(obs)) if rng.random() < 0.99 else int(rng.integers(2))
        obs, reward, terminated, truncated, _ = env.step(action)
        assert (reward, terminated) == plain.step(action, step_key(key, counter)) and not truncated
        best = max(best, plain.score)
        if terminated:
            obs, _ = env.reset()
            plain = PlainBird(reset_key(key, counter + 1))
    assert best >= 8


@pytest.mark.parametrize("view", VIEWS)
def test_compiled_rules_equal_the_python_rules(view):
    world = flappy_bird.flappy_bird(observation=view, pipe_gap=140)
    envs = flappy_bird.make_vector_env(num_envs=3, observation=view, pipe_gap=140)
    rng = np.random.default_rng(0)
    obs, _ = envs.reset(seed=2)
    keys = [stream_key(2, 0, row) for row in range(3)]
    states = [flappy_bird.reset(world.params, reset_key(key, 0)) for key in keys]
    counters, ended = [0, 0, 0], [False] * 3
    for number in range(300):
        if view == "features" or number % 7 == 0:  # pictures are slow to draw uncompiled
            for row, state in enumerate(states):
                assert np.array_equal(obs[row], see(world, state))
        actions = (rng.random(3) < 0.06).astype(int)
        obs, rewards, terminated, *_ = envs.step(actions)
        for row in range(3):
            if ended[row]:
                states[row] = flappy_bird.reset(world.params, reset_key(keys[row], counters[row]))
                ended[row] = False
            else:
                key = step_key(keys[row], counters[row])
                states[row], reward, ended[row] = flappy_bird.step(
                    world.params, states[row], int(actions[row]), key
                )
                assert (reward, ended[row]) == (rewards[row], terminated[row])
                counters[row] += 1


def test_features_by_hand():
    world = flappy_bird.flappy_bird()
    # Heights: 202 pixels are 1. The bird's middle is 12 below its upper edge, its beak at 91.
    assert see(world, state_of(y=190, speed=-9, pipe=163)) == pytest.approx(
        [0, -0.9, 0.5, 150 / 202 - 1, 250 / 202 - 1, 1.5, 100 / 202 - 1, 200 / 202 - 1], abs=1e-6
    )
    # Inside a pipe it is still the next. Once it is behind the bird's tail, at 57, it no longer is.
    inside, beyond = (see(world, state_of(pipe=pipe)) for pipe in (8, 4))
    assert inside[2:4] == pytest.approx([(8 - 91) / 144, 150 / 202 - 1], abs=1e-6)
    assert beyond[[2, 3, 6]] == pytest.approx(
        [(4 + 144 - 91) / 144, 100 / 202 - 1, 221 / 202 - 1], abs=1e-6
    )


def test_pixels_by_hand():
    screen = see(flappy_bird.flappy_bird("pixels"), state_of(y=200, pipe=92, gap=149))
    # A row is 5 high and the first begins at -6; a column is 4 wide and begins at -48.
    assert (screen[82:] == 170).all() and (screen[0, :35] == 0).all()
    first = screen[:, (92 + 48) // 4]
    assert (first[:31] == 100).all()  # down to 149
    assert (first[31:51] == 0).all()  # a gap of 100
    assert (first[51:82] == 100).all()
    columns = np.flatnonzero(screen[0] == 100)
    assert columns.tolist() == [*range(35, 48), *range(71, 84)]  # 92 to 144, and 144 further on
    # The bird, 24 high, covers four pixels in five of row 41 (199 to 204), and then 20 more.
    bird = screen[:, 30]
    assert bird[40:47].tolist() == [0, 204, 255, 255, 255, 255, 0]
    assert np.flatnonzero(screen[43] == 255).tolist() == list(range(26, 35))


def test_an_edge_inside_a_pixel_has_its_share_of_both_shades():
    world = flappy_bird.flappy_bird("pixels")
    ends = [see(world, state_of(y=300, pipe=92, gap=150 + n))[31:33, 40] for n in range(5)]
    assert [end.tolist() for end in ends] == [[20, 0], [40, 0], [60, 0], [80, 0], [100, 0]]
    # Also where the bird lies over the pipe, and where all of it is above the screen.
    over = see(world, state_of(y=146, pipe=72, gap=221))
    assert over[:, 32][29:37].tolist() == [100, 193, 255, 255, 255, 255, 131, 100]
    assert (see(world, state_of(y=-40, pipe=200))[:82] != 255).all()


def test_pixels_tell_the_state():
    """From a screen one can read where the bird and the gap are, to the pixel."""
    envs = flappy_bird.make_vector_env(num_envs=40, observation="pixels")
    players = flappy_bird.make_vector_env(num_envs=40)
    screens, features = envs.reset(seed=3)[0], players.reset(seed=3)[0]
    rng = np.random.default_rng(0)
    for _ in range(120):
        state = State(*players.world.load(players._states, slice(None)))
        assert np.array_equal(state, envs.world.load(envs._states, slice(None)))
        rows = np.arange(82)[:, None]
        for row, screen in enumerate(screens):
            # A pipe is known by what is not sky, in the uppermost row, the bird aside.
            sky = screen[0] == 0
            column = (state.pipe[row] + 48) // 4
            if 35 <= column < 84 and state.y[row] >= 0:
                assert sky[column - 1] and not sky[column]
                open_part = (100 - screen[:82, column].astype(int)) / 100 * 5
                assert open_part.sum() == pytest.approx(100)
                middle = (open_part[:, None] * rows).sum() / 100
                assert -6 + 5 * middle + 2.5 == pytest.approx(state.gap[row] + 50, abs=2.5)
            if state.y[row] >= 0 and column > 34:
                bird = screen[:82, 30].astype(int) / 255 * 5
                assert bird.sum() == pytest.approx(24, abs=0.05)
        actions = np.where(rng.random(40) < 0.95, scripted_action(features), rng.integers(2))
        features, screens = players.step(actions)[0], envs.step(actions)[0]


def test_views_stay_within_their_spaces():
    for view in VIEWS:
        envs = flappy_bird.make_vector_env(50, 10_000, observation=view)
        rng = np.random.default_rng(0)
        obs, _ = envs.reset(seed=1)
        for number in range(300):
            assert all(envs.single_observation_space.contains(one) for one in obs)
            flap_rate = (0.5, 0.06, 0.0)[number // 100]  # up to the ceiling; about; to the ground
            obs, *_ = envs.step((rng.random(50) < flap_rate).astype(int))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_a_row_does_not_depend_on_the_other_rows(view, mode):
    few, many = (flappy_bird.make_vector_env(n, 45, mode, observation=view) for n in (3, 40))
    rng = np.random.default_rng(0)
    assert np.array_equal(few.reset(seed=7)[0], many.reset(seed=7)[0][:3])
    for _ in range(200):
        actions = (rng.random(40) < 0.06).astype(int)
        mine, theirs = few.step(actions[:3]), many.step(actions)
        for a, b in zip(mine[:4], theirs[:4], strict=True):
            assert np.array_equal(a, b[:3])
    # And row 0 is the single environment.
    env = gymnasium.make(ID, observation=view, max_episode_steps=45)
    envs = flappy_bird.make_vector_env(2, 45, "SameStep", observation=view)
    obs, rows = env.reset(seed=7)[0], envs.reset(seed=[7, 8])[0]
    ends = np.zeros(2, int)
    for _ in range(400):
        assert np.array_equal(obs, rows[0])
        action = int(rng.random() < 0.055)
        obs, _, terminated, truncated, _ = env.step(action)
        rows, _, ended, cut, infos = envs.step(np.array([action, 0]))
        assert (terminated, truncated) == (ended[0], cut[0])
        ends += (terminated, truncated)
        if terminated or truncated:
            assert np.array_equal(infos["final_obs"][0], obs)
            obs = env.reset()[0]
    assert ends.min() >= 1, "both kinds of end"


def play(envs, act, seed):
    """The pipes that each row of a batch passes in one episode."""
    obs, _ = envs.reset(seed=seed)
    score, on = np.zeros(envs.num_envs), np.ones(envs.num_envs, bool)
    while on.any():
        obs, rewards, terminated, truncated, _ = envs.step(act(obs))
        score += on * (rewards + terminated)  # the return, and one more where it died
        on &= ~(terminated | truncated)
    return score


def test_the_scripted_player_passes_fifty_pipes():
    for seed in range(3):
        score = play(flappy_bird.make_vector_env(100, 10_000), scripted_action, seed)
        assert score.mean() >= 50
        assert score.max() == 277  # the time limit


def test_a_player_who_tosses_a_coin_passes_none():
    rng = np.random.default_rng(0)
    envs = flappy_bird.make_vector_env(1000, 10_000)
    assert play(envs, lambda obs: rng.integers(2, size=1000), seed=0).mean() < 0.1


def test_the_return_tells_the_score():
    env = gymnasium.make(ID)
    for seed in range(3):
        obs, _ = env.reset(seed=seed)
        total, terminated = 0.0, False
        while not terminated:
            obs, reward, terminated, _, _ = env.step(scripted_action(obs))
            total += reward
        assert total + 1 == State(*env.unwrapped.state).score


def ways_through(gaps):
    """How many pairs of height and speed can be reached alive behind the last of these pipes."""
    reached = np.zeros((480, 20), bool)  # height + 92, speed + 9
    reached[244 + 92, 0] = True
    heights = np.arange(480) - 92
    for frame in range(60 + 36 * len(gaps)):
        reached = one_frame(reached, heights)
        alive = heights < 380
        for number, gap in enumerate(gaps):
            pipe = 288 + 144 * number - 4 * (frame + 1)
            if 5 < pipe < 91:
                alive &= (gap <= heights) & (heights <= gap + 76)
        reached &= alive[:, None]
    return int(reached.sum())


def one_frame(reached, heights):
    after = np.zeros_like(reached)
    for column in range(20):
        speed = min(column - 9 + 1, 10)  # of those who wait
        after[:, speed + 9] |= np.roll(reached[:, column], speed)
    able = reached.any(axis=1) & (heights > -48)
    after[:, 0] |= np.roll(able, -9)
    return after


@pytest.mark.parametrize("gaps", [(80, 221), (221, 80), (80, 80), (221, 221), (150, 80, 221, 221)])
def test_there_is_a_way_through_the_hardest_courses(gaps):
    assert ways_through(gaps * 6) > 0


def test_there_is_no_way_through_a_wall():
    assert ways_through((-1000,)) == 0


def test_the_registered_world_is_cut_short_after_10_000_frames():
    assert gymnasium.spec(ID).max_episode_steps == 10_000
    env = gymnasium.make(ID, pipe_gap=200)
    obs, _ = env.reset(seed=0)
    steps, total, over = 0, 0.0, False
    while not over:
        obs, reward, terminated, truncated, _ = env.step(scripted_action(obs))
        steps, total, over = steps + 1, total + reward, terminated or truncated
    assert (steps, total, terminated, truncated) == (10_000, 277, False, True)


@pytest.mark.parametrize("view", VIEWS)
def test_made_by_gymnasium(view):
    check_env(gymnasium.make(ID, observation=view).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("view", VIEWS)
def test_the_state_survives_a_file(view):
    env, other = (flappy_bird.make_env(observation=view) for _ in range(2))
    env.reset(seed=5)
    actions = np.random.default_rng(0).random(150) < 0.055
    for action in actions[:20]:
        env.step(int(action))
    other.set_state(json.loads(json.dumps(env.get_state(), default=np.ndarray.tolist)))
    for action in actions[20:]:  # far enough for a new pipe
        mine, theirs = env.step(int(action)), other.step(int(action))
        assert np.array_equal(mine[0], theirs[0]) and mine[1:] == theirs[1:]
    assert np.array_equal(env.state, other.state)


def test_a_batch_goes_on_from_a_saved_state():
    envs, other = (flappy_bird.make_vector_env(5, 60) for _ in range(2))
    envs.reset(seed=1)
    actions = (np.random.default_rng(0).random((120, 5)) < 0.06).astype(int)
    for row in actions[:50]:
        envs.step(row)
    other.set_state(envs.get_state())
    for row in actions[50:]:
        for a, b in zip(envs.step(row)[:4], other.step(row)[:4], strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize("pipe_gap", [59, 201, 100.0, True, "100"])
def test_a_bad_gap_is_named(pipe_gap):
    with pytest.raises(ValueError, match=r"^pipe_gap must be a whole number from 60 to 200, got "):
        flappy_bird.flappy_bird(pipe_gap=pipe_gap)


def test_a_bad_view_or_action_is_named():
    with pytest.raises(
        ValueError, match=r"^observation must be one of 'features', 'pixels', got 'ram'"
    ):
        flappy_bird.flappy_bird(observation="ram")
    env = flappy_bird.make_env()
    env.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"^action must be one of 0 \(wait\), 1 \(flap\) in FlappyBird, got 2"
    ):
        env.step(2)


def test_it_is_drawn():
    alive, dead = (np.array(state_of(y=y, pipe=80)) for y in (200, 300))
    lines = flappy_bird.text(GAME, alive).splitlines()
    assert lines[0] == " " * 10 + "█" * 6 + " " * 12 + "█" * 6
    assert lines[13] == " " * 7 + "(o>" + " " * 18 + "█" * 6
    assert lines[-1] == "score 3"
    assert "(×>" in flappy_bird.text(GAME, dead)
    picture = flappy_bird.picture(GAME, alive)
    assert (picture.shape, picture.dtype) == ((512, 288, 3), np.uint8)
    red, green, blue = (picture[..., n].astype(int) for n in range(3))
    yellow = (red > 230) & (green > 180) & (blue < 90)
    assert np.argwhere(yellow).mean(axis=0) == pytest.approx([212, 74], abs=8)  # the bird
    leaf = (green > red + 50) & (green > blue + 50)
    assert not leaf[151:249, 80:132].any() and leaf[100, 90] and leaf[300, 90]
    assert flappy_bird.picture(GAME, alive, unit=2).shape == (1024, 576, 3)
    more = np.array(state_of(y=200, pipe=80, score=123))
    assert not np.array_equal(picture, flappy_bird.picture(GAME, more))
