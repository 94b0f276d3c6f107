"""What middle images say beside the displacement: where the ice was, and how well steps close."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..model import Flag
from .evidence import Joint
from .joint import Leg
from .looks import Looks

__all__ = ["LONG_NAMES", "with_closure"]

LONG_NAMES = {
    "closure_residual": "length of d12(x) + d23(x + d12) - d13(x), best supported middle image",
    "closure_dx": "d12(x) + d23(x + d12) - d13(x) along +x",
    "closure_dy": "d12(x) + d23(x + d12) - d13(x) along +y",
    "middle_dx": "displacement along +x, from the first image to the middle one",
    "middle_dy": "displacement along +y, from the first image to the middle one",
    "path_support": "twice the log likelihood ratio of the path by the middle image",
}


def with_closure(result: xr.Dataset, joint: Joint, legs: list[Leg], looks: Looks) -> xr.Dataset:
    """Add what the middle images say, in the units and directions of the coordinates.

    Parameters
    ----------
    result
        On ``(y, x)``, with ``dx, dy`` and ``flag``; it is changed.
    joint, legs
        Of the points row by row, in pixels; nothing is added where there is no leg.
    looks
        The images, whose coordinates and dates are taken.

    Returns
    -------
    xarray.Dataset
        With the variables of `LONG_NAMES`, all but the residual along ``middle``.
    """
    if not legs:
        return result
    axes = looks.axes
    shape = (len(legs), result.sizes["y"], result.sizes["x"])
    measured = result["flag"].values == Flag.MEASURED
    middle_dx, middle_dy, onward_dx, onward_dy, support = (
        np.stack(values).reshape(shape)
        for values in (
            [leg.before.u * axes.dx for leg in legs],
            [leg.before.v * axes.dy for leg in legs],
            [leg.after.u * axes.dx for leg in legs],
            [leg.after.v * axes.dy for leg in legs],
            [path.support for path in joint.paths],
        )
    )
    closure_dx = middle_dx + onward_dx - result["dx"].values
    closure_dy = middle_dy + onward_dy - result["dy"].values
    best = np.argmax(np.where(np.isfinite(support), support, -np.inf), axis=0)[None]
    residual = np.take_along_axis(np.hypot(closure_dx, closure_dy), best, axis=0)[0]
    speaks = np.take_along_axis(support, best, axis=0)[0] > 0
    planes = {
        "closure_dx": closure_dx, "closure_dy": closure_dy, "middle_dx": middle_dx,
        "middle_dy": middle_dy, "path_support": support,
    }  # fmt: skip
    for name, values in planes.items():
        values = np.where(measured, values, np.nan).astype(np.float32)
        unit = "1" if name == "path_support" else axes.units
        result[name] = (
            ("middle", "y", "x"), values, {"long_name": LONG_NAMES[name], "units": unit},
        )  # fmt: skip
    result["closure_residual"] = (
        ("y", "x"), np.where(measured & speaks, residual, np.nan).astype(np.float32),
        {"long_name": LONG_NAMES["closure_residual"], "units": axes.units},
    )  # fmt: skip
    if looks.dates is not None:
        result = result.assign_coords(middle_time=("middle", looks.dates[1:-1]))
    return result
