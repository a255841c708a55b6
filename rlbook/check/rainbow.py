"""The exercises of chapter 07: right solutions, random cases, and the mistakes people make."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete
from numpy.random import Generator

from rlbook.check.dqn import TARGET_MISTAKES, targets_case
from rlbook.check.exercise import Case, Flags, FunctionExercise, Mistakes, Table, Whole, by_name
from rlbook.check.playing import SWAPPED_ENDS, Reset, Step, WorldExercise


def _where_best(values: Table, choosing: Table) -> Table:
    """Of each row of `values`, the cell where that row of `choosing` is highest."""
    return values[np.arange(len(values)), choosing.argmax(axis=1)]


def double_targets(
    rewards: Table, terminated: Flags, online: Table, target: Table, gamma: float
) -> Table:
    """Check double Q-learning's targets (van Hasselt, Guez and Silver, AAAI 2016, equation 4).

    From float64 (B,), bool (B,), and the outputs of the network and of the target network for the
    next observations, float64 (B, A) each, it makes float64 (B,). The online network picks the next
    action, and the target network says what it is worth. What follows a terminated step is worth 0.
    """
    following = _where_best(target, online)
    return rewards + gamma * (1 - terminated) * following


_JUDGED = "_where_best(target, online)"
_TARGETS_MISTAKES: Mistakes = {
    **TARGET_MISTAKES,
    "one network does both. You take the maximum of what the target network says, which is chapter"
    " 06's target; here the online network picks the action.": [{_JUDGED: "target.max(axis=1)"}],
    "networks swapped. You let the target network pick the action and the online network value it;"
    " it is the other way round.": [{_JUDGED: "_where_best(online, target)"}],
    "online network instead of the target network. You pick the action by the online network and"
    " take its own word for the value; ask the target network what that action is worth.": [
        {_JUDGED: "online.max(axis=1)"}
    ],
    "clipped double Q-learning. You take the smaller of two values, as TD3 does; here it is what"
    " the target network says, be it the larger one.": [
        {_JUDGED: "np.minimum(online.max(axis=1), target.max(axis=1))"},
        {_JUDGED: f"np.minimum(online.max(axis=1), {_JUDGED})"},
        {_JUDGED: "np.minimum(online, target).max(axis=1)"},
    ],
    "average of both networks. You take the mean of what the networks say; one of them picks, and"
    " the other values.": [
        {_JUDGED: "(online + target).max(axis=1) / 2"},
        {_JUDGED: "(online.max(axis=1) + target.max(axis=1)) / 2"},
    ],
    "wrong action's value. You do not take the value of the online network's best action: argmax is"
    " over the actions of each row, axis 1.": [
        {_JUDGED: "_where_best(target, -online)"},
        {_JUDGED: "target[:, 0]"},
        {_JUDGED: "target[:, online.sum(axis=0).argmax()]"},
        {_JUDGED: "target[:, online[0].argmax()]"},
    ],
}


def importance_weights(priorities: Table, drawn: Whole, alpha: float, beta: float) -> Table:
    """Check importance weights (Schaul et al., 2016, section 3.4).

    From the priorities p of all N rows of a replay buffer, float64 (N,), all above 0, and the rows
    that were drawn, int64 (B,), some perhaps twice, it makes float64 (B,). Row i is drawn with
    probability P(i), which is p_i**alpha over the sum of all of these. Its weight is
    (N P(i))**-beta, over the largest weight of the rows drawn.
    """
    powers = priorities**alpha
    every = (len(priorities) * powers / powers.sum()) ** -beta
    weights = every[drawn]
    return weights / weights.max()


_WEIGHTS_MISTAKES: Mistakes = {
    "sign. You give more weight to what is drawn more often; it should count less, so the exponent"
    " is minus beta.": [{"-beta": "beta"}],
    "alpha dropped. You take the priorities themselves for the probabilities of being drawn; raise"
    " each to the power alpha first.": [{"priorities**alpha": "priorities"}],
    "beta dropped. You make up for the priorities wholly; beta says by how much, as the"
    " exponent.": [{"-beta": "-1.0"}],
    "not divided by the largest. Your weights can be above 1, which makes some steps longer than"
    " the learning rate says; divide them by the largest of those drawn.": [
        {" / weights.max()": ""}
    ],
    "largest of the whole replay buffer. You divide by the largest weight in the replay buffer; it"
    " is the largest of those drawn, which thereby becomes 1.": [{"weights.max": "every.max"}],
    "divided by something else. You divide by the sum, the mean or the smallest; divide by the"
    " largest of those drawn.": [
        {"weights.max": "weights.sum"},
        {"weights.max": "weights.mean"},
        {"weights.max": "weights.min"},
    ],
    "rows of the whole replay buffer. You weigh every row of the replay buffer; only the rows drawn"
    " have weights, in the order of drawn.": [
        {"every[drawn]": "every"},
        {"every[drawn]": "every", " / weights.max()": ""},
    ],
    "first rows. You take as many rows as were drawn, but from the start of the replay buffer; look"
    " up each row of drawn.": [{"every[drawn]": "every[np.arange(len(drawn)) % len(every)]"}],
    "off by one. You look up the row beside the one that was drawn; rows are counted from 0.": [
        {"every[drawn]": "every[(drawn + 1) % len(every)]"},
        {"every[drawn]": "every[(drawn - 1) % len(every)]"},
    ],
    "repeated rows dropped. You give each row one weight, in the replay buffer's order; a row may"
    " be drawn twice, and then it has a weight in both places.": [
        {"every[drawn]": "every[np.unique(drawn)]"},
        {"every[drawn]": "every[np.sort(drawn)]"},
    ],
}


def _weights_case(rng: Generator) -> Case:
    size, batch = int(rng.integers(4, 9)), int(rng.integers(2, 5))
    priorities = rng.choice([0.1, 0.5, 1.0, 2.0, 5.0], size)
    drawn = rng.integers(size, size=batch)
    alpha, beta = rng.choice([0.0, 0.5, 0.6, 1.0]), rng.choice([0.0, 0.4, 0.7, 1.0])
    return priorities, drawn, float(alpha), float(beta)


def dueling_values(values: Table, advantages: Table) -> Table:
    """Check action values out of two streams (Wang et al., 2016, equation 9).

    From float64 (B, 1), as a head of one unit gives it, and float64 (B, A) it makes float64 (B, A):
    each row's value plus its advantages, less their mean.
    """
    mean = advantages.mean(axis=1, keepdims=True)
    return values + (advantages - mean)


_DUELING_MISTAKES: Mistakes = {
    "mean not subtracted. You add values and advantages as they are, so that nothing tells them"
    " apart: 1 more here and 1 less there is the same. Subtract each row's mean advantage.": [
        {" - mean": ""}
    ],
    "maximum instead of mean. You subtract each row's largest advantage, the paper's equation 8;"
    " equation 9 subtracts the mean.": [{"advantages.mean": "advantages.max"}],
    "mean over the batch. You take the mean over the rows, or over everything; it is over the"
    " actions of each row, axis 1.": [
        {"axis=1": "axis=0"},
        {"axis=1, keepdims=True": ""},
    ],
    "sum instead of mean. You subtract the sum of a row's advantages; it is their mean.": [
        {"advantages.mean": "advantages.sum"}
    ],
    "sign. You add where you should subtract, or subtract where you should add: it is value plus"
    " advantage minus mean advantage.": [
        {"- mean": "+ mean"},
        {"values + (": "values - ("},
        {"values + (": "-values + ("},
    ],
    "value dropped. Your rows have mean 0, whatever the state is worth; the mean of a row is its"
    " value.": [{"values + (": "("}],
    "one value for all. You give all rows the same value; each row has its own.": [
        {"values + (": "values.mean() + ("},
        {"values + (": "values[0] + ("},
        {"values + (": "values.sum() + ("},
    ],
    "advantages normalised. You divide by the standard deviation; nothing is divided.": [
        {"- mean)": "- mean) / advantages.std(axis=1, keepdims=True)"},
        {"- mean)": "- mean) / advantages.std(axis=1, keepdims=True, ddof=1)"},
    ],
}


def _dueling_case(rng: Generator) -> Case:
    size, num_actions = int(rng.integers(2, 6)), int(rng.integers(3, 6))
    return rng.normal(size=(size, 1)).round(3), rng.normal(size=(size, num_actions)).round(3)


def projection(support: Table, returns: Table, discounts: Table, probabilities: Table) -> Table:
    """Check C51's projection (Bellemare, Dabney and Munos, 2017, algorithm 1).

    From the K atoms, float64 (K,), equally spaced and rising, float64 (B,) and (B,), and the atoms'
    probabilities, float64 (B, K), it makes float64 (B, K). Atom z moves to return + discount * z,
    though not beyond the outermost atoms, and its probability is shared between the two atoms next
    to that place: the nearer, the more. An atom that lands exactly on another keeps all of it.
    """
    most = len(support) - 1
    spacing = (support[-1] - support[0]) / most
    moved = returns[:, None] + discounts[:, None] * support
    places = ((moved - support[0]) / spacing).clip(0, most)
    lower = np.floor(places).astype(np.int64)
    upper = np.ceil(places).astype(np.int64)
    share = places - lower
    rows, projected = np.arange(len(returns)), np.zeros_like(probabilities)
    for atom in range(len(support)):
        projected[rows, lower[:, atom]] += ((1 - share) * probabilities)[:, atom]
        projected[rows, upper[:, atom]] += (share * probabilities)[:, atom]
    return projected


def _shares_of_what_is_left(
    support: Table, returns: Table, discounts: Table, probabilities: Table
) -> Table:
    """The shares of atoms that land a little outside: in part within, and the rest is lost."""
    moved = returns[:, None] + discounts[:, None] * support
    apart = (moved[:, None, :] - support[:, None]) / (support[1] - support[0])
    return ((1 - abs(apart)).clip(min=0) * probabilities[:, None, :]).sum(axis=2)


_FLOOR, _CEIL = "np.floor(places)", "np.ceil(places)"
# Always two different neighbours; where the place is an atom, the other gets nothing.
_TWO = {_FLOOR: f"np.minimum({_FLOOR}, most - 1)", f"{_CEIL}.astype(np.int64)": "lower + 1"}
# All atoms in one step, in which NumPy adds to each place only once.
_AT_ONCE = {
    "np.arange(len(returns))": "np.arange(len(returns))[:, None]",
    "range(len(support))": "range(1)",
    "[:, atom]": "",
}
_PROJECTION_MISTAKES: Mistakes = {
    "no clipping. What lands beyond the outermost atoms is lost, and your probabilities add up to"
    " less than before; put it on the outermost atom.": [
        {
            "share = ": "inside = (moved >= support[0]) & (moved <= support[-1]); share = ",
            "* probabilities": "* probabilities * inside",
        },
        "_shares_of_what_is_left(support, returns, discounts, probabilities)",
    ],
    "mass lost where an atom lands on another. Where an atom lands exactly on another, floor and"
    " ceil are the same, both shares are 0, and its probability is lost; that atom gets all of"
    " it.": [{"(1 - share)": "(upper - places)"}],
    "nearer atom gets all. You round to the nearer atom, which changes the mean; both neighbours"
    " get a share.": [
        {_FLOOR: "np.rint(places)", _CEIL: "np.rint(places)"},
        {_FLOOR: "np.floor(places + 0.5)", _CEIL: "np.floor(places + 0.5)"},
    ],
    "one neighbour gets all. You always give everything to the atom below, or to the one above,"
    " which changes the mean; both neighbours get a share.": [{_CEIL: _FLOOR}, {_FLOOR: _CEIL}],
    "halves. You give both neighbours a half; the nearer one gets more.": [
        {"places - lower": "0.5 + 0 * places"}
    ],
    "shares the wrong way round. Your further neighbour gets more than the nearer one; the share of"
    " each is 1 less its own distance.": [
        {"places - lower": "1 - (places - lower)"},
        {**_TWO, "places - lower": "1 - (places - lower)"},
    ],
    "overwritten. Where several atoms share a neighbour, you keep what came last; add them up. (To"
    " NumPy m[rows, places] += p adds once to each place; np.add.at adds all.)": [
        {"] +=": "] ="},
        {"] +=": "] =", **_TWO},
        _AT_ONCE,
        {**_AT_ONCE, **_TWO},
    ],
    "discount dropped. You move the atoms by the return, and do not draw them together; multiply"
    " them by the discount, which is 0 after the end.": [{"discounts[:, None] * ": ""}],
    "return dropped. You multiply the atoms by the discount, and leave out the return.": [
        {"returns[:, None] + ": ""}
    ],
    "discounted return. You multiply the return by the discount as well; only what comes after it"
    " is discounted.": [{"= returns[:, None]": "= discounts[:, None] * returns[:, None]"}],
    "sign. You subtract the one from the other; an atom z moves to return + discount * z.": [
        {"+ discounts": "- discounts"},
        {"= returns": "= -returns"},
    ],
    "not divided by the spacing. You count in returns where you should count in atoms: divide by"
    " how far apart the atoms are.": [{" / spacing": ""}],
    "lowest atom not subtracted. You count atoms from a return of 0; the first atom is at"
    " support[0].": [{"moved - support[0]": "moved"}],
    "off by one. You divide by the wrong spacing: between K atoms there are K - 1 gaps.": [
        {"/ most": "/ (most + 1)"},
        {"/ most": "/ (most - 1)"},
    ],
}


def _projection_case(rng: Generator) -> Case:
    size, num_atoms = int(rng.integers(1, 5)), int(rng.integers(3, 7))
    spacing, lowest = float(rng.choice([0.25, 0.5, 2.0])), float(rng.choice([-2.0, -1.0, 0.5]))
    support = lowest + spacing * np.arange(num_atoms)
    # Some atoms land exactly on others, by numbers that a float64 holds exactly.
    if rng.random() < 0.5:
        returns = spacing * rng.integers(-1, num_atoms, size)
        discounts = rng.choice([0.0, 0.5, 1.0], size)
    else:
        returns = rng.normal(0, spacing * num_atoms / 2, size).round(3)
        discounts = rng.choice([0.0, 0.81, 0.9, 0.99], size)
    return support, returns, discounts, rng.dirichlet(np.ones(num_atoms), size).round(6)


def interquartile_mean(scores: Table) -> float:
    """Check the mean of the middle half (Agarwal et al., 2021, section 4).

    From float64 (runs,), in any order, at least 4 of them, it makes the mean of what is left when
    the int(runs / 4) lowest and as many of the highest are dropped.
    """
    ordered, quarter = np.sort(scores), len(scores) // 4
    middle = ordered[quarter : len(scores) - quarter]
    return float(middle.mean())


def _between_quartiles(scores: Table) -> float:
    low, high = np.quantile(scores, [0.25, 0.75])
    return float(scores[(scores >= low) & (scores <= high)].mean())


def _in_part(scores: Table) -> float:
    """The quarter that is dropped at each end may end within a score, which then counts in part."""
    number = len(scores)
    ends = np.arange(number + 1).clip(number / 4, 3 * number / 4)
    return float(np.sort(scores) @ np.diff(ends) / (number / 2))


_MIDDLE_MISTAKES: Mistakes = {
    "plain mean. This is the mean of all scores, which one run can move as far as it likes; leave"
    " out the lowest and the highest quarter.": ["float(scores.mean())"],
    "median. This is the median, which looks at one or two runs; take the mean of the middle"
    " half.": ["float(np.median(scores))"],
    "not sorted. You take the middle half of the runs as they come; sort them first.": [
        {"np.sort(scores)": "scores"}
    ],
    "a quarter in total. You drop an eighth at each end; it is a quarter at each, which leaves"
    " half.": [{"// 4": "// 8"}],
    "one end only. You drop a quarter at one end alone; it is a quarter at each.": [
        {"quarter : ": "0 : "},
        {" - quarter]": "]"},
    ],
    "rounding up. You round the number to drop up, or to the nearest; it is rounded down:"
    " int(n / 4).": [
        {"len(scores) // 4": "-(-len(scores) // 4)"},
        {"len(scores) // 4": "round(len(scores) / 4)"},
    ],
    "off by one. You drop one score too many, or one too few, at one of the ends.": [
        {"quarter : ": "quarter + 1 : "},
        {"quarter : ": "quarter - 1 : "},
        {" - quarter]": " - quarter - 1]"},
        {" - quarter]": " - quarter + 1]"},
    ],
    "scores between the quartiles. You keep the scores between the two quartiles, which drops n / 4"
    " at each end, rounded to the nearest; it is rounded down: int(n / 4).": [
        "_between_quartiles(scores)",
        {"len(scores) // 4": "(len(scores) + 2) // 4"},
    ],
    "scores in part. You count the scores at the edge of the middle half in part; here whole ones"
    " are dropped, int(n / 4) at each end.": ["_in_part(scores)"],
    "quartiles only. You work with the two quartiles alone; it is the mean of the scores between"
    " them.": [
        "float(np.quantile(scores, [0.25, 0.75]).mean())",
        "float(np.diff(np.quantile(scores, [0.25, 0.75]))[0])",
    ],
    "divided by all. You divide by the number of all scores, or by half of it; divide by how many"
    " are left.": [
        {"middle.mean()": "middle.sum() / len(scores)"},
        {"middle.mean()": "middle.sum() / (len(scores) / 2)"},
        {"middle.mean()": "middle.sum() / (len(scores) // 2)"},
    ],
    "pulled in. You move the outer scores to where the middle half ends, and count them there;"
    " leave them out.": [{"middle.mean()": "ordered.clip(middle[0], middle[-1]).mean()"}],
}


def _middle_case(rng: Generator) -> Case:
    """Skewed, as scores are: most runs do alike, and some fail."""
    return (rng.exponential(10, int(rng.integers(4, 21))).round(2),)


class DeepSea(gymnasium.Env[Any, Any]):
    """Check an environment of your own: the deep sea (Osband et al., 2019), five cells deep.

    Five rows of five cells, counted row by row from 0, at the top left. Episodes start in cell 0
    and have five steps. Each of the first four goes one row down, and one column to the left with
    action 0, to the right with action 1; the walls stop whoever would leave. The fifth, which is
    made from the bottom row, terminates the episode and does not move: its observation is the cell
    that it was made from. Every step with action 1 costs 0.01 / 5, the fifth too, and one with
    action 0 is free. If the fifth is made with action 1 from cell 24, at the bottom right, it also
    pays 1, so that its reward is 0.998. Nothing is ever truncated.
    """

    observation_space = Discrete(25)
    action_space = Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Reset:
        super().reset(seed=seed)
        self.row, self.column, self.steps = 0, 0, 0
        return 5 * self.row + self.column, {}

    def step(self, action: int) -> Step:
        self.steps += 1
        last = self.steps == 5
        found = last and self.column == 4 and action == 1
        cost, move = (0.0, 0.002)[action], (-1, 1)[action]
        if self.row < 4:
            self.column = min(max(self.column + move, 0), 4)
            self.row += 1
        return 5 * self.row + self.column, 1.0 * found - cost, last, False, {}


# The treasure is found by reaching cell 24.
_ON_ARRIVAL = {
    "found = last and self.column == 4 and action == 1": "found = False",
    "self.row += 1": "self.row += 1; found = self.row == self.column == 4",
}
_SEA_MISTAKES: Mistakes = {
    "moves the wrong way. In your environment action 0 goes to the right and action 1 to the left;"
    " it is the other way round.": [
        {"(-1, 1)": "(1, -1)"},
        {"(-1, 1)": "(1, -1)", "(0.0, 0.002)": "(0.002, 0.0)", "action == 1": "action == 0"},
    ],
    "straight down. In your environment action 0 goes straight down; it goes one column to the left"
    " as well.": [{"(-1, 1)": "(0, 1)"}],
    "walls that let through. Whoever goes left in column 0 of your environment comes out elsewhere;"
    " they stay in column 0.": [
        {"min(max(self.column + move, 0), 4)": "(self.column + move) % 5"},
        {"min(max(self.column + move, 0), 4)": "self.column + move"},
    ],
    "numbered by columns. You number the cells column by column; the cell is 5 * row + column.": [
        {"5 * self.row + self.column": "5 * self.column + self.row"}
    ],
    "ends on reaching the bottom. Your episodes have four steps; the fifth, which is made from the"
    " bottom row, ends them.": [
        {"self.steps == 5": "self.steps == 4"},
        {"self.steps == 5": "self.steps == 4", **_ON_ARRIVAL},
    ],
    "does not terminate. The fifth step ends the episode, whichever action it is.": [
        {"last, False": "False, False"}
    ],
    SWAPPED_ENDS: [{"last, False": "False, last"}],
    "last step moves. Your fifth step moves within the bottom row; it only ends the episode, and"
    " the observation is the cell that it was made from.": [
        {"if self.row < 4": "if True", "self.row += 1": "self.row = min(self.row + 1, 4)"}
    ],
    "treasure on arrival. You pay 1 for reaching cell 24; it takes a fifth step with action 1 from"
    " there.": [_ON_ARRIVAL],
    "treasure for any action. Action 0 does not find the treasure, even from cell 24.": [
        {" and action == 1": ""}
    ],
    "treasure in another cell. The treasure is found from cell 24 alone, the last one of the bottom"
    " row.": [{" and self.column == 4": ""}, {"self.column == 4": "self.column == 3"}],
    "wrong treasure. From cell 24, the fifth step with action 1 pays 1, less what the step"
    " costs.": [{"1.0 * found": f"{worth} * found"} for worth in (0.0, -1.0, 0.99, 10.0)],
    "cost dropped. In your environment going to the right costs nothing; it costs 0.002.": [
        {"(0.0, 0.002)": "(0.0, 0.0)"}
    ],
    "cost not divided. A step to the right costs 0.01 / 5, so that all five together cost 0.01.": [
        {"(0.0, 0.002)": "(0.0, 0.01)"}
    ],
    "cost of the wrong steps. A step with action 1 costs 0.002, and one with action 0 nothing.": [
        {"(0.0, 0.002)": "(0.002, 0.002)"},
        {"(0.0, 0.002)": "(0.002, 0.0)"},
    ],
    "last step is free. Your fifth step costs nothing; with action 1 it costs 0.002, as every"
    " other, also where it finds the treasure.": [{"- cost": "- cost * (not last)"}],
    "sign. You pay for a step to the right; it costs, so that its reward is -0.002.": [
        {"(0.0, 0.002)": "(0.0, -0.002)"}
    ],
    "does not reset. Your second episode goes on where the first one ended: put cell 0 back in"
    " reset(), and count the steps from 0 again.": [
        {"= 0, 0, 0": "= getattr(self, 'row', 0), getattr(self, 'column', 0), 0"},
        {"= 0, 0, 0": "= 0, 0, getattr(self, 'steps', 0)"},
    ],
    "starts in the wrong cell. reset() must begin in cell 0, at the top left.": [
        {"= 0, 0, 0": f"= *divmod({cell}, 5), 0"} for cell in range(1, 25)
    ],
}


def _sea_case(rng: Generator) -> Case:
    """The actions of three episodes; random actions alone would seldom get to the treasure."""
    return tuple(
        [*([1] * 4 if rng.random() < 0.4 else _actions(rng, 4)), *_actions(rng, 1)]
        for _ in range(3)
    )


def _actions(rng: Generator, number: int) -> list[int]:
    return [int(action) for action in rng.integers(2, size=number)]


EXERCISES = by_name(
    FunctionExercise(double_targets, targets_case, _TARGETS_MISTAKES, "targets"),
    FunctionExercise(importance_weights, _weights_case, _WEIGHTS_MISTAKES, "weights"),
    FunctionExercise(dueling_values, _dueling_case, _DUELING_MISTAKES, "q"),
    FunctionExercise(projection, _projection_case, _PROJECTION_MISTAKES, "projected"),
    FunctionExercise(interquartile_mean, _middle_case, _MIDDLE_MISTAKES, "value"),
    WorldExercise(DeepSea, _sea_case, _SEA_MISTAKES),
)
