"""Glaciers whose motion is known, seen by simulated satellites."""
