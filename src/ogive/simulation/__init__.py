"""Glaciers whose motion is known, seen by simulated satellites."""

from .pair import SimplePair, simple_pair

__all__ = ["SimplePair", "simple_pair"]
