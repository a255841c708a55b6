"""Blackjack: draw cards to come as close to 21 as possible without exceeding it.

    dealer  10                         actions  0 stick   1 hit
    player  14, with a usable ace

Cards are drawn with replacement. Cards 2 to 10 count their number and the three court cards count
10. An ace counts 11 if the hand then does not exceed 21 (the ace is then called *usable*), and
otherwise 1. The player sees one card of the dealer, and can hit as long as the hand does not exceed
21, or stick. A hand above 21 loses. After the player sticks, the dealer draws cards up to a total
of 17 or more. The hand nearer to 21 wins. The reward is +1 for a win, 0 for a draw and -1 for a
loss; every other step has reward 0. An ace and a ten at the start are a *natural*, which wins at
once unless the dealer has a natural, too.

This is example 5.1 of Sutton and Barto (2018). With `natural_wins=False`, a natural is a 21 like
any other, as in Gymnasium's `Blackjack-v1`.

The states are numbered, so that the exact optimum can be computed. `hand` converts the number of a
state to a hand, and `number` converts a hand to the number of its state. After the player sticks,
the dealer's final total is drawn as one random outcome, whose probabilities are precomputed for
each card that the dealer can show. Drawing card by card would give the same game, but a hundred
thousand outcomes per state in the transition table.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlbook_envs.compiled import rule
from rlbook_envs.scene import Scene
from rlbook_envs.streams import choice, random_bits
from rlbook_envs.world import World, makers

STICK, HIT = 0, 1
CARDS = (1 / 13,) * 9 + (4 / 13,)  # probabilities of an ace, 2, …, 9, and a card that counts 10

# The states: hands in play; naturals; hands after sticking; hands that went over 21.
LOWEST, HIGHEST, TOTALS = 4, 21, 18  # sums of a hand in play: 4 to 21
NATURALS = TOTALS * 10 * 2
STUCK = NATURALS + 10
BUSTED = STUCK + TOTALS * 6
NUM_STATES = BUSTED + 10 * 10
DEALER_BUST = 22  # stands for every total of the dealer above 21


class Table(NamedTuple):
    """Parameters of the rules."""

    dealer: NDArray[np.float64]  # (11, 6), P(17), …, P(21), P(above) given the card shown
    natural_wins: bool


class Hand(NamedTuple):
    """The hands that a state stands for.

    Attributes:
        player: the sum of the player's cards.
        dealer: the card that the dealer shows, 1 for an ace; after the player sticks, the dealer's
            final total, with 22 for every total above 21.
        usable_ace: whether an ace in the player's hand counts 11.
        natural: whether the player's hand is a natural and naturals win.
        over: whether the game has ended.
    """

    player: int
    dealer: int
    usable_ace: bool
    natural: bool
    over: bool


@rule
def step(table: Table, state: int, action: int, key: Any) -> tuple[int, float, bool]:
    """Stick or hit."""
    if state >= STUCK:  # the game has ended, so nothing changes
        return state, 0.0, True
    if state >= NATURALS:
        return _play_natural(state, key)
    player, dealer, usable = state // 20 + LOWEST, state // 2 % 10 + 1, state % 2
    if action == STICK:
        total = 17 + choice(key, table.dealer[dealer])
        after = STUCK + (player - LOWEST) * 6 + total - 17
        return after, float(_compare(player, total)), True

    player, usable = add_card(player, usable, 1 + choice(key, CARDS))
    if player > 21:
        return BUSTED + (player - 22) * 10 + dealer - 1, -1.0, True
    return _number(player, dealer, usable), 0.0, False


@rule
def reset(table: Table, key: Any) -> int:
    """Begin a game: deal two cards to the player and one open card to the dealer."""
    first, second = 1 + choice(key, CARDS), 1 + choice(random_bits(key, 1), CARDS)
    dealer = 1 + choice(random_bits(key, 2), CARDS)
    player, usable = add_card(0, 0, first)
    player, usable = add_card(player, usable, second)
    if table.natural_wins and player == 21:
        return NATURALS + dealer - 1
    return _number(player, dealer, usable)


@rule
def add_card(total: int, usable: int, card: int) -> tuple[int, int]:
    """Return the sum of a hand after one more card, and whether an ace counts 11 in it."""
    if card == 1 and total <= 10:
        return total + 11, 1
    total += card
    if total > 21 and usable:
        return total - 10, 0
    return total, usable


@rule
def _play_natural(state: int, key: Any) -> tuple[int, float, bool]:
    """Settle a natural: it wins whatever the action, or draws if the dealer has one, too."""
    dealer = state - NATURALS + 1
    probability = 0.0
    if dealer == 1:
        probability = CARDS[9]
    elif dealer == 10:
        probability = CARDS[0]
    if choice(key, (1.0 - probability, probability)) == 1:
        return STUCK + (21 - LOWEST) * 6 + 21 - 17, 0.0, True
    return state, 1.0, True


@rule
def _compare(player: int, dealer: int) -> int:
    """Return 1 if the player wins, 0 for a draw, and -1 if the dealer wins."""
    if dealer > 21:
        return 1
    return int(player > dealer) - int(player < dealer)


@rule
def _number(player: int, dealer: int, usable: int) -> int:
    return ((player - LOWEST) * 10 + dealer - 1) * 2 + usable


def number(player: int, dealer: int, usable_ace: bool) -> int:
    """Return the number of the state of a hand in play.

    Args:
        player: the sum of the player's cards, 4 to 21; 12 or more with a usable ace.
        dealer: the card that the dealer shows, 1 (an ace) to 10.
        usable_ace: whether an ace counts 11.

    Raises:
        ValueError: there is no such hand.
    """
    lowest = 12 if usable_ace else LOWEST
    for name, value, least, most in (("player", player, lowest, 21), ("dealer", dealer, 1, 10)):
        if not least <= value <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
    return _number(int(player), int(dealer), int(usable_ace))


def hand(state: int) -> Hand:
    """Return the hands that the number of a state stands for.

    >>> hand(number(14, 10, usable_ace=True))
    Hand(player=14, dealer=10, usable_ace=True, natural=False, over=False)

    Raises:
        ValueError: there is no such state.
    """
    if not 0 <= state < NUM_STATES:
        raise ValueError(f"state must be a whole number from 0 to {NUM_STATES - 1}, got {state!r}")
    state = int(state)
    if state < NATURALS:
        return Hand(state // 20 + LOWEST, state // 2 % 10 + 1, bool(state % 2), False, False)
    if state < STUCK:
        return Hand(21, state - NATURALS + 1, True, True, False)
    if state < BUSTED:
        player, dealer = divmod(state - STUCK, 6)
        return Hand(player + LOWEST, dealer + 17, False, False, True)
    player, dealer = divmod(state - BUSTED, 10)
    return Hand(player + 22, dealer + 1, False, False, True)


@cache
def dealer_totals(total: int, usable: int) -> NDArray[np.float64]:
    """Return the probabilities that the dealer ends on 17, …, 21, or above, (6,) float64.

    Args:
        total: the sum of the dealer's cards so far.
        usable: whether an ace counts 11 in it, 0 or 1.
    """
    if total >= 17:
        return np.eye(6)[min(total, DEALER_BUST) - 17]
    probabilities = np.zeros(6)
    for card, probability in enumerate(CARDS, 1):
        probabilities += probability * dealer_totals(*add_card(total, usable, card))
    return probabilities


def blackjack(natural_wins: bool = True) -> World:
    """Return the rules of Blackjack.

    Args:
        natural_wins: whether an ace and a ten at the start beat every other 21.
    """
    shown = [add_card(0, 0, card) for card in range(1, 11)]
    dealer = np.array([np.zeros(6), *(dealer_totals(*cards) for cards in shown)])
    table = Table(dealer, bool(natural_wins))
    return World("Blackjack", table, reset, step, NUM_STATES, ("stick", "hit"), text, picture)


# The entry points of `gymnasium.make("rlbook/Blackjack-v0", …)` and `gymnasium.make_vec`.
make_env, make_vector_env = makers(blackjack)


def text(table: Table, state: int) -> str:
    """Return both hands as text."""
    player, dealer, usable_ace, natural, over = hand(state)
    stuck = over and player <= 21
    theirs = "ace" if dealer == 1 else "above 21" if dealer == DEALER_BUST else str(dealer)
    extra = ", a natural" if natural else ", with a usable ace" if usable_ace else ""
    return f"dealer  {'ends on ' if stuck else ''}{theirs}\nplayer  {player}{extra}\n"


FELT, DARK_FELT, PAPER, INK, RED = (
    (44, 110, 84), (36, 94, 72), (252, 250, 244), (44, 52, 66), (196, 58, 48),
)  # fmt: skip
# As in a seven-segment display, each stroke joins two corners of a box 2 units wide and 4 high.
_CORNERS = ((0, 0), (2, 0), (0, 2), (2, 2), (0, 4), (2, 4))
_STROKES = {
    "a": (0, 1),
    "b": (1, 3),
    "c": (3, 5),
    "d": (4, 5),
    "e": (2, 4),
    "f": (0, 2),
    "g": (2, 3),
}
_SIGNS = {
    "0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "4": "fgbc", "5": "afgcd",
    "6": "afgedc", "7": "abc", "8": "abcdefg", "9": "abcdfg", "A": "abcefg", "-": "g",
}  # fmt: skip


def picture(table: Table, state: int, unit: int = 64) -> NDArray[np.uint8]:
    """Return a picture of the table, the dealer's hand on top, uint8 (4 * unit, 4 * unit, 3)."""
    player, dealer, usable_ace, natural, over = hand(state)
    scene = Scene(4, 4, unit, DARK_FELT)
    scene.box((0.1, 0.1), (3.9, 3.9), FELT, radius=0.3)
    scene.line((0.6, 2), (3.4, 2), 0.03, (92, 150, 122))
    result = None
    if over or natural:
        won = 1 if natural else -1 if player > 21 else _compare(player, dealer)
        result = {1: (96, 200, 120), 0: (236, 206, 110), -1: (226, 104, 88)}[won]
        scene.box((0.9, 2.2), (3.1, 3.8), result, radius=0.16)
    stuck = over and player <= 21
    theirs = "A" if dealer == 1 else "-" if dealer == DEALER_BUST else str(dealer)
    if stuck:
        _paint_card(scene, 1.95, 1.05, "", INK)
    else:
        scene.box((2.05, 0.4), (3.0, 1.7), (72, 96, 150), radius=0.1)  # the hidden card
        scene.box((2.13, 0.48), (2.92, 1.62), (104, 128, 178), radius=0.07)
    _paint_card(scene, 1.45, 1.05, theirs, RED if dealer == 1 else INK)
    _paint_card(scene, 2.35, 3.0, "", INK)
    _paint_card(scene, 1.75, 3.0, str(player), RED if player > 21 else INK)
    if usable_ace:
        scene.disc((2.65, 2.6), 0.2, (250, 214, 120))
        _paint_sign(scene, "A", 2.59, 2.5, 0.055, INK)
    return scene.pixels()


def _paint_card(scene: Scene, x: float, y: float, label: str, colour: tuple[int, int, int]) -> None:
    scene.box((x - 0.53, y - 0.69), (x + 0.53, y + 0.71), (28, 74, 56), radius=0.12, opacity=0.6)
    scene.box((x - 0.5, y - 0.68), (x + 0.5, y + 0.68), PAPER, radius=0.1)
    size = 0.13
    left = x - size * (len(label) * 3 - 1) / 2
    for place, sign in enumerate(label):
        _paint_sign(scene, sign, left + place * 3 * size, y - 2 * size, size, colour)


def _paint_sign(
    scene: Scene, sign: str, x: float, y: float, size: float, colour: tuple[int, int, int]
) -> None:
    for stroke in _SIGNS[sign]:
        ends = [_CORNERS[corner] for corner in _STROKES[stroke]]
        start, end = [(x + size * across, y + size * down) for across, down in ends]
        scene.line(start, end, 0.62 * size, colour)
