"""Experience: rollouts, and the replay buffer that keeps them."""
