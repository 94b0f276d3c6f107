"""Ice divides: from connected ice to individual glaciers, by an elevation model.

The method of Kienholz et al. (2013, J. Glaciol. 59, 925-937, doi 10.3189/2013JoG12J138): where
water would leave the ice there are pour points; what drains to one of them is a flowshed; flowsheds
whose pour points lie close together are one glacier; slivers go to a neighbour. All lengths are
metres and all areas square metres, so that the cell size of the elevation model does not change
the result.
`copy_divides` takes the divides of an inventory instead.
"""

from __future__ import annotations

from .calibration import DividesCalibrated, calibrate_divides
from .copied import copy_divides
from .divide import divide_ice
from .lines import divide_lines
from .options import DivideOptions

__all__ = [
    "DivideOptions",
    "DividesCalibrated",
    "calibrate_divides",
    "copy_divides",
    "divide_ice",
    "divide_lines",
]
