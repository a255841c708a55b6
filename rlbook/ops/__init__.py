"""The mathematics: pure functions, one for each equation."""
