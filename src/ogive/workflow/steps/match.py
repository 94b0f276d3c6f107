"""Step ``match``: the displacement of one pair, freed of outliers, not yet calibrated."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import odc.geo.xr  # noqa: F401  (gives images their .odc accessor)
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive import scenes
from ogive.correction.outliers import remove_outliers
from ogive.matching.features import Feature, FeaturePair
from ogive.matching.match import Masks, match
from ogive.matching.search import Search
from ogive.model import InputError, Pair, Scene
from ogive.scenes.bands import asset_of
from ogive.scenes.source import QUALITY_BANDS
from ogive.store.displacement_file import write_displacement
from ogive.workflow.catalogue import Claim, Planned, Product, plan_pairs, scenes_of
from ogive.workflow.fingerprint import fingerprint
from ogive.workflow.prior import prior_displacement, read_prior
from ogive.workflow.runfile_settings import MatchSettings, RunFile
from ogive.workflow.search_range import SearchRange, search_range

from .grid import PairGrid, image_grid, pair_grid
from .ground import ground_of
from .job import NETCDF, Job, product_of
from .pair import place_of
from .region import Region, cache_of, content, folder_of, signer_of

__all__ = ["inputs_of", "jobs", "pair_jobs", "pair_path", "perform", "plan", "read_displacement"]

NAME = "match"
VERSION = 2
USUAL_SEARCH_PX = 32
FINGERPRINT = "ogive_fingerprint"
"""The attribute by which a product says what it was made of."""


def inputs_of(settings: RunFile) -> str:
    """Fingerprint of what decides a match, apart from the two scenes."""
    chosen, region = settings.match, settings.region
    files = [content(path) for path in (chosen.prior, chosen.weights, region.file)]
    told = chosen.model_dump(exclude={"prior", "weights"})
    where: list[Any] = [region.bbox, region.buffer_m]
    if region.beside_m is not None:
        where += [region.beside_m, content(region.glaciers)]
    return fingerprint(NAME, VERSION, told, files, where)


def plan(region: Region) -> Planned:
    """Plan the match of every pair."""
    return plan_pairs(region.engine, NAME, inputs=inputs_of(region.settings))


def jobs(region: Region, claims: Sequence[Claim]) -> list[Job]:
    """Give each claim its two scenes."""
    return pair_jobs(region, claims)


def pair_jobs(
    region: Region, claims: Sequence[Claim], inputs: Sequence[dict[str, Any]] | None = None
) -> list[Job]:
    """Make jobs of the claims of a step of pairs.

    Parameters
    ----------
    region, claims
        Whose tasks.
    inputs
        What each needs beside its scenes.
    """
    ids = [(claim.earlier_id or 0, claim.later_id or 0) for claim in claims]
    scene_of = scenes_of(region.engine, chain.from_iterable(ids))
    return [
        Job(
            claim,
            fingerprint(claim.inputs, claim.subject),
            region.settings,
            {"pair": Pair(scene_of[earlier], scene_of[later]), **more},
        )
        for claim, (earlier, later), more in zip(
            claims, ids, inputs or [{} for _ in claims], strict=True
        )
    ]


def pair_path(job: Job, step: str) -> Path:
    """Where the product of a pair lies: by place, year and dates, with its fingerprint."""
    pair: Pair = job.inputs["pair"]
    times = "_".join(f"{scene.time:%Y%m%dT%H%M%S}" for scene in (pair.earlier, pair.later))
    year = f"{pair.earlier.time:%Y}"
    name = f"{times}_{job.fingerprint}.nc"
    return folder_of(job.settings) / step / place_of(pair.earlier) / year / name


def perform(job: Job) -> Product:
    """Read both images, match them, and publish the displacement.

    Raises
    ------
    SceneReadError, GridError, InputError
        If an image cannot be read or matched.
    OutputError
        If the product cannot be written.
    """
    path = pair_path(job, NAME)
    if not path.is_file():
        moved = matched(job.inputs["pair"], job.settings)
        moved.attrs[FINGERPRINT] = job.fingerprint
        with NETCDF:
            write_displacement(moved, path, pair=job.inputs["pair"])
        share = float(moved.attrs["measured_share"])
    else:
        share = float(read_displacement(path).attrs["measured_share"])
    return product_of(job, path, folder_of(job.settings), {"measured_share": round(share, 4)})


def matched(pair: Pair, settings: RunFile) -> xr.Dataset:
    """Measure the displacement of a pair on the region's grid, without outliers.

    Parameters
    ----------
    pair
        The scenes, with the files of their bands.
    settings
        The run file.

    Returns
    -------
    xarray.Dataset
        As of `ogive.match`; the attribute ``image_transform`` tells the images' pixels.
    """
    chosen, threads = settings.match, settings.run.threads
    bands = _bands(pair, chosen)
    grid = pair_grid(
        image_grid(pair.earlier, bands["earlier"], settings),
        image_grid(pair.later, bands["later"], settings),
        settings,
    )
    earlier = _read(pair.earlier, bands["earlier"], grid, settings)
    later = _read(pair.later, bands["later"], grid, settings)
    pixel_m = float(grid.pixels.resolution.x)
    how = _search(chosen, earlier, pair, grid)
    moved = match(
        earlier,
        later,
        features=_features(chosen, pair, pixel_m),
        subpixel_features=chosen.subpixel_features,
        window=chosen.window,
        step=grid.step_px,
        search=how.search,
        prior=how.prior,
        mask=_masks(pair, grid.pixels, settings),
        forward_backward=chosen.forward_backward_px,
        threads=threads,
    )
    moved = remove_outliers(moved, threads=threads)
    moved.attrs |= {
        "measured_share": float(np.isfinite(moved["dx"].values).mean()),
        "search_px": int(np.max(how.search.radius_px)),
        "band": bands["earlier"],
        "image_transform": list(grid.pixels.transform)[:6],
    }
    return moved


def read_displacement(path: Path) -> xr.Dataset:
    """Read what this step has published.

    Raises
    ------
    InputError
        If it is no such file.
    """
    try:
        with NETCDF:
            moved: xr.Dataset = xr.load_dataset(path, engine="netcdf4", decode_coords="all")
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return moved


def _bands(pair: Pair, chosen: MatchSettings) -> dict[str, str]:
    """Choose the band of each scene: one band, by whatever name each sensor has for it."""
    if chosen.band is not None:
        return {"earlier": chosen.band, "later": chosen.band}
    band = scenes.matching_band(pair.earlier)
    if band in pair.later.assets:
        return {"earlier": band, "later": band}
    return {"earlier": band, "later": asset_of(pair.earlier, band).common_name}


def _read(scene: Scene, band: str, grid: PairGrid, settings: RunFile) -> xr.DataArray:
    image = scenes.read_window(
        scene, band, grid.pixels, cache=cache_of(settings), signer=signer_of(settings)
    )
    return image.drop_vars("time")


def _search(chosen: MatchSettings, image: xr.DataArray, pair: Pair, grid: PairGrid) -> SearchRange:
    """Find how far to search, and round which displacement."""
    place: dict[str, Any] = {"days": pair.days, "window": chosen.window, "step": grid.step_px}
    prior = None if chosen.prior is None else _prior(chosen.prior, content(chosen.prior))
    if chosen.search_px is None and chosen.max_speed_m_yr is not None:
        return search_range(image, max_speed_m_yr=chosen.max_speed_m_yr, prior=prior, **place)
    free = Search(chosen.search_px or USUAL_SEARCH_PX)
    return SearchRange(free, None if prior is None else prior_displacement(prior, image, **place))


@lru_cache(maxsize=1)
def _prior(path: Path, told: str) -> xr.Dataset:
    return read_prior(path)


def _masks(pair: Pair, pixels: GeoBox, settings: RunFile) -> Masks | None:
    """Join where displacements are wanted with what the quality bands of both scenes leave."""
    wanted = ground_of(settings, pixels).wanted
    clear = [_clear(scene, pixels, settings) for scene in (pair.earlier, pair.later)]
    if wanted is None and all(mask is None for mask in clear):
        return None
    earlier, later = (_both(wanted, mask, pixels.shape.yx) for mask in clear)
    return Masks(earlier, later)


def _both(
    wanted: NDArray[np.bool_] | None, clear: NDArray[np.bool_] | None, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Where both are true; a mask that is missing leaves out nothing."""
    if clear is None:
        return np.ones(shape, bool) if wanted is None else wanted
    return clear if wanted is None else wanted & clear


def _clear(scene: Scene, pixels: GeoBox, settings: RunFile) -> NDArray[np.bool_] | None:
    if not settings.match.mask_clouds or not QUALITY_BANDS & scene.assets.keys():
        return None
    clear = scenes.clear_pixels(scene, pixels, cache=cache_of(settings), signer=signer_of(settings))
    return np.asarray(clear.values, bool)


def _features(chosen: MatchSettings, pair: Pair, pixel_m: float) -> str | Feature | FeaturePair:
    """Learned features, told how each image was taken; any others by name."""
    if chosen.features != "learned":
        return chosen.features
    # PyTorch takes seconds to import.
    from ogive.similarity.embedding import condition_of
    from ogive.similarity.features import learned

    feature = learned(chosen.weights, device="auto")
    if not feature.conditions:
        return feature
    earlier, later = (
        condition_of(scene, days_between=pair.days, pixel_size_m=pixel_m)
        for scene in (pair.earlier, pair.later)
    )
    return FeaturePair(feature.with_condition(earlier), feature.with_condition(later))
