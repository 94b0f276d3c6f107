"""`ogive.match`: displacement between two images, as xarray or numpy."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..model import ATTRIBUTES, Flag, GridError, InputError, flag_attributes
from .fallback import more_confident
from .features import Feature, FeaturePair
from .field import CHANCE_SIGMAS, Field, Points, logger, measure_field
from .kernels import BoolArray, Float32Array
from .measure import SUBPIXEL, measure_rows
from .pair_features import Chosen, chosen_features
from .search import Search

__all__ = ["Masks", "match"]

Image = xr.DataArray | NDArray[Any]

SOURCE_ATTRIBUTES = MappingProxyType(
    {
        "long_name": "which features a displacement is from",
        "flag_values": np.array([0, 1], np.uint8),
        "flag_meanings": "features fallback",
    }
)
LEAST_WINDOW_PX, MOST_WINDOW_PX = 8, 128


@dataclass(frozen=True)
class Masks:
    """Where each image may be used (True), when that differs between the two."""

    earlier: Image
    later: Image


@dataclass(frozen=True)
class _Axes:
    """The images' coordinates: first value and spacing along x and y, with units."""

    x0: float
    y0: float
    dx: float
    dy: float
    units: str
    extra: dict[str, xr.DataArray]

    @property
    def pixel_size_x(self) -> float:
        return abs(self.dx)

    @property
    def pixel_size_y(self) -> float:
        return abs(self.dy)


def match(
    earlier: Image,
    later: Image,
    *,
    features: str | Feature | FeaturePair = "adaptive",
    window: int = 32,
    step: int = 8,
    search: int | Search = 32,
    prior: xr.Dataset | None = None,
    mask: Image | Masks | None = None,
    subpixel: Literal[
        "auto", "translation", "affine", "parabola", "gaussian", "quadratic", "fourier", "none"
    ] = "auto",
    subpixel_features: str | Feature | FeaturePair = "same",
    fallback: str | Feature | FeaturePair | None = "auto",
    smoothing: float | None = None,
    forward_backward: float | None = None,
    min_valid: float = 0.5,
    min_significance: float = CHANCE_SIGMAS,
    engine: Literal["auto", "numba", "torch"] = "auto",
    device: str = "auto",
    threads: int | None = None,
) -> xr.Dataset:
    """Measure the displacement from an earlier image to a later one.

    Windows of the earlier image are found again in the later one by the zero-mean normalised
    cross-correlation of their features, first coarsely, then to a few hundredths of a pixel by
    Gauss-Newton on the windows themselves. Points without a trustworthy match have no value, and
    ``flag`` says why.

    Parameters
    ----------
    earlier, later
        ``(y, x)`` images on one grid, xarray or numpy, of any real type, or ``(band, y, x)`` ones
        for features of several bands. Under the default features, a three-dimensional array is
        itself a stack of features, correlated as it is. NaN, infinity and the ``_FillValue`` of a
        DataArray are left out; a pixel needs all its bands.
    features
        ``"adaptive"`` (default): both images pass through the filter of greatest likelihood,
        estimated from the pair's own coherence. Or a name among ``"intensity"``, ``"highpass"``,
        ``"highpass-gaussian"``, ``"wallis"``, ``"laplacian"``, ``"sobel"``, ``"orientation"``,
        ``"near-anomaly-offset"``, which are taken of each band and put side by side; or
        ``"learned"`` and other names that installed packages give (`find_feature`); or a function
        (see `ogive.matching.features.Feature`), which gets all bands; or a `FeaturePair` of two,
        one for each image.
    window, step
        Side of the square windows (8-128) and distance between points, in pixels.
    search
        The largest displacement along each axis in pixels, or a `Search`.
    prior
        Expected displacement: a Dataset with ``dx`` and ``dy`` in the units of the coordinates, on
        any grid that covers the images; searched round it, and freely where it is NaN.
    mask
        True where the images may be used (no cloud, shadow, saturation, gap): one for both, or
        `Masks`.
    subpixel
        ``"translation"`` (what ``"auto"`` takes): Gauss-Newton with a cubic B-spline on windows
        that are deformed as their neighbourhood moves. ``"affine"``: the deformation is measured
        too, six parameters in all. ``"parabola"``, ``"gaussian"``,
        ``"quadratic"``: fits to the correlation surface. ``"fourier"``: windows and surface
        oversampled, as ampcor does. ``"none"``: whole pixels.
    subpixel_features
        What Gauss-Newton runs on: ``"same"`` (default) features as are searched, or others, given
        as `features` are: those that find the right place need not be those that measure it best.
    fallback
        Other features, given as `features` are, that the pair is matched by too: a point is theirs
        where only they find anything, where both agree and they are more precise, and where both
        disagree and they are more confident. ``"auto"``: what the features ask for themselves.
        ``None``: none.
    smoothing
        Standard deviation in pixels of a Gaussian over fixed features; by default as much as the
        pair's noise asks for, often none. The adaptive filter needs no other.
    forward_backward
        Also match backward, and drop points where both displacements together leave more than this
        many pixels.
    min_valid
        The smallest share of a window's pixels that must be valid in both images.
    min_significance
        How many standard deviations of chance correlation a peak must reach; 0 keeps all.
    engine
        What searches: ``"numba"``, compiled for the processor, or ``"torch"``, for a GPU; they
        agree to 1e-5 in correlation. ``"auto"`` takes numba unless the device is a CUDA GPU. The
        sub-pixel place is always the processor's part.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; ``"auto"`` is where learned features are
        computed, which is a GPU if there is one, and the processor for all others.
    threads
        How many threads to use; all there are by default. The result does not depend on it.

    Returns
    -------
    xarray.Dataset
        On ``(y, x)``, the window centres: ``dx, dy`` along +x and +y in the units of the
        coordinates (pixel indices for numpy, y down), their error covariance ``dx_var, dy_var,
        dxdy_cov``, ``correlation``, ``peak_ratio``, ``snr``, ``prediction_distance``,
        ``valid_fraction``, ``flag``; and, along ``frequency``, the pair's ``coherence`` and the
        ``filter_response`` that was used. With `subpixel_features`, ``correlation`` is that of the
        features searched, at whole pixels, and ``subpixel_correlation`` that of the others.
        ``confidence``, where it is known for the features (``"adaptive"`` and those that bring it,
        with `subpixel` ``"translation"`` or ``"affine"`` and no `subpixel_features`), is the
        probability that a displacement is within a pixel of the true one (`ogive.matching
        .confidence`). With a `fallback`, ``source`` tells which features a point is from.

    Raises
    ------
    InputError
        If an image is constant, wholly masked, smaller than the window, or an option is unknown.
    GridError
        If the two images are not on one grid.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.standard_normal((90, 120)).astype("float32")
    >>> shifted = np.roll(scene, (2, 3), axis=(0, 1))
    >>> found = match(scene, shifted, window=16, step=8, search=6)
    >>> round(float(found.dx.median()), 2), round(float(found.dy.median()), 2)
    (3.0, 2.0)
    """
    axes = _common_axes(earlier, later)
    first, valid_first = _as_image(earlier, "earlier")
    second, valid_second = _as_image(later, "later")
    if first.shape != second.shape:
        raise GridError(
            f"the earlier image has the shape {first.shape}, the later one {second.shape}: "
            "bring them onto one grid first (ogive.velocity does it for files)"
        )
    masks = mask if isinstance(mask, Masks) else Masks(mask, mask) if mask is not None else None
    if masks is not None:
        valid_first &= _as_mask(masks.earlier, first.shape[-2:])
        valid_second &= _as_mask(masks.later, first.shape[-2:])
    _check_options(first.shape[-2:], window, step, subpixel, min_valid, smoothing)
    if subpixel_features != "same" and subpixel not in ("auto", "translation", "affine"):
        raise InputError(
            f"the sub-pixel method {subpixel!r} is a fit to the surface that was searched: leave "
            "subpixel_features out, or take 'translation' or 'affine'"
        )
    chosen = chosen_features(features, bands=first.ndim == 3, device=device)
    known = subpixel_features == "same" and subpixel in ("auto", "translation", "affine")
    other = _chosen_fallback(fallback, chosen, device=device, known=known)
    _check_texture(first, valid_first, "earlier")
    _check_texture(second, valid_second, "later")
    _say_if_compiling()
    whole = bool(valid_first.all() and valid_second.all())
    refined_on: Any = subpixel_features
    if subpixel_features != "same":
        refined_on = chosen_features(subpixel_features, bands=False, device=device)
    around = (
        None if prior is None else _prior_on_points(prior, first.shape[-2:], window, step, axes)
    )

    def measured(of: Chosen) -> Field:
        return measure_field(
            first,
            second,
            valid_earlier=None if whole else valid_first,
            valid_later=None if whole else valid_second,
            features=of,
            subpixel_features=refined_on,
            window_px=window,
            step_px=step,
            search=search if isinstance(search, Search) else Search(radius_px=search),
            prior=around,
            subpixel=subpixel,
            smoothing_px=smoothing,
            forward_backward_px=forward_backward,
            least_valid=min_valid,
            least_sigmas=min_significance,
            threads=threads or _available_threads(),
            device=_search_device(engine, device, of),
            calibration=of.calibration,
        )

    field = measured(chosen)
    if other is not None:
        field = more_confident(field, measured(other))
    return _as_dataset(field, axes, first.shape[-2:], subpixel)


def _chosen_fallback(
    fallback: str | Feature | FeaturePair | None, chosen: Chosen, *, device: str, known: bool
) -> Chosen | None:
    """What else to match by; ``known`` tells whether these options leave a confidence."""
    wanted = chosen.fallback if fallback == "auto" else fallback
    # Nothing falls back on its own where no confidence can choose.
    if wanted is None or (fallback == "auto" and not (known and chosen.calibration)):
        return None
    other = chosen_features(wanted, bands=False, device=device)
    if not known:
        raise InputError(
            "a fallback takes the features that are more confident, and there is no confidence "
            "with subpixel_features, or with a sub-pixel method other than 'translation' and "
            "'affine': leave one of them out"
        )
    for each in (chosen, other):
        if each.calibration is None:
            raise InputError(
                f"a fallback takes the features that are more confident, but for {each.name!r} no "
                "confidence is known: leave the fallback out"
            )
    return other


def _search_device(engine: str, device: str, chosen: Chosen) -> str | None:
    """Device of PyTorch that searches; ``None`` for the compiled loops."""
    if engine not in ("auto", "numba", "torch"):
        raise InputError(f"no engine {engine!r}: take 'auto', 'numba' or 'torch'")
    wanted = chosen.device if device == "auto" else device
    # Apple's GPUs lack the search's double precision; learned features may be computed there.
    if engine == "numba" or (engine == "auto" and wanted.split(":")[0] in ("cpu", "mps")):
        return None
    try:
        from .torch_engine import usable_device
    except ImportError as error:
        raise InputError(
            "a search on a GPU needs PyTorch: pip install 'ogive[learning]', or take engine 'numba'"
        ) from error
    return usable_device(wanted)


def _available_threads() -> int:
    """Processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _say_if_compiling() -> None:
    """Say so before the first call on a machine compiles the kernels."""
    if measure_rows.signatures:
        return
    folder = measure_rows.stats.cache_path
    if folder is None or not any(Path(folder).glob("measure.measure_rows*.nbi")):
        logger.info("compiling the matching kernels: some ten seconds, once on this machine")


def _common_axes(earlier: Image, later: Image) -> _Axes:
    """Coordinates of both images; pixel indices for numpy arrays."""
    if isinstance(earlier, xr.DataArray) != isinstance(later, xr.DataArray):
        raise GridError("give both images as xarray DataArrays or both as numpy arrays")
    if not isinstance(earlier, xr.DataArray) or not isinstance(later, xr.DataArray):
        return _Axes(0.0, 0.0, 1.0, 1.0, "pixel", {})
    for name, image in (("earlier", earlier), ("later", later)):
        if image.dims[-2:] != ("y", "x"):
            raise GridError(f"the {name} image has dimensions {image.dims}: ('y', 'x') are needed")
    if not {"x", "y"} <= earlier.coords.keys():
        return _Axes(0.0, 0.0, 1.0, 1.0, "pixel", {})
    for axis in ("x", "y"):
        here = earlier[axis].values
        there = later[axis].values if axis in later.coords else None
        tolerance = 1e-3 * abs(here[1] - here[0]) if here.size > 1 else 0.0
        if there is None or here.shape != there.shape or np.abs(here - there).max() > tolerance:
            raise GridError(
                f"the two images have different {axis} coordinates: bring them onto one grid "
                "first (ogive.velocity does it for files)"
            )
    x, y = (np.asarray(earlier[axis].values, float) for axis in ("x", "y"))
    if x.size < 2 or y.size < 2:
        raise InputError("an image of a single row or column cannot be matched")
    spacing = [(values[-1] - values[0]) / (values.size - 1) for values in (x, y)]
    for axis, values, step in (("x", x, spacing[0]), ("y", y, spacing[1])):
        if step == 0 or np.abs(np.diff(values) - step).max() > 1e-3 * abs(step):
            raise GridError(f"the {axis} coordinates are not evenly spaced")
    units = str(earlier["x"].attrs.get("units", "metre" if "spatial_ref" in earlier.coords else ""))
    extra = {
        str(name): earlier.coords[name].reset_coords(drop=True)
        for name in earlier.coords
        if earlier.coords[name].ndim == 0 and name == "spatial_ref"
    }
    return _Axes(float(x[0]), float(y[0]), float(spacing[0]), float(spacing[1]), units, extra)


def _as_image(image: Image, name: str) -> tuple[Float32Array, BoolArray]:
    """Single-precision values and where they are valid."""
    values = np.asarray(image)
    if values.dtype.kind not in "biuf":
        raise InputError(f"the {name} image holds {values.dtype} values: real numbers are needed")
    if values.ndim not in (2, 3):
        raise InputError(
            f"the {name} image has {values.ndim} dimensions: (y, x) or (channel, y, x) is needed"
        )
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    if isinstance(image, xr.DataArray):
        missing = image.attrs.get("_FillValue", image.encoding.get("_FillValue"))
        if missing is not None and np.isfinite(missing):
            valid &= values != missing
    if values.ndim == 3:
        valid = valid.all(axis=0)
    if values.dtype.itemsize > 2 and values.dtype != np.float32 and valid.any():
        # Large offsets would cost single precision its texture.
        values = values - np.mean(values, where=valid, dtype=np.float64)
    single = np.ascontiguousarray(values, np.float32)
    if not valid.all():
        single = np.where(valid, single, np.float32(0.0))
    return single, valid


def _as_mask(mask: Image, shape: tuple[int, ...]) -> BoolArray:
    values = np.asarray(mask)
    if values.shape != shape:
        raise GridError(f"the mask has the shape {values.shape}, the images {shape}")
    return values.astype(bool)


def _check_options(
    shape: tuple[int, ...],
    window: int,
    step: int,
    subpixel: str,
    min_valid: float,
    smoothing: float | None,
) -> None:
    if not LEAST_WINDOW_PX <= window <= MOST_WINDOW_PX:
        raise InputError(
            f"a window of {window} pixels: {LEAST_WINDOW_PX} to {MOST_WINDOW_PX} are possible"
        )
    if step < 1:
        raise InputError(f"a step of {step} pixels: at least 1 is needed")
    if window > min(shape):
        raise InputError(
            f"the window of {window} pixels is larger than the image "
            f"({shape[0]} rows, {shape[1]} columns): take a smaller one"
        )
    if subpixel not in ("auto", "fourier", *SUBPIXEL):
        known = ", ".join(["auto", "fourier", *SUBPIXEL])
        raise InputError(f"no sub-pixel method {subpixel!r}: take one of {known}")
    if smoothing is not None and not 0.0 <= smoothing <= 5.0:
        raise InputError(f"a smoothing of {smoothing} pixels: between 0 and 5 is possible")
    if not 0.0 < min_valid <= 1.0:
        raise InputError(f"min_valid is a share above 0 and up to 1, not {min_valid}")


def _check_texture(image: Float32Array, valid: BoolArray, name: str) -> None:
    """Refuse images in which nothing can be found."""
    if not valid.any():
        raise InputError(f"the {name} image has no valid pixel: all are masked, nodata or NaN")
    inside = image if valid.all() else image[..., valid]
    if inside.min() == inside.max():
        raise InputError(f"the {name} image is constant: there is nothing to match")


def _prior_on_points(
    prior: xr.Dataset, shape: tuple[int, ...], window: int, step: int, axes: _Axes
) -> NDArray[np.float64]:
    """Prior displacement at the points, in pixels, NaN outside the prior."""
    missing = {"dx", "dy"} - set(prior.data_vars)
    if missing:
        raise InputError(f"the prior has no {' and '.join(sorted(missing))}")
    points = Points.of_image((int(shape[0]), int(shape[1])), window, step)
    x = xr.DataArray(axes.x0 + axes.dx * points.centre_x, dims="x")
    y = xr.DataArray(axes.y0 + axes.dy * points.centre_y, dims="y")
    there = prior[["dx", "dy"]].interp(x=x, y=y, method="linear").transpose("y", "x")
    return np.stack([there.dx.values / axes.dx, there.dy.values / axes.dy]).astype(float)


def _as_dataset(field: Field, axes: _Axes, shape: tuple[int, ...], subpixel: str) -> xr.Dataset:
    """Pixels turned into the units and directions of the coordinates."""
    points, planes = field.points, field.planes
    scale = {
        "dx": ("u", axes.dx),
        "dy": ("v", axes.dy),
        "dx_var": ("u_var", axes.dx**2),
        "dy_var": ("v_var", axes.dy**2),
        "dxdy_cov": ("uv_cov", axes.dx * axes.dy),
    }
    mean_size = float(np.sqrt(axes.pixel_size_x * axes.pixel_size_y))
    units = axes.units
    data: dict[str, tuple[tuple[str, str], Any, dict[str, Any]]] = {}
    for name, (plane, factor) in scale.items():
        attributes = dict(ATTRIBUTES[name])
        attributes["units"] = units if name in ("dx", "dy") else f"{units}2"
        data[name] = (("y", "x"), (planes[plane] * factor).astype(np.float32), attributes)
    for name in ("prediction_distance", "forward_backward_distance"):
        if name in planes:
            attributes = {**ATTRIBUTES[name], "units": units}
            data[name] = (("y", "x"), (planes[name] * mean_size).astype(np.float32), attributes)
    for name in ("correlation", "peak_ratio", "snr", "valid_fraction"):
        data[name] = (("y", "x"), planes[name], dict(ATTRIBUTES[name]))
    if "subpixel_correlation" in planes:
        told = {"long_name": "correlation of the sub-pixel features at the end", "units": "1"}
        data["subpixel_correlation"] = (("y", "x"), planes["subpixel_correlation"], told)
    if "confidence" in planes:
        data["confidence"] = (("y", "x"), planes["confidence"], dict(ATTRIBUTES["confidence"]))
    data["flag"] = (("y", "x"), field.flag, flag_attributes())
    if field.source is not None:
        data["source"] = (("y", "x"), field.source, dict(SOURCE_ATTRIBUTES))
    result = xr.Dataset(
        data,
        coords={
            "y": ("y", axes.y0 + axes.dy * points.centre_y, {"units": units}),
            "x": ("x", axes.x0 + axes.dx * points.centre_x, {"units": units}),
            **axes.extra,
        },
        attrs={
            "features": field.features,
            "subpixel_features": field.subpixel_features or "same",
            "window_px": points.window_px,
            "step_px": points.step_px,
            "subpixel": subpixel,
            "pixel_size_x": axes.pixel_size_x,
            "pixel_size_y": axes.pixel_size_y,
            "image_rows": int(shape[0]),
            "image_columns": int(shape[1]),
            "measured_share": float(np.mean(field.flag == Flag.MEASURED)),
            "coarse_search_kept_share": field.coarse_kept,
            **field.notes,
        },
    )
    if field.spectra is not None:
        result = result.assign_coords(frequency=("frequency", field.spectra.frequency))
        result["frequency"].attrs.update(long_name="spatial frequency", units="1/pixel")
        result["coherence"] = (
            "frequency",
            field.spectra.coherence.astype(np.float32),
            {"long_name": "magnitude-squared coherence of the pair", "units": "1"},
        )
        if (field.subpixel_features or field.features) == "adaptive":
            result["filter_response"] = (
                "frequency",
                field.spectra.response.astype(np.float32),
                {"long_name": "response of the pair's own filter", "units": "1"},
            )
    return result
