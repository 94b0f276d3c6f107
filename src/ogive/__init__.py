"""Measure how glaciers flow, from optical satellite images.

The public functions, in the order of the data's road: images are matched (`match`), calibrated on
stable ground (`calibrate`), made velocities with errors (`velocity`), written and read again.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
