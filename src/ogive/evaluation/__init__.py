"""Scores of any result against truth, GNSS, stable ground and closure."""
