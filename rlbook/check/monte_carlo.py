"""The exercises of chapter 01: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator

from rlbook.check.exercise import Case, Flags, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import SWAPPED_ENDS, Reset, Step, WorldExercise


def discounted_returns(rewards: Table, terminated: Flags, last_value: float, gamma: float) -> Table:
    """Check the returns of a stretch of experience, Sutton and Barto (2018), equation 3.9.

    From `rewards`, float64 (T,), and `terminated`, bool (T,), it makes float64 (T,). The stretch
    may hold several episodes: nothing is counted beyond a step that terminated. After the last step
    comes last_value, unless that terminated too.
    """
    returns, following = np.empty(len(rewards)), last_value
    for t in reversed(range(len(rewards))):
        following = rewards[t] + gamma * (1 - terminated[t]) * following
        returns[t] = following
    return returns


def _forwards(rewards: Table, begins: Flags, gamma: float) -> Table:
    """What came before a step, instead of what comes after it; an episode may begin with a step."""
    return discounted_returns(rewards[::-1], begins[::-1], 0.0, gamma)[::-1]


_RETURNS_MISTAKES: Mistakes = {
    "discount dropped. You add what follows undiscounted; multiply it by gamma at every step.": [
        {"gamma * (1 - terminated[t])": "(1 - terminated[t])"}
    ],
    "counting beyond a terminal state. You add what follows even where terminated is True; that"
    " belongs to the next episode.": [{" * (1 - terminated[t])": ""}],
    "off by one. You are one step off: the return of step t begins with rewards[t], undiscounted,"
    " and terminated[t] says whether anything follows that reward.": [
        {"return returns": "return np.append(returns[1:], last_value)"},
        {"return returns": "return np.append(returns[1:], 0.0)"},
        {"following = rewards[t]": "following = gamma * rewards[t]"},
        "discounted_returns(rewards, np.append(False, terminated[:-1]), last_value, gamma)",
        "discounted_returns(rewards, np.append(terminated[1:], False), last_value, gamma)",
    ],
    "sign. What follows is added to the reward; you subtract it.": [{"+ gamma": "- gamma"}],
    "last value dropped. You begin from 0; where the last step did not terminate, last_value"
    " follows it.": ["discounted_returns(rewards, terminated, 0.0, gamma)"],
    "last value not discounted. last_value comes one step after the last reward; multiply it by"
    " gamma.": ["discounted_returns(rewards, terminated, last_value / gamma, gamma)"],
    "last reward dropped. You make the return 0 where terminated is True; the reward of that step"
    " still counts.": [{"following = rewards[t]": "following = (1 - terminated[t]) * rewards[t]"}],
    "accumulated forwards. You add up what came before each step. A return is what comes after it:"
    " begin at the end.": [
        "_forwards(rewards, np.append(False, terminated[:-1]), gamma)",
        "_forwards(rewards, terminated & False, gamma)",
    ],
    "wrong way round. Your returns are right, but in the order in which you found them: the last"
    " step's first.": [{"return returns": "return returns[::-1]"}],
}


def _returns_case(rng: Generator) -> Case:
    length = int(rng.integers(1, 9))
    return (
        rng.normal(size=length).round(2) * (rng.random(length) < 0.7),
        rng.random(length) < 0.25,
        round(float(rng.normal()), 2),
        float(rng.choice([0.5, 0.9, 0.99])),
    )


def running_moments(moments: Table, value: float) -> Table:
    """Check a running mean and sum of squares (Welford, Technometrics 4, 1962).

    From `moments`, float64 (3,), it makes a new float64 (3,): how many values there were, their
    mean, the sum of the squares of their distances from the mean.
    """
    count, mean, squares = moments
    new_mean = mean + (value - mean) / (count + 1)
    square = (value - mean) * (value - new_mean)
    return np.array([count + 1, new_mean, squares + square])


_MOMENTS_MISTAKES: Mistakes = {
    "off by one. You divide by the count before this value; it counts too, so divide by"
    " count + 1.": [{"/ (count + 1)": "/ count"}],
    "count not raised. The first number is how many values there were, this one included.": [
        {"[count + 1": "[count"}
    ],
    "sign. The mean moves towards the new value; yours moves away from it.": [
        {"mean + (value - mean)": "mean - (value - mean)"}
    ],
    "step size dropped. You move all the way to the new value; move by 1 / (count + 1) of it.": [
        {"mean + (value - mean) / (count + 1)": "value"}
    ],
    "mean of two. You count the new value as much as all earlier ones together.": [
        {"mean + (value - mean) / (count + 1)": "(mean + value) / 2"}
    ],
    "old mean twice. You add (value - old mean)², which is too much: the second factor has the new"
    " mean.": [{"(value - new_mean)": "(value - mean)"}],
    "new mean twice. You add (value - new mean)², which is too little: the first factor has the old"
    " mean.": [{"(value - mean) *": "(value - new_mean) *"}],
    "squares of values. You add up the values' squares; add up the squares of their distances from"
    " the mean.": [{"(value - mean) * (value - new_mean)": "value**2"}],
    "divided too early. The third number is the sum of squares; who wants the variance divides in"
    " the end.": [{"squares + square": "(squares + square) / (count + 1)"}],
}


def _moments_case(rng: Generator) -> Case:
    seen = rng.normal(size=int(rng.integers(0, 6))).round(2)  # at first there is nothing
    mean = seen.mean() if len(seen) else 0.0
    squares = np.sum((seen - mean) ** 2)
    return np.array([float(len(seen)), mean, squares]), round(float(rng.normal()), 2)


def glie_policy(q: Table, visits: Whole) -> Table:
    """Check a policy that is greedy in the limit with infinite exploration.

    From `q`, float64 (S, A), and `visits`, int64 (S, A), it makes probabilities, float64 (S, A):
    any action with probability epsilon = 1 / N(s), otherwise the best (the first of equals, as
    `argmax` does). N(s) counts the visits to a state; where it is 0, epsilon is 1.
    """
    count = visits.sum(axis=1, keepdims=True)
    epsilon = 1 / np.maximum(count, 1)
    greedy = np.eye(q.shape[1])[q.argmax(axis=1)]
    return epsilon / q.shape[1] + (1 - epsilon) * greedy


def _shared_by_the_best(q: Table) -> Table:
    best = q == q.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


_GLIE_MISTAKES: Mistakes = {
    "one epsilon for all states. You count the visits of the whole table; a state that is rarely"
    " met must go on exploring, so each has an epsilon of its own.": [
        {"visits.sum(axis=1, keepdims=True)": "visits.sum()"}
    ],
    "epsilon of a pair. You use the visits of each action; N(s) counts those of all actions in s"
    " together.": [{"visits.sum(axis=1, keepdims=True)": "visits"}],
    "states that nobody has visited. Where N(s) is 0, epsilon is 1: there all actions are equally"
    " likely.": [{"np.maximum(count, 1)": "count"}, {"1 / np": "np.sign(count) / np"}],
    "off by one. You share epsilon among the other actions, or count one visit too many: epsilon is"
    " 1 / N(s), and each of all A actions gets epsilon / A.": [
        {"epsilon / q.shape[1]": "epsilon / (q.shape[1] - 1) * (1 - greedy)"},
        {"np.maximum(count, 1)": "(count + 1)"},
    ],
    "greedy action does not explore. You leave out the greedy action's own epsilon / A, and the sum"
    " falls short of 1.": [{"epsilon / q.shape[1]": "epsilon / q.shape[1] * (1 - greedy)"}],
    "epsilon the wrong way round. You are greedy with probability epsilon; be so with probability"
    " 1 - epsilon.": [{"1 / np.maximum": "1 - 1 / np.maximum"}],
    "sign. You favour the lowest value; the greedy action is the one with the highest.": [
        {"q.argmax": "q.argmin"}
    ],
    "ties shared. Where several actions are best, take the first of them, as argmax does.": [
        {"np.eye(q.shape[1])[q.argmax(axis=1)]": "_shared_by_the_best(q)"}
    ],
    "epsilon dropped. You never explore; with probability epsilon all actions are equally"
    " likely.": ["np.eye(q.shape[1])[q.argmax(axis=1)]"],
}


def _glie_case(rng: Generator) -> Case:
    shape = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    visits = rng.integers(0, 6, shape)
    visits[int(rng.integers(shape[0]))] *= rng.integers(2)  # now and then nobody was there
    if rng.random() < 0.5:
        return rng.integers(-2, 2, shape).astype(np.float64), visits  # with ties
    return rng.normal(size=shape).round(2), visits


def _episodes(
    states: Whole, actions: Whole, rewards: Table, terminated: Flags
) -> Iterator[tuple[list[tuple[int, int]], Table]]:
    """The pairs of state and action, and the rewards, of each episode of a log."""
    pairs = list(zip(states.tolist(), actions.tolist(), strict=True))
    begin = 0
    for end in (np.flatnonzero(terminated) + 1).tolist():
        yield pairs[begin:end], rewards[begin:end]
        begin = end


def _returns(rewards: Table, gamma: float) -> Table:
    """The returns of one episode."""
    return discounted_returns(rewards, np.zeros(len(rewards), np.bool_), 0.0, gamma)


def first_visit_action_values(
    states: Whole,
    actions: Whole,
    rewards: Table,
    terminated: Flags,
    gamma: float,
    num_states: int,
    num_actions: int,
) -> Table:
    """Check first-visit Monte Carlo estimates of action values, Sutton and Barto, section 5.2.

    From int64, int64, float64 and bool (T,), in which whole episodes follow one another, it makes
    float64 (S, A): for each pair the mean, over the episodes in which it occurs, of the return that
    followed its first visit. NaN for a pair that never occurs.
    """
    sums, counts = np.zeros((2, num_states, num_actions))
    for pairs, earned in _episodes(states, actions, rewards, terminated):
        returns = _returns(earned, gamma)
        for t, pair in enumerate(pairs):
            if pair not in pairs[:t]:
                sums[pair] += returns[t]
                counts[pair] += 1
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, which is what nobody knows
        return sums / counts


def _from_the_beginning(rewards: Table, gamma: float) -> Table:
    """Every reward discounted from the episode's beginning, not from the visit."""
    discounted = rewards * gamma ** np.arange(len(rewards))
    return np.cumsum(discounted[::-1])[::-1]


_VALUES_MISTAKES: Mistakes = {
    "every visit for first visit. You count every visit to a pair; only the first one in each"
    " episode counts.": [{"pair not in pairs[:t]": "True"}],
    "last visit for first visit. You keep the return of the last visit to a pair in an episode;"
    " keep that of the first.": [{"pairs[:t]": "pairs[t + 1 :]"}],
    "first visit to the state. You count a pair only where its state is new in the episode; it is"
    " the pair of state and action that must be new.": [
        {"pair not in pairs[:t]": "pair[0] not in [state for state, _ in pairs[:t]]"}
    ],
    "first visit of the whole log. You use only the first episode in which a pair occurs; every"
    " episode has a first visit.": [{"pair not in pairs[:t]": "counts[pair] == 0"}],
    "discount dropped. You add up the rewards undiscounted; multiply what follows by gamma at every"
    " step.": [{"_returns(earned, gamma)": "_returns(earned, 1.0)"}],
    "discounted from the beginning. You discount each reward from the episode's first step;"
    " discount it from the visit.": [{"_returns(earned": "_from_the_beginning(earned"}],
    "counting beyond a terminal state. Your returns go on into the next episode; terminated says"
    " where each one ends.": [{"terminated)": "np.arange(1, 1 + len(rewards)) == len(rewards))"}],
    "off by one. You are one step off: the return of step t begins with rewards[t].": [
        {"_returns(earned, gamma)": "np.append(_returns(earned, gamma)[1:], 0.0)"},
        {"_returns(earned, gamma)": "gamma * _returns(earned, gamma)"},
    ],
    "accumulated forwards. You add up what came before each step. A return is what comes after it:"
    " begin at the end.": [{"_returns(earned, gamma)": "_returns(earned[::-1], gamma)[::-1]"}],
    "sum instead of mean. You add the returns up; divide by how many there were of each pair.": [
        {"sums / counts": "np.where(counts > 0, sums, np.nan)"}
    ],
    "divided by the number of episodes. You divide by the number of episodes; divide by the number"
    " in which the pair occurred.": [
        {"sums / counts": "sums / terminated.sum()"},
        {"sums / counts": "np.where(counts > 0, sums, np.nan) / terminated.sum()"},
    ],
    "nothing known taken for 0. A pair that never occurred has no mean; its entry is NaN, not a"
    " number.": [{"sums / counts": "sums / np.maximum(counts, 1)"}],
}


def _log(rng: Generator, num_states: int, num_actions: int) -> Case:
    """The states, actions, rewards and terminations of one to four short episodes."""
    lengths = rng.integers(1, 7, int(rng.integers(1, 5)))
    total = int(lengths.sum())
    terminated = np.zeros(total, np.bool_)
    terminated[np.cumsum(lengths) - 1] = True
    rewards = rng.integers(-3, 4, total).astype(np.float64)
    states, actions = rng.integers(num_states, size=total), rng.integers(num_actions, size=total)
    return states, actions, rewards, terminated


def _values_case(rng: Generator) -> Case:
    num_states, num_actions = int(rng.integers(2, 4)), 2
    log = _log(rng, num_states, num_actions)
    return *log, float(rng.choice([0.5, 0.9])), num_states, num_actions


def weighted_importance_sampling(
    states: Whole,
    actions: Whole,
    rewards: Table,
    terminated: Flags,
    policy: Table,
    behaviour: Table,
    gamma: float,
) -> float:
    """Check weighted importance sampling, Sutton and Barto (2018), equations 5.3 and 5.6.

    Whole episodes follow one another in int64, int64, float64 and bool (T,); both policies are
    float64 (S, A). It makes the value of where episodes begin: the mean of their returns, each
    weighted by the product of policy / behaviour over its steps; 0 if all weights are 0.
    """
    ratios, returns = [], []
    for pairs, earned in _episodes(states, actions, rewards, terminated):
        steps = [policy[pair] / behaviour[pair] for pair in pairs]
        ratios.append(np.prod(steps))
        returns.append(_returns(earned, gamma)[0])
    total = sum(ratios)
    return float(np.dot(ratios, returns) / total) if total else 0.0


_SAMPLING_MISTAKES: Mistakes = {
    "ordinary instead of weighted. You divide by the number of episodes; divide by the sum of their"
    " ratios.": [{"/ total": "/ len(ratios)"}],
    "ratio upside down. You divide the behaviour's probability by the policy's; it is"
    " policy / behaviour.": [{"policy[pair] / behaviour[pair]": "behaviour[pair] / policy[pair]"}],
    "ratios added. You add up the ratios of an episode's steps, or take their mean; multiply"
    " them.": [{"np.prod": "np.sum"}, {"np.prod": "np.mean"}],
    "off by one. You leave out an episode's first step, or its last: all its actions were chosen by"
    " behaviour, so all of their ratios count.": [
        {"np.prod(steps)": "np.prod(steps[1:])"},
        {"np.prod(steps)": "np.prod(steps[:-1])"},
    ],
    "ratio of one step. You use the ratio of one step only; multiply those of all steps of the"
    " episode.": [{"np.prod(steps)": "steps[0]"}, {"np.prod(steps)": "steps[-1]"}],
    "behaviour dropped. You weigh an episode by its probability under policy; divide by that under"
    " behaviour.": [{" / behaviour[pair]": ""}],
    "ratios dropped. This is the mean return of the behaviour; weigh each episode by its ratio.": [
        {"np.prod(steps)": "1.0"}
    ],
    "discount dropped. You add up the rewards undiscounted; multiply what follows by gamma at every"
    " step.": [{"_returns(earned, gamma)": "_returns(earned, 1.0)"}],
    "no episode counts. Where all ratios are 0, yours is no number; the estimate is then 0 by"
    " definition.": [{" if total else 0.0": ""}],
}


def _sampling_case(rng: Generator) -> Case:
    num_states, num_actions = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    behaviour = rng.dirichlet(np.full(num_actions, 3.0), num_states)
    policy = rng.dirichlet(np.ones(num_actions), num_states)
    if rng.random() < 0.3:  # now and then no episode could have been the policy's
        policy = np.eye(num_actions)[rng.integers(num_actions, size=num_states)]
    log = _log(rng, num_states, num_actions)
    return *log, policy, behaviour, float(rng.choice([0.5, 0.9]))


class MyDiceGame(gymnasium.Env[Any, Any]):
    """Check an environment of your own: one turn of the dice game Pig.

    The observation is the number of points, at first 0. Action 0 rolls a die, once, with
    `self.np_random.integers(1, 7)`. A 1 loses all points (the observation is 0) and terminates; any
    other number is added, and points above 25 count as 25. Action 1 holds: it pays the points,
    which stay, and terminates. Everything else pays 0, and nothing is ever truncated.
    """

    observation_space = Discrete(26)
    action_space = Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self.points = 0
        return self.points, {}

    def step(self, action: int) -> Step:
        points = self.points
        if action == 1:
            return points, float(points), True, False, {}
        die = int(self.np_random.integers(1, 7))
        self.points = 0 if die == 1 else min(points + die, 25)
        return self.points, 0.0, die == 1, False, {}


_DICE_MISTAKES: Mistakes = {
    "die with five faces. integers(1, 6) leaves the 6 out, as range does:"
    " self.np_random.integers(1, 7).": [{"integers(1, 7)": "integers(1, 6)"}],
    "die from 0 to 5. integers(6) begins at 0: self.np_random.integers(1, 7).": [
        {"integers(1, 7)": "integers(6)"}
    ],
    "a 1 does not end the game. In your game a 1 counts as a point; it loses all points and"
    " terminates.": [{"die == 1": "False"}],
    "a 1 pays. Your game pays the points when a 1 comes; they are lost, and the reward is 0.": [
        {"0.0": "float(points * (die == 1))"}
    ],
    "a 1 costs. Your game makes you pay the points when a 1 comes; they are lost, and the reward is"
    " 0.": [{"0.0": "-float(points * (die == 1))"}],
    "pays at every roll. Your game pays for a roll; the points are paid once, when you hold.": [
        {"0.0": "float(die * (die > 1))"},
        {"0.0": "float(die * (die > 1))", "float(points)": "0.0"},
    ],
    "sign. Holding costs the points in your game; it pays them.": [
        {"float(points)": "-float(points)"}
    ],
    "more than 25 points. Points above 25 count as 25, or they are no observation of"
    " Discrete(26).": [{"min(points + die, 25)": "points + die"}],
    "moves the wrong way round. In your game action 0 holds and action 1 rolls; it is the other way"
    " round.": [{"action == 1": "action == 0"}],
    "does not reset. Your second episode begins with the points of the first: put 0 back in"
    " reset().": [{"self.points = 0\n": "self.points = getattr(self, 'points', 0)\n"}],
    SWAPPED_ENDS: [{"True, False": "False, True", "die == 1, False": "False, die == 1"}],
}


def _dice_case(rng: Generator) -> Case:
    """A seed, and the actions of ten episodes: some rolls, and then hold."""
    rolls = rng.integers(0, 12, size=10)
    return int(rng.integers(1000)), *([0] * int(number) + [1] for number in rolls)


EXERCISES = by_name(
    FunctionExercise(discounted_returns, _returns_case, _RETURNS_MISTAKES, "returns"),
    FunctionExercise(running_moments, _moments_case, _MOMENTS_MISTAKES, "moments"),
    FunctionExercise(glie_policy, _glie_case, _GLIE_MISTAKES, "probabilities"),
    FunctionExercise(first_visit_action_values, _values_case, _VALUES_MISTAKES, "q"),
    FunctionExercise(weighted_importance_sampling, _sampling_case, _SAMPLING_MISTAKES, "value"),
    WorldExercise(
        MyDiceGame,
        _dice_case,
        _DICE_MISTAKES,
        actions=("roll", "hold"),
        unseeded="two games with the same seed differ. Call super().reset(seed=seed), and roll with"
        " self.np_random.integers(1, 7)",
    ),
)
