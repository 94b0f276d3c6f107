"""Displacement between two images: features, correlation, peaks, search. Arrays in, arrays out."""
