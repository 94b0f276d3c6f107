"""A glacier through the whole road, from a catalogue of scenes to time series, beside the truth.

A simulated glacier is looked at by simulated satellites over a year and a half. From their images
alone its motion is measured, and `demo/index.html` shows how well, since here the truth is known.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from pathlib import Path

import numpy as np
import xarray as xr
from demo_report import Run, Steps, scores, write_report

import ogive
from ogive.model import StableGroundError
from ogive.scenes.read import read_on_grid
from ogive.workflow.simulate import SimulationSettings, read_simulated_glacier, simulate_archive

FOLDER = Path("demo")
ARCHIVE = FOLDER / "archive"
WINDOW_PX, STEP_PX = 24, 6
MAX_SPEED_M_YR = 1000
BASELINE_DAYS = (5, 100)
MAX_CLOUD_COVER_PERCENT = 60
NO_GROUND = (0, 1, 3, 8, 9, 10)
"""Scene classes that show no ground: no data, defective, shadow of cloud, clouds, cirrus."""


@dataclass(frozen=True)
class ListedScene:
    """What the catalogue says of a scene."""

    time: datetime
    satellite: str
    relative_orbit: int
    cloud_cover_percent: float
    image: Path
    classes: Path


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    logging.basicConfig(filename=FOLDER / "demo.log", filemode="w", level=logging.WARNING)
    with Steps() as steps:
        simulate(steps)
        listed = list_scenes(ARCHIVE)
        scenes = [s for s in listed if s.cloud_cover_percent <= MAX_CLOUD_COVER_PERCENT]
        pairs = same_orbit_pairs(scenes)
        maps, left_out = measure(pairs, steps)
        with steps("stack a cube"):
            cube = ogive.stack(maps)
            ogive.write_cube(cube, FOLDER / "cube.zarr")
        with steps("invert it into time series"):
            series = ogive.invert(cube, "36D", closure="dates", keep_weights=True)
            ogive.write_cube(series, FOLDER / "series.zarr")
        with steps("make an annual map"):
            yearly = ogive.annual(cube)
        with steps("bring the truth back"):
            glacier = read_simulated_glacier(ARCHIVE)
            best = clearest(scenes)
            image = ogive.read_image(best.image)
            run = Run(glacier, image, best.time, cube, series, yearly, WINDOW_PX)
        with steps("score against the truth"):
            judged = scores(run)
    told = (
        f"Satellites on two orbits took {len(listed)} scenes between {listed[0].time:%B %Y} and "
        f"{listed[-1].time:%B %Y}; {len(scenes)} are less than {MAX_CLOUD_COVER_PERCENT} % cloudy."
    )
    report = write_report(
        run, judged, FOLDER, steps=steps, scenes_told=told, pairs_left_out=left_out
    )
    print(f"\nLook at {report}, {FOLDER / 'demo.png'} and {FOLDER / 'series.png'}.")


def simulate(steps: Steps) -> None:
    """Make the archive; that of an earlier demonstration gives way."""
    if (ARCHIVE / "simulation.json").exists():
        shutil.rmtree(ARCHIVE)
    settings = SimulationSettings()
    with steps("simulate scenes", settings.scene_count) as advance:
        simulate_archive(ARCHIVE, settings=settings, progress=lambda done, of: advance())


def list_scenes(archive: Path) -> list[ListedScene]:
    """Read the archive's STAC items, in the order of time."""

    def linked(path: Path, relation: str) -> Iterator[Path]:
        for link in json.loads(path.read_text(encoding="utf-8"))["links"]:
            if link["rel"] == relation:
                yield path.parent / link["href"]

    scenes = []
    for collection in linked(archive / "catalog.json", "child"):
        for path in linked(collection, "item"):
            item = json.loads(path.read_text(encoding="utf-8"))
            told, assets = item["properties"], item["assets"]
            scenes.append(
                ListedScene(
                    time=datetime.fromisoformat(told["datetime"].removesuffix("Z")),
                    satellite=told["platform"],
                    relative_orbit=told["sat:relative_orbit"],
                    cloud_cover_percent=told["eo:cloud_cover"],
                    image=path.parent / assets["nir"]["href"],
                    classes=path.parent / assets["scl"]["href"],
                )
            )
    return sorted(scenes, key=lambda scene: scene.time)


def same_orbit_pairs(scenes: list[ListedScene]) -> list[tuple[ListedScene, ListedScene]]:
    """All pairs of one orbit, so that errors of the DEM cancel, with a baseline that suits."""
    shortest, longest = BASELINE_DAYS
    return [
        (earlier, later)
        for earlier, later in combinations(scenes, 2)
        if earlier.relative_orbit == later.relative_orbit
        and shortest <= ogive.model.baseline_days(earlier.time, later.time) <= longest
    ]


def measure(
    pairs: list[tuple[ListedScene, ListedScene]], steps: Steps
) -> tuple[list[xr.Dataset], list[str]]:
    """Measure the velocity of each pair; tell of those without ground to calibrate on."""
    maps, left_out = [], []
    with steps("match pairs, calibrate", len(pairs)) as advance:
        for earlier, later in pairs:
            try:
                velocity = ogive.velocity(
                    read_clear(earlier),
                    read_clear(later),
                    dates=[earlier.time, later.time],
                    window=WINDOW_PX,
                    step=STEP_PX,
                    max_speed=MAX_SPEED_M_YR,
                    ice=ARCHIVE / "outlines.gpkg",
                )
                maps.append(velocity)
            except StableGroundError as error:
                left_out.append(f"{earlier.time:%Y-%m-%d} to {later.time:%Y-%m-%d}: {error}")
            advance()
    return maps, left_out


def read_clear(scene: ListedScene) -> xr.DataArray:
    """Read a scene's image; clouds and their shadows are marked as not valid."""
    image = ogive.read_image(scene.image)
    classes = read_on_grid(scene.classes, image.odc.geobox, "nearest")
    return image.assign_coords(valid=(("y", "x"), ~np.isin(classes.values, NO_GROUND)))


def clearest(scenes: list[ListedScene]) -> ListedScene:
    """The scene to show: of those in summer, the one with the least cloud."""
    summer = [scene for scene in scenes if 6 < scene.time.month < 10]
    return min(summer, key=lambda scene: scene.cloud_cover_percent)


if __name__ == "__main__":
    main()
