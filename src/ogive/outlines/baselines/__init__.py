"""Other ways to map glaciers, to compare with: each is fitted on tiles and then maps pixels.

A mapper is a function of pixels ``(band, y, x)`` in physical units, in the order of its bands, that
gives the probability of glacier ``(y, x)``. `threshold` and `forest` look at each pixel alone.
DeepLabv3+ is a network (`ogive.outlines.networks.deeplab`) that takes the place of GlaViTU in the
same training.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mapper"]

Mapper = Callable[[NDArray[np.float32]], NDArray[np.float32]]
