"""Blackjack: against card-by-card play, Gymnasium's game, and the optimal policy in print."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from rlbook.tabular import dynamic_programming as dp
from rlbook_envs import blackjack as game
from rlbook_envs.world import transition_table

# Sutton and Barto (2018), figure 5.2: the lowest sum on which to stick, by the dealer's card,
# from an ace to a ten.
STICK_WITHOUT_ACE = [17, 13, 13, 12, 12, 12, 17, 17, 17, 17]
STICK_WITH_ACE = [19, 18, 18, 18, 18, 18, 18, 18, 19, 19]


@pytest.fixture(scope="module")
def table():
    return transition_table(game.blackjack())


@pytest.mark.parametrize("natural_wins", [True, False])
def test_optimal_policy_is_figure_5_2(natural_wins):
    table = transition_table(game.blackjack(natural_wins))
    q = dp.value_iteration(table, gamma=1.0).q
    for usable, stick, lowest in ((0, STICK_WITHOUT_ACE, 11), (1, STICK_WITH_ACE, 12)):
        for dealer, boundary in enumerate(stick, 1):
            for player in range(lowest, 22):
                state = game.number(player, dealer, usable)
                assert (q[state].argmax() == game.STICK) == (player >= boundary)


def test_table_adds_up(table):
    np.testing.assert_allclose(table.probability.sum(axis=2), 1, atol=1e-12)
    assert abs(table.start.sum() - 1) < 1e-12
    assert table.probability.shape == (game.NUM_STATES, 2, 10)


def test_probabilities_of_the_start(table):
    ten, ace = 4 / 13, 1 / 13
    naturals = table.start[game.NATURALS : game.STUCK]
    np.testing.assert_allclose(naturals, 2 * ten * ace * np.array(game.CARDS), atol=1e-15)
    two_tens_against_an_ace = table.start[game.number(20, 1, False)]
    assert abs(two_tens_against_an_ace - ten * ten * ace) < 1e-15
    soft_twelve = table.start[game.number(12, 7, True)]  # two aces
    assert abs(soft_twelve - ace * ace * ace) < 1e-15


def dealer_by_cards(rng, card):
    """Draw card by card, as at a table."""
    hand = [card]
    while True:
        total = sum(hand)
        if 1 in hand and total + 10 <= 21:
            total += 10
        if total >= 17:
            return min(total, 22)
        hand.append(min(int(rng.integers(1, 14)), 10))


@pytest.mark.parametrize("card", range(1, 11))
def test_the_dealer_ends_as_when_drawing_card_by_card(card):
    rng, draws = np.random.default_rng(card), 4000
    found = np.bincount([dealer_by_cards(rng, card) for _ in range(draws)], minlength=23)[17:]
    expected = draws * game.blackjack().params.dealer[card]
    chi_square = ((found - expected) ** 2 / expected).sum()
    assert chi_square < 25.7  # five degrees of freedom: above this once in ten thousand


def test_a_hand_worked_by_cards():
    assert game.add_card(0, 0, 1) == (11, 1)
    assert game.add_card(11, 1, 1) == (12, 1)  # the second ace counts 1
    assert game.add_card(11, 1, 10) == (21, 1)
    assert game.add_card(18, 1, 7) == (15, 0)  # the ace steps back
    assert game.add_card(18, 0, 7) == (25, 0)
    assert game.add_card(10, 0, 1) == (21, 1)


def test_a_natural_wins_unless_the_dealer_has_one(table):
    for dealer, draw in ((1, 4 / 13), (10, 1 / 13), (6, 0.0)):
        state = game.NATURALS + dealer - 1
        for action in range(2):
            np.testing.assert_allclose(table.probability[state, action, :2], [1 - draw, draw])
            assert table.reward[state, action, :2].tolist() == [1.0, 0.0]
            assert table.terminated[state, action, :2].all()
    assert game.hand(state).natural


def play(envs, policy, hands):
    """The mean return, its standard error."""
    obs, _ = envs.reset(seed=3)
    returns, ended = [], np.zeros(envs.num_envs, bool)
    while len(returns) < hands:
        obs, reward, terminated, _, _ = envs.step(policy[obs])
        returns += reward[terminated & ~ended].tolist()
        ended = terminated
    return np.mean(returns), np.std(returns) / np.sqrt(len(returns))


def test_playing_agrees_with_the_table(table):
    policy = dp.value_iteration(table, gamma=1.0).policy
    exact = dp.start_value(table, dp.policy_values(table, policy, gamma=1.0))
    mean, error = play(gymnasium.make_vec("rlbook/Blackjack-v0", num_envs=1000), policy, 400_000)
    assert abs(mean - exact) < 4 * error


def test_without_naturals_it_is_the_game_of_gymnasium():
    table = transition_table(game.blackjack(natural_wins=False))
    sticks_on_18 = np.array([int(game.hand(state).player < 18) for state in range(game.NUM_STATES)])
    exact = dp.start_value(table, dp.policy_values(table, sticks_on_18, gamma=1.0))
    env, returns = gymnasium.make("Blackjack-v1", natural=False, sab=False), []
    for hand in range(20_000):
        (player, _, _), terminated = env.reset(seed=1 if hand == 0 else None)[0], False
        while not terminated:
            (player, _, _), reward, terminated, _, _ = env.step(int(player < 18))
        returns.append(reward)
    assert abs(np.mean(returns) - exact) < 4 * np.std(returns) / np.sqrt(len(returns))


def test_every_state_has_its_hand_and_its_picture():
    table = game.blackjack().params
    for state in range(game.NUM_STATES):
        hand = game.hand(state)
        possible = hand.player >= 12 or not hand.usable_ace  # with an ace it is 12 or more
        if not hand.over and not hand.natural and possible:
            assert game.number(hand.player, hand.dealer, hand.usable_ace) == state
        assert hand.over == (state >= game.STUCK)
        assert str(hand.player) in game.text(table, state)
    for state in (game.number(14, 10, True), game.NATURALS, game.STUCK, game.NUM_STATES - 1):
        assert game.picture(table, state).shape == (256, 256, 3)


@pytest.mark.parametrize(
    "hand", [(3, 1, False), (22, 1, False), (11, 1, True), (12, 0, True), (12, 11, False)]
)
def test_a_hand_that_cannot_be_is_refused(hand):
    with pytest.raises(ValueError, match=r"^(player|dealer) must be a whole number from .*, got "):
        game.number(*hand)


@pytest.mark.parametrize("state", [-1, game.NUM_STATES])
def test_a_state_that_cannot_be_is_refused(state):
    with pytest.raises(ValueError, match=r"^state must be "):
        game.hand(state)


def test_made_by_gymnasium():
    check_env(gymnasium.make("rlbook/Blackjack-v0").unwrapped, skip_render_check=True)
