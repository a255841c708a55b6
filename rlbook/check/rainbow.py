"""The exercises of chapter 07: right solutions, random cases, and how people go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from rlbook.check.dqn import faulty_targets, target_mistakes, targets_case
from rlbook.check.exercise import (
    Exercise,
    Function,
    FunctionExercise,
    Mistake,
    Table,
    WorldExercise,
)

Whole = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Targets of double Q-learning, and how they go wrong.


def _valued_where_best(values: Table, choosing: Table) -> Table:
    """Of each row of `values`, the cell where that row of `choosing` is highest."""
    return np.asarray(values[np.arange(len(values)), choosing.argmax(axis=1)])


def _judged(online: Table, target: Table) -> Table:
    """The value of the next observation in equation (7.1)."""
    return _valued_where_best(target, online)


_TARGETS_MISTAKES = (
    *target_mistakes(_judged),
    Mistake(
        "one network does both",
        "You take the maximum of what the target network says, which is chapter 06's target; here"
        " the online network picks the action.",
        (faulty_targets(lambda online, target: target.max(axis=1)),),
    ),
    Mistake(
        "networks swapped",
        "You let the target network pick the action and the online network value it; it is the"
        " other way about.",
        (faulty_targets(_valued_where_best),),
    ),
    Mistake(
        "online network instead of the target network",
        "You pick the action by the online network and take its own word for the value; ask the"
        " target network what that action is worth.",
        (faulty_targets(lambda online, target: online.max(axis=1)),),
    ),
    Mistake(
        "clipped double Q-learning",
        "You take the smaller of two values, as TD3 does; here it is what the target network says,"
        " be it the larger one.",
        (
            faulty_targets(
                lambda online, target: np.minimum(online.max(axis=1), target.max(axis=1))
            ),
            faulty_targets(
                lambda online, target: np.minimum(
                    online.max(axis=1), _valued_where_best(target, online)
                )
            ),
            faulty_targets(lambda online, target: np.minimum(online, target).max(axis=1)),
        ),
    ),
    Mistake(
        "average of both networks",
        "You take the mean of what the networks say; one of them picks, and the other values.",
        (
            faulty_targets(lambda online, target: (online + target).max(axis=1) / 2),
            faulty_targets(lambda online, target: (online.max(axis=1) + target.max(axis=1)) / 2),
        ),
    ),
    Mistake(
        "wrong action's value",
        "You do not take the value of the online network's best action: argmax is over the actions"
        " of each row, axis 1.",
        (
            faulty_targets(lambda online, target: _valued_where_best(target, -online)),
            faulty_targets(lambda online, target: target[:, 0]),
            faulty_targets(lambda online, target: target[:, online.sum(axis=0).argmax()]),
            faulty_targets(lambda online, target: target[:, online[0].argmax()]),
        ),
    ),
)


# Importance weights, and how they go wrong.


def _faulty_weights(
    *,
    power: Callable[[float], float] = lambda alpha: alpha,
    rows: Callable[[Whole, int], Any] = lambda drawn, size: drawn,
    exponent: Callable[[float], float] = lambda beta: -beta,
    over: Callable[[Table, Table], Any] = lambda weights, every: weights.max(),
) -> Function:
    """Importance weights of a memory, any part of which may be put wrong.

    Whoever leaves out N or the sum of the powers is right too: both cancel in the division.

    Args:
        power: of the priorities.
        rows: whose weights these are.
        exponent: of the probabilities.
        over: by what the weights are divided, of theirs and of those of the whole memory.
    """

    def weights(priorities: Table, drawn: Whole, alpha: float, beta: float) -> Table:
        powers = priorities ** power(alpha)
        every = (len(priorities) * powers / powers.sum()) ** exponent(beta)
        found = every[rows(drawn, len(priorities))]
        return np.asarray(found / over(found, every))

    return weights


_WEIGHTS_MISTAKES = (
    Mistake(
        "sign",
        "You give more weight to what is drawn more often; it should count less, so the exponent is"
        " minus beta.",
        (_faulty_weights(exponent=lambda beta: beta),),
    ),
    Mistake(
        "alpha dropped",
        "You take the priorities themselves for the chances of being drawn; raise each to the power"
        " alpha first.",
        (_faulty_weights(power=lambda alpha: 1.0),),
    ),
    Mistake(
        "beta dropped",
        "You make up for the priorities wholly; beta says by how much, as the exponent.",
        (_faulty_weights(exponent=lambda beta: -1.0),),
    ),
    Mistake(
        "not divided by the largest",
        "Your weights can be above 1, which makes some steps longer than the learning rate says;"
        " divide them by the largest of those drawn.",
        (_faulty_weights(over=lambda weights, every: 1.0),),
    ),
    Mistake(
        "largest of the whole memory",
        "You divide by the largest weight in the memory; it is the largest of those drawn, which"
        " thereby becomes 1.",
        (_faulty_weights(over=lambda weights, every: every.max()),),
    ),
    Mistake(
        "divided by something else",
        "You divide by the sum, the mean or the smallest; divide by the largest of those drawn.",
        (
            _faulty_weights(over=lambda weights, every: weights.sum()),
            _faulty_weights(over=lambda weights, every: weights.mean()),
            _faulty_weights(over=lambda weights, every: weights.min()),
        ),
    ),
    Mistake(
        "rows of the whole memory",
        "You weigh every row of the memory; only the rows drawn have weights, in the order of"
        " drawn.",
        (
            _faulty_weights(rows=lambda drawn, size: slice(None)),
            _faulty_weights(
                rows=lambda drawn, size: slice(None),
                over=lambda weights, every: 1.0,
            ),
        ),
    ),
    Mistake(
        "first rows",
        "You take as many rows as were drawn, but from the start of the memory; look up each row of"
        " drawn.",
        (_faulty_weights(rows=lambda drawn, size: np.arange(len(drawn)) % size),),
    ),
    Mistake(
        "off by one",
        "You look up the row beside the one that was drawn; rows are counted from 0.",
        (
            _faulty_weights(rows=lambda drawn, size: (drawn + 1) % size),
            _faulty_weights(rows=lambda drawn, size: (drawn - 1) % size),
        ),
    ),
    Mistake(
        "repeated rows dropped",
        "You give each row one weight, in the memory's order; a row may be drawn twice, and then it"
        " has a weight in both places.",
        (
            _faulty_weights(rows=lambda drawn, size: np.unique(drawn)),
            _faulty_weights(rows=lambda drawn, size: np.sort(drawn)),
        ),
    ),
)


def _weights_case(rng: Generator) -> tuple[Any, ...]:
    size, batch = int(rng.integers(4, 9)), int(rng.integers(2, 5))
    priorities = rng.choice([0.1, 0.5, 1.0, 2.0, 5.0], size)
    drawn = rng.integers(size, size=batch)
    alpha, beta = rng.choice([0.0, 0.5, 0.6, 1.0]), rng.choice([0.0, 0.4, 0.7, 1.0])
    return priorities, drawn, float(alpha), float(beta)


# Two streams put together, and how that goes wrong.


def _faulty_dueling(
    *,
    less: Callable[[Table], Any] = lambda advantages: advantages.mean(axis=1, keepdims=True),
    scale: Callable[[Table], Any] = lambda advantages: 1.0,
    base: Callable[[Table], Any] = lambda values: values,
) -> Function:
    """Equation 9 of the paper, any part of which may be put wrong."""

    def dueling(values: Table, advantages: Table) -> Table:
        centred = (advantages - less(advantages)) / scale(advantages)
        return np.asarray(base(values) + centred)

    return dueling


_DUELING_MISTAKES = (
    Mistake(
        "mean not subtracted",
        "You add values and advantages as they are, so that nothing tells them apart: 1 more here"
        " and 1 less there is the same. Subtract each row's mean advantage.",
        (_faulty_dueling(less=lambda advantages: 0.0),),
    ),
    Mistake(
        "maximum instead of mean",
        "You subtract each row's largest advantage, the paper's equation 8; equation 9 subtracts"
        " the mean.",
        (_faulty_dueling(less=lambda advantages: advantages.max(axis=1, keepdims=True)),),
    ),
    Mistake(
        "mean over the batch",
        "You take the mean over the rows, or over everything; it is over the actions of each row,"
        " axis 1.",
        (
            _faulty_dueling(less=lambda advantages: advantages.mean(axis=0, keepdims=True)),
            _faulty_dueling(less=lambda advantages: advantages.mean()),
        ),
    ),
    Mistake(
        "sum instead of mean",
        "You subtract the sum of a row's advantages; it is their mean.",
        (_faulty_dueling(less=lambda advantages: advantages.sum(axis=1, keepdims=True)),),
    ),
    Mistake(
        "sign",
        "You add where you should subtract, or subtract where you should add: it is value plus"
        " advantage minus mean advantage.",
        (
            _faulty_dueling(less=lambda advantages: -advantages.mean(axis=1, keepdims=True)),
            _faulty_dueling(scale=lambda advantages: -1.0),
            _faulty_dueling(base=lambda values: -values),
        ),
    ),
    Mistake(
        "value dropped",
        "Your rows have mean 0, whatever the state is worth; the mean of a row is its value.",
        (_faulty_dueling(base=lambda values: 0.0),),
    ),
    Mistake(
        "one value for all",
        "You give all rows the same value; each row has its own.",
        (
            _faulty_dueling(base=lambda values: values.mean()),
            _faulty_dueling(base=lambda values: values[0]),
            _faulty_dueling(base=lambda values: values.sum()),
        ),
    ),
    Mistake(
        "advantages normalised",
        "You divide by the standard deviation; nothing is divided.",
        (
            _faulty_dueling(scale=lambda advantages: advantages.std(axis=1, keepdims=True)),
            _faulty_dueling(scale=lambda advantages: advantages.std(axis=1, keepdims=True, ddof=1)),
        ),
    ),
)


def _dueling_case(rng: Generator) -> tuple[Any, ...]:
    size, num_actions = int(rng.integers(2, 6)), int(rng.integers(3, 6))
    return rng.normal(size=(size, 1)).round(3), rng.normal(size=(size, num_actions)).round(3)


# Distributions put back onto their atoms, and how that goes wrong.

# Of places among `most` + 1 atoms, (B, K): the atom below, the atom above, and what each gets.
_Shares = tuple[Whole, Whole, Table, Table]


def _neighbours(places: Table, most: int) -> _Shares:
    """The two beside a place; where that is an atom, both are this one."""
    lower, upper = np.floor(places).astype(np.int64), np.ceil(places).astype(np.int64)
    return lower, upper, 1 - (places - lower), places - lower


def _two_neighbours(places: Table, most: int) -> _Shares:
    """Always two different ones; where the place is an atom, the other gets nothing."""
    lower = np.minimum(np.floor(places).astype(np.int64), most - 1)
    return lower, lower + 1, 1 - (places - lower), places - lower


def _none_where_exact(places: Table, most: int) -> _Shares:
    """As the paper's algorithm 1 is written: where both are one atom, it gets nothing."""
    lower, upper, _, high = _neighbours(places, most)
    return lower, upper, upper - places, high


def _one(choose: Callable[[Table], Table]) -> Callable[[Table, int], _Shares]:
    """All to one atom."""

    def shares(places: Table, most: int) -> _Shares:
        chosen = choose(places).astype(np.int64)
        return chosen, chosen, np.ones_like(places), np.zeros_like(places)

    return shares


def _halves(places: Table, most: int) -> _Shares:
    lower, upper, _, _ = _neighbours(places, most)
    return lower, upper, np.full_like(places, 0.5), np.full_like(places, 0.5)


def _swapped(shares: Callable[[Table, int], _Shares]) -> Callable[[Table, int], _Shares]:
    def swapped(places: Table, most: int) -> _Shares:
        lower, upper, low, high = shares(places, most)
        return lower, upper, high, low

    return swapped


def _added(projected: Table, lower: Whole, upper: Whole, low: Table, high: Table) -> None:
    rows = np.arange(len(lower))
    for atom in range(lower.shape[1]):
        projected[rows, lower[:, atom]] += low[:, atom]
        projected[rows, upper[:, atom]] += high[:, atom]


def _overwritten(projected: Table, lower: Whole, upper: Whole, low: Table, high: Table) -> None:
    rows = np.arange(len(lower))
    for atom in range(lower.shape[1]):
        projected[rows, lower[:, atom]] = low[:, atom]
        projected[rows, upper[:, atom]] = high[:, atom]


def _added_once(projected: Table, lower: Whole, upper: Whole, low: Table, high: Table) -> None:
    rows = np.arange(len(lower))[:, None]
    projected[rows, lower] += low
    projected[rows, upper] += high


def _faulty_projection(
    *,
    moved: Callable[[Table, Table, Table], Table] = lambda returns, discounts, support: (
        returns + discounts * support
    ),
    place: Callable[[Table, float, float], Table] = lambda moved, lowest, spacing: (
        (moved - lowest) / spacing
    ),
    gaps: Callable[[int], int] = lambda num_atoms: num_atoms - 1,
    shares: Callable[[Table, int], _Shares] = _neighbours,
    write: Callable[[Table, Whole, Whole, Table, Table], None] = _added,
    lost: bool = False,
) -> Function:
    """Algorithm 1 of the paper, any part of which may be put wrong.

    Args:
        moved: to where the returns put the atoms; of (B, 1), (B, 1) and (K,).
        place: of what was moved, counted in atoms from the lowest.
        gaps: between so many atoms.
        shares: of the atom below and the atom above.
        write: puts probabilities in their places.
        lost: what would land outside is dropped.
    """

    def projection(support: Table, returns: Table, discounts: Table, probabilities: Table) -> Table:
        most = len(support) - 1
        spacing = (support[-1] - support[0]) / gaps(len(support))
        free = place(moved(returns[:, None], discounts[:, None], support), support[0], spacing)
        lower, upper, low, high = shares(free.clip(0, most), most)
        kept = probabilities * ((free >= 0) & (free <= most)) if lost else probabilities
        projected = np.zeros_like(probabilities)
        write(projected, lower, upper, low * kept, high * kept)
        return projected

    return projection


def _shares_of_what_is_left(
    support: Table, returns: Table, discounts: Table, probabilities: Table
) -> Table:
    """The shares of atoms that land a little outside: in part within, and the rest is lost."""
    moved = returns[:, None] + discounts[:, None] * support
    apart = (moved[:, None, :] - support[:, None]) / (support[1] - support[0])
    return np.asarray(((1 - abs(apart)).clip(min=0) * probabilities[:, None, :]).sum(axis=2))


_PROJECTION_MISTAKES = (
    Mistake(
        "no clipping",
        "What lands beyond the outermost atoms is lost, and your probabilities add up to less than"
        " before; put it on the outermost atom.",
        (_faulty_projection(lost=True), _shares_of_what_is_left),
    ),
    Mistake(
        "mass lost where an atom lands on another",
        "Where an atom lands exactly on another, floor and ceil are the same, both shares are 0,"
        " and its probability is lost; that atom gets all of it.",
        (_faulty_projection(shares=_none_where_exact),),
    ),
    Mistake(
        "nearer atom gets all",
        "You round to the nearer atom, which changes the mean; both neighbours get a share.",
        (
            _faulty_projection(shares=_one(np.rint)),
            _faulty_projection(shares=_one(lambda places: np.floor(places + 0.5))),
        ),
    ),
    Mistake(
        "one neighbour gets all",
        "You always give everything to the atom below, or to the one above, which changes the mean;"
        " both neighbours get a share.",
        (_faulty_projection(shares=_one(np.floor)), _faulty_projection(shares=_one(np.ceil))),
    ),
    Mistake(
        "halves",
        "You give both neighbours a half; the nearer one gets more.",
        (_faulty_projection(shares=_halves),),
    ),
    Mistake(
        "shares the wrong way round",
        "Your further neighbour gets more than the nearer one; the share of each is 1 less its own"
        " distance.",
        (
            _faulty_projection(shares=_swapped(_neighbours)),
            _faulty_projection(shares=_swapped(_two_neighbours)),
        ),
    ),
    Mistake(
        "overwritten",
        "Where several atoms share a neighbour, you keep what came last; add them up. (To NumPy"
        " m[rows, places] += p adds once to each place; np.add.at adds all.)",
        (
            _faulty_projection(write=_overwritten),
            _faulty_projection(write=_overwritten, shares=_two_neighbours),
            _faulty_projection(write=_added_once),
            _faulty_projection(write=_added_once, shares=_two_neighbours),
        ),
    ),
    Mistake(
        "discount dropped",
        "You move the atoms by the return, and do not draw them together; multiply them by the"
        " discount, which is 0 after the end.",
        (_faulty_projection(moved=lambda returns, discounts, support: returns + support),),
    ),
    Mistake(
        "return dropped",
        "You multiply the atoms by the discount, and leave out the return.",
        (
            _faulty_projection(
                moved=lambda returns, discounts, support: discounts * support + 0 * returns
            ),
        ),
    ),
    Mistake(
        "discounted return",
        "You multiply the return by the discount as well; only what comes after it is discounted.",
        (
            _faulty_projection(
                moved=lambda returns, discounts, support: discounts * (returns + support)
            ),
        ),
    ),
    Mistake(
        "sign",
        "You subtract the one from the other; an atom z moves to return + discount * z.",
        (
            _faulty_projection(
                moved=lambda returns, discounts, support: returns - discounts * support
            ),
            _faulty_projection(
                moved=lambda returns, discounts, support: discounts * support - returns
            ),
        ),
    ),
    Mistake(
        "not divided by the spacing",
        "You count in returns where you should count in atoms: divide by how far apart the atoms"
        " are.",
        (_faulty_projection(place=lambda moved, lowest, spacing: moved - lowest),),
    ),
    Mistake(
        "lowest atom not subtracted",
        "You count atoms from a return of 0; the first atom is at support[0].",
        (_faulty_projection(place=lambda moved, lowest, spacing: moved / spacing),),
    ),
    Mistake(
        "off by one",
        "You divide by the wrong spacing: between K atoms there are K - 1 gaps.",
        (
            _faulty_projection(gaps=lambda num_atoms: num_atoms),
            _faulty_projection(gaps=lambda num_atoms: num_atoms - 2),
        ),
    ),
)


def _projection_case(rng: Generator) -> tuple[Any, ...]:
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


# The mean of the middle half, and how it goes wrong.


def _quarter(number: int) -> int:
    return number // 4


def _faulty_middle(
    *,
    ordered: Callable[[Table], Table] = np.sort,
    first: Callable[[int], int] = _quarter,
    last: Callable[[int], int] = _quarter,
    mean: Callable[[Table, int], Any] = lambda kept, number: kept.mean(),
) -> Function:
    """The interquartile mean, any part of which may be put wrong.

    Args:
        ordered: the scores in order.
        first: how many of so many are dropped at the low end.
        last: how many at the high end.
        mean: of those kept, out of so many.
    """

    def middle(scores: Table) -> float:
        number = len(scores)
        kept = ordered(scores)[first(number) : number - last(number)]
        return float(mean(kept, number))

    return middle


def _dropping(count: Callable[[int], int]) -> Function:
    """Another number, the same at both ends."""
    return _faulty_middle(first=count, last=count)


def _quartiles(scores: Table) -> Table:
    return np.quantile(scores, [0.25, 0.75])


def _between_quartiles(scores: Table) -> float:
    low, high = _quartiles(scores)
    return float(scores[(scores >= low) & (scores <= high)].mean())


def _in_part(scores: Table) -> float:
    """The quarter that is dropped at each end may end within a score, which then counts in part."""
    number = len(scores)
    ends = np.arange(number + 1).clip(number / 4, 3 * number / 4)
    return float(np.sort(scores) @ np.diff(ends) / (number / 2))


def _pulled_in(scores: Table) -> float:
    ordered, dropped = np.sort(scores), len(scores) // 4
    return float(ordered.clip(ordered[dropped], ordered[-dropped - 1]).mean())


_MIDDLE_MISTAKES = (
    Mistake(
        "plain mean",
        "This is the mean of all scores, which one run can move as far as it likes; leave out the"
        " lowest and the highest quarter.",
        (_dropping(lambda number: 0),),
    ),
    Mistake(
        "median",
        "This is the median, which looks at one or two runs; take the mean of the middle half.",
        (lambda scores: float(np.median(scores)),),
    ),
    Mistake(
        "not sorted",
        "You take the middle half of the runs as they come; sort them first.",
        (_faulty_middle(ordered=lambda scores: scores),),
    ),
    Mistake(
        "a quarter in total",
        "You drop an eighth at each end; it is a quarter at each, which leaves half.",
        (_dropping(lambda number: number // 8),),
    ),
    Mistake(
        "one end only",
        "You drop a quarter at one end alone; it is a quarter at each.",
        (_faulty_middle(first=lambda number: 0), _faulty_middle(last=lambda number: 0)),
    ),
    Mistake(
        "rounding up",
        "You round the number to drop up, or to the nearest; it is rounded down: int(n / 4).",
        (
            _dropping(lambda number: -(-number // 4)),
            _dropping(lambda number: round(number / 4)),
        ),
    ),
    Mistake(
        "off by one",
        "You drop one score too many, or one too few, at one of the ends.",
        (
            _faulty_middle(first=lambda number: number // 4 + 1),
            _faulty_middle(first=lambda number: number // 4 - 1),
            _faulty_middle(last=lambda number: number // 4 + 1),
            _faulty_middle(last=lambda number: number // 4 - 1),
        ),
    ),
    Mistake(
        "scores between the quartiles",
        "You keep the scores between the two quartiles, which drops n / 4 at each end, rounded to"
        " the nearest; it is rounded down: int(n / 4).",
        (_between_quartiles, _dropping(lambda number: (number + 2) // 4)),
    ),
    Mistake(
        "scores in part",
        "You count the scores at the edge of the middle half in part; here whole ones are dropped,"
        " int(n / 4) at each end.",
        (_in_part,),
    ),
    Mistake(
        "quartiles only",
        "You work with the two quartiles alone; it is the mean of the scores between them.",
        (
            lambda scores: float(_quartiles(scores).mean()),
            lambda scores: float(np.diff(_quartiles(scores))[0]),
        ),
    ),
    Mistake(
        "divided by all",
        "You divide by the number of all scores, or by half of it; divide by how many are left.",
        (
            _faulty_middle(mean=lambda kept, number: kept.sum() / number),
            _faulty_middle(mean=lambda kept, number: kept.sum() / (number / 2)),
            _faulty_middle(mean=lambda kept, number: kept.sum() / (number // 2)),
        ),
    ),
    Mistake(
        "pulled in",
        "You move the outer scores to where the middle half ends, and count them there; leave them"
        " out.",
        (_pulled_in,),
    ),
)


def _middle_case(rng: Generator) -> tuple[Any, ...]:
    """Skewed, as scores are: most runs do alike, and some fail."""
    return (rng.exponential(10, int(rng.integers(4, 21))).round(2),)


# The deep sea, and how it goes wrong.

SIZE = 5
TOLL = 0.01 / SIZE
LEFT, RIGHT = 0, 1


def _deep_sea(
    *,
    start: int = 0,
    steps: tuple[int, int] = (-1, 1),
    wall: Callable[[int], int] = lambda column: min(max(column, 0), SIZE - 1),
    number: Callable[[int, int], int] = lambda row, column: SIZE * row + column,
    last: int = SIZE,
    tolls: tuple[float, float] = (0.0, TOLL),
    last_toll: float = 1.0,
    treasure: Callable[[int, int], bool] = lambda column, action: (
        column == SIZE - 1 and action == RIGHT
    ),
    worth: float = 1.0,
    on_arrival: bool = False,
    drifts: bool = False,
    terminates: bool = True,
    swapped: bool = False,
    surfaces: bool = True,
    counts_again: bool = True,
) -> Function:
    """A function that makes the deep sea, any part of which may be put wrong.

    Args:
        steps: to the right, of both actions.
        wall: the column in which one ends up.
        number: of the cell in this row and column.
        last: the number of the step that ends the episode.
        tolls: of both actions.
        last_toll: a factor of the toll of the last step.
        treasure: whether the last step finds it, from this column, with this action.
        worth: of the treasure.
        on_arrival: the treasure is found by reaching its cell.
        drifts: the last step moves too, within the bottom row.
        surfaces: reset() goes back to the start.
        counts_again: reset() counts the steps from 0 again.
    """

    def make_env() -> Any:
        import gymnasium

        class DeepSea(gymnasium.Env[Any, Any]):
            observation_space = gymnasium.spaces.Discrete(SIZE * SIZE)
            action_space = gymnasium.spaces.Discrete(2)
            row, column = divmod(start, SIZE)
            taken = 0

            def reset(
                self, *, seed: int | None = None, options: dict[str, Any] | None = None
            ) -> tuple[int, dict[str, Any]]:
                super().reset(seed=seed)
                if surfaces:
                    self.row, self.column = divmod(start, SIZE)
                if counts_again:
                    self.taken = 0
                return number(self.row, self.column), {}

            def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
                self.taken += 1
                ends = self.taken == last
                found = ends and treasure(self.column, action) and not on_arrival
                reward = worth * found - tolls[action] * (last_toll if ends else 1)
                if self.row < SIZE - 1 or drifts:
                    self.column = wall(self.column + steps[action])
                if self.row < SIZE - 1:
                    self.row += 1
                    corner = number(self.row, self.column) == SIZE * SIZE - 1
                    reward += worth * (on_arrival and corner)
                over = ends and terminates
                obs = number(self.row, self.column)
                return obs, reward, over and not swapped, over and swapped, {}

        return DeepSea()

    return make_env


_SEA_MISTAKES = (
    Mistake(
        "moves the wrong way",
        "In your world action 0 goes to the right and action 1 to the left; it is the other way"
        " about.",
        (
            _deep_sea(steps=(1, -1)),
            _deep_sea(
                steps=(1, -1),
                tolls=(TOLL, 0.0),
                treasure=lambda column, action: column == SIZE - 1 and action == LEFT,
            ),
        ),
    ),
    Mistake(
        "straight down",
        "In your world action 0 goes straight down; it goes one column to the left as well.",
        (_deep_sea(steps=(0, 1)),),
    ),
    Mistake(
        "walls that let through",
        "Whoever goes left in column 0 of your world comes out elsewhere; they stay in column 0.",
        (
            _deep_sea(wall=lambda column: column % SIZE),
            _deep_sea(wall=lambda column: column),
        ),
    ),
    Mistake(
        "numbered by columns",
        "You number the cells column by column; the cell is 5 * row + column.",
        (_deep_sea(number=lambda row, column: SIZE * column + row),),
    ),
    Mistake(
        "ends on reaching the bottom",
        "Your episodes have four steps; the fifth, which is made from the bottom row, ends them.",
        (
            _deep_sea(last=SIZE - 1),
            _deep_sea(last=SIZE - 1, on_arrival=True),
        ),
    ),
    Mistake(
        "does not terminate",
        "The fifth step ends the episode, whichever action it is.",
        (_deep_sea(terminates=False),),
    ),
    Mistake(
        "terminated and truncated swapped",
        "Your world says truncated where it ends by its own rules. step() returns obs, reward,"
        " terminated, truncated, info.",
        (_deep_sea(swapped=True),),
    ),
    Mistake(
        "last step moves",
        "Your fifth step moves within the bottom row; it only ends the episode, and the observation"
        " is the cell that it was made from.",
        (_deep_sea(drifts=True),),
    ),
    Mistake(
        "treasure on arrival",
        "You pay 1 for reaching cell 24; it takes a fifth step with action 1 from there.",
        (_deep_sea(on_arrival=True),),
    ),
    Mistake(
        "treasure for any action",
        "Action 0 does not find the treasure, even from cell 24.",
        (_deep_sea(treasure=lambda column, action: column == SIZE - 1),),
    ),
    Mistake(
        "treasure in another cell",
        "The treasure is found from cell 24 alone, the last one of the bottom row.",
        (
            _deep_sea(treasure=lambda column, action: action == RIGHT),
            _deep_sea(treasure=lambda column, action: column == SIZE - 2 and action == RIGHT),
        ),
    ),
    Mistake(
        "wrong treasure",
        "From cell 24, the fifth step with action 1 pays 1, less what the step costs.",
        tuple(_deep_sea(worth=worth) for worth in (0.0, -1.0, 0.99, 10.0)),
    ),
    Mistake(
        "cost dropped",
        "In your world going to the right costs nothing; it costs 0.002.",
        (_deep_sea(tolls=(0.0, 0.0)),),
    ),
    Mistake(
        "cost not divided",
        "A step to the right costs 0.01 / 5, so that all five together cost 0.01.",
        (_deep_sea(tolls=(0.0, 0.01)),),
    ),
    Mistake(
        "cost of the wrong steps",
        "A step with action 1 costs 0.002, and one with action 0 nothing.",
        (_deep_sea(tolls=(TOLL, TOLL)), _deep_sea(tolls=(TOLL, 0.0))),
    ),
    Mistake(
        "last step is free",
        "Your fifth step costs nothing; with action 1 it costs 0.002, as every other, also where it"
        " finds the treasure.",
        (_deep_sea(last_toll=0.0),),
    ),
    Mistake(
        "sign",
        "You pay for a step to the right; it costs, so that its reward is -0.002.",
        (_deep_sea(tolls=(0.0, -TOLL)),),
    ),
    Mistake(
        "does not reset",
        "Your second episode goes on where the first one ended: put cell 0 back in reset(), and"
        " count the steps from 0 again.",
        (_deep_sea(surfaces=False), _deep_sea(counts_again=False)),
    ),
    Mistake(
        "starts in the wrong cell",
        "reset() must begin in cell 0, at the top left.",
        tuple(_deep_sea(start=cell) for cell in range(1, SIZE * SIZE)),
    ),
)


def _sea_case(rng: Generator) -> tuple[Any, ...]:
    """The actions of three episodes; chance alone would seldom get to the treasure."""
    return tuple(
        [*([RIGHT] * (SIZE - 1) if rng.random() < 0.4 else _any(rng, SIZE - 1)), *_any(rng, 1)]
        for _ in range(3)
    )


def _any(rng: Generator, number: int) -> list[int]:
    return [int(action) for action in rng.integers(2, size=number)]


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        FunctionExercise(
            "double_targets",
            "(rewards, terminated, online, target, gamma) -> targets",
            faulty_targets(_judged),
            targets_case,
            _TARGETS_MISTAKES,
        ),
        FunctionExercise(
            "importance_weights",
            "(priorities, drawn, alpha, beta) -> weights",
            _faulty_weights(),
            _weights_case,
            _WEIGHTS_MISTAKES,
        ),
        FunctionExercise(
            "dueling_values",
            "(values, advantages) -> q",
            _faulty_dueling(),
            _dueling_case,
            _DUELING_MISTAKES,
        ),
        FunctionExercise(
            "projection",
            "(support, returns, discounts, probabilities) -> projected",
            _faulty_projection(),
            _projection_case,
            _PROJECTION_MISTAKES,
        ),
        FunctionExercise(
            "interquartile_mean",
            "(scores) -> value",
            _faulty_middle(),
            _middle_case,
            _MIDDLE_MISTAKES,
        ),
        WorldExercise(
            "deep_sea",
            "() -> environment",
            _deep_sea(),
            _sea_case,
            _SEA_MISTAKES,
            num_cases=20,
            num_states=SIZE * SIZE,
            start=0,
        ),
    )
}
