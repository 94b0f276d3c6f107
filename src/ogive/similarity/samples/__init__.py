"""Samples that a similarity is trained on: simulated, from real pairs, and picked by hand."""
