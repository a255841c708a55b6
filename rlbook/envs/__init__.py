"""Environments: how they are made, how their observations and actions are encoded."""
