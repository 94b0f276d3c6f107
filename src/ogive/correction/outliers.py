"""Which displacements to disbelieve: outliers of the neighbourhood, of speed and of quality.

Each filter takes a displacement Dataset and returns one in which the points it disbelieves have no
value and a `Flag` that says why; what has no value already is left as it is. Every filter looks no
farther than its halo (`median_halo`, `agreement_halo`, ...: points on each side), so that a map
filtered by blocks with that overlap equals the map filtered whole.

`remove_outliers` puts together what was found to keep narrow fast glaciers and shear margins and
still reject clusters of false matches.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from ogive.correction.grid import measured, require, without
from ogive.correction.neighbourhood import (
    Agreement,
    Offset,
    agreeing_neighbours,
    agreeing_pairs,
    clusters,
    deviates_from_median,
    normalised_residual,
    square,
)
from ogive.correction.noise_tail import reject_noise_tail
from ogive.model import DAYS_PER_YEAR, Flag, InputError

__all__ = [
    "limit_quality",
    "limit_speed",
    "match_noise_px",
    "reject_by_agreement",
    "reject_by_coherence",
    "reject_by_median",
    "reject_by_normalised_median",
    "reject_small_clusters",
    "remove_outliers",
]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


_SIGMAS = 3.0
_FLOW_PX = 0.12  # what flow bends within a few points; counted like noise where that is smaller
_NOISE_RANGE_PX = (0.02, 0.5)
# Of |z|, z normal: its lower quartile, and its median where z lies within the core.
_QUARTILE_OF_NORMAL = 0.3186
_CORE = 3.0
_MEDIAN_OF_CORE = 0.6728
_CORE_ROUNDS = 10
_NOISE_SAMPLE = 100_000


# ---- what all filters share ----------------------------------------------------------------------


def _components_px(displacement: xr.Dataset) -> tuple[Floats, Floats]:
    """Return dx and dy in image pixels, NaN where a point counts for nothing."""
    require(displacement, "dx", "dy")
    valid = measured(displacement)
    size_x, size_y = _pixel_size(displacement)
    dx = np.where(valid, displacement["dx"].values / size_x, np.nan).astype(np.float32)
    dy = np.where(valid, displacement["dy"].values / size_y, np.nan).astype(np.float32)
    return dx, dy


def _pixel_size(displacement: xr.Dataset) -> tuple[float, float]:
    try:
        sizes = [float(displacement.attrs[name]) for name in ("pixel_size_x", "pixel_size_y")]
    except KeyError as missing:
        raise InputError(
            f"the displacement does not say how large a pixel is: set its attribute {missing} in "
            "the units of the coordinates (1 for a displacement in pixels)"
        ) from missing
    if not all(np.isfinite(size) and size > 0 for size in sizes):
        raise InputError(f"pixel sizes must be positive: pixel_size_x, pixel_size_y are {sizes}")
    return sizes[0], sizes[1]


def _step_px(displacement: xr.Dataset) -> float:
    if "step_px" not in displacement.attrs:
        raise InputError(
            "the displacement does not say how many pixels lie between its points: set its "
            "attribute step_px"
        )
    return float(displacement.attrs["step_px"])


def _check_size(size: int) -> None:
    if size < 3 or size % 2 == 0:
        raise InputError(f"size={size}: an odd number of points, at least 3, is needed")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise InputError(f"{name}={value}: a positive number is needed")


# ---- neighbourhood -------------------------------------------------------------------------------


def reject_by_median(
    displacement: xr.Dataset, *, max_deviation_px: float = 3.0, size: int = 9, threads: int = 1
) -> xr.Dataset:
    """Reject points whose dx or dy deviates from the median of the points around it.

    The rule of Mouginot et al. (2012) as used by Rabatel et al. (2023, Data 8, 66): more than three
    units from the 9 x 9 median on either component drops both. That paper filters displacements in
    pixels before it converts them to m/yr, so that the unit is taken to be the pixel. A glacier
    narrower than half the square is not the median of its own surroundings and is lost when it
    moves more than the limit: `remove_outliers` therefore does without this rule.

    Halo: ``size // 2`` points.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``.
    max_deviation_px
        Largest deviation, in image pixels.
    size
        Odd width of the square, in points. The square holds the point itself; of an even number of
        values both middle ones must lie too far.
    threads
        The result is the same for any number.

    Returns
    -------
    xarray.Dataset
        With `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        Options out of range, no pixel size.

    Examples
    --------
    >>> field = np.zeros((9, 9))
    >>> field[4, 4] = 5.0
    >>> moved = xr.Dataset({"dx": (("y", "x"), field), "dy": (("y", "x"), 0 * field)})
    >>> moved = moved.assign_attrs(pixel_size_x=1.0, pixel_size_y=1.0)
    >>> int(reject_by_median(moved).flag.sum() == Flag.OUTLIER)
    1
    """
    _check_size(size)
    _check_positive(max_deviation_px=max_deviation_px)
    dx, dy = _components_px(displacement)
    rejected = deviates_from_median(dx, size, max_deviation_px, threads)
    rejected |= deviates_from_median(dy, size, max_deviation_px, threads)
    return without(displacement, rejected, Flag.OUTLIER)


def reject_by_coherence(
    displacement: xr.Dataset,
    *,
    search_px: float,
    min_share: float = 8 / 25,
    tolerance: float = 0.2,
    size: int = 5,
    threads: int = 1,
) -> xr.Dataset:
    """Reject points with which too few of the surrounding square agree.

    The normalised displacement coherence of autoRIFT (Gardner et al., 2018, The Cryosphere 12, 521;
    Lei et al., 2021, Remote Sens. 13, 749): displacements are divided by the search distance, and a
    point is kept when at least a share of the square, itself and the gaps counted, lies within a
    tolerance of it in both components.

    Halo: ``size // 2`` points.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``.
    search_px
        Search distance of the matching, in image pixels, to one side.
    min_share
        Share of the square that must agree.
    tolerance
        Largest difference, as a share of the search distance.
    size
        Odd width of the square, in points.
    threads
        The result is the same for any number.

    Returns
    -------
    xarray.Dataset
        With `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        Options out of range, no pixel size.
    """
    _check_size(size)
    _check_positive(search_px=search_px, min_share=min_share, tolerance=tolerance)
    dx, dy = _components_px(displacement)
    offsets = square(size, centre=True)
    limits = np.full(len(offsets), tolerance * search_px)
    agreeing = agreeing_neighbours(dx, dy, offsets, limits, threads).agreeing
    return without(displacement, agreeing < min_share * size**2, Flag.OUTLIER)


def reject_by_normalised_median(
    displacement: xr.Dataset,
    *,
    max_residual: float = 5.0,
    noise_px: float = 0.1,
    size: int = 5,
    min_neighbours: int = 5,
    threads: int = 1,
) -> xr.Dataset:
    """Reject points that deviate from their neighbours more than these do among themselves.

    The normalised median test of Westerweel & Scarano (2005, Exp. Fluids 39, 1096): the distance
    from the neighbours' median, over the median of the neighbours' own distances from it plus the
    noise. They reject above 2, which costs some 5 % of good normally distributed vectors; the
    default of 5 costs next to none. The two components are judged together, by the larger residual.

    Halo: ``size // 2`` points.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``.
    max_residual
        Largest normalised residual.
    noise_px
        Spread of good matches, in image pixels; where the point's own error is larger
        (``dx_var``, ``dy_var``), that is taken.
    size
        Odd width of the square, in points.
    min_neighbours
        Points with fewer neighbours are not judged, and kept.
    threads
        The result is the same for any number.

    Returns
    -------
    xarray.Dataset
        With `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        Options out of range, no pixel size.
    """
    _check_size(size)
    _check_positive(max_residual=max_residual, noise_px=noise_px, min_neighbours=min_neighbours)
    offsets = square(size, centre=False)
    rejected = np.zeros((displacement.sizes["y"], displacement.sizes["x"]), dtype=np.bool_)
    sizes = _pixel_size(displacement)
    for values, name, pixel in zip(
        _components_px(displacement), ("dx_var", "dy_var"), sizes, strict=True
    ):
        noise = np.full(values.shape, noise_px, dtype=np.float32)
        if name in displacement:
            error_px = np.sqrt(displacement[name].values) / pixel
            noise = np.fmax(noise, error_px).astype(np.float32)
        residual = normalised_residual(values, noise, offsets, min_neighbours, threads)
        rejected |= residual > max_residual
    return without(displacement, rejected, Flag.OUTLIER)


def match_noise_px(displacement: xr.Dataset) -> float:
    """Spread of the good matches' errors, in image pixels, from the field's own differences.

    The spread of the normal core of the second differences over points whose windows do not
    overlap, over the root of six; the smaller one of the two directions, since flow bends less
    along one of them. It is a figure of the whole field: when a map is filtered by blocks, take it
    once and hand it to each.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``, ``step_px``,
        ``window_px``.

    Returns
    -------
    float
        Between 0.02 and 0.5, in image pixels.

    Raises
    ------
    InputError
        The Dataset lacks a variable or attribute that is needed.
    """
    lag = max(1, int(np.ceil(_windows_per_step(displacement))))
    spreads = []
    for axis in (0, 1):
        bends = [_second_differences(v, lag, axis) for v in _components_px(displacement)]
        spreads.append(np.mean([_core_spread(bend) for bend in bends]) / np.sqrt(6.0))
    finite = [float(spread) for spread in spreads if np.isfinite(spread)]
    return float(np.clip(min(finite, default=0.0), *_NOISE_RANGE_PX))


def _second_differences(values: Floats, lag: int, axis: int) -> Floats:
    moved = np.moveaxis(values, axis, 0)
    if moved.shape[0] <= 2 * lag:
        return np.empty(0, dtype=np.float32)
    bend = moved[2 * lag :] + moved[: -2 * lag] - 2 * moved[lag:-lag]
    finite = bend[np.isfinite(bend)]
    return np.asarray(finite[:: max(1, finite.size // _NOISE_SAMPLE)], dtype=np.float32)


def _core_spread(values: Floats) -> float:
    """Return the standard deviation of the normal core about zero of a mixture."""
    if values.size == 0:
        return float("nan")
    size = np.abs(values)
    spread = float(np.quantile(size, 0.25)) / _QUARTILE_OF_NORMAL
    for _ in range(_CORE_ROUNDS):
        spread = float(np.median(size[size <= _CORE * spread])) / _MEDIAN_OF_CORE
    return spread


def _lines(length: int) -> list[list[Offset]]:
    """Offsets to one side along eight directions, every 22.5 degrees."""
    angles = np.arange(8) * np.pi / 8
    return [
        [Offset(round(s * np.sin(a)), round(s * np.cos(a))) for s in range(1, length + 1)]
        for a in angles.tolist()
    ]


def _both_sides(offsets: list[Offset]) -> list[Offset]:
    return offsets + [Offset(-offset.y, -offset.x) for offset in offsets]


def _tolerances(
    offsets: list[Offset], noise_px: float, max_strain: float, step_px: float
) -> npt.NDArray[np.float64]:
    distance = np.hypot(*np.array(offsets, dtype=np.float64).T) * step_px
    spread = max(noise_px, _FLOW_PX)
    tolerances: npt.NDArray[np.float64] = _SIGMAS * np.sqrt(2.0) * spread + max_strain * distance
    return tolerances


def reject_by_agreement(
    displacement: xr.Dataset,
    *,
    noise_px: float | None = None,
    max_strain: float = 0.02,
    min_share: float = 1 / 3,
    line_share: float = 0.6,
    size: int = 5,
    line_length: int = 4,
    rounds: int = 2,
    threads: int = 1,
) -> xr.Dataset:
    """Reject points with which neither the square around them nor any line through them agrees.

    Two points agree when both components differ by no more than three standard deviations of their
    difference and what strain allows over their distance. A point is kept when a share of the
    neighbours that *have* a value agrees, so that gaps and edges cost nothing, or when most of the
    points on one of eight lines through it agree (at least three): along its flow a glacier is
    smooth even where it is three points wide or in a shear margin, which a rule of the whole
    neighbourhood takes for outliers. A second round judges by what the first has left.

    Halo: ``rounds * max(size // 2, line_length)`` points.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``, ``step_px``.
    noise_px
        Standard deviation of good matches, in image pixels; by default `match_noise_px`.
    max_strain
        Difference that flow adds, in pixels of displacement per pixel of distance.
    min_share
        Share of the square's measured neighbours that must agree.
    line_share
        Share of a line's measured neighbours that must agree instead.
    size
        Odd width of the square, in points.
    line_length
        Points of a line to either side.
    rounds
        How often all points are judged.
    threads
        The result is the same for any number.

    Returns
    -------
    xarray.Dataset
        With `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        Options out of range, no pixel size or step.
    """
    _check_size(size)
    noise = match_noise_px(displacement) if noise_px is None else noise_px
    _check_positive(noise_px=noise, min_share=min_share, rounds=rounds, line_length=line_length)
    dx, dy = _components_px(displacement)
    step = _step_px(displacement)
    around = [offset for offset in square(size, centre=False) if offset > (0, 0)]
    for _ in range(rounds):
        singles, pairs = _agreement(dx, dy, around, noise, max_strain, step, threads)
        kept = (singles.agreeing >= min_share * singles.valid) & (singles.agreeing > 0)
        kept |= (pairs.agreeing >= min_share * pairs.valid) & (pairs.agreeing >= 2)
        for line in _lines(line_length):
            singles, pairs = _agreement(dx, dy, line, noise, max_strain, step, threads)
            kept |= (singles.agreeing >= 3) & (singles.agreeing >= line_share * singles.valid)
            kept |= (pairs.agreeing >= 2) & (pairs.agreeing >= line_share * pairs.valid)
        dx, dy = np.where(kept, dx, np.float32(np.nan)), np.where(kept, dy, np.float32(np.nan))
    return without(displacement, np.isnan(dx), Flag.OUTLIER)


def _agreement(
    dx: Floats,
    dy: Floats,
    offsets: list[Offset],
    noise_px: float,
    max_strain: float,
    step_px: float,
    threads: int,
) -> tuple[Agreement, Agreement]:
    """Agreement with the neighbours to both sides, and with the means of opposite ones."""
    single = _tolerances(offsets, noise_px, max_strain, step_px)
    # The mean of two has half the variance: 1.5 instead of 2 of the difference.
    pair = _tolerances(offsets, noise_px, max_strain / np.sqrt(3.0), step_px) * np.sqrt(0.75)
    return (
        agreeing_neighbours(dx, dy, _both_sides(offsets), np.tile(single, 2), threads),
        agreeing_pairs(dx, dy, offsets, pair, threads),
    )


def reject_small_clusters(
    displacement: xr.Dataset,
    *,
    noise_px: float | None = None,
    min_points: int | None = None,
    max_strain: float = 0.2,
    reach: int = 2,
) -> xr.Dataset:
    """Reject points that hang together with few others.

    Overlapping windows make the same false match, so that outliers come in clusters of about a
    window's width whose members agree. What tells them from a glacier is size: points are linked to
    the neighbours they agree with (see `reject_by_agreement`), and clusters of linked points that
    are too small are rejected.

    Halo: ``(min_points - 1) * reach`` points.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``, ``step_px``.
    noise_px
        Standard deviation of good matches, in image pixels; by default `match_noise_px`.
    min_points
        Fewest points of a cluster; by default twice the number of windows that overlap one window's
        area, ``2 * (window_px / step_px)²``, at least 8.
    max_strain
        As in `reject_by_agreement`.
    reach
        How far two linked points may lie apart, in points.

    Returns
    -------
    xarray.Dataset
        With `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        Options out of range, no pixel size, step or window.
    """
    noise = match_noise_px(displacement) if noise_px is None else noise_px
    _check_positive(noise_px=noise, reach=reach)
    dx, dy = _components_px(displacement)
    if min_points is None:
        min_points = _default_cluster(displacement)
    half_plane = [offset for offset in square(2 * reach + 1, centre=False) if offset > (0, 0)]
    limits = _tolerances(half_plane, noise, max_strain, _step_px(displacement))
    size = clusters(dx, dy, half_plane, limits)
    return without(displacement, size < min_points, Flag.OUTLIER)


def _windows_per_step(displacement: xr.Dataset) -> float:
    if "window_px" not in displacement.attrs:
        raise InputError(
            "the displacement does not say how wide its windows are: set its attribute window_px"
        )
    return float(displacement.attrs["window_px"]) / _step_px(displacement)


def _default_cluster(displacement: xr.Dataset) -> int:
    return max(8, round(2 * _windows_per_step(displacement) ** 2))


def remove_outliers(
    displacement: xr.Dataset, *, noise_px: float | None = None, threads: int = 1
) -> xr.Dataset:
    """Reject what the neighbourhood does not bear out: the default combination.

    First `reject_by_agreement`, then `reject_by_normalised_median`, then `reject_small_clusters`,
    and where the points have errors of their own `reject_noise_tail`, all with their defaults.
    What they lose of the good points on ice and keep of the false ones, beside the 9 x 9 median
    rule (means of ten simulated fields of 200 x 200 points, step 5 px, window 16 px; 5 % isolated
    and 2 % clustered false matches over +-16 px, 10 % decorrelated where matches scatter over
    +-2.5 px; the narrow glaciers move by 10 px):

    ===========================  ========  ==========  ================  ==================
    field                        ice lost  false kept  median: ice lost  median: false kept
    ===========================  ========  ==========  ================  ==================
    trunk with shear margins     0.01 %    0.1 %       0 %               57 %
    same, noise 0.2 px           0 %       5 %         0 %               57 %
    same, half of it gaps        0.08 %    0.3 %       0 %               56 %
    glaciers 3 points wide       5 %       0.1 %       75 %              53 %
    glaciers 6 points wide       2 %       0.1 %       25 %              51 %
    same, 30 % gaps              10 %      0.2 %       25 %              51 %
    same, half of it gaps        42 %      0.2 %       26 %              51 %
    ===========================  ========  ==========  ================  ==================

    So a decorrelated patch under strong noise is left to the match's own quality, and a narrow
    glacier that is half gaps is half lost.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), attributes ``pixel_size_x``, ``pixel_size_y``, ``step_px``,
        ``window_px``.
    noise_px
        Standard deviation of good matches, in image pixels; by default `match_noise_px`.
    threads
        The result is the same for any number.

    Returns
    -------
    xarray.Dataset
        With `Flag.OUTLIER` where a point was rejected.

    Raises
    ------
    InputError
        The Dataset lacks a variable or attribute that is needed.
    """
    noise = match_noise_px(displacement) if noise_px is None else noise_px
    kept = reject_by_agreement(displacement, noise_px=noise, threads=threads)
    kept = reject_by_normalised_median(kept, noise_px=noise, threads=threads)
    kept = reject_small_clusters(kept, noise_px=noise)
    if {"dx_var", "dy_var"} <= set(kept.data_vars):
        kept = reject_noise_tail(kept, threads=threads)
    return kept


# ---- limits --------------------------------------------------------------------------------------


def limit_speed(
    displacement: xr.Dataset, *, max_speed_m_yr: float, days: float, pixel_size_m: float = 1.0
) -> xr.Dataset:
    """Reject displacements that would need a higher speed than ice reaches there.

    Calibrate before: a misregistration counts as speed. Halo: none.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` (y, x), in meters, or in pixels with ``pixel_size_m``.
    max_speed_m_yr
        In meter/year.
    days
        Time between the two images.
    pixel_size_m
        Meters per unit of the displacement.

    Returns
    -------
    xarray.Dataset
        With `Flag.TOO_FAST` where a point was rejected.

    Raises
    ------
    InputError
        Options out of range.
    """
    _check_positive(max_speed_m_yr=max_speed_m_yr, days=days, pixel_size_m=pixel_size_m)
    require(displacement, "dx", "dy")
    length = np.hypot(
        displacement["dx"].values.astype(np.float64), displacement["dy"].values.astype(np.float64)
    )
    too_fast = length * pixel_size_m * DAYS_PER_YEAR / days > max_speed_m_yr
    return without(displacement, too_fast, Flag.TOO_FAST)


def limit_quality(
    displacement: xr.Dataset,
    *,
    min_correlation: float | None = None,
    min_peak_ratio: float | None = None,
    max_error: float | None = None,
) -> xr.Dataset:
    """Reject matches whose own quality is below a limit; a quality that is NaN is below any.

    Halo: none.

    Parameters
    ----------
    displacement
        ``dx``, ``dy`` and the qualities asked for, (y, x).
    min_correlation
        Of ``correlation``, the peak.
    min_peak_ratio
        Of ``peak_ratio``, the highest peak over the second highest.
    max_error
        Of the larger standard error, the root of ``dx_var`` and ``dy_var``, in their units.

    Returns
    -------
    xarray.Dataset
        With `Flag.LOW_QUALITY` where a point was rejected.

    Raises
    ------
    InputError
        The Dataset lacks a quality that a limit is given for.
    """
    require(displacement, "dx", "dy")
    good = np.ones((displacement.sizes["y"], displacement.sizes["x"]), dtype=np.bool_)
    for name, least in (("correlation", min_correlation), ("peak_ratio", min_peak_ratio)):
        if least is not None:
            require(displacement, name)
            good &= displacement[name].values >= least
    if max_error is not None:
        require(displacement, "dx_var", "dy_var")
        for name in ("dx_var", "dy_var"):
            good &= displacement[name].values <= max_error**2
    return without(displacement, ~good, Flag.LOW_QUALITY)
