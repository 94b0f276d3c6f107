"""A small archive of simulated scenes, laid out as the real ones are, and the truth beside it.

The archive is a static STAC catalogue: one collection for each sensor, an item for each scene, with
the properties that Earth Search (Sentinel-2) and the USGS (Landsat) give, cloud-optimised GeoTIFFs
under the providers' file names, and beside them elevation, outlines and the truth.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import BoundingBox
from pyproj import CRS, Proj, Transformer
from rasterio.features import shapes
from rasterio.transform import from_origin
from shapely.geometry import Polygon, mapping, shape

from ogive.georeference import with_crs
from ogive.model import DateError, GridError, InputError, OutputError
from ogive.scenes.read import rasterize_polygons, read_image, read_on_grid
from ogive.simulation import (
    Ground,
    Pass,
    Place,
    SimulatedGlacier,
    SimulatedScene,
    SurfaceChange,
    Terrain,
    Weather,
    given_terrain,
)
from ogive.simulation.glacier import BORDER_CELLS, CELL_M
from ogive.simulation.rhythm import Rhythm
from ogive.simulation.satellite import ORBITS, Orbit
from ogive.store.atomic import atomic_dir

__all__ = ["SimulationSettings", "read_simulated_glacier", "simulate_archive"]

CATALOGUE = "catalog.json"
TRUTH = "truth.nc"
SETTINGS = "simulation.json"
COLLECTIONS: Mapping[str, str] = {"sentinel-2": "sentinel-2-l2a", "landsat": "landsat-c2-l1"}
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_EXTENSION = "https://stac-extensions.github.io"
_SCL = {
    Ground.NODATA: 0,
    Ground.DARK: 2,
    Ground.CLOUD_SHADOW: 3,
    Ground.ROCK: 5,
    Ground.WATER: 6,
    Ground.CLOUD: 9,
    Ground.SNOW_OR_ICE: 11,
}
"""Sentinel-2's scene classification."""
_QA_PIXEL = {
    Ground.NODATA: 1,
    Ground.DARK: 21824,
    Ground.CLOUD_SHADOW: 23888,
    Ground.ROCK: 21824,
    Ground.WATER: 21952,
    Ground.CLOUD: 22280,
    Ground.SNOW_OR_ICE: 30048,
}
"""Landsat Collection 2: the bits of clear, water, cloud, shadow and snow with their confidence."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SimulationSettings:
    """What to simulate.

    Attributes
    ----------
    rows, columns
        Size of the Sentinel-2 images in pixels of 10 m; ignored where a DEM is given.
    start, end
        First day of the archive, and the day after the last.
    scene_count
        How many scenes, spread evenly over the time and over the orbits.
    orbits
        Names from `ogive.simulation.ORBITS`.
    seed
        The same seed gives the same bytes.
    latitude_deg, longitude_deg
        Where the glacier lies; ignored where a DEM is given.
    max_speed_m_yr
        Nearly all of the ice is slower.
    mean_cloud_cover
        Over all scenes, 0 to 1.
    dem_error_m
        Error of the DEM that scenes are orthorectified with.
    decorrelation_days
        After this long a third of the ice's fine texture is left.
    seasonal_amplitude, trend_per_year, surge_amplitude
        Changes of the speed, as shares of the mean; a surge culminates in the middle of the time.
    """

    rows: int = 600
    columns: int = 600
    start: datetime = datetime(2020, 4, 1)
    end: datetime = datetime(2021, 10, 1)
    scene_count: int = 25
    orbits: tuple[str, ...] = ("sentinel-2-west", "sentinel-2-east")
    seed: int = 0
    latitude_deg: float = 46.4
    longitude_deg: float = 8.0
    max_speed_m_yr: float = 350.0
    mean_cloud_cover: float = 0.12
    dem_error_m: float = 14.0
    decorrelation_days: float = 240.0
    seasonal_amplitude: float = 0.25
    trend_per_year: float = -0.03
    surge_amplitude: float = 0.0


def simulate_archive(
    folder: str | Path,
    *,
    settings: SimulationSettings | None = None,
    dem: str | Path | None = None,
    outlines: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Simulate a glacier and write what satellites see of it as a small archive.

    Parameters
    ----------
    folder
        To be made; it appears when all is written, or not at all.
    settings
        What to simulate.
    dem, outlines
        A real surface (any raster with heights in metres) and the outlines of its glaciers (any
        vector file), to let the simulated ice flow there. Both or none.
    progress
        Called with the number of scenes done and of all scenes.

    Returns
    -------
    pathlib.Path
        The catalogue's root, ``catalog.json``: pystac, pystac-client and odc-stac read it.

    Raises
    ------
    DateError
        If the dates are out of order, or too few satellites pass between them.
    GridError
        If DEM and outlines do not overlap.
    InputError
        If a setting makes no sense, or the glacier is too small for its grid.
    OutputError
        If the folder exists and holds something, or cannot be written.
    """
    settings = settings or SimulationSettings()
    if settings.scene_count < 1:
        raise InputError(f"scene_count is {settings.scene_count}: an archive needs a scene")
    if not 0 <= settings.mean_cloud_cover <= 1:
        raise InputError(f"mean_cloud_cover is {settings.mean_cloud_cover}: it goes from 0 to 1")
    if (dem is None) != (outlines is None):
        given, missing = ("a DEM", "outlines") if outlines is None else ("outlines", "a DEM")
        raise InputError(f"{given} was given without {missing}: pass both, or none")
    if settings.end <= settings.start:
        raise DateError(
            f"the archive would end on {settings.end.date()}, before it starts on"
            f" {settings.start.date()}: swap the two dates"
        )
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise OutputError(f"{target} exists and is not empty: choose another folder, or empty it")
    if dem is None or outlines is None:
        glacier, crs = _simulated(settings)
    else:
        glacier, crs = _from_files(settings, dem, outlines)
    chosen = _spread(glacier, settings)
    with atomic_dir(target) as partial:
        items = []
        for done, opportunity in enumerate(chosen):
            scene = glacier.look(opportunity)
            if scene.dark:
                _log.warning("%s is dark: the sun was below the horizon", scene.scene.id)
            items.append(_write_scene(partial, scene, crs))
            if progress is not None:
                progress(done + 1, len(chosen))
        _write_ground(partial, glacier, crs)
        _write_truth(partial, glacier, crs, [item["properties"] for item in items])
        _write_json(partial / SETTINGS, _settings_record(settings, glacier, crs))
        _write_catalogue(partial, glacier, crs, items)
    return target / CATALOGUE


def read_simulated_glacier(folder: str | Path) -> SimulatedGlacier:
    """Bring the glacier of an archive back, to ask it for the truth at any place and time.

    Parameters
    ----------
    folder
        Made by `simulate_archive`.

    Raises
    ------
    InputError
        If the folder holds no simulation.
    """
    path = Path(folder) / SETTINGS
    if not path.is_file():
        raise InputError(f"{folder} holds no {SETTINGS}: it was not made by a simulation")
    record = json.loads(path.read_text(encoding="utf-8"))
    values = record["settings"]
    values["start"], values["end"] = (datetime.fromisoformat(values[k]) for k in ("start", "end"))
    settings = SimulationSettings(**{**values, "orbits": tuple(values["orbits"])})
    with xr.open_dataset(Path(folder) / TRUTH, engine="netcdf4") as truth:
        terrain = Terrain(
            x=truth["x_wide"].to_numpy(),
            y=truth["y_wide"].to_numpy(),
            elevation_m=truth["elevation_wide"].to_numpy(),
            ice=truth["ice_wide"].to_numpy() > 0,
        )
    # Where a DEM was given its place, not the settings', decided on the seasons.
    latitude, longitude = record["latitude_deg"], record["longitude_deg"]
    settings = replace(settings, latitude_deg=latitude, longitude_deg=longitude)
    return _glacier(settings, terrain, Place(latitude, longitude))


# ---- the glacier ---------------------------------------------------------------------------------


def _simulated(settings: SimulationSettings) -> tuple[SimulatedGlacier, CRS]:
    """Make a glacier from parameters, at its place in the local UTM zone."""
    zone = int((settings.longitude_deg + 180) // 6) + 1
    crs = CRS.from_epsg((32600 if settings.latitude_deg >= 0 else 32700) + min(zone, 60))
    to_map = Transformer.from_crs(4326, crs, always_xy=True)
    centre_x, centre_y = to_map.transform(settings.longitude_deg, settings.latitude_deg)
    # Sentinel-2's and Landsat's pixels both fit into multiples of 60 m.
    left = round((centre_x - settings.columns * 5) / 60) * 60.0
    top = round((centre_y + settings.rows * 5) / 60) * 60.0
    place = Place(settings.latitude_deg, settings.longitude_deg, left, top)
    return SimulatedGlacier.build(
        (settings.rows, settings.columns), place=place, **_options(settings)
    ), crs


def _glacier(settings: SimulationSettings, terrain: Terrain, place: Place) -> SimulatedGlacier:
    return SimulatedGlacier.from_terrain(terrain, place=place, **_options(settings))


def _options(settings: SimulationSettings) -> dict[str, Any]:
    """Settings as the simulation takes them."""
    middle = settings.start + (settings.end - settings.start) / 2
    rhythm = Rhythm(
        seasonal_amplitude=settings.seasonal_amplitude,
        trend_per_year=settings.trend_per_year,
        trend_origin=settings.start,
        surge_amplitude=settings.surge_amplitude,
        surge_peak=middle,
    )
    return {
        "seed": settings.seed,
        "reference": settings.start,
        "rhythm": rhythm,
        "change": SurfaceChange(
            decorrelation_days=settings.decorrelation_days,
            # South of the equator the snow line is highest half a year later.
            highest_day=235.0 if settings.latitude_deg >= 0 else 52.0,
        ),
        "weather": Weather(mean_cloud_cover=settings.mean_cloud_cover),
        "max_speed_m_yr": settings.max_speed_m_yr,
        "dem_error_m": settings.dem_error_m,
    }


def _from_files(
    settings: SimulationSettings, dem: str | Path, outlines: str | Path
) -> tuple[SimulatedGlacier, CRS]:
    """Let the ice flow over a real surface, on cells of 20 m in its UTM zone."""
    source = read_image(dem)
    geobox = source.odc.geobox
    grid_crs = geobox.crs
    if grid_crs is None:
        raise GridError(f"{dem} has no coordinate reference system: assign one")
    given = CRS.from_user_input(str(grid_crs))
    bounds = tuple(geobox.boundingbox)[:4]
    west, south, east, north = Transformer.from_crs(given, 4326, always_xy=True).transform_bounds(
        *bounds
    )
    longitude, latitude = (west + east) / 2, (south + north) / 2
    zone = min(int((longitude + 180) // 6) + 1, 60)
    crs = CRS.from_epsg((32600 if latitude >= 0 else 32700) + zone)
    extent = Transformer.from_crs(given, crs, always_xy=True).transform_bounds(*bounds)
    left, bottom = (float(np.ceil(edge / 60) * 60) for edge in extent[:2])
    right, top = (float(np.floor(edge / 60) * 60) for edge in extent[2:])
    target = GeoBox.from_bbox(
        BoundingBox(left, bottom, right, top, crs=f"EPSG:{crs.to_epsg()}"), resolution=CELL_M
    )
    height = read_on_grid(dem, target, "cubic").to_numpy().astype(np.float64)
    ice = rasterize_polygons(outlines, target)
    if not np.isfinite(height).all():
        rows, columns = _largest_complete(np.isfinite(height))
        height, ice = height[rows, columns], ice[rows, columns]
        left, top = left + columns.start * CELL_M, top - rows.start * CELL_M
    x = np.asarray(left + (np.arange(height.shape[1]) + 0.5) * CELL_M, np.float64)
    y = np.asarray(top - (np.arange(height.shape[0]) + 0.5) * CELL_M, np.float64)
    terrain = given_terrain(x, y, height, ice)
    settings = replace(settings, latitude_deg=latitude, longitude_deg=longitude)
    return _glacier(settings, terrain, Place(latitude, longitude)), crs


def _largest_complete(valid: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Cut rows and columns off the edges, the emptiest first, until no height is missing."""
    top, bottom, left, right = 0, valid.shape[0], 0, valid.shape[1]
    while top < bottom and left < right and not valid[top:bottom, left:right].all():
        part = valid[top:bottom, left:right]
        missing = {
            "top": 1 - part[0].mean(),
            "bottom": 1 - part[-1].mean(),
            "left": 1 - part[:, 0].mean(),
            "right": 1 - part[:, -1].mean(),
        }
        worst = max(missing, key=lambda side: missing[side])
        if missing[worst] == 0:
            raise InputError("the DEM has holes inside: fill them")
        top, bottom = top + (worst == "top"), bottom - (worst == "bottom")
        left, right = left + (worst == "left"), right - (worst == "right")
    return slice(top, bottom), slice(left, right)


def _spread(glacier: SimulatedGlacier, settings: SimulationSettings) -> list[Pass]:
    """Choose passes, evenly over the time and in turn over the orbits."""
    chosen: list[Pass] = []
    count = len(settings.orbits)
    for number, orbit in enumerate(settings.orbits):
        share = settings.scene_count // count + (number < settings.scene_count % count)
        found = glacier.passes(settings.start, settings.end, [orbit])
        if len(found) < share:
            raise DateError(
                f"only {len(found)} satellites pass on the orbit {orbit} between"
                f" {settings.start.date()} and {settings.end.date()}, but {share} scenes are"
                " wanted: lengthen the time or ask for fewer scenes"
            )
        places = np.rint(np.linspace(0, len(found) - 1, max(share, 1))[:share]).astype(int)
        chosen += [found[place] for place in places]
    return sorted(chosen, key=lambda p: (p.time, p.satellite))


# ---- files ---------------------------------------------------------------------------------------


def _write_cog(
    path: Path,
    values: NDArray[Any],
    *,
    left: float,
    top: float,
    pixel_m: float,
    crs: CRS,
    nodata: float,
    description: str,
) -> None:
    """Write a cloud-optimised GeoTIFF."""
    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs.to_wkt(),
        transform=from_origin(left, top, pixel_m, pixel_m),
        nodata=nodata,
        compress="DEFLATE",
        predictor=3 if values.dtype.kind == "f" else 2,
        blocksize=256,
    ) as file:
        file.write(values, 1)
        file.set_band_description(1, description)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _write_scene(folder: Path, scene: SimulatedScene, crs: CRS) -> dict[str, Any]:
    """Write a scene's bands and its item; the item is returned."""
    sentinel = scene.scene.mission == "sentinel-2"
    names = _sentinel_names(scene, crs) if sentinel else _landsat_names(scene)
    place = folder / COLLECTIONS[scene.scene.mission] / names["id"]
    place.mkdir(parents=True)
    pixel = float(scene.x[1] - scene.x[0])
    left, top = float(scene.x[0] - pixel / 2), float(scene.y[0] + pixel / 2)
    band = "nir: near infrared" if sentinel else "pan: panchromatic"
    _write_cog(
        place / names["image"], scene.image, left=left, top=top, pixel_m=pixel, crs=crs,
        nodata=0, description=band,
    )  # fmt: skip
    codes = _SCL if sentinel else _QA_PIXEL
    table = np.zeros(max(Ground) + 1, np.uint8 if sentinel else np.uint16)
    for ground, code in codes.items():
        table[ground] = code
    mask = table[scene.ground[::2, ::2]]
    _write_cog(
        place / names["mask"], mask, left=left, top=top, pixel_m=2 * pixel, crs=crs,
        nodata=0 if sentinel else 1, description="scl" if sentinel else "qa_pixel",
    )  # fmt: skip
    item = _item(scene, names, crs, mask.shape)
    _write_json(place / f"{names['id']}.json", item)
    return item


def _sentinel_names(scene: SimulatedScene, crs: CRS) -> dict[str, str]:
    """Names as in Earth Search and in the products."""
    told, tile = scene.scene, _mgrs_tile(scene, crs)
    time = f"{told.time:%Y%m%dT%H%M%S}"
    made = f"{told.time + timedelta(hours=5):%Y%m%dT%H%M%S}"
    product = f"S{told.satellite}_MSIL2A_{time}_N0500_R{told.relative_orbit:03d}_T{tile}_{made}"
    return {
        "id": f"S{told.satellite}_{tile}_{told.time:%Y%m%d}_0_L2A",
        "product": product,
        "tile": tile,
        "image": f"T{tile}_{time}_B08_10m.tif",
        "mask": f"T{tile}_{time}_SCL_20m.tif",
    }


def _landsat_names(scene: SimulatedScene) -> dict[str, str]:
    """Names as the USGS gives them."""
    told = scene.scene
    made = f"{told.time + timedelta(days=10):%Y%m%d}"
    product = (
        f"L{told.sensor}0{told.satellite}_L1TP_{told.path:03d}{told.row:03d}"
        f"_{told.time:%Y%m%d}_{made}_02_T1"
    )
    return {
        "id": product,
        "product": product,
        "image": f"{product}_B8.TIF",
        "mask": f"{product}_QA_PIXEL.TIF",
    }


def _mgrs_tile(scene: SimulatedScene, crs: CRS) -> str:
    """Name of the 100 km square of the military grid that holds the scene's middle."""
    x, y = float(scene.x.mean()), float(scene.y.mean())
    epsg = crs.to_epsg() or 32600
    zone = epsg % 100
    latitude = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)[1]
    band = "CDEFGHJKLMNPQRSTUVWX"[int(np.clip((latitude + 80) // 8, 0, 19))]
    column = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3][int(x // 1e5) - 1]
    rows = "ABCDEFGHJKLMNPQRSTUV"
    row = rows[(int(y // 1e5) + (0 if zone % 2 else 5)) % 20]
    return f"{zone:02d}{band}{column}{row}"


# ---- STAC ----------------------------------------------------------------------------------------


def _footprint(scene: SimulatedScene, crs: CRS) -> Polygon:
    """Outline of a scene in degrees."""
    pixel = float(scene.x[1] - scene.x[0]) / 2
    left, right = float(scene.x[0] - pixel), float(scene.x[-1] + pixel)
    bottom, top = float(scene.y[-1] - pixel), float(scene.y[0] + pixel)
    to_degrees = Transformer.from_crs(crs, 4326, always_xy=True)
    longitude, latitude = to_degrees.transform(
        [left, right, right, left, left], [bottom, bottom, top, top, bottom]
    )
    return Polygon(zip(longitude, latitude, strict=True))


def _item(
    scene: SimulatedScene, names: Mapping[str, str], crs: CRS, mask_shape: tuple[int, ...]
) -> dict[str, Any]:
    """Describe a scene as its provider would."""
    told, orbit = scene.scene, scene.orbit
    sentinel = told.mission == "sentinel-2"
    outline = _footprint(scene, crs)
    pixel = float(scene.x[1] - scene.x[0])
    left, top = float(scene.x[0] - pixel / 2), float(scene.y[0] + pixel / 2)
    properties: dict[str, Any] = {
        "datetime": f"{told.time:%Y-%m-%dT%H:%M:%S}Z",
        "created": f"{told.time + timedelta(days=1):%Y-%m-%dT%H:%M:%S}Z",
        "gsd": pixel,
        "eo:cloud_cover": round(told.cloud_cover_percent or 0.0, 2),
        "proj:code": f"EPSG:{crs.to_epsg()}",
        "proj:epsg": crs.to_epsg(),
        "proj:shape": list(scene.image.shape),
        "proj:transform": [pixel, 0.0, left, 0.0, -pixel, top],
        "view:off_nadir": round(orbit.off_nadir_deg, 4),
        "view:incidence_angle": orbit.view_zenith_deg,
        "view:azimuth": round(true_azimuth_deg(orbit, outline, crs), 4),
        "view:sun_azimuth": round(told.sun_azimuth_deg or 0.0, 4),
        "view:sun_elevation": round(told.sun_elevation_deg or 0.0, 4),
        **(_sentinel_properties(scene, names) if sentinel else _landsat_properties(scene)),
        "ogive:simulated": True,
        "ogive:dark": scene.dark,
        "ogive:misregistration_m": [
            float(scene.misregistration.dx_m),
            float(scene.misregistration.dy_m),
        ],
    }
    scale, offset = (1e-4, -0.1) if sentinel else (2e-5, -0.1)
    image = {
        "href": f"./{names['image']}",
        "type": _COG,
        "title": "NIR 1 - 10m" if sentinel else "Panchromatic Band (B8)",
        "roles": ["data", "reflectance"],
        "gsd": pixel,
        "eo:bands": [
            {"name": "B08", "common_name": "nir", "center_wavelength": 0.842}
            if sentinel
            else {"name": "B8", "common_name": "pan", "center_wavelength": 0.59}
        ],
        "proj:shape": properties["proj:shape"],
        "proj:transform": properties["proj:transform"],
        "raster:bands": [
            {
                "nodata": 0,
                "data_type": "uint16",
                "spatial_resolution": pixel,
                "scale": scale,
                "offset": offset,
            }
        ],
    }
    mask = {
        "href": f"./{names['mask']}",
        "type": _COG,
        "title": "Scene classification map (SCL)" if sentinel else "Pixel quality (QA_PIXEL)",
        "roles": ["data", "cloud", "cloud-shadow", "snow-ice", "water-mask"],
        "gsd": 2 * pixel,
        "proj:shape": list(mask_shape),
        "proj:transform": [2 * pixel, 0.0, left, 0.0, -2 * pixel, top],
        "raster:bands": [
            {
                "nodata": 0 if sentinel else 1,
                "data_type": "uint8" if sentinel else "uint16",
                "spatial_resolution": 2 * pixel,
            }
        ],
    }
    collection = COLLECTIONS[told.mission]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"{_EXTENSION}/eo/v1.1.0/schema.json",
            f"{_EXTENSION}/projection/v1.2.0/schema.json",
            f"{_EXTENSION}/view/v1.0.0/schema.json",
            f"{_EXTENSION}/raster/v1.1.0/schema.json",
            f"{_EXTENSION}/sat/v1.0.0/schema.json",
            *([f"{_EXTENSION}/grid/v1.1.0/schema.json"] if sentinel else []),
        ],
        "id": names["id"],
        "geometry": mapping(outline),
        "bbox": list(outline.bounds),
        "properties": properties,
        "collection": collection,
        "links": [
            {"rel": "root", "href": f"../../{CATALOGUE}", "type": "application/json"},
            {"rel": "parent", "href": "../collection.json", "type": "application/json"},
            {"rel": "collection", "href": "../collection.json", "type": "application/json"},
        ],
        "assets": {"nir": image, "scl": mask} if sentinel else {"pan": image, "qa_pixel": mask},
    }


def true_azimuth_deg(orbit: Orbit, outline: Polygon, crs: CRS) -> float:
    """Azimuth of the satellite from true north, which catalogues count from.

    The simulation works on a map and counts from the grid's north; the difference is the
    convergence of the meridians in the middle of the outline (degrees).
    """
    middle = outline.centroid
    convergence = Proj(crs).get_factors(middle.x, middle.y).meridian_convergence
    return float((orbit.view_azimuth_deg + convergence) % 360.0)


def _sentinel_properties(scene: SimulatedScene, names: Mapping[str, str]) -> dict[str, Any]:
    """Properties that Earth Search adds."""
    told, tile = scene.scene, names["tile"]
    return {
        "platform": f"sentinel-{told.satellite.lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "mgrs:utm_zone": int(tile[:2]),
        "mgrs:latitude_band": tile[2],
        "mgrs:grid_square": tile[3:],
        "grid:code": f"MGRS-{tile}",
        "sat:orbit_state": "descending",
        "sat:relative_orbit": told.relative_orbit,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": "05.00",
        "s2:product_uri": f"{names['product']}.SAFE",
        "earthsearch:boa_offset_applied": False,
    }


def _landsat_properties(scene: SimulatedScene) -> dict[str, Any]:
    """Properties that the USGS adds."""
    told = scene.scene
    return {
        "platform": f"LANDSAT_{told.satellite}",
        "instruments": ["OLI", "TIRS"],
        "sat:orbit_state": "descending",
        "landsat:wrs_type": "2",
        "landsat:wrs_path": f"{told.path:03d}",
        "landsat:wrs_row": f"{told.row:03d}",
        "landsat:scene_id": f"LC{told.satellite}{told.path:03d}{told.row:03d}{told.time:%Y%j}LGN00",
        "landsat:collection_category": "T1",
        "landsat:collection_number": "02",
        "landsat:correction": "L1TP",
    }


def _write_catalogue(
    folder: Path, glacier: SimulatedGlacier, crs: CRS, items: Sequence[Mapping[str, Any]]
) -> None:
    """Write the catalogue's root and its collections."""
    collections = sorted({item["collection"] for item in items})
    for name in collections:
        own = [item for item in items if item["collection"] == name]
        boxes = np.array([item["bbox"] for item in own])
        times = sorted(item["properties"]["datetime"] for item in own)
        extent = [*boxes[:, :2].min(axis=0).tolist(), *boxes[:, 2:].max(axis=0).tolist()]
        _write_json(
            folder / name / "collection.json",
            {
                "type": "Collection",
                "stac_version": "1.0.0",
                "id": name,
                "title": f"Simulated scenes in the form of {name}",
                "description": "Scenes of a glacier that does not exist, whose motion is known.",
                "license": "CC0-1.0",
                "extent": {
                    "spatial": {"bbox": [extent]},
                    "temporal": {"interval": [[times[0], times[-1]]]},
                },
                "links": [
                    {"rel": "root", "href": f"../{CATALOGUE}", "type": "application/json"},
                    {"rel": "parent", "href": f"../{CATALOGUE}", "type": "application/json"},
                    *(
                        {
                            "rel": "item",
                            "href": f"./{item['id']}/{item['id']}.json",
                            "type": "application/geo+json",
                        }
                        for item in own
                    ),
                ],
            },
        )
    _write_json(
        folder / CATALOGUE,
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "ogive-simulation",
            "title": "A simulated glacier",
            "description": f"{len(items)} simulated scenes; the truth is in {TRUTH}.",
            "links": [
                {"rel": "root", "href": f"./{CATALOGUE}", "type": "application/json"},
                *(
                    {
                        "rel": "child",
                        "href": f"./{name}/collection.json",
                        "type": "application/json",
                    }
                    for name in collections
                ),
            ],
        },
    )


# ---- ground and truth ----------------------------------------------------------------------------


def _inner(glacier: SimulatedGlacier) -> tuple[slice, slice]:
    """The part of the terrain's grid that the images show."""
    part = slice(BORDER_CELLS, -BORDER_CELLS)
    return part, part


def _write_ground(folder: Path, glacier: SimulatedGlacier, crs: CRS) -> None:
    """Write both elevations and the outlines at the reference date."""
    inner = _inner(glacier)
    terrain = glacier.terrain
    left = float(terrain.x[inner[1]][0] - CELL_M / 2)
    top = float(terrain.y[inner[0]][0] + CELL_M / 2)
    for name, values, description in (
        ("dem.tif", glacier.dem_m, "elevation used for the orthorectification, wrong, in metres"),
        ("dem_true.tif", terrain.elevation_m, "true elevation at the reference date, in metres"),
    ):
        _write_cog(
            folder / name, np.ascontiguousarray(values[inner], np.float32), left=left, top=top,
            pixel_m=CELL_M, crs=crs, nodata=-9999.0, description=description,
        )  # fmt: skip
    ice = np.ascontiguousarray(terrain.ice[inner])
    found = shapes(ice.astype(np.uint8), mask=ice, transform=from_origin(left, top, CELL_M, CELL_M))
    outlines = gpd.GeoDataFrame(
        geometry=[shape(geometry) for geometry, _ in found], crs=crs.to_wkt()
    )
    outlines["glacier_id"] = [f"SIM-{number + 1:02d}" for number in range(len(outlines))]
    outlines["area_km2"] = outlines.area / 1e6
    outlines["date"] = f"{glacier.reference:%Y-%m-%d}"
    outlines.to_file(folder / "outlines.gpkg", layer="glaciers", driver="GPKG")


def _write_truth(
    folder: Path, glacier: SimulatedGlacier, crs: CRS, scenes: Sequence[Mapping[str, Any]]
) -> None:
    """Write what is true: velocities and elevation at the scenes' times, and what stays."""
    terrain, inner = glacier.terrain, _inner(glacier)
    x, y = terrain.x[inner[1]], terrain.y[inner[0]]
    grid_x, grid_y = np.meshgrid(x, y)
    stamps = sorted({str(scene["datetime"]).removesuffix("Z") for scene in scenes})
    dates = [datetime.fromisoformat(stamp) for stamp in stamps]
    velocities = [glacier.velocity(grid_x, grid_y, date) for date in dates]
    ice = np.stack([glacier.is_ice(grid_x, grid_y, date) for date in dates])
    over_time, flat = ("time", "y", "x"), ("y", "x")

    def moving(index: int) -> NDArray[np.float32]:
        values = np.stack([velocity[index] for velocity in velocities])
        return np.where(ice, values, 0).astype(np.float32)

    def layer(values: NDArray[Any]) -> NDArray[np.float32]:
        return values[inner].astype(np.float32)

    flow = glacier.flow
    yearly = {"units": "meter/year"}
    truth = xr.Dataset(
        {
            "vx": (
                over_time,
                moving(0),
                {**yearly, "standard_name": "land_ice_surface_x_velocity"},
            ),
            "vy": (
                over_time,
                moving(1),
                {**yearly, "standard_name": "land_ice_surface_y_velocity"},
            ),
            "surface_elevation": (
                over_time,
                np.stack([layer(glacier.elevation(date)) for date in dates]),
                {"units": "m", "standard_name": "surface_altitude"},
            ),
            "ice": (over_time, ice.astype(np.uint8), {"long_name": "1 where there is ice"}),
            "stable": (
                flat,
                glacier.is_stable(grid_x, grid_y).astype(np.uint8),
                {"long_name": "1 on ground that never moves, away from the ice"},
            ),
            "thickness": (flat, layer(flow.thickness_m), {"units": "m"}),
            "mass_balance": (flat, layer(flow.mass_balance_m_yr), yearly),
            "thinning": (
                flat,
                layer(flow.thinning_m_yr),
                {**yearly, "long_name": "mean rate of elevation change, negative where it thins"},
            ),
            "dem_error": (
                flat,
                layer(glacier.dem_m - terrain.elevation_m),
                {"units": "m", "long_name": "DEM of the orthorectification minus the true surface"},
            ),
            "elevation_wide": (("y_wide", "x_wide"), terrain.elevation_m, {"units": "m"}),
            "ice_wide": (("y_wide", "x_wide"), terrain.ice.astype(np.uint8)),
        },
        coords={
            "time": np.array(stamps, dtype="datetime64[ns]"),
            "x": x,
            "y": y,
            "x_wide": terrain.x,
            "y_wide": terrain.y,
        },
        attrs={
            "title": "Truth of a simulated glacier",
            "Conventions": "CF-1.8",
            "days_per_year": 365.25,
            "comment": (
                "Velocities at the scenes' times, zero off the ice; *_wide is the ground beyond the"
                " images that the simulation starts from."
            ),
        },
    )
    truth = with_crs(truth, f"EPSG:{crs.to_epsg()}")
    for values in truth.data_vars.values():
        if values.ndim >= 2:
            # Updated in place, which keeps the name of the grid mapping.
            values.encoding.update(zlib=True, complevel=2)
    truth.to_netcdf(folder / TRUTH, engine="netcdf4")


def _settings_record(
    settings: SimulationSettings, glacier: SimulatedGlacier, crs: CRS
) -> dict[str, Any]:
    """All that is needed to make the same glacier again, and the orbits it was seen from."""
    values = asdict(settings)
    values["start"], values["end"] = settings.start.isoformat(), settings.end.isoformat()
    return {
        "settings": values,
        "crs": f"EPSG:{crs.to_epsg()}",
        "latitude_deg": glacier.place.latitude_deg,
        "longitude_deg": glacier.place.longitude_deg,
        "orbits": {name: _orbit_record(ORBITS[name]) for name in settings.orbits},
    }


def _orbit_record(orbit: Orbit) -> dict[str, Any]:
    return {
        "mission": orbit.sensor.mission,
        "number": orbit.number,
        "view_zenith_deg": orbit.view_zenith_deg,
        "view_azimuth_deg": orbit.view_azimuth_deg,
        "altitude_km": orbit.sensor.altitude_km,
    }
