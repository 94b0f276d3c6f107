"""`ogive.match_triplet`: displacement between two images with the help of those between them.

    windows ─► surfaces first→last, first→middle, middle→last ─► joint peak ─► Gauss-Newton of each
               (`frequency` or `spatial`)                        (`evidence`)  (`legs`)

What moved by d12 and then by d23 has moved by d13 (Altena & Kääb 2017, Remote Sens. 9, 300). Asked
before a peak is chosen, this takes the place of what neighbours say elsewhere: every point is found
on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..model import Flag, InputError
from .errors import noise_factor
from .evidence import Joint, chance_snr
from .features import Feature
from .field import Field, Points, _remove_bias, _variances
from .interpolation import interpolation_bias
from .joint import JointSearch, Stack, refine_legs, search_points
from .kernels import BoolArray, Float32Array
from .legs import Refined
from .looks import Looks, looks_of
from .match import Image, _as_dataset, _available_threads, _check_options
from .spectra import PairSpectra
from .triplet_closure import with_closure
from .triplet_features import end_spectra, stacks_of
from .triplet_functions import look_features

__all__ = ["match_triplet"]

SNR = "joint squared peak correlation over the mean square of the rest of the surfaces"


def match_triplet(
    first: Image,
    middle: Image | Sequence[Image],
    last: Image,
    *,
    features: str | Feature | Sequence[Feature] = "orientation",
    window: int = 32,
    step: int = 8,
    search: int = 8,
    prior: xr.Dataset | None = None,
    mask: Image | Sequence[Image | None] | None = None,
    dates: Sequence[Any] | None = None,
    correlator: Literal["frequency", "spatial"] = "frequency",
    subpixel: Literal["translation", "affine", "quadratic"] = "translation",
    smoothing: float | None = None,
    min_valid: float = 0.5,
    min_snr: float | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Measure the displacement from a first to a last image with the help of images between them.

    The correlation surfaces from the first image to a middle one and from there to the last one
    are convolved and multiply the surface from the first to the last (`ogive.matching.evidence`):
    of all candidates, the one wins that the middle image confirms. Every point is searched on its
    own.

    Parameters
    ----------
    first, last
        ``(y, x)`` images on one grid, as for `ogive.match`, or ``(band, y, x)`` ones for features
        of several bands. Under ``"orientation"`` and ``"adaptive"`` three-dimensional arrays are
        themselves stacks of features, correlated as they are.
    middle
        One image, or several in the order of their dates; none (``[]``) for matching by pair with
        the same correlator.
    features
        A name among ``"orientation"`` (the default: orientation correlation), ``"intensity"``,
        ``"highpass"``, ``"highpass-gaussian"``, ``"wallis"``, ``"laplacian"``, ``"sobel"``,
        ``"near-anomaly-offset"``; ``"adaptive"``: the filter of greatest likelihood of the first
        and the last image; ``"learned"`` and other names that installed packages give; or a
        function (see `ogive.matching.features.Feature`), or one for each image, first to last,
        where each knows its own sun and date. Channels of all may be many, and are as many.
    window, step
        Side of the square windows (8-128) and distance between points, in pixels.
    search
        The largest displacement along each axis, from any image to any later one, in pixels; the
        same distance from the prior where there is one. With ``correlator="frequency"`` less than
        half a window, and best below a third.
    prior
        Expected displacement from the first to the last image: a Dataset with ``dx`` and ``dy`` in
        the units of the coordinates, on any grid. The middle images' part of it follows from the
        dates, or from even spacing where there are none; zero where it is NaN.
    mask
        True where the images may be used: one for all, or one (or ``None``) for each image, first
        to last.
    dates
        One for each image, first to last; by default the scalar coordinate ``time`` of DataArrays,
        where all have it.
    correlator
        ``"frequency"``: equal windows, correlated by Fourier transform; its cost does not depend on
        the search. ``"spatial"``: zero-mean normalised cross-correlation of a window in a search
        area, with exact masks; its cost grows with the square of the search.
    subpixel
        ``"translation"``: Gauss-Newton on the windows of each step, as in `ogive.match`;
        ``"affine"`` measures the windows' deformation too. ``"quadratic"``: the peak of the joint
        surface stands, with errors by its curvature: drawn towards whole pixels by up to 0.1 px,
        but truer where first and last image have so little in common that the middle one knows
        more; Gauss-Newton only serves the closure.
    smoothing
        Standard deviation in pixels of a Gaussian over fixed features; by default as much as the
        noise asks for, often none.
    min_valid
        The smallest share of a window's pixels that must be valid in the first and last image.
    min_snr
        Points with a smaller ``snr`` have no value; by default what the best of all candidates
        reaches by chance in 2 of 100 points. 0 keeps all.
    threads
        How many threads to use; all there are by default. The result does not depend on it.

    Returns
    -------
    xarray.Dataset
        What `ogive.match` gives, and

        - ``snr`` of the joint surface, in the units of `ogive.match`, to which it reduces without a
          middle image: one threshold means the same with and without;
        - ``closure_residual``: length of ``d12(x) + d23(x + d12) - d13(x)`` by the middle image
          that supports the point best; NaN where none does;
        - along ``middle``: its components ``closure_dx, closure_dy``, the displacement to the
          middle image ``middle_dx, middle_dy``, and ``path_support``: above 0 the middle image
          speaks for the displacement.

    Raises
    ------
    InputError
        An image is given twice, constant, wholly masked or smaller than the window; an option is
        unknown or out of range.
    GridError
        The images are not on one grid.
    DateError
        The dates do not rise from image to image.

    Notes
    -----
    Errors are those of the match from the first to the last image. What belongs to one image place
    by place (parallax, a shadow) cancels round a triangle: a small closure residual is necessary,
    not sufficient.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.standard_normal((90, 120))
    >>> looks = [np.roll(scene, (k, 2 * k), axis=(0, 1)) for k in range(3)]
    >>> looks = [look + 2.0 * rng.standard_normal(look.shape) for look in looks]
    >>> found = match_triplet(*looks, window=24, search=6, features="intensity")
    >>> round(float(found.dx.median())), round(float(found.dy.median()))
    (4, 2)
    """
    looks = looks_of(first, middle, last, mask=mask, dates=dates)
    _check(looks, window, step, search, correlator, subpixel, smoothing, min_valid, min_snr)
    chosen = look_features(features, len(looks.images), bands=looks.images[0].ndim == 3)
    threads = threads or _available_threads()
    points = Points.of_image(looks.shape, window, step)
    how = JointSearch(correlator, window, search, min_valid)
    stacks, name = stacks_of(
        looks, chosen, prior, points, how, smoothing_px=smoothing, threads=threads
    )
    joint, flag = search_points(stacks, points, how, threads)
    least = chance_snr(search) if min_snr is None else float(min_snr)
    found = flag == Flag.MEASURED
    flag[found & ~np.isfinite(joint.u)] = Flag.NO_PEAK
    flag[found & (joint.snr < least)] = Flag.LOW_CORRELATION
    found = flag == Flag.MEASURED
    direct, legs = refine_legs(
        stacks, points, joint, found, affine=subpixel == "affine", least_valid=min_valid,
        threads=threads,
    )  # fmt: skip
    field = _field(stacks, points, joint, direct, flag, name, subpixel, threads)
    field.notes["least_snr"] = least
    result = _as_dataset(field, looks.axes, looks.shape, subpixel)
    del result.attrs["coarse_search_kept_share"]
    result.attrs.update(correlator=correlator, search_px=search)
    result["snr"].attrs["long_name"] = SNR
    return with_closure(result, joint, legs, looks)


def _check(
    looks: Looks, window: int, step: int, search: int, correlator: str, subpixel: str,
    smoothing: float | None, min_valid: float, min_snr: float | None,
) -> None:  # fmt: skip
    """Refuse options that cannot be used."""
    _check_options(looks.shape, window, step, "none", min_valid, smoothing)
    if correlator not in ("frequency", "spatial"):
        raise InputError(f"no correlator {correlator!r}: take 'frequency' or 'spatial'")
    if subpixel not in ("translation", "affine", "quadratic"):
        raise InputError(
            f"no sub-pixel method {subpixel!r}: take 'translation', 'affine' or 'quadratic'"
        )
    if search < 1:
        raise InputError(f"a search of {search} px: at least 1 is needed")
    if correlator == "frequency" and search >= window / 2:
        raise InputError(
            f"a search of {search} px in windows of {window} px: the frequency correlator tells "
            f"displacements up to {(window - 1) // 2} px; take a larger window, a prior, or "
            "correlator='spatial'"
        )
    if min_snr is not None and not min_snr >= 0:
        raise InputError(f"min_snr={min_snr}: a number from 0 up is needed")


def _field(
    stacks: list[Stack],
    points: Points,
    joint: Joint,
    direct: Refined,
    flag: NDArray[np.uint8],
    name: str,
    subpixel: str,
    threads: int,
) -> Field:
    """Measurements of the first and last image with their errors, as `measure_field` gives them."""
    found = flag == Flag.MEASURED
    peak = subpixel == "quadratic"
    if not peak:
        flag[found] = direct.flag[found]
    source: Joint | Refined = joint if peak else direct
    flat = {name: getattr(source, name) for name in ("u", "v", "u_var", "v_var", "uv_cov")}
    flat |= {
        "correlation": np.where(found & ~peak, direct.correlation, joint.correlation),
        "peak_ratio": joint.peak_ratio,
        "snr": joint.snr,
        "prediction_distance": np.hypot(flat["u"] - joint.u, flat["v"] - joint.v),
        "valid_fraction": direct.valid_fraction,
    }
    planes = {plane: values.reshape(points.shape).copy() for plane, values in flat.items()}
    measured = (flag == Flag.MEASURED).reshape(points.shape)
    spectra = end_spectra(
        stacks[0], stacks[-1], points, planes["u"].astype(float), planes["v"].astype(float),
        measured, threads=threads,
    )  # fmt: skip
    notes: dict[str, float] = {}
    if not peak:
        notes = _gauss_newton_errors(planes, points, spectra, measured)
    for plane in ("u", "v", "u_var", "v_var", "uv_cov"):
        planes[plane][~measured] = np.nan
    return Field(points, planes, flag.reshape(points.shape), spectra, np.nan, name, notes)


def _gauss_newton_errors(
    planes: dict[str, Float32Array],
    points: Points,
    spectra: PairSpectra | None,
    measured: BoolArray,
) -> dict[str, float]:
    """Turn unit variances into error variances and take the sampler's bias off, in place."""
    noise = 1.0
    if spectra is not None:
        level = float(np.median(planes["correlation"][measured]))
        noise = noise_factor(spectra.frequency, spectra.power, spectra.coherence, level)
        bias = interpolation_bias(spectra.frequency, spectra.power, spectra.coherence)
        _remove_bias(planes, points, bias)
    return _variances(planes, points, noise)
