"""How strongly an inversion should prefer steady flow, told by pairs that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from ogive.model import InputError

from .coherence import MOVING_M_YR
from .inversion_input import check_cube, dates_of, errors_of, pixel_dims
from .invert import invert
from .network import Network, build_network

__all__ = ["best_regularisation"]

F8 = NDArray[np.float64]

STRENGTHS = (1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6)
"""What is tried: from hardly any smoothing to hardly any change of velocity."""


def best_regularisation(
    cube: xr.Dataset,
    sampling: str | np.timedelta64 | pd.Timedelta = "36D",
    regularisations: Sequence[float] = STRENGTHS,
    *,
    folds: int = 8,
    pixels: int = 200,
    moving: xr.DataArray | None = None,
    **options: Any,
) -> xr.Dataset:
    """Compare strengths of the regularisation by how well they predict images left out.

    Too weak a λ lets the series follow the errors of its pairs, too strong a one flattens what the
    ice does. One date in ``folds`` is left out with all its pairs, the rest is inverted, and the
    displacements of the pairs left out are compared with the series; each date has its turn
    (cross-validation; Stone 1974, J. R. Stat. Soc. B 36, 111-147). Whole dates, since pairs of one
    image share its errors and would tell them to each other.

    Parameters
    ----------
    cube
        As for `ogive.invert`.
    sampling
        Length of the series' periods.
    regularisations
        The strengths λ to try, above 0.
    folds
        In so many parts the dates are left out.
    pixels
        So many pixels, spread evenly over the moving ice, are tried.
    moving
        True where to look (y, x); by default where the mean speed is above 0.2 m/day, or wherever
        pairs have a value if that is nowhere.
    **options
        Further options of `ogive.invert`.

    Returns
    -------
    xarray.Dataset
        Along ``regularisation``: ``misfit``, the median absolute misfit of the pairs left out, over
        their declared errors, in the mean over pixels, and ``misfit_error``, the standard error of
        that mean. Attribute ``best_regularisation``: the strongest λ whose misfit is within one
        standard error of the least (Breiman et al. 1984), since between weak ones, where a place
        is interpolated from near and well-known ones, hardly anything differs.

    Raises
    ------
    InputError
        If a strength or ``folds`` cannot be used, or if no pair that was left out is predicted.
    DateError
        As for `ogive.invert`.

    Examples
    --------
    Ice whose speed never changes: the stronger the better.

    >>> days = np.datetime64("2020-01-01", "ns") + np.arange(0, 241, 12).astype("timedelta64[D]")
    >>> i, j = np.triu_indices(21, 1)
    >>> speed = np.random.default_rng(0).normal(100, 30 / (j - i), (2, 9, i.size)).T[:, None]
    >>> cube = xr.Dataset(
    ...     {name: (("mid_date", "y", "x"), speed[..., k]) for k, name in enumerate(("vx", "vy"))},
    ...     {"acquisition_date_img1": ("mid_date", days[i]),
    ...      "acquisition_date_img2": ("mid_date", days[j])})
    >>> tried = best_regularisation(cube, "12D", (1, 1e5), weights="uniform", threads=1)
    >>> tried.attrs["best_regularisation"]
    100000.0
    """
    strengths = _checked(regularisations)
    first, second = dates_of(cube)
    check_cube(cube)
    network = build_network(first, second, sampling_days=_NO_PERIOD, closure="dates")
    dates = network.plan.date_days.size
    if not 2 <= folds <= dates:
        raise InputError(f"folds is {folds}: give 2 to {dates}, the number of dates of the cube")
    part = _sample(cube, moving, pixels)
    seen = [
        _left_out(part, network, fold, folds, sampling, strengths, options) for fold in range(folds)
    ]
    return _summary(np.concatenate(seen, axis=2), strengths)


_NO_PERIOD = 1.5
"""Days: some period has to be given for a network whose dates alone are wanted."""


def _checked(regularisations: Sequence[float]) -> F8:
    strengths = np.unique(np.asarray(regularisations, np.float64))
    if strengths.size == 0 or not (np.isfinite(strengths) & (strengths > 0)).all():
        raise InputError(f"regularisations {list(regularisations)} cannot be: give some above 0")
    return strengths


def _sample(cube: xr.Dataset, moving: xr.DataArray | None, pixels: int) -> xr.Dataset:
    """Take pixels of moving ice, evenly, as one line of them."""
    if pixels < 1:
        raise InputError(f"pixels is {pixels}: give at least 1")
    dims = pixel_dims(cube)
    mean = [cube[name].mean("mid_date").transpose(*dims) for name in ("vx", "vy")]
    speed = ((mean[0] ** 2 + mean[1] ** 2) ** 0.5).values
    where = speed > MOVING_M_YR if moving is None else moving.transpose(*dims).values.astype(bool)
    if moving is None and not where.any():
        where = np.isfinite(speed)
    found = np.argwhere(where & np.isfinite(speed))
    if found.size == 0:
        raise InputError("no pair has a value where λ is to be judged")
    chosen = found[np.unique(np.linspace(0, len(found) - 1, pixels).astype(int))]
    at = {dim: xr.DataArray(chosen[:, k], dims="pixel") for k, dim in enumerate(dims)}
    names = [n for n, v in cube.variables.items() if v.dims in (("mid_date",), cube["vx"].dims)]
    return cube[names].isel(at).drop_vars(dims, errors="ignore").load()


def _left_out(
    cube: xr.Dataset,
    network: Network,
    fold: int,
    folds: int,
    sampling: Any,
    strengths: F8,
    options: Mapping[str, Any],
) -> F8:
    """Misfits over errors (strength, component, pair, pixel) of one fold, NaN if not predicted."""
    plan = network.plan
    held = (plan.first_date % folds == fold) | (plan.second_date % folds == fold)
    if held.all():
        raise InputError(f"every pair has a date that is left out: give more folds than {folds}")
    hidden, kept = (cube.isel(mid_date=np.flatnonzero(part)) for part in (held, ~held))
    years = xr.DataArray(plan.span_years[held], dims="mid_date")
    errors = errors_of(cube, options.get("weights", "error"), network)
    sigma = [error.isel(mid_date=np.flatnonzero(held)) * years for error in errors]
    misfits = []
    for strength in strengths:
        series = invert(kept, sampling, strength, **{"image_error_m": 0, **options})
        for name, error in zip(("vx", "vy"), sigma, strict=True):
            off = _over(series, hidden, name.replace("v", "d")) - hidden[name] * years
            misfits.append(abs(off / error).transpose("mid_date", "pixel").values)
    return np.reshape(misfits, (strengths.size, 2, *misfits[0].shape))


def _over(series: xr.Dataset, pairs: xr.Dataset, name: str) -> xr.DataArray:
    """Displacement of the series between the dates of each pair; NaN where it does not reach."""
    begin, end = (bound.astype("datetime64[ns]") for bound in series["time_bounds"].values.T)
    first, second = (
        pairs[f"acquisition_date_img{k}"].values.astype("datetime64[ns]")[:, None] for k in (1, 2)
    )
    shared = np.minimum(second, end) - np.maximum(first, begin)
    share = np.clip(shared / (end - begin), 0.0, 1.0)
    moved = series[name].transpose("time", ...)
    values = moved.values.astype(np.float64)
    total = share @ np.nan_to_num(values)
    unknown = (share > 0).astype(float) @ np.isnan(values) > 0
    covered = np.clip(shared, np.timedelta64(0), None).sum(axis=1)
    unknown |= (covered < (second - first)[:, 0])[:, None]
    return xr.DataArray(np.where(unknown, np.nan, total), dims=("mid_date", *moved.dims[1:]))


def _summary(misfits: F8, strengths: F8) -> xr.Dataset:
    """Compare the strengths on those pairs that all of them predict."""
    together: NDArray[np.bool_] = np.all(np.isfinite(misfits), axis=0)
    usable = np.flatnonzero(np.any(together, axis=(0, 1)))
    if usable.size == 0:
        raise InputError(
            "no series reaches over a pair that was left out: choose a shorter sampling, more "
            "folds, or other pixels"
        )
    medians = np.array(
        [[np.median(each[..., k][together[..., k]]) for k in usable] for each in misfits]
    )
    result = xr.Dataset(
        {
            "misfit": ("regularisation", medians.mean(axis=1)),
            "misfit_error": ("regularisation", medians.std(axis=1) / np.sqrt(usable.size)),
        },
        {"regularisation": strengths},
    )
    result["misfit"].attrs = {"long_name": "median misfit of pairs left out", "units": "1"}
    result["misfit_error"].attrs = {"long_name": "standard error of the misfit", "units": "1"}
    least = int(np.argmin(result["misfit"].values))
    good = medians.mean(axis=1) <= float((result["misfit"] + result["misfit_error"])[least])
    result.attrs = {
        "best_regularisation": float(strengths[np.flatnonzero(good)[-1]]),
        "pixels": usable.size,
    }
    return result
