"""Pure functions for the equations of reinforcement learning, one function per equation."""
