"""Replay of topics, and offline evaluation of what came of it."""
