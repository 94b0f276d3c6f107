"""The steps of a region's road: what each plans, makes jobs of, and does.

`ogive.workflow.steps.road` holds them all; here are only their names, which cost nothing to import.
"""

__all__ = ["NAMES"]

NAMES = ("search", "pair", "match", "calibrate", "cube", "invert", "annual", "report")
"""In the order of the road: each rests on the ones before it."""
