"""The view geometry of many images, and which images the pairs of a cube were made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from ogive.model import DateError, InputError

__all__ = ["pair_images", "pair_offsets", "sensitivity", "stack_views"]

_MISSIONS = {"S": "sentinel-2", "L": "landsat"}
_SAME_PASS = np.timedelta64(45, "m")


def sensitivity(
    view: xr.Dataset,
    *,
    slope_x: ArrayLike | xr.DataArray = 0.0,
    slope_y: ArrayLike | xr.DataArray = 0.0,
) -> xr.Dataset:
    """Displacement in the image for each metre that the surface stands above the elevation model.

    On level ground it is the line of sight's horizontal part, away from the satellite (the entries
    of eq. 12 of Altena & Kääb 2017). Where the model slopes up towards the satellite the line of
    sight meets it later: ``s = -sight / (1 - ∇Z · sight)``, exact for a plane.

    Parameters
    ----------
    view
        With ``sight_x, sight_y``, as `ogive.view_geometry` gives them.
    slope_x, slope_y
        Gradient of the elevation model along +x and +y (metres per metre), where it is to count.

    Returns
    -------
    xarray.Dataset
        ``offset_x, offset_y``, in metres per metre.

    Raises
    ------
    InputError
        If the view has no line of sight, or slopes hide the surface from the satellite.

    Examples
    --------
    >>> view = xr.Dataset({"sight_x": 0.2, "sight_y": 0.0})  # from the east
    >>> float(sensitivity(view).offset_x), float(sensitivity(view, slope_x=1.0).offset_x)
    (-0.2, -0.25)
    """
    missing = [name for name in ("sight_x", "sight_y") if name not in view]
    if missing:
        raise InputError(
            f"the views have no {' and no '.join(missing)}: make them by ogive.view_geometry, or "
            "ogive.scenes.geometry.given_view from angles that you know"
        )
    rise: xr.DataArray = view["sight_x"] * slope_x + view["sight_y"] * slope_y
    toward = 1.0 - rise
    if bool((toward <= 0.05).any()):
        raise InputError(
            "the slopes are steeper than the line of sight: are they in metres per metre?"
        )
    return xr.Dataset(
        {"offset_x": -view["sight_x"] / toward, "offset_y": -view["sight_y"] / toward}
    )


def stack_views(views: Sequence[xr.Dataset], times: ArrayLike | None = None) -> xr.Dataset:
    """Put the view geometries of images along ``image``, with the time of each.

    Parameters
    ----------
    views
        Of `ogive.view_geometry`, all on one grid, or numbers that hold for the whole grid.
    times
        When the images were acquired; by default each view's attribute ``time``.

    Returns
    -------
    xarray.Dataset
        ``sight_x, sight_y`` along ``image``, with the coordinates ``time``, ``mission``, ``orbit``
        (Sentinel-2's relative orbit or Landsat's path, -1 where it is not known) and ``geometry``.

    Raises
    ------
    InputError, DateError
        If there is no view, or no time.
    """
    if not views:
        raise InputError("there is no view geometry to stack")
    if times is None:
        untold = [k for k, view in enumerate(views) if "time" not in view.attrs]
        if untold:
            raise DateError(f"view {untold[0]} has no time: pass times=")
        times = [view.attrs["time"] for view in views]
    stamps = np.asarray(times, "datetime64[ns]")
    if stamps.shape != (len(views),):
        raise DateError(f"{stamps.size} times were given for {len(views)} views")
    lines = [sensitivity(view) for view in views]  # refuses what has no line of sight
    both = {
        f"sight_{axis}": xr.concat(
            [-line[f"offset_{axis}"].drop_attrs() for line in lines], "image", join="exact"
        )
        for axis in ("x", "y")
    }

    def told(name: str, default: Any) -> list[Any]:
        return [view.attrs.get(name, default) for view in views]

    orbits = [
        int(orbit if orbit is not None else path if path is not None else -1)
        for orbit, path in zip(told("relative_orbit", None), told("path", None), strict=True)
    ]
    return xr.Dataset(both).assign_coords(
        time=("image", stamps),
        mission=("image", np.array(told("mission", ""), dtype=str)),
        orbit=("image", np.array(orbits)),
        geometry=("image", np.array(told("geometry", "given"), dtype=str)),
    )


def pair_images(cube: xr.Dataset, views: xr.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the two images of every pair among the views, by time, and mission where it is told.

    A date without a time of day takes the image of that day. Within 45 minutes of the cube's date,
    which may be that of the whole datatake, the closest is taken.

    Returns
    -------
    tuple of numpy.ndarray
        Numbers of the earlier and of the later image along ``image``.

    Raises
    ------
    InputError
        If an image has no view, or a date could mean two images that look from two sides.
    DateError
        If the cube has no dates.
    """
    missing = [
        name
        for name in ("acquisition_date_img1", "acquisition_date_img2")
        if name not in cube.variables
    ]
    if missing:
        raise DateError(f"the cube has no {' and no '.join(missing)}: pairs need both their dates")
    if "time" not in views.coords or "image" not in views.dims:
        raise InputError("the views have no times along 'image': put them together by stack_views")
    times = views["time"].values.astype("datetime64[ns]")
    missions = views["mission"].values if "mission" in views.coords else np.full(times.size, "")
    found = []
    for number in ("img1", "img2"):
        dates = cube[f"acquisition_date_{number}"].values.astype("datetime64[ns]")
        names = cube[f"mission_{number}"].values if f"mission_{number}" in cube.coords else None
        index = np.empty(dates.size, np.int64)
        known: dict[tuple[Any, str], int] = {}
        for k, date in enumerate(dates):
            mission = "" if names is None else _MISSIONS.get(str(names[k]), str(names[k]))
            key = (date, mission)
            if key not in known:
                known[key] = _image_at(date, mission, times, missions, views)
            index[k] = known[key]
        found.append(index)
    return found[0], found[1]


def _image_at(
    date: np.datetime64,
    mission: str,
    times: NDArray[np.datetime64],
    missions: NDArray[Any],
    views: xr.Dataset,
) -> int:
    alike = np.array([not mission or not m or m == mission for m in missions], dtype=bool)
    if np.isnat(date):
        raise DateError("a pair has no acquisition date: leave it out or give its dates")
    away = np.abs(times - date)
    near = np.flatnonzero(alike & (away <= _SAME_PASS))
    if near.size:
        return int(near[np.argmin(away[near])])
    whole_day = date == date.astype("datetime64[D]")
    day = np.flatnonzero(alike & (times.astype("datetime64[D]") == date.astype("datetime64[D]")))
    if not whole_day or day.size == 0:
        raise InputError(
            f"there is no view geometry of an image of {str(date)[:19]}"
            f"{f' ({mission})' if mission else ''}: add its angle file, or its orbit"
        )
    if day.size > 1:
        spread = sum(
            float(views[name].isel(image=day).max("image").max())
            - float(views[name].isel(image=day).min("image").min())
            for name in ("sight_x", "sight_y")
        )
        orbits = views["orbit"].values[day] if "orbit" in views.coords else np.array([-1])
        one_orbit = bool(np.all(orbits == orbits[0]) and orbits[0] >= 0)
        if spread > 0.01 and not one_orbit:
            raise InputError(
                f"{day.size} images of {str(date)[:10]} look from different sides, and the cube "
                "tells no time of day: give its dates with their times"
            )
    return int(day[0])


def pair_offsets(cube: xr.Dataset, views: xr.Dataset) -> xr.Dataset:
    """Offset of every pair per metre of elevation bias: that of the later image less the earlier's.

    Returns
    -------
    xarray.Dataset
        ``offset_x, offset_y`` along ``mid_date`` (and y, x where views are per pixel), metres per
        metre: the columns ``C`` of eq. 12.
    """
    first, last = pair_images(cube, views)
    lines = sensitivity(views).drop_vars(
        [name for name in ("time", "mission", "orbit", "geometry") if name in views.coords]
    )
    later = lines.isel(image=xr.DataArray(last, dims="mid_date"))
    earlier = lines.isel(image=xr.DataArray(first, dims="mid_date"))
    result: xr.Dataset = later - earlier
    return result
