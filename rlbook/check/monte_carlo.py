"""The exercises of chapter 01: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.exercise import (
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Outcome,
    Table,
    WorldExercise,
    from_library,
)

# Returns of a stretch of experience, and how they go wrong.


class _Moment(NamedTuple):
    """What a return is made of at one step: its reward, and the return that follows."""

    reward: float
    terminated: bool
    gamma: float
    following: float


def _returns(rewards: Table, terminated: NDArray[np.bool_], last_value: float, gamma: float) -> Any:
    return from_library("ops.returns", "discounted_returns")(
        rewards, gamma * (1.0 - terminated), last_value
    )


def _faulty_returns(
    *,
    step: Callable[[_Moment], float] = lambda m: (
        m.reward + m.gamma * (1 - m.terminated) * m.following
    ),
    last: Callable[[float, float], float] = lambda value, gamma: value,
    ends: Callable[[NDArray[np.bool_]], NDArray[np.bool_]] = lambda terminated: terminated,
    result: Callable[[Table, float], Table] = lambda returns, last_value: returns,
) -> Function:
    """The sum from the end to the beginning, any part of which may be put wrong."""

    def discounted_returns(
        rewards: Table, terminated: NDArray[np.bool_], last_value: float, gamma: float
    ) -> Table:
        following, flags = last(last_value, gamma), ends(terminated)
        returns = np.empty(len(rewards))
        for t in reversed(range(len(rewards))):
            following = step(_Moment(rewards[t], flags[t], gamma, following))
            returns[t] = following
        return result(returns, last_value)

    return discounted_returns


def _forwards(stops: bool) -> Function:
    """What came before a step, instead of what comes after it."""

    def discounted_returns(
        rewards: Table, terminated: NDArray[np.bool_], last_value: float, gamma: float
    ) -> Table:
        sums, total = np.empty(len(rewards)), 0.0
        for t in range(len(rewards)):
            begins = stops and t > 0 and terminated[t - 1]
            total = rewards[t] + gamma * (0.0 if begins else total)
            sums[t] = total
        return sums

    return discounted_returns


_RETURNS_MISTAKES = (
    Mistake(
        "discount dropped",
        "You add what follows undiscounted; multiply it by gamma at every step.",
        (_faulty_returns(step=lambda m: m.reward + (1 - m.terminated) * m.following),),
    ),
    Mistake(
        "counting beyond a terminal state",
        "You add what follows even where terminated is True; that belongs to the next episode.",
        (_faulty_returns(step=lambda m: m.reward + m.gamma * m.following),),
    ),
    Mistake(
        "off by one",
        "You are one step off: the return of step t begins with rewards[t], undiscounted, and"
        " terminated[t] says whether anything follows that reward.",
        (
            _faulty_returns(result=lambda returns, last: np.append(returns[1:], last)),
            _faulty_returns(result=lambda returns, last: np.append(returns[1:], 0.0)),
            _faulty_returns(step=lambda m: m.gamma * (m.reward + (1 - m.terminated) * m.following)),
            _faulty_returns(ends=lambda terminated: np.append(False, terminated[:-1])),
            _faulty_returns(ends=lambda terminated: np.append(terminated[1:], False)),
        ),
    ),
    Mistake(
        "sign",
        "What follows is added to the reward; you subtract it.",
        (_faulty_returns(step=lambda m: m.reward - m.gamma * (1 - m.terminated) * m.following),),
    ),
    Mistake(
        "last value dropped",
        "You begin from 0; where the last step did not terminate, last_value follows it.",
        (_faulty_returns(last=lambda value, gamma: 0.0),),
    ),
    Mistake(
        "last value not discounted",
        "last_value comes one step after the last reward; multiply it by gamma.",
        (_faulty_returns(last=lambda value, gamma: value / gamma),),
    ),
    Mistake(
        "last reward dropped",
        "You make the return 0 where terminated is True; the reward of that step still counts.",
        (_faulty_returns(step=lambda m: (1 - m.terminated) * (m.reward + m.gamma * m.following)),),
    ),
    Mistake(
        "accumulated forwards",
        "You add up what came before each step. A return is what comes after it: begin at the end.",
        (_forwards(stops=True), _forwards(stops=False)),
    ),
    Mistake(
        "wrong way round",
        "Your returns are right, but in the order in which you found them: the last step's first.",
        (_faulty_returns(result=lambda returns, last: returns[::-1].copy()),),
    ),
)


def _returns_case(rng: Generator) -> tuple[Any, ...]:
    length = int(rng.integers(1, 9))
    return (
        rng.normal(size=length).round(2) * (rng.random(length) < 0.7),
        rng.random(length) < 0.25,
        round(float(rng.normal()), 2),
        float(rng.choice([0.5, 0.9, 0.99])),
    )


# The running mean and the spread around it, and how they go wrong.


def _running_moments(moments: Table, value: float) -> Table:
    """Welford's method ("Note on a method …", Technometrics 4, 1962)."""
    count, mean, squares = moments
    new_mean = mean + (value - mean) / (count + 1)
    return np.array([count + 1, new_mean, squares + (value - mean) * (value - new_mean)])


def _faulty_moments(
    *,
    count: Callable[[float], float] = lambda count: count + 1,
    mean: Callable[[float, float, float], float] = lambda n, mean, value: (
        mean + (value - mean) / (n + 1)
    ),
    square: Callable[[float, float, float], float] = lambda value, old, new: (
        (value - old) * (value - new)
    ),
) -> Function:
    """The update in its parts; `mean` gets the old count."""

    def running_moments(moments: Table, value: float) -> Table:
        old_count, old_mean, squares = moments
        new = mean(old_count, old_mean, value)
        return np.array([count(old_count), new, squares + square(value, old_mean, new)])

    return running_moments


def _spread_not_sum(moments: Table, value: float) -> Table:
    count, mean, squares = _running_moments(moments, value)
    return np.array([count, mean, squares / count])


_MOMENTS_MISTAKES = (
    Mistake(
        "off by one",
        "You divide by the count before this value; it counts too, so divide by count + 1.",
        (_faulty_moments(mean=lambda n, mean, value: mean + (value - mean) / n),),
    ),
    Mistake(
        "count not raised",
        "The first number is how many values there were, this one included.",
        (_faulty_moments(count=lambda count: count),),
    ),
    Mistake(
        "sign",
        "The mean moves towards the new value; yours moves away from it.",
        (_faulty_moments(mean=lambda n, mean, value: mean - (value - mean) / (n + 1)),),
    ),
    Mistake(
        "step size dropped",
        "You move all the way to the new value; move by 1 / (count + 1) of it.",
        (_faulty_moments(mean=lambda n, mean, value: value),),
    ),
    Mistake(
        "mean of two",
        "You count the new value as much as all earlier ones together.",
        (_faulty_moments(mean=lambda n, mean, value: (mean + value) / 2),),
    ),
    Mistake(
        "old mean twice",
        "You add (value - old mean)², which is too much: the second factor has the new mean.",
        (_faulty_moments(square=lambda value, old, new: (value - old) ** 2),),
    ),
    Mistake(
        "new mean twice",
        "You add (value - new mean)², which is too little: the first factor has the old mean.",
        (_faulty_moments(square=lambda value, old, new: (value - new) ** 2),),
    ),
    Mistake(
        "squares of values",
        "You add up the values' squares; add up the squares of their distances from the mean.",
        (_faulty_moments(square=lambda value, old, new: value**2),),
    ),
    Mistake(
        "divided too early",
        "The third number is the sum of squares; who wants the variance divides in the end.",
        (_spread_not_sum,),
    ),
)


def _moments_case(rng: Generator) -> tuple[Any, ...]:
    seen = rng.normal(size=int(rng.integers(0, 6))).round(2)  # at first there is nothing
    mean = seen.mean() if len(seen) else 0.0
    squares = np.sum((seen - mean) ** 2)
    return np.array([float(len(seen)), mean, squares]), round(float(rng.normal()), 2)


# A policy that is greedy in the limit with infinite exploration, and how it goes wrong.


def _glie(q: Table, epsilon: Table, greedy: Table | None = None) -> Table:
    """Any action with probability epsilon (S, 1), otherwise the greedy one."""
    best = np.eye(q.shape[1])[q.argmax(axis=1)] if greedy is None else greedy
    return np.asarray(epsilon / q.shape[1] + (1 - epsilon) * best)


def _epsilon(visits: NDArray[np.int64]) -> Table:
    return np.asarray(1 / np.maximum(visits.sum(axis=1, keepdims=True), 1))


def _glie_policy(q: Table, visits: NDArray[np.int64]) -> Table:
    return _glie(q, _epsilon(visits))


def _others_only(q: Table, visits: NDArray[np.int64]) -> Table:
    epsilon, best = _epsilon(visits), np.eye(q.shape[1])[q.argmax(axis=1)]
    return np.where(best > 0, 1 - epsilon, epsilon / (q.shape[1] - 1))


def _shared_ties(q: Table, visits: NDArray[np.int64]) -> Table:
    best = q == q.max(axis=1, keepdims=True)
    return _glie(q, _epsilon(visits), best / best.sum(axis=1, keepdims=True))


_GLIE_MISTAKES = (
    Mistake(
        "one epsilon for all states",
        "You count the visits of the whole table; a state that is rarely met must go on exploring,"
        " so each has an epsilon of its own.",
        (lambda q, visits: _glie(q, 1 / np.maximum(visits.sum(keepdims=True), 1)),),
    ),
    Mistake(
        "epsilon of a pair",
        "You use the visits of each action; N(s) counts those of all actions in s together.",
        (lambda q, visits: _glie(q, 1 / np.maximum(visits, 1)),),
    ),
    Mistake(
        "states that nobody has visited",
        "Where N(s) is 0, epsilon is 1: there all actions are equally likely.",
        (
            lambda q, visits: _glie(q, 1 / visits.sum(axis=1, keepdims=True)),
            lambda q, visits: np.where(
                visits.sum(axis=1, keepdims=True) > 0,
                _glie_policy(q, visits),
                np.eye(q.shape[1])[q.argmax(axis=1)],
            ),
        ),
    ),
    Mistake(
        "off by one",
        "You share epsilon among the other actions, or count one visit too many: epsilon is"
        " 1 / N(s), and each of all A actions gets epsilon / A.",
        (
            _others_only,
            lambda q, visits: _glie(q, 1 / (visits.sum(axis=1, keepdims=True) + 1)),
        ),
    ),
    Mistake(
        "greedy action does not explore",
        "You leave out the greedy action's own epsilon / A, and the sum falls short of 1.",
        (
            lambda q, visits: np.where(
                np.eye(q.shape[1])[q.argmax(axis=1)] > 0,
                1 - _epsilon(visits),
                _epsilon(visits) / q.shape[1],
            ),
        ),
    ),
    Mistake(
        "epsilon the wrong way round",
        "You are greedy with probability epsilon; be so with probability 1 - epsilon.",
        (lambda q, visits: _glie(q, 1 - _epsilon(visits)),),
    ),
    Mistake(
        "sign",
        "You favour the lowest value; the greedy action is the one with the highest.",
        (lambda q, visits: _glie_policy(-q, visits),),
    ),
    Mistake(
        "ties shared",
        "Where several actions are best, take the first of them, as argmax does.",
        (_shared_ties,),
    ),
    Mistake(
        "epsilon dropped",
        "You never explore; with probability epsilon all actions are equally likely.",
        (lambda q, visits: np.eye(q.shape[1])[q.argmax(axis=1)],),
    ),
)


def _glie_case(rng: Generator) -> tuple[Any, ...]:
    shape = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    visits = rng.integers(0, 6, shape)
    visits[int(rng.integers(shape[0]))] *= rng.integers(2)  # now and then nobody was there
    if rng.random() < 0.5:
        return rng.integers(-2, 2, shape).astype(np.float64), visits  # with ties
    return rng.normal(size=shape).round(2), visits


# Action values from a log of episodes, and how they go wrong.


class _Episode(NamedTuple):
    """One episode of a log: arrays of one length."""

    states: NDArray[np.int64]
    actions: NDArray[np.int64]
    rewards: Table


def _episodes(
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: Table,
    terminated: NDArray[np.bool_],
) -> Iterator[_Episode]:
    """The episodes of a log."""
    ends = np.flatnonzero(terminated) + 1
    for start, end in zip([0, *ends], ends, strict=False):
        yield _Episode(states[start:end], actions[start:end], rewards[start:end])


def _episode_returns(rewards: Table, gamma: float) -> Table:
    return np.asarray(_returns(rewards, np.zeros(len(rewards), np.bool_), 0.0, gamma))


def _met(episode: _Episode, t: int, when: slice) -> bool:
    """Whether the pair of step t is met in these steps too."""
    same = (episode.states == episode.states[t]) & (episode.actions == episode.actions[t])
    return bool(same[when].any())


def _is_first_visit(episode: _Episode, t: int, counts: Table) -> bool:
    return not _met(episode, t, slice(0, t))


def _is_last_visit(episode: _Episode, t: int, counts: Table) -> bool:
    return not _met(episode, t, slice(t + 1, None))


def _first_visit_action_values(
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: Table,
    terminated: NDArray[np.bool_],
    gamma: float,
    num_states: int,
    num_actions: int,
    *,
    returns: Callable[[Table, float], Table] = _episode_returns,
    counts_here: Callable[[_Episode, int, Table], bool] = _is_first_visit,
    finish: Callable[[Table, Table, int], Table] = lambda sums, counts, episodes: sums / counts,
) -> Table:
    """The mean return of each pair of state and action; any part of it may be put wrong."""
    sums, counts = np.zeros((num_states, num_actions)), np.zeros((num_states, num_actions))
    for episode in _episodes(states, actions, rewards, terminated):
        for t, following in enumerate(returns(episode.rewards, gamma)):
            pair = episode.states[t], episode.actions[t]
            if counts_here(episode, t, counts):
                sums[pair] += following
                counts[pair] += 1
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, which is what nobody knows
        return finish(sums, counts, int(terminated.sum()))


def _faulty_values(**parts: Any) -> Function:
    return lambda *arguments: _first_visit_action_values(*arguments, **parts)


def _undivided_log(
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: Table,
    terminated: NDArray[np.bool_],
    *rest: Any,
) -> Table:
    """As if the whole log were one episode."""
    one = np.append(np.zeros(len(terminated) - 1, np.bool_), True)
    return _first_visit_action_values(states, actions, rewards, one, *rest)


def _from_the_beginning(rewards: Table, gamma: float) -> Table:
    """Every reward discounted from the episode's beginning, not from the visit."""
    discounted = rewards * gamma ** np.arange(len(rewards))
    return np.asarray(np.cumsum(discounted[::-1])[::-1])


_VALUES_MISTAKES = (
    Mistake(
        "every visit for first visit",
        "You count every visit to a pair; only the first one in each episode counts.",
        (_faulty_values(counts_here=lambda episode, t, counts: True),),
    ),
    Mistake(
        "last visit for first visit",
        "You keep the return of the last visit to a pair in an episode; keep that of the first.",
        (_faulty_values(counts_here=_is_last_visit),),
    ),
    Mistake(
        "first visit to the state",
        "You count a pair only where its state is new in the episode; it is the pair of state and"
        " action that must be new.",
        (
            _faulty_values(
                counts_here=lambda episode, t, counts: episode.states[t] not in episode.states[:t]
            ),
        ),
    ),
    Mistake(
        "first visit of the whole log",
        "You use only the first episode in which a pair occurs; every episode has a first visit.",
        (
            _faulty_values(
                counts_here=lambda episode, t, counts: (
                    not counts[episode.states[t], episode.actions[t]]
                )
            ),
        ),
    ),
    Mistake(
        "discount dropped",
        "You add up the rewards undiscounted; multiply what follows by gamma at every step.",
        (_faulty_values(returns=lambda rewards, gamma: _episode_returns(rewards, 1.0)),),
    ),
    Mistake(
        "discounted from the beginning",
        "You discount each reward from the episode's first step; discount it from the visit.",
        (_faulty_values(returns=_from_the_beginning),),
    ),
    Mistake(
        "counting beyond a terminal state",
        "Your returns go on into the next episode; terminated says where each one ends.",
        (_undivided_log,),
    ),
    Mistake(
        "off by one",
        "You are one step off: the return of step t begins with rewards[t].",
        (
            _faulty_values(
                returns=lambda rewards, gamma: np.append(_episode_returns(rewards, gamma)[1:], 0.0)
            ),
            _faulty_values(returns=lambda rewards, gamma: gamma * _episode_returns(rewards, gamma)),
        ),
    ),
    Mistake(
        "accumulated forwards",
        "You add up what came before each step. A return is what comes after it: begin at the end.",
        (
            _faulty_values(
                returns=lambda rewards, gamma: _episode_returns(rewards[::-1], gamma)[::-1]
            ),
        ),
    ),
    Mistake(
        "sum instead of mean",
        "You add the returns up; divide by how many there were of each pair.",
        (_faulty_values(finish=lambda sums, counts, n: np.where(counts > 0, sums, np.nan)),),
    ),
    Mistake(
        "divided by the number of episodes",
        "You divide by the number of episodes; divide by the number in which the pair occurred.",
        (
            _faulty_values(finish=lambda sums, counts, n: sums / n),
            _faulty_values(finish=lambda sums, counts, n: np.where(counts > 0, sums / n, np.nan)),
        ),
    ),
    Mistake(
        "nothing known taken for 0",
        "A pair that never occurred has no mean; its entry is NaN, not a number.",
        (_faulty_values(finish=lambda sums, counts, n: sums / np.maximum(counts, 1)),),
    ),
)


def _log(rng: Generator, num_states: int, num_actions: int) -> tuple[Any, ...]:
    """The states, actions, rewards and terminations of one to four short episodes."""
    lengths = rng.integers(1, 7, int(rng.integers(1, 5)))
    total = int(lengths.sum())
    terminated = np.zeros(total, np.bool_)
    terminated[np.cumsum(lengths) - 1] = True
    rewards = rng.integers(-3, 4, total).astype(np.float64)
    return (
        rng.integers(num_states, size=total),
        rng.integers(num_actions, size=total),
        rewards,
        terminated,
    )


def _values_case(rng: Generator) -> tuple[Any, ...]:
    num_states, num_actions = int(rng.integers(2, 4)), 2
    log = _log(rng, num_states, num_actions)
    return *log, float(rng.choice([0.5, 0.9])), num_states, num_actions


# Weighted importance sampling, and how it goes wrong.


def _weighted(ratios: Table, returns: Table) -> float:
    """Sutton and Barto (2018), equation 5.6: 0 where no episode counts at all."""
    total = ratios.sum()
    return float(ratios @ returns / total) if total != 0 else 0.0


def _weighted_importance_sampling(
    states: NDArray[np.int64],
    actions: NDArray[np.int64],
    rewards: Table,
    terminated: NDArray[np.bool_],
    policy: Table,
    behaviour: Table,
    gamma: float,
    *,
    ratio: Callable[[Table, Table], Any] = lambda pi, b: np.prod(pi / b),
    value: Callable[[Table, float], Table] = _episode_returns,
    combine: Callable[[Table, Table], float] = _weighted,
) -> float:
    """The value of where episodes begin, from another policy's episodes; may be put wrong."""
    ratios, returns = [], []
    for episode in _episodes(states, actions, rewards, terminated):
        pairs = episode.states, episode.actions
        ratios.append(ratio(policy[pairs], behaviour[pairs]))
        returns.append(value(episode.rewards, gamma)[0])
    return float(combine(np.array(ratios, np.float64), np.array(returns)))


def _faulty_sampling(**parts: Any) -> Function:
    return lambda *arguments: _weighted_importance_sampling(*arguments, **parts)


_SAMPLING_MISTAKES = (
    Mistake(
        "ordinary instead of weighted",
        "You divide by the number of episodes; divide by the sum of their ratios.",
        (_faulty_sampling(combine=lambda ratios, returns: float((ratios * returns).mean())),),
    ),
    Mistake(
        "ratio upside down",
        "You divide the behaviour's probability by the policy's; it is policy / behaviour.",
        (_faulty_sampling(ratio=lambda pi, b: np.prod(b / pi)),),
    ),
    Mistake(
        "ratios added",
        "You add up the ratios of an episode's steps, or take their mean; multiply them.",
        (
            _faulty_sampling(ratio=lambda pi, b: np.sum(pi / b)),
            _faulty_sampling(ratio=lambda pi, b: np.mean(pi / b)),
        ),
    ),
    Mistake(
        "off by one",
        "You leave out an episode's first step, or its last: all its actions were chosen by"
        " behaviour, so all of their ratios count.",
        (
            _faulty_sampling(ratio=lambda pi, b: np.prod(pi[1:] / b[1:])),
            _faulty_sampling(ratio=lambda pi, b: np.prod(pi[:-1] / b[:-1])),
        ),
    ),
    Mistake(
        "ratio of one step",
        "You use the ratio of one step only; multiply those of all steps of the episode.",
        (
            _faulty_sampling(ratio=lambda pi, b: pi[0] / b[0]),
            _faulty_sampling(ratio=lambda pi, b: pi[-1] / b[-1]),
        ),
    ),
    Mistake(
        "behaviour dropped",
        "You weigh an episode by its probability under policy; divide by that under behaviour.",
        (_faulty_sampling(ratio=lambda pi, b: np.prod(pi)),),
    ),
    Mistake(
        "ratios dropped",
        "This is the mean return of the behaviour; weigh each episode by its ratio.",
        (_faulty_sampling(combine=lambda ratios, returns: float(returns.mean())),),
    ),
    Mistake(
        "discount dropped",
        "You add up the rewards undiscounted; multiply what follows by gamma at every step.",
        (_faulty_sampling(value=lambda rewards, gamma: _episode_returns(rewards, 1.0)),),
    ),
    Mistake(
        "no episode counts",
        "Where all ratios are 0, yours is no number; the estimate is then 0 by definition.",
        (_faulty_sampling(combine=lambda ratios, returns: ratios @ returns / ratios.sum()),),
    ),
)


def _sampling_case(rng: Generator) -> tuple[Any, ...]:
    num_states, num_actions = int(rng.integers(2, 4)), int(rng.integers(2, 4))
    behaviour = rng.dirichlet(np.full(num_actions, 3.0), num_states)
    policy = rng.dirichlet(np.ones(num_actions), num_states)
    if rng.random() < 0.3:  # now and then no episode could have been the policy's
        policy = np.eye(num_actions)[rng.integers(num_actions, size=num_states)]
    log = _log(rng, num_states, num_actions)
    return *log, policy, behaviour, float(rng.choice([0.5, 0.9]))


# The dice game, and how it goes wrong.

ROLL, HOLD = 0, 1
MOST = 25


@dataclass(frozen=True)
class _DiceExercise(WorldExercise):
    """As `WorldExercise`, with dice. A case is a seed, and the actions of some episodes."""

    def run(self, function: Function, case: tuple[Any, ...]) -> Outcome:
        """Play the episodes one after the other; only the first reset is given the seed."""
        seed, *episodes = case
        rows: list[tuple[float, float, float, float]] = []
        try:
            env = function()
            for number, episode in enumerate(episodes):
                obs, _ = env.reset(seed=None if number else seed)
                rows.append((float(obs), np.nan, np.nan, np.nan))
                for action in episode:
                    obs, reward, terminated, truncated, _ = env.step(action)
                    rows.append((float(obs), float(reward), bool(terminated), bool(truncated)))
                    if terminated or truncated:
                        break
        except Exception as error:
            return Outcome(np.array(rows), error=error)
        return Outcome(np.array(rows))

    def inspect(self, function: Function) -> str | None:
        """Whether the same seed gives the same dice; then Gymnasium's own opinion."""
        case = next(self._cases())
        first, second = (self.run(function, case) for _ in range(2))
        if first.error is None and not np.array_equal(
            first.returned, second.returned, equal_nan=True
        ):
            return (
                "two games with the same seed differ. Call super().reset(seed=seed), and roll with"
                " self.np_random.integers(1, 7)"
            )
        return super().inspect(function)

    def _moments(self, case: tuple[Any, ...]) -> list[str]:
        """What to call each row. The dice say how many actions of each episode are played."""
        seed, *episodes = case
        rows = self.run(self.reference, case).returned
        resets = np.flatnonzero(np.isnan(rows[:, 1]))
        steps = np.diff(np.append(resets, len(rows))) - 1
        played = tuple(actions[:n] for actions, n in zip(episodes, steps, strict=True))
        return [f"reset(seed={seed})", *super()._moments(played)[1:]]


def _dice_game(
    faces: tuple[int, int] = (1, 7),
    busts: bool = True,
    bust_pays: float = 0.0,
    roll_pays: float = 0.0,
    hold_pays: float = 1.0,
    most: int = MOST,
    resets: bool = True,
    swapped_actions: bool = False,
    swapped_ends: bool = False,
) -> Function:
    """A function that makes the game of `my_dice_game`, any part of which may be put wrong."""

    def make_env() -> Any:
        import gymnasium

        class DiceGame(gymnasium.Env[Any, Any]):
            observation_space = gymnasium.spaces.Discrete(MOST + 1)
            action_space = gymnasium.spaces.Discrete(2)
            points = 0

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[int, dict[str, Any]]:
                super().reset(seed=seed)
                if resets:
                    self.points = 0
                return self.points, {}

            def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
                if (action == HOLD) != swapped_actions:
                    return self.answer(hold_pays * self.points, True)
                die = int(self.np_random.integers(*faces))
                if die == 1 and busts:
                    lost, self.points = self.points, 0
                    return self.answer(bust_pays * lost, True)
                self.points = min(self.points + die, most)
                return self.answer(roll_pays * die, False)

            def answer(
                self, reward: float, over: bool
            ) -> tuple[int, float, bool, bool, dict[str, Any]]:
                ends = (False, over) if swapped_ends else (over, False)
                return self.points, reward, *ends, {}

        return DiceGame()

    return make_env


_DICE_MISTAKES = (
    Mistake(
        "die with five faces",
        "integers(1, 6) leaves the 6 out, as range does: self.np_random.integers(1, 7).",
        (_dice_game(faces=(1, 6)),),
    ),
    Mistake(
        "die from 0 to 5",
        "integers(6) begins at 0: self.np_random.integers(1, 7).",
        (_dice_game(faces=(0, 6)),),
    ),
    Mistake(
        "a 1 does not end the game",
        "In your game a 1 counts as a point; it loses all points and terminates.",
        (_dice_game(busts=False),),
    ),
    Mistake(
        "a 1 pays",
        "Your game pays the points when a 1 comes; they are lost, and the reward is 0.",
        (_dice_game(bust_pays=1.0),),
    ),
    Mistake(
        "a 1 costs",
        "Your game makes you pay the points when a 1 comes; they are lost, and the reward is 0.",
        (_dice_game(bust_pays=-1.0),),
    ),
    Mistake(
        "pays at every roll",
        "Your game pays for a roll; the points are paid once, when you hold.",
        (_dice_game(roll_pays=1.0), _dice_game(roll_pays=1.0, hold_pays=0.0)),
    ),
    Mistake(
        "sign",
        "Holding costs the points in your game; it pays them.",
        (_dice_game(hold_pays=-1.0),),
    ),
    Mistake(
        "more than 25 points",
        "Points above 25 count as 25, or they are no observation of Discrete(26).",
        (_dice_game(most=10**6),),
    ),
    Mistake(
        "moves the wrong way round",
        "In your game action 0 holds and action 1 rolls; it is the other way about.",
        (_dice_game(swapped_actions=True),),
    ),
    Mistake(
        "does not reset",
        "Your second episode begins with the points of the first: put 0 back in reset().",
        (_dice_game(resets=False),),
    ),
    Mistake(
        "terminated and truncated swapped",
        "Your game says truncated where it ends by its own rules. step() returns obs, reward,"
        " terminated, truncated, info.",
        (_dice_game(swapped_ends=True),),
    ),
)


def _dice_case(rng: Generator) -> tuple[Any, ...]:
    """A seed, and the actions of ten episodes: some rolls, and then hold."""
    rolls = rng.integers(0, 12, size=10)
    return int(rng.integers(1000)), *([ROLL] * int(number) + [HOLD] for number in rolls)


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "discounted_returns",
            "(rewards, terminated, last_value, gamma) -> returns",
            _returns,
            _returns_case,
            _RETURNS_MISTAKES,
        ),
        FunctionExercise(
            "running_moments",
            "(moments, value) -> moments",
            _running_moments,
            _moments_case,
            _MOMENTS_MISTAKES,
        ),
        FunctionExercise(
            "glie_policy",
            "(q, visits) -> probabilities",
            _glie_policy,
            _glie_case,
            _GLIE_MISTAKES,
        ),
        FunctionExercise(
            "first_visit_action_values",
            "(states, actions, rewards, terminated, gamma, num_states, num_actions) -> q",
            _first_visit_action_values,
            _values_case,
            _VALUES_MISTAKES,
        ),
        FunctionExercise(
            "weighted_importance_sampling",
            "(states, actions, rewards, terminated, policy, behaviour, gamma) -> value",
            _weighted_importance_sampling,
            _sampling_case,
            _SAMPLING_MISTAKES,
        ),
        _DiceExercise(
            "my_dice_game",
            "() -> environment",
            _dice_game(),
            _dice_case,
            _DICE_MISTAKES,
            num_cases=20,
            num_states=MOST + 1,
            actions=("roll", "hold"),
        ),
    )
}
