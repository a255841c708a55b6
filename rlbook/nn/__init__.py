"""Neural networks and their optimisers."""
