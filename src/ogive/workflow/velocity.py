"""From two images to a velocity map: the road, end to end.

read ─► one grid ─► match ─► outliers ─► calibrate on stable ground ─► speed limit ─► m/yr
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr
from numpy.typing import NDArray

from ogive.correction.calibrate import ShiftModel, calibrate
from ogive.correction.outliers import limit_speed, remove_outliers
from ogive.correction.velocity import to_velocity
from ogive.matching.features import Feature, FeaturePair
from ogive.matching.match import Masks, match
from ogive.matching.search import MOST_RADIUS_PX, search_radius_px
from ogive.model import (
    DAYS_PER_YEAR,
    DateError,
    Flag,
    GridError,
    InputError,
    Pair,
    StableGroundError,
)
from ogive.scenes.read import common_grid, read_image, valid_mask
from ogive.store.pair_info import pair_information
from ogive.workflow.acquisition import When, acquired_pair
from ogive.workflow.ground import Ground, stable_pixels, usable_pixels, windows_inside
from ogive.workflow.prior import prior_displacement, read_prior

__all__ = ["STEPS", "Motion", "Options", "measure_motion", "velocity", "velocity_of"]

Image = str | Path | xr.DataArray | NDArray[Any]

DEFAULT_RADIUS_PX = 32
LEARNED = "learned"
STEPS = ("read the images", "match", "remove outliers", "calibrate")
"""What `measure_motion` does, in this order."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a velocity is measured; the fields are the parameters of `velocity`."""

    dates: Sequence[When] | None = None
    window: int = 32
    step: int = 8
    max_speed: float | None = None
    search: int | None = None
    features: str | Feature | FeaturePair = "adaptive"
    subpixel_features: str | Feature | FeaturePair = "same"
    weights: str | Path | None = None
    device: str = "auto"
    stable: Ground | None = None
    ice: Ground | None = None
    prior: str | Path | xr.Dataset | None = None
    mask: Ground | None = None
    calibration: ShiftModel = "constant"
    track_azimuth: float | None = None
    forward_backward: float | None = None
    band: int | str | None = None
    pixels: bool = False
    pixel_size: float | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Motion:
    """What two images say of motion, and what it rests on.

    Parameters
    ----------
    displacement
        As of `ogive.match`, without outliers, calibrated where there was stable ground.
    image
        The earlier image on the grid that both share.
    stable
        The points of stable ground that it was calibrated on; ``None`` where it was not.
    pair
        The two scenes; ``None`` for a displacement in pixels between undated images.
    search_px
        How far was searched.
    """

    displacement: xr.Dataset
    image: xr.DataArray
    stable: NDArray[np.bool_] | None
    pair: Pair | None
    search_px: int

    @property
    def georeferenced(self) -> bool:
        """Whether the displacement is in metres of a map."""
        return self.image.odc.crs is not None


def velocity(
    earlier: Image,
    later: Image,
    *,
    dates: Sequence[When] | None = None,
    window: int = 32,
    step: int = 8,
    max_speed: float | None = None,
    search: int | None = None,
    features: str | Feature | FeaturePair = "adaptive",
    subpixel_features: str | Feature | FeaturePair = "same",
    weights: str | Path | None = None,
    device: str = "auto",
    stable: Ground | None = None,
    ice: Ground | None = None,
    prior: str | Path | xr.Dataset | None = None,
    mask: Ground | None = None,
    calibration: ShiftModel = "constant",
    track_azimuth: float | None = None,
    forward_backward: float | None = None,
    band: int | str | None = None,
    pixel_size: float | None = None,
    threads: int | None = None,
) -> xr.Dataset:
    """Measure the velocity of the ice between two images.

    The images are brought on one grid, matched, freed of outliers, calibrated on stable ground, and
    the displacement is turned into meter/year with its errors. Each part is a function of its own
    (`ogive.match`, `ogive.remove_outliers`, `ogive.calibrate`, `ogive.to_velocity`) for those who
    want another road.

    A point counts as stable ground when its *whole* window lies on stable ground: a window of rock
    and ice shows something between standing and flowing, and would drag the calibration along.

    Parameters
    ----------
    earlier, later
        Files that GDAL reads, or ``(y, x)`` arrays. On different grids of one coordinate reference
        system, the later image is resampled on the grid of the earlier one, and the log says so.
    dates
        The two acquisition times (UTC), as text or datetimes; by default from the names and tags of
        the files (see `ogive.scenes.names`).
    window, step
        Side of the matching windows and distance between points, in pixels.
    max_speed
        The fastest ice to be expected, in meter/year: how far is searched, and the limit above
        which a measurement is not believed.
    search
        How far is searched along each axis, in pixels, whatever `max_speed` says; by default what
        `max_speed` needs (4 to 64 pixels), or 32 pixels.
    features, subpixel_features
        As in `ogive.match`.
    weights
        Of learned features: a ``.safetensors`` file, or the address of one that ends in
        ``#sha256=`` and its checksum; those that ship with ogive by default.
    device
        Where learned features are computed, and the search with them: ``"auto"`` (a CUDA GPU if
        there is one), ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.
    stable
        Ground that does not move: a file of polygons, or a mask on the pixels of the earlier image.
    ice
        Glaciers, as polygons or as a mask. Without `stable`, all ground beside them counts as
        stable; with it, they are left out. Without either, nothing is calibrated: the attribute
        ``calibration`` and the log say so.
    prior
        An older velocity in meter/year (NetCDF of ogive or ITS_LIVE, GeoTIFF, or a Dataset with
        ``vx`` and ``vy``): the search goes round it, and freely where it has no value.
    mask
        Where the images may be used: a raster file (neither 0 nor nodata) or an array.
    calibration
        ``"constant"``, ``"plane"``, ``"across_track"`` or ``"along_track"`` (see
        `ogive.calibrate`); the last two need `track_azimuth`.
    track_azimuth
        Direction of the satellite's flight, in degrees clockwise from north.
    forward_backward
        Also match backward, and drop points that return farther than this many pixels from where
        they began.
    band
        Which band of the files, by its number from 1 or its name.
    pixel_size
        Metres per pixel of images without a coordinate reference system.
    threads
        As in `ogive.match`.

    Returns
    -------
    xarray.Dataset
        ``vx, vy, v, vx_error, vy_error, v_error`` (meter/year), ``vxvy_cov``, ``flag`` and the
        qualities on the window centres ``(y, x)``; ``img_pair_info``; ready for
        `ogive.write_velocity`. Without a coordinate reference system ``vy`` points down the rows.

    Raises
    ------
    InputError
        An image or an option that cannot be used.
    GridError
        Images of different coordinate reference systems, without overlap, or without a reference
        and without `pixel_size`.
    DateError
        Dates that are missing, equal or reversed.
    StableGroundError
        Too little stable ground.

    Examples
    --------
    >>> from ogive.simulation import simple_pair
    >>> pair = simple_pair((240, 240), max_displacement_px=4)
    >>> measured = velocity(
    ...     pair.earlier, pair.later, dates=["2020-07-01", "2020-07-11"], pixel_size=10,
    ...     window=16, search=8, stable=pair.stable,
    ... )
    >>> bool(measured.v.max() > 1000)
    True
    """
    options = Options(
        dates=dates,
        window=window,
        step=step,
        max_speed=max_speed,
        search=search,
        features=features,
        subpixel_features=subpixel_features,
        weights=weights,
        device=device,
        stable=stable,
        ice=ice,
        prior=prior,
        mask=mask,
        calibration=calibration,
        track_azimuth=track_azimuth,
        forward_backward=forward_backward,
        band=band,
        pixels=pixel_size is not None,
        pixel_size=pixel_size,
        threads=threads,
    )
    return velocity_of(measure_motion(earlier, later, options), pixel_size=pixel_size)


def measure_motion(
    earlier: Image,
    later: Image,
    options: Options,
    *,
    progress: Callable[[str], None] | None = None,
) -> Motion:
    """Measure the displacement between two images, without outliers, calibrated.

    Parameters
    ----------
    earlier, later
        As in `velocity`.
    options
        Of these, ``pixels`` accepts images without a coordinate reference system.
    progress
        Called with each of `STEPS` when it begins.

    Returns
    -------
    Motion

    Raises
    ------
    InputError, GridError, DateError, StableGroundError
        As `velocity` does.
    """
    begin = progress or _say_nothing
    begin(STEPS[0])
    _check(options)
    original = _as_image(earlier, "earlier", options)
    aligned = common_grid(original, _as_image(later, "later", options))
    if aligned.message:
        _log.warning("%s", aligned.message)
    image = aligned.earlier
    pair = _pair(earlier, later, options, in_pixels=image.odc.crs is None)
    metres = _metres_per_pixel(image, options)
    still = stable_pixels(options.stable, options.ice, original, image)
    radius = _search_px(options, pair, metres)

    begin(STEPS[1])
    moved = match(
        _bare(image),
        _bare(aligned.later),
        features=_features(options, pair, metres),
        subpixel_features=options.subpixel_features,
        device=options.device,
        window=options.window,
        step=options.step,
        search=radius,
        prior=_prior(options, image, pair),
        mask=_masks(options.mask, original, image, aligned.later),
        forward_backward=options.forward_backward,
        threads=options.threads,
    )
    _log_flags("matched", moved)

    begin(STEPS[2])
    moved = remove_outliers(moved, threads=options.threads or 1)

    begin(STEPS[3])
    ground = None
    if still is None:
        _log.warning(
            "not calibrated: neither stable ground nor glacier outlines were given, so a "
            "misregistration of the two images counts as motion"
        )
        moved.attrs["calibration"] = "none: no stable ground was given"
    else:
        ground = windows_inside(still, window_px=options.window, step_px=options.step)
        moved = _calibrated(moved, ground, options)
    if options.max_speed is not None and pair is not None and metres is not None:
        scale = 1.0 if image.odc.crs is not None else metres
        moved = limit_speed(
            moved, max_speed_m_yr=options.max_speed, days=pair.days, pixel_size_m=scale
        )
    _log_flags("kept", moved)
    moved.attrs["measured_share"] = float(np.isfinite(moved["dx"].values).mean())
    moved.attrs["search_px"] = radius
    return Motion(moved, image, ground, pair, radius)


def velocity_of(motion: Motion, *, pixel_size: float | None = None) -> xr.Dataset:
    """Turn a motion into a velocity in meter/year, with all that is known of it.

    Parameters
    ----------
    motion
        Of `measure_motion`.
    pixel_size
        Metres per pixel of images without a coordinate reference system.

    Raises
    ------
    DateError
        The images are not dated.
    GridError
        Images without a coordinate reference system, and no pixel size; or both.
    """
    if motion.pair is None:
        raise DateError("a velocity needs the dates of both images: pass them")
    moved = motion.displacement
    speeds = to_velocity(
        moved, motion.pair.earlier.time, motion.pair.later.time, pixel_size_m=pixel_size
    )
    for name in ("coherence", "filter_response"):
        if name in moved:
            speeds[name] = moved[name]
    speeds["img_pair_info"] = xr.DataArray(np.int8(0), attrs=pair_information(motion.pair))
    if pixel_size is not None:
        # Chip sizes are told in metres.
        speeds.attrs |= {
            name: pixel_size * float(moved.attrs[name]) for name in ("pixel_size_x", "pixel_size_y")
        }
    return speeds


def _say_nothing(step: str) -> None:
    pass


def _check(options: Options) -> None:
    if options.max_speed is not None and not options.max_speed > 0:
        raise InputError(f"a largest speed of {options.max_speed} m/yr: more than 0 is needed")
    if options.search is not None and options.search < 1:
        raise InputError(f"a search of {options.search} pixels: at least 1 is needed")
    if options.pixel_size is not None and not options.pixel_size > 0:
        raise InputError(f"a pixel of {options.pixel_size} m: more than 0 is needed")
    if options.threads is not None and options.threads < 1:
        raise InputError(f"{options.threads} threads: at least 1 is needed")
    if options.weights is not None and options.features != LEARNED:
        raise InputError(
            f"weights were given, but the features {options.features!r} do not learn: "
            "take the features 'learned'"
        )
    if options.calibration not in get_args(ShiftModel):
        known = ", ".join(get_args(ShiftModel))
        raise InputError(f"no calibration {options.calibration!r}: take one of {known}")
    if options.calibration.endswith("_track") and options.track_azimuth is None:
        raise InputError(
            f"the calibration {options.calibration!r} needs the satellite's direction of flight: "
            "pass the track azimuth in degrees clockwise from north"
        )


def _as_image(image: Image, name: str, options: Options) -> xr.DataArray:
    """Read a file; give an array coordinates if it has none."""
    if isinstance(image, str | Path):
        return read_image(image, band=options.band, allow_no_crs=options.pixels)
    if not isinstance(image, xr.DataArray):
        values = np.asarray(image)
        if values.ndim != 2:
            raise InputError(
                f"the {name} image has {values.ndim} dimensions: a single band (y, x) is needed"
            )
        image = xr.DataArray(values, dims=("y", "x"))
    if "band" in image.dims:
        image = _one_band(image, name, options.band)
    if image.dims != ("y", "x"):
        raise GridError(f"the {name} image has dimensions {image.dims}: ('y', 'x') are needed")
    missing = {
        axis: np.arange(image.sizes[axis], dtype=float)
        for axis in ("y", "x")
        if axis not in image.coords
    }
    image = image.assign_coords(missing)
    if image.odc.crs is None and not options.pixels:
        raise GridError(
            f"the {name} image has no coordinate reference system: give it one, or pass pixel_size"
        )
    if image.odc.crs is None:
        _check_counts_pixels(image, name)
    return image.rename(image.name or f"the {name} image")


def _check_counts_pixels(image: xr.DataArray, name: str) -> None:
    """Refuse coordinates of an unknown unit: a pixel size would scale them once more."""
    for axis in ("x", "y"):
        steps = np.diff(image[axis].values.astype(float))
        if steps.size and not np.allclose(steps, 1.0):
            raise GridError(
                f"the {axis} coordinates of the {name} image do not count pixels, and it has no "
                "coordinate reference system: give it one (rio.write_crs), or drop the coordinates"
            )


def _one_band(image: xr.DataArray, name: str, band: int | str | None) -> xr.DataArray:
    """Choose a band as rioxarray and odc-stac lay them."""
    if image.sizes["band"] == 1:
        return image.isel(band=0, drop=True)
    labels = [str(label) for label in image["band"].values]
    if band is None:
        raise InputError(f"the {name} image has {len(labels)} bands, choose one: {labels}")
    if str(band) not in labels:
        raise InputError(f"the {name} image has no band {band!r}, only {labels}")
    return image.isel(band=labels.index(str(band)), drop=True)


def _pair(earlier: Image, later: Image, options: Options, *, in_pixels: bool) -> Pair | None:
    """Date the images; those that are measured in pixels need no date."""
    dateless = in_pixels and options.pixel_size is None and options.dates is None
    if not dateless:
        return acquired_pair(earlier, later, options.dates)
    try:
        return acquired_pair(earlier, later)
    except DateError as error:
        _log.warning("the displacement in pixels is not dated: %s", error)
        return None


def _metres_per_pixel(image: xr.DataArray, options: Options) -> float | None:
    if image.odc.crs is None:
        return options.pixel_size
    if options.pixel_size is not None:
        raise GridError(
            f"a pixel size was given, but {image.name} has a coordinate reference system that "
            "tells it: leave the pixel size out"
        )
    resolution = image.odc.geobox.resolution
    return float(np.sqrt(abs(resolution.x * resolution.y)))


def _search_px(options: Options, pair: Pair | None, metres: float | None) -> int:
    if options.max_speed is not None and (pair is None or metres is None):
        raise InputError(
            "a largest speed in meter/year says nothing of pixels without dates and a pixel size: "
            "give those, or the search in pixels"
        )
    if options.search is not None:
        return options.search
    if options.max_speed is None or pair is None or metres is None:
        return DEFAULT_RADIUS_PX
    radius = search_radius_px(options.max_speed, days=pair.days, pixel_size_m=metres)
    farthest = radius * metres * DAYS_PER_YEAR / pair.days
    if farthest < options.max_speed:
        _log.warning(
            "the search is limited to %d pixels: ice above %.0f m/yr cannot be found in %.1f days",
            MOST_RADIUS_PX, farthest, pair.days,
        )  # fmt: skip
    return radius


def _features(
    options: Options, pair: Pair | None, metres: float | None
) -> str | Feature | FeaturePair:
    """Learned features, told how each image was taken; any others as they were asked for."""
    if options.features != LEARNED:
        return options.features
    # PyTorch takes seconds to import.
    from ogive.similarity.embedding import condition_of
    from ogive.similarity.features import learned

    feature = learned(options.weights, device=options.device)
    if pair is None or not feature.conditions:
        return feature
    earlier, later = (
        condition_of(scene, days_between=pair.days, pixel_size_m=metres)
        for scene in (pair.earlier, pair.later)
    )
    return FeaturePair(feature.with_condition(earlier), feature.with_condition(later))


def _prior(options: Options, image: xr.DataArray, pair: Pair | None) -> xr.Dataset | None:
    if options.prior is None:
        return None
    if pair is None:
        raise DateError("a prior velocity needs the dates of both images: pass them")
    prior = options.prior
    return prior_displacement(
        prior if isinstance(prior, xr.Dataset) else read_prior(prior),
        image,
        days=pair.days,
        window=options.window,
        step=options.step,
    )


def _masks(
    mask: Ground | None, original: xr.DataArray, earlier: xr.DataArray, later: xr.DataArray
) -> Masks | None:
    """Join what each file says of its pixels with the mask that was given."""
    valid = [valid_mask(earlier), valid_mask(later)]
    if mask is not None:
        usable = usable_pixels(mask, original, earlier)
        valid = [own & usable for own in valid]
    return None if all(own.all() for own in valid) else Masks(*valid)


def _bare(image: xr.DataArray) -> xr.DataArray:
    """Drop the mask of an image, which is passed by itself; name the unit of plain pixels."""
    bare = image.drop_vars("valid", errors="ignore")
    if image.odc.crs is None:
        for axis in ("x", "y"):
            bare[axis] = (axis, image[axis].values, {**image[axis].attrs, "units": "pixel"})
    return bare


def _calibrated(moved: xr.Dataset, ground: NDArray[np.bool_], options: Options) -> xr.Dataset:
    try:
        result = calibrate(
            moved, ground, model=options.calibration, track_azimuth_deg=options.track_azimuth
        )
    except StableGroundError as error:
        raise StableGroundError(
            f"{error}; a point is stable when its whole window of {options.window} pixels is: give "
            "more stable ground, or a smaller window"
        ) from error
    told = "stable ground that was given" if options.stable is not None else "ground beside the ice"
    result.attrs["calibration"] = (
        f"{options.calibration} on {result.attrs['stable_count']} points of {told}"
    )
    for name in ("dx", "dy"):
        attributes = result[name].attrs
        _log.info(
            "calibrated: %s was shifted by %.4g +- %.2g, NMAD %.3g on stable ground", name,
            attributes["stable_shift"], attributes["stable_shift_error"],
            attributes["nmad_stationary"],
        )  # fmt: skip
    return result


def _log_flags(what: str, moved: xr.Dataset) -> None:
    """Count the points by what became of them."""
    flags, counts = np.unique(moved["flag"].values, return_counts=True)
    told = ", ".join(
        f"{count} {Flag(flag).name.lower()}" for flag, count in zip(flags, counts, strict=True)
    )
    _log.info("%s: %s", what, told)
