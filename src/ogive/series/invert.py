"""Velocity time series from overlapping pairs: the inversion of a whole cube."""

from __future__ import annotations

import logging
import os
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from ogive.model import InputError

from .combinations import left_out
from .inversion_blocks import Job, map_blocks
from .inversion_input import check_cube, dates_of, drop_duplicate_pairs, errors_of
from .inversion_product import describe
from .irls import Options
from .network import Closure, Network, build_network

__all__ = ["drop_duplicate_pairs", "invert"]

Acceleration = Literal["zero", "smoothed"]
Reweighting = Literal["robust", "charrier2022"]

_log = logging.getLogger(__name__)


def invert(
    cube: xr.Dataset,
    sampling: str | np.timedelta64 | pd.Timedelta = "36D",
    regularisation: float = 100.0,
    closure: Closure = "dates",
    *,
    weights: str = "error",
    acceleration: Acceleration = "zero",
    smoothing_days: float = 90.0,
    reweighting: Reweighting = "robust",
    tukey_c: float = 4.685,
    tolerance_m: float = 1e-3,
    max_iterations: int = 50,
    image_error_m: float | Literal["estimated"] = "estimated",
    keep_weights: bool = False,
    threads: int | None = None,
) -> xr.Dataset:
    """Invert a cube of pairs into a regular series of velocities with their errors.

    Many pairs of short and long baselines say the same thing several times over. The leap-frog
    displacements that explain all of them best, in the sense of a robust weighted least-squares
    fit with a weak preference for steady flow, are found pixel by pixel (Charrier et al. 2022,
    doi 10.1109/TGRS.2021.3128289). A cube of Dask arrays gives a lazy result, computed block by
    block.

    Parameters
    ----------
    cube
        ``vx, vy`` (mid_date, y, x) in meter/year with ``acquisition_date_img1`` and ``_img2`` along
        ``mid_date``, as `ogive.open_cube` and `ogive.stack` give it; NaN where a pair has no value.
        A variable without the attribute ``units`` is taken for meter/year.
    sampling
        Length of the series' periods, such as ``"36D"``.
    regularisation
        λ, the weight of ‖ΓX‖², where Γ takes the differences of successive velocities in m/day. It
        compares with observations of unit weight, one of typical error. The best λ is the square of
        that error (m) over that of how velocities differ from date to date (m/day): with 100, by a
        tenth of the error a day. The paper's 1, for hundreds of pairs per pixel, hardly smooths.
        With 0 a system that the observations do not determine gets its solution of minimum norm,
        and periods that no observation covers stay NaN.
    closure
        ``"dates"``: unknowns between all acquisition dates, so that every observation is used as it
        is, whatever the sensor; the regular series is read off the cumulative displacement.
        ``"combined"``: unknowns between regular dates, the observations combined until they fit
        (the paper's improved closure), which needs dates that often fall on the series' own, as
        those of one satellite do where the sampling is a multiple of its repeat cycle; pairs that
        cannot be combined are left out, counted and logged.
    weights
        ``"error"``: first weights from the cube's ``vx_error, vy_error`` (per pair or per point);
        ``"uniform"``; or the name of a quality variable, whose inverse is taken for the error.
    acceleration
        What the regularisation takes for granted: no acceleration (``"zero"``), or
        (``"smoothed"``) that of a first solution smoothed by a Gaussian of ``smoothing_days``.
    smoothing_days
        Standard deviation of that Gaussian, in days.
    reweighting
        ``"robust"``: one biweight for both components, residuals scaled by their median absolute
        deviation, first weights kept. ``"charrier2022"``: equations 3 and 4 as printed, each
        component by itself and scaled by its standard deviation, which gross outliers inflate.
    tukey_c
        Tuning constant of Tukey's biweight.
    tolerance_m
        The iteration ends when the displacements change by less than this in the mean, in metres.
    max_iterations
        Upper limit of solutions per pixel; ``status`` tells where it was reached.
    image_error_m
        Standard error of position (m, of each component) that all pairs of one image share: what
        its geolocation, its orthorectification and its light add to each of them. By default it is
        ``"estimated"``, pixel by pixel, from what residuals lack of the declared errors and from
        the scatter of positions about smooth motion; 0 takes the pairs for independent, as the
        paper does (and ``reweighting="charrier2022"``, unless a number is given). It widens the
        errors and changes nothing else.
    keep_weights
        Add the final weight of every observation, ``weight`` (mid_date, y, x).
    threads
        Threads for a cube in memory (all cores by default). They never change the result. Lazy
        cubes run one thread per block under Dask's scheduler.

    Returns
    -------
    xarray.Dataset
        Along ``time`` (the middles of the periods, whose ends ``time_bounds`` holds): ``dx, dy``
        (m) and ``dx_error, dy_error``; ``vx, vy, v`` (meter/year) and their errors;
        ``observations``, the number of rows (pairs, or combinations of pairs) that overlap the
        period with a weight above 0, where 0 means that a value rests on the regularisation alone
        (its error then includes the pixel's own variability in time). Per pixel:
        ``iterations``, ``status`` (CF flag), ``observations_valid`` and ``_used``,
        ``observations_unusable`` (those whose error is not a positive number), ``subnetworks``
        (groups of dates that no observation links), ``error_scale_x, error_scale_y``, by which the
        cube's errors would have to be multiplied to agree with the residuals, and
        ``image_error_x, image_error_y`` (m), the standard errors that pairs of one image share.

    Raises
    ------
    InputError
        If a variable, unit or option does not fit, if pairs occur twice, or if no pair at all can
        be combined.
    DateError
        If the cube has no time axis or no dates, or if a pair's dates are equal or reversed.

    Examples
    --------
    >>> import ogive
    >>> days = np.datetime64("2020-01-01", "ns") + np.arange(0, 61, 12).astype("timedelta64[D]")
    >>> i, j = np.triu_indices(6, 1)
    >>> cube = xr.Dataset(
    ...     {name: (("mid_date", "y", "x"), np.full((15, 1, 1), speed, "f4"))
    ...      for name, speed in (("vx", 100.0), ("vy", 0.0))},
    ...     {"acquisition_date_img1": ("mid_date", days[i]),
    ...      "acquisition_date_img2": ("mid_date", days[j])})
    >>> series = invert(cube, "12D", weights="uniform")
    >>> series.vx.values.ravel().round(3)
    array([100., 100., 100., 100., 100.], dtype=float32)
    """
    _check_options(regularisation, acceleration, smoothing_days, reweighting, tukey_c)
    if not tolerance_m > 0 or max_iterations < 1:
        raise InputError("tolerance_m must be positive and max_iterations at least 1")
    known = isinstance(image_error_m, int | float) and 0 <= image_error_m < np.inf
    if image_error_m != "estimated" and not known:
        raise InputError(
            f'image_error_m is {image_error_m!r}: give metres, 0 or more, or "estimated"'
        )
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}: give at least 1")
    dates = dates_of(cube)
    check_cube(cube)
    network = build_network(*dates, sampling_days=_days(sampling), closure=closure)
    job = Job(
        network=network,
        options=Options(
            regularisation=float(regularisation),
            tukey_c=float(tukey_c),
            tolerance_m=float(tolerance_m),
            max_iterations=int(max_iterations),
            literal=reweighting == "charrier2022",
            smoothing_days=float(smoothing_days) if acceleration == "smoothed" else 0.0,
            declared=weights == "error",
            image_error_m=_image_error_m(image_error_m, reweighting),
        ),
        threads=threads or os.cpu_count() or 1,
        weights=keep_weights,
    )
    sigma_x, sigma_y = errors_of(cube, weights, network)
    blocks = map_blocks(cube["vx"], cube["vy"], sigma_x, sigma_y, job)
    series = describe(cube, blocks, network, keep_weights)
    series.attrs |= {
        "inversion_sampling_days": _days(sampling),
        "inversion_regularisation": float(regularisation),
        "inversion_closure": closure,
        "inversion_weights": weights,
        "inversion_acceleration": acceleration,
        "inversion_reweighting": reweighting,
        "inversion_tukey_c": float(tukey_c),
        "inversion_tolerance_m": float(tolerance_m),
        "inversion_image_error_m": image_error_m,
        "inversion_pairs_left_out": _count_left_out(network),
    }
    return series


def _count_left_out(network: Network) -> int:
    """How many pairs no combination reaches even where none has a gap; they are told."""
    count, pairs = int(np.count_nonzero(left_out(network))), network.plan.first_date.size
    if count == pairs:
        raise InputError(
            "closure='combined' cannot combine any pair to the series' regular dates: use "
            "closure='dates', or a sampling that is a multiple of the satellite's repeat cycle"
        )
    if count:
        _log.warning(
            "closure='combined' leaves out %d of %d pairs, whose dates no other pair links to the "
            "series' regular dates; closure='dates' uses all",
            count,
            pairs,
        )
    return count


def _check_options(
    regularisation: float,
    acceleration: str,
    smoothing_days: float,
    reweighting: str,
    tukey_c: float,
) -> None:
    if not (np.isfinite(regularisation) and regularisation >= 0):
        raise InputError(f"regularisation is {regularisation}: give a number of 0 or more")
    if acceleration not in ("zero", "smoothed"):
        raise InputError(f'acceleration {acceleration!r} is unknown: use "zero" or "smoothed"')
    if acceleration == "smoothed" and regularisation == 0:
        raise InputError("without regularisation an expected acceleration has no effect: give one")
    if acceleration == "smoothed" and not smoothing_days > 0:
        raise InputError(f"smoothing_days is {smoothing_days}: give a positive number")
    if reweighting not in ("robust", "charrier2022"):
        raise InputError(f'reweighting {reweighting!r} is unknown: use "robust" or "charrier2022"')
    if not tukey_c > 0:
        raise InputError(f"tukey_c is {tukey_c}: give a positive number, usually 4.685")


def _image_error_m(image_error_m: float | str, reweighting: str) -> float:
    """Metres as the kernels take them, below 0 for an estimate."""
    if isinstance(image_error_m, str):
        return 0.0 if reweighting == "charrier2022" else -1.0
    return float(image_error_m)


def _days(sampling: str | np.timedelta64 | pd.Timedelta) -> float:
    try:
        return float(pd.Timedelta(sampling) / pd.Timedelta(days=1))
    except ValueError as error:
        raise InputError(f"sampling {sampling!r} is no length of time: use '36D', say") from error
