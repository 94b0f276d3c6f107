"""The published metrics of Zheng et al. (2023), by their own package ``glaft``.

doi 10.5194/tc-17-4063-2023. The package reads GeoTIFFs in meter/day and polygons; it is given both
in a folder that goes when it is done.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import shapes
from shapely.geometry import shape

from ogive.model import DAYS_PER_YEAR, GridError, InputError

__all__ = ["GlaftMetrics", "glaft_metrics"]

_NODATA = -9999.0
_FEWEST_POINTS = 3


@dataclass(frozen=True, slots=True)
class GlaftMetrics:
    """The package's figures, in its units.

    Parameters
    ----------
    delta_u_m_d, delta_v_m_d
        Uncertainty of vx and vy on static terrain: half the width of the densest region (of two
        standard deviations) of their joint distribution, meter/day.
    bias_u_m_d, bias_v_m_d
        Where that distribution peaks.
    outlier_share
        Static points outside of that region.
    delta_normal_d, delta_shear_d
        Variability of the strain rates along the flow, normal and shear, on ice, per day. (The
        package takes Sobel's sums for differences, which are eight times them.)
    """

    delta_u_m_d: float
    delta_v_m_d: float
    bias_u_m_d: float
    bias_v_m_d: float
    outlier_share: float
    delta_normal_d: float
    delta_shear_d: float


def glaft_metrics(
    velocity: xr.Dataset,
    *,
    stable: NDArray[np.bool_] | None = None,
    ice: NDArray[np.bool_] | None = None,
) -> GlaftMetrics:
    """Run the published metrics on a velocity map.

    Parameters
    ----------
    velocity
        ``vx, vy`` (y, x) in meter/year, rows from the north, with a coordinate reference system in
        metres.
    stable, ice
        True on static terrain and on ice, on the map's grid; the metrics of what is not given are
        NaN.

    Raises
    ------
    InputError
        If the package ``glaft`` is not installed, or fewer than three points have a velocity.
    GridError
        If the map has no coordinate reference system.
    """
    package = _package()
    box = velocity["vx"].odc.geobox
    if not isinstance(box, GeoBox) or box.crs is None:
        raise GridError("GLAFT's metrics need a map with a coordinate reference system")
    known = np.isfinite(velocity["vx"].values) & np.isfinite(velocity["vy"].values)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [_write(velocity[name], box, folder / f"{name}.tif") for name in ("vx", "vy")]
        areas = {}
        for area, mask in (("static", stable), ("on_ice", ice)):
            if mask is not None:
                if np.count_nonzero(mask & known) < _FEWEST_POINTS:
                    raise InputError(
                        f"GLAFT's metrics need {_FEWEST_POINTS} points with a velocity "
                        f"{'on stable ground' if area == 'static' else 'on ice'}: there are fewer"
                    )
                areas[area] = _write_polygons(mask, box, folder / f"{area}.gpkg")
        still = _run(package, files, "static_terrain_analysis", static_area=areas.get("static"))
        flow = _run(package, files, "longitudinal_shear_analysis", on_ice_area=areas.get("on_ice"))
    return GlaftMetrics(
        *(_figure(still, name) for name in (
            "metric_static_terrain_x", "metric_static_terrain_y", "kdepeak_x", "kdepeak_y",
            "outlier_percent",
        )),
        *(_figure(flow, name) for name in ("metric_alongflow_normal", "metric_alongflow_shear")),
    )  # fmt: skip


def _write_polygons(mask: NDArray[np.bool_], box: GeoBox, path: Path) -> str:
    """Write the edges of a mask's pixels, which hold the centres of the same pixels again."""
    found = shapes(mask.astype(np.uint8), mask=mask, transform=box.transform)
    polygons = gpd.GeoDataFrame(geometry=[shape(one) for one, _ in found], crs=str(box.crs))
    polygons.to_file(path, driver="GPKG")
    return str(path)


def _package() -> Any:
    with warnings.catch_warnings():
        # Its docstrings hold backslashes that newer Pythons complain of.
        warnings.simplefilter("ignore")
        try:
            import glaft  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError as error:
            raise InputError(
                "GLAFT's metrics need its package: pip install 'ogive[scores]'"
            ) from error
    return glaft


def _write(field: xr.DataArray, box: GeoBox, path: Path) -> str:
    values = field.values.astype(np.float32) / np.float32(DAYS_PER_YEAR)
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": _NODATA}
    shape = {"height": box.shape[0], "width": box.shape[1]}
    with rasterio.open(
        path, "w", crs=str(box.crs), transform=box.transform, **profile, **shape
    ) as file:
        file.write(np.where(np.isfinite(values), values, np.float32(_NODATA)), 1)
    return str(path)


def _run(package: Any, files: list[str], analysis: str, **area: str | None) -> Any:
    """Run one of the package's two workflows, without what it prints; ``None`` without an area."""
    (name, polygons), *_ = area.items()
    if polygons is None:
        return None
    test = package.Velocity(vxfile=files[0], vyfile=files[1], **{name: polygons})
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        getattr(test, analysis)()
    return test


def _figure(test: Any, name: str) -> float:
    return float("nan") if test is None else float(getattr(test, name))
