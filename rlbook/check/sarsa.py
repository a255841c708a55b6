"""The exercises of chapter 02: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator

from rlbook.check.exercise import Case, FunctionExercise, Mistakes, Table, by_name
from rlbook.check.playing import SWAPPED_ENDS, Reset, Step, WorldExercise


def td_update(
    values: Table,
    obs: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Check a TD(0) update of state values, Sutton and Barto (2018), equation 6.2.

    It changes `values`, float64 (S,), in place, at `values[obs]` alone, and returns the error
    before learning_rate is applied. What follows a terminated step is worth 0.
    """
    following = values[next_obs]
    target = reward + gamma * (1 - terminated) * following
    td_error = float(target - values[obs])
    values[obs] += learning_rate * td_error
    return td_error


def sarsa_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    next_action: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
) -> float:
    """Check a SARSA update, Sutton and Barto (2018), equation 6.7.

    It changes `q`, float64 (S, A), in place, at `q[obs, action]` alone, and returns the error
    before learning_rate is applied. What follows a terminated step is worth 0.
    """
    following = q[next_obs, next_action]
    target = reward + gamma * (1 - terminated) * following
    td_error = float(target - q[obs, action])
    q[obs, action] += learning_rate * td_error
    return td_error


def expected_sarsa_update(
    q: Table,
    obs: int,
    action: int,
    reward: float,
    next_obs: int,
    terminated: bool,
    learning_rate: float,
    gamma: float,
    epsilon: float,
) -> float:
    """Check an Expected SARSA update, Sutton and Barto (2018), equation 6.9.

    It changes `q`, float64 (S, A), in place, at `q[obs, action]` alone, and returns the error
    before learning_rate is applied. The policy is ε-greedy in `q`, with this epsilon.
    """
    row = q[next_obs]
    following = epsilon * row.mean() + (1 - epsilon) * row.max()
    target = reward + gamma * (1 - terminated) * following
    td_error = float(target - q[obs, action])
    q[obs, action] += learning_rate * td_error
    return td_error


def update_mistakes(
    entry: str = "q[obs, action]", following: str = "the value of what comes next"
) -> Mistakes:
    """Return the mistakes that all updates share, those of chapter 03 too.

    Args:
        entry: how the value that is updated is written.
        following: what the value of the next observation is called.
    """
    next_entry = entry.replace("[obs", "[next_obs")
    return {
        f"discount dropped. You add {following} undiscounted; multiply it by gamma.": [
            {"gamma * (1 - terminated)": "(1 - terminated)"}
        ],
        "bootstrap through a terminal state. You count the value of next_obs even where terminated"
        " is True; nothing follows there, and the target is the reward alone.": [
            {"gamma * (1 - terminated)": "gamma"}
        ],
        "sign. The error is target minus present value, and is added. Yours has one minus too"
        " many.": [
            {"return td_error": "return -td_error"},
            {"+= learning_rate": "-= learning_rate"},
            {"+= learning_rate": "-= learning_rate", "return td_error": "return -td_error"},
        ],
        "off by one. You are one step off: the value of next_obs goes into the target, and it is"
        f" {entry} that is updated.": [
            {"[next_obs": "[obs"},
            {f"{entry} +=": f"{next_entry} +="},
            {entry: next_entry},
        ],
        f"learning rate dropped. You add the whole error to {entry}; multiply it by"
        " learning_rate.": [{"learning_rate * td_error": "td_error"}],
        "learning rate in the result. You return learning_rate times the error; return the error"
        " itself.": [{"return td_error": "return learning_rate * td_error"}],
        f"error measured after the update. You measure the error when {entry} has already moved; do"
        " it before.": [{"return td_error": "return (1 - learning_rate) * td_error"}],
        f"target instead of error. You add learning_rate times the target; first subtract {entry}"
        " from it.": [
            {f"target - {entry}": "target"},
            {"learning_rate * td_error": "learning_rate * target"},
        ],
        "last reward dropped. You make the target 0 where terminated is True; it is the reward,"
        " which still counts.": [{"target = reward": "target = (1 - terminated) * reward"}],
        "discounted reward. You multiply the reward by gamma as well; only what comes after it is"
        " discounted.": [{"target = reward": "target = gamma * reward"}],
    }


_SARSA_MISTAKES: Mistakes = {
    **update_mistakes(),
    "wrong action's value. You bootstrap from the action that was just taken; in next_obs it is"
    " next_action whose value counts.": [{"q[next_obs, next_action]": "q[next_obs, action]"}],
    "greedy action's value. You bootstrap from the best action of next_obs. That is Q-learning;"
    " SARSA takes next_action, which is not always the best.": [
        {"q[next_obs, next_action]": "q[next_obs].max()"}
    ],
    "mean of all actions. You bootstrap from the mean of next_obs's action values; SARSA takes that"
    " of next_action.": [{"q[next_obs, next_action]": "q[next_obs].mean()"}],
    "next action's entry updated. You update the entry of next_action; it is q[obs, action] that"
    " has been tried.": [{"q[obs, action]": "q[obs, next_action]"}],
}


def expected_value(q: Table, obs: int, epsilon: float) -> float:
    """Check the mean of a state's action values under an ε-greedy policy.

    From `q`, float64 (S, A), it is Σ_a π(a|obs) q[obs, a], where π takes any action with
    probability epsilon, and otherwise the best.
    """
    row = q[obs]
    return float(epsilon * row.mean() + (1 - epsilon) * row.max())


def _exploring(row: Table, epsilon: float, others: int) -> float:
    """The mean if the best action has no share of epsilon, and each other has 1 / others of it."""
    probabilities = np.full(len(row), epsilon / others)
    probabilities[row.argmax()] = 1 - epsilon
    return float(probabilities @ row)


_MEAN = "epsilon * row.mean() + (1 - epsilon) * row.max()"
# Mistakes about the mean, which those who write Expected SARSA make too.
_WRONG_MEANS: Mistakes = {
    "epsilon dropped. You take the best action's value alone; with probability epsilon any action"
    " is taken.": [{_MEAN: "row.max()"}],
    "greediness dropped. You weigh all actions alike; with probability 1 - epsilon the best one is"
    " taken.": [{_MEAN: "row.mean()"}],
    "epsilon the wrong way round. You are greedy with probability epsilon; be so with probability"
    " 1 - epsilon.": [{_MEAN: "(1 - epsilon) * row.mean() + epsilon * row.max()"}],
    "epsilon shared among the others. You share epsilon among the other actions only; exploring"
    " means any of all A actions, the best one included: epsilon / A each.": [
        {_MEAN: "_exploring(row, epsilon, len(row) - 1)"}
    ],
    "best action does not explore. You leave out the best action's own epsilon / A, so the"
    " probabilities do not add up to 1.": [{_MEAN: "_exploring(row, epsilon, len(row))"}],
    "ties counted in full. Where several actions are best you give each of them 1 - epsilon; they"
    " share it.": [{"row.max()": "row[row == row.max()].sum()"}],
    "worst action preferred. You favour the lowest value; the greedy action is the one with the"
    " highest.": [{"row.max()": "row.min()"}],
}
_MEAN_MISTAKES: Mistakes = {
    **_WRONG_MEANS,
    "sum instead of mean. You add up epsilon times each action's value; random actions have"
    " epsilon / A each.": [{"row.mean()": "row.sum()"}],
    "best of the whole table. You look at all states; only the actions of obs can be taken"
    " there.": [
        {"row.max()": "q.max()"},
        {"row.mean()": "q.mean()", "row.max()": "q.max()"},
        {"row.mean()": "q.mean()"},
    ],
}
_EXPECTED_MISTAKES: Mistakes = {
    **update_mistakes(),
    "wrong action's value. You bootstrap from the action that was just taken; take the mean of all"
    " actions of next_obs, as the policy would choose them.": [{_MEAN: "q[next_obs, action]"}],
    **_WRONG_MEANS,
}


def _some_table(rng: Generator, *shape: int) -> Table:
    """Random values, and now and then all 0, as when learning begins."""
    return np.asarray(rng.normal(size=shape).round(3) * (rng.random() >= 0.15))


def _table_with_ties(rng: Generator) -> Table:
    shape = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    if rng.random() < 0.4:  # ties, and now and then a best action that is worth less than 0
        return rng.integers(-3, 2, shape).astype(np.float64)
    return _some_table(rng, *shape)


def step_numbers(rng: Generator) -> tuple[bool, float, float]:
    """Return random values of terminated, learning_rate and gamma."""
    terminated = bool(rng.random() < 0.3)
    return terminated, float(rng.choice([0.1, 0.25, 0.5, 1.0])), float(rng.choice([0.9, 0.99, 0.5]))


def random_reward(rng: Generator) -> float:
    """Return a reward of one step."""
    return float(rng.choice([0.0, 1.0, -1.0, 2.5]))


def _epsilon(rng: Generator) -> float:
    return float(rng.choice([0.0, 0.05, 0.1, 0.3, 0.75, 1.0]))


def _td_case(rng: Generator) -> Case:
    num_states = int(rng.integers(2, 6))
    obs, next_obs = rng.integers(num_states, size=2).tolist()  # now and then the same state again
    return _some_table(rng, num_states), obs, random_reward(rng), next_obs, *step_numbers(rng)


def _sarsa_case(rng: Generator) -> Case:
    num_states, num_actions = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    obs, next_obs = rng.integers(num_states, size=2).tolist()
    action, next_action = rng.integers(num_actions, size=2).tolist()
    table = _some_table(rng, num_states, num_actions)
    return table, obs, action, random_reward(rng), next_obs, next_action, *step_numbers(rng)


def _expected_case(rng: Generator) -> Case:
    table = _table_with_ties(rng)
    obs, next_obs = rng.integers(len(table), size=2).tolist()
    action = int(rng.integers(table.shape[1]))
    return table, obs, action, random_reward(rng), next_obs, *step_numbers(rng), _epsilon(rng)


def _mean_case(rng: Generator) -> Case:
    table = _table_with_ties(rng)
    return table, int(rng.integers(len(table))), _epsilon(rng)


def n_step_return(rewards: Table, last_value: float, gamma: float) -> float:
    """Check an n-step return, Sutton and Barto (2018), equation 7.1.

    It is made of `rewards`, float64 (n,), and the value of where the n steps led, which is 0 if
    they led to the end.
    """
    n = len(rewards)
    return float(gamma ** np.arange(n) @ rewards + gamma**n * last_value)


_N_STEP_MISTAKES: Mistakes = {
    "discount dropped. You add everything up undiscounted; what comes k steps later counts"
    " gamma^k.": ["rewards.sum() + last_value"],
    "last value undiscounted. You add last_value in full; it is n steps away, so it counts"
    " gamma^n.": [{"gamma**n * ": ""}],
    "last value discounted once. You multiply last_value by gamma once; it is n steps away, so it"
    " counts gamma^n.": [{"gamma**n": "gamma"}],
    "rewards undiscounted. You discount last_value but not the rewards; the reward that comes k"
    " steps after the first counts gamma^k.": [{"gamma ** np.arange(n) @ rewards": "sum(rewards)"}],
    "off by one. A power of gamma is off by one: the first reward counts in full, the nth"
    " gamma^(n-1), and last_value gamma^n.": [
        {"gamma**n": "gamma ** (n - 1)"},
        {"gamma**n": "gamma ** (n + 1)"},
        {"np.arange(n)": "np.arange(1, n + 1)"},
        "gamma * n_step_return(rewards, last_value, gamma)",
    ],
    "last value dropped. You add up the rewards alone; last_value stands for all that comes after"
    " them.": [{" + gamma**n * last_value": ""}],
    "last reward dropped. You put last_value in the place of the last reward; all n rewards"
    " count.": [
        "n_step_return(rewards[:-1], last_value, gamma)",
        {"np.arange(n) @ rewards": "np.arange(n - 1) @ rewards[:-1]"},
    ],
    "rewards in the wrong order. You discount the first reward most; it is the nearest, and counts"
    " in full.": [{"@ rewards": "@ rewards[::-1]"}],
    "sign. You subtract last_value; it is added.": [{"+ gamma**n": "- gamma**n"}],
}


def _n_step_case(rng: Generator) -> Case:
    rewards = rng.normal(size=int(rng.integers(1, 7))).round(3)
    last_value = round(rng.normal(), 3) * (rng.random() >= 0.2)
    return rewards, last_value, float(rng.choice([0.9, 0.99, 0.5, 1.0]))


# The windy gridworld

DIRECTIONS = ("up", "right", "down", "left")
WIND = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # (rows down, columns to the right)
SHORTEST = (1,) * 9 + (2,) * 4 + (3,) * 2  # past the goal, down where it is calm, and back


class WindyGridworld(gymnasium.Env[Any, Any]):
    """Check a windy gridworld of your own (Sutton and Barto, 2018, example 6.5).

    Seven rows of ten cells, counted row by row from 0, at the top left; row 0 is the top. Episodes
    begin in cell 30, and reaching cell 37 terminates. Actions are 0 up, 1 right, 2 down, 3 left.
    The wind lifts whoever leaves a cell by 0, 0, 0, 1, 1, 1, 2, 2, 1, 0 rows, according to its
    column. Nobody leaves the grid. Every step pays -1, the last one too. Nothing is ever truncated.
    """

    observation_space = Discrete(70)
    action_space = Discrete(4)

    def reset(self, *, seed: Any = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self.cell = 30
        return self.cell, {}

    def step(self, action: int) -> Step:
        row, column = divmod(self.cell, 10)
        down, right = MOVES[action]
        row = min(max(row + down - WIND[column], 0), 6)
        column = min(max(column + right, 0), 9)
        self.cell = 10 * row + column
        there = self.cell == 37
        return self.cell, -1.0, there, False, {}


_WINDY_MISTAKES: Mistakes = {
    "wind dropped. In your environment no wind blows; it lifts you by that of the column you"
    " leave.": [{" - WIND[column]": ""}],
    "sign. In your environment the wind blows down; it blows up, towards row 0.": [
        {"- WIND": "+ WIND"}
    ],
    "off by one. You take the wind of the column that is entered; it is that of the column you"
    " leave.": [{"WIND[column]": "WIND[min(max(column + right, 0), 9)]"}],
    "no walls. Who leaves your grid comes in again on the other side; stay on the edge instead.": [
        {
            "min(max(row + down - WIND[column], 0), 6)": "(row + down - WIND[column]) % 7",
            "min(max(column + right, 0), 9)": "(column + right) % 10",
        }
    ],
    "actions in another order. Your actions move in other directions; they are 0 up, 1 right,"
    " 2 down, 3 left.": [
        {"MOVES[action]": f"MOVES[{order}[action]]"}
        for order in ((3, 2, 1, 0), (0, 2, 3, 1), (2, 1, 0, 3), (0, 3, 2, 1))
    ],
    "last step is free. Your step into the goal does not cost 1; every step does, the last one"
    " too.": [{"-1.0": "there - 1.0"}, {"-1.0": "2.0 * there - 1.0"}],
    "reward instead of cost. In your environment a step does not cost anything before the goal;"
    " every step pays -1.": [{"-1.0": "0.0"}, {"-1.0": "float(there)"}, {"-1.0": "1.0"}],
    "never terminates. In your environment terminated is never True; it must be when cell 37 is"
    " reached.": [{"there, False": "False, False"}],
    SWAPPED_ENDS: [{"there, False": "False, there"}],
    "does not reset. Your second episode begins where the first one ended: put cell 30 back in"
    " reset().": [{"self.cell = 30": "self.cell = getattr(self, 'cell', 30)"}],
}


def _windy_case(rng: Generator) -> Case:
    """The actions of three episodes: one straight to the goal, two that wander."""
    wander = [rng.integers(len(MOVES), size=40).tolist() for _ in range(2)]
    return wander[0], list(SHORTEST), wander[1]


EXERCISES = by_name(
    FunctionExercise(td_update, _td_case, update_mistakes("values[obs]"), "td_error", "values"),
    FunctionExercise(sarsa_update, _sarsa_case, _SARSA_MISTAKES, "td_error", "q"),
    FunctionExercise(expected_value, _mean_case, _MEAN_MISTAKES, "value"),
    FunctionExercise(expected_sarsa_update, _expected_case, _EXPECTED_MISTAKES, "td_error", "q"),
    FunctionExercise(n_step_return, _n_step_case, _N_STEP_MISTAKES, "value"),
    WorldExercise(WindyGridworld, _windy_case, _WINDY_MISTAKES, actions=DIRECTIONS, start=30),
)
