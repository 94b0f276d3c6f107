"""What a run file says: a model for each of its sections, whose descriptions are its comments."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from ogive.learning.settings import Settings

__all__ = [
    "AnnualSettings",
    "CalibrateSettings",
    "CubeSettings",
    "InvertSettings",
    "MatchSettings",
    "PairSettings",
    "RegionSettings",
    "ReportSettings",
    "RunFile",
    "RunSettings",
    "SearchSettings",
    "SlurmSettings",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")


class RegionSettings(Settings):
    """Where."""

    bbox: tuple[float, float, float, float] | None = Field(
        default=None, description="West, south, east, north in degrees; or null, and a file."
    )
    file: Path | None = Field(
        default=None, description="Polygons of the region (GeoPackage, shapefile, GeoJSON)."
    )
    buffer_m: float = Field(default=0.0, ge=0, description="Ground beside it that belongs to it.")
    glaciers: Path | None = Field(
        default=None,
        description="Glacier outlines (RGI, GLIMS, your own): ground beside them calibrates.",
    )
    stable: Path | None = Field(
        default=None, description="Polygons of ground that does not move, in place of that."
    )
    beside_m: float | None = Field(
        default=None,
        gt=0,
        description="Match only glaciers and ground within this distance of them; null: all.",
    )
    edge_m: float = Field(
        default=100.0, ge=0, description="So near to a glacier's outline no ground is stable."
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> RegionSettings:
        if (self.bbox is None) == (self.file is None):
            raise ValueError("give the region as a bbox or as a file, one of the two")
        if self.beside_m is not None and self.glaciers is None:
            raise ValueError("beside_m needs glaciers: name their outlines, or leave it out")
        if self.beside_m is not None and self.beside_m <= self.edge_m:
            raise ValueError(f"beside_m {self.beside_m:g} is not beyond edge_m {self.edge_m:g}")
        return self


class SearchSettings(Settings):
    """Which scenes."""

    archive: str = Field(
        default="earth-search",
        description="earth-search, planetary-computer, copernicus, usgs, the address of a STAC\n"
        "API, a catalogue file, or a folder of images with dates in their names.",
    )
    sensors: tuple[str, ...] = Field(
        default=("sentinel-2-l2a",),
        description="sentinel-2-l1c, sentinel-2-l2a, landsat-l1, landsat-l2; [] for all there are.",
    )
    start: date = Field(description="First day.")
    end: date = Field(description="Last day.")
    max_cloud_percent: float = Field(
        default=60.0, ge=0, le=100, description="Leave out scenes that are cloudier."
    )
    tokens: str | None = Field(
        default=None,
        description="Address of a service of tokens that sign the images' addresses, where the\n"
        "archive wants them and is not one of those named above.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> SearchSettings:
        if self.end < self.start:
            raise ValueError(f"the end {self.end} comes before the start {self.start}")
        return self


class PairSettings(Settings):
    """Which scenes make pairs."""

    min_days: float = Field(default=5.0, ge=0, description="Shortest time between two scenes.")
    max_days: float = Field(default=400.0, gt=0, description="Longest time between two scenes.")
    same_orbit: bool | Literal["never"] = Field(
        default=True,
        description="true: only scenes of one orbit (or path and row); false: any; never: only\n"
        "scenes of different orbits.",
    )
    nearest: int | None = Field(
        default=None, ge=1, description="Pair each scene with so many that follow, no more."
    )
    redundancy: int | None = Field(
        default=None, ge=1, description="Span each step of time so many times, no more."
    )

    @model_validator(mode="after")
    def _possible(self) -> PairSettings:
        if self.max_days < self.min_days:
            raise ValueError(f"max_days {self.max_days:g} is less than min_days {self.min_days:g}")
        if self.nearest is not None and self.redundancy is not None:
            raise ValueError("pairs are thinned by nearest or by redundancy: give one of the two")
        return self


class MatchSettings(Settings):
    """How pairs are matched."""

    band: str | None = Field(
        default=None,
        description="Band, by its name or across sensors (nir, pan); null: the finest one.",
    )
    window: int = Field(default=32, ge=8, le=128, description="Side of the windows, in pixels.")
    spacing_m: float = Field(
        default=80.0, gt=0, description="Distance between points on the ground, and of all grids."
    )
    max_speed_m_yr: float | None = Field(
        default=None, gt=0, description="Fastest ice: sets how far is searched (4 to 64 pixels)."
    )
    search_px: int | None = Field(
        default=None, ge=1, description="How far is searched, whatever the fastest ice; else 32."
    )
    prior: Path | None = Field(
        default=None, description="Older velocity to search round (NetCDF, GeoTIFF)."
    )
    features: str = Field(
        default="adaptive", description="adaptive, learned, highpass, sobel, orientation, ..."
    )
    subpixel_features: str = Field(default="same", description="same, or as features.")
    weights: Path | None = Field(default=None, description="Weights of learned features.")
    forward_backward_px: float | None = Field(
        default=None, gt=0, description="Match both ways; drop points that miss by more."
    )
    mask_clouds: bool = Field(
        default=True,
        description="Leave out what the scene's quality band calls cloud, shadow or saturated.",
    )


class CalibrateSettings(Settings):
    """How displacements become velocities."""

    model: Literal["constant", "plane"] = Field(
        default="constant", description="Misregistration that stable ground shows: constant, plane."
    )
    max_speed_m_yr: float | None = Field(
        default=None, gt=0, description="Faster points are not believed; null: match's fastest ice."
    )


class CubeSettings(Settings):
    """How velocities are stacked."""

    tile_px: int = Field(
        default=250, ge=20, description="Side of the tiles of a cube, in points, edges included."
    )


class InvertSettings(Settings):
    """How cubes become series."""

    sampling_days: float = Field(default=36.0, gt=0, description="Length of the periods.")
    regularisation: float = Field(default=100.0, gt=0, description="Weight of steady flow.")
    closure: Literal["dates", "combined"] = Field(
        default="dates",
        description="dates: unknowns between all acquisitions; combined: between the ends of the\n"
        "periods, for scenes of one orbit on a regular calendar.",
    )


class AnnualSettings(Settings):
    """How cubes become annual maps."""

    year_start: str = Field(
        default="10-01", pattern=r"^\d\d-\d\d$", description="First day of a year, month-day."
    )
    method: Literal["median", "weighted_mean", "ols", "theil_sen"] = Field(
        default="ols", description="median, weighted_mean, ols or theil_sen."
    )
    smoothing: Literal["gaussian", "median", "none"] = Field(
        default="gaussian", description="gaussian, median or none."
    )


class ReportSettings(Settings):
    """What the report shows."""

    points: tuple[tuple[float, float], ...] = Field(
        default=(),
        description="Longitude and latitude of places whose series are shown; []: ogive chooses.",
    )


class SlurmSettings(Settings):
    """What is asked of a SLURM cluster, for each job."""

    jobs: int = Field(default=4, ge=1, description="How many jobs.")
    cores: int = Field(default=8, ge=1, description="Pairs at once in each.")
    memory: str = Field(default="64GB", description="Of each job.")
    queue: str | None = Field(default=None, description="Partition.")
    walltime: str = Field(default="12:00:00", description="Longest time of a job.")
    account: str | None = Field(default=None, description="Whom it is charged to.")
    interface: str | None = Field(
        default=None, description="Network by which jobs reach the run, such as ib0; null: any."
    )


class RunSettings(Settings):
    """How it is run: nothing here changes a result."""

    folder: Path | None = Field(
        default=None,
        description="Where everything is written; null: a folder of the region's name.",
    )
    catalogue: str | None = Field(
        default=None,
        description="postgresql://user@host/name or mariadb://user@host/name, for several\n"
        "machines; null: a file in the folder.",
    )
    workers: int | None = Field(
        default=None, ge=1, description="Pairs at once, on this machine; null: all cores."
    )
    threads: int = Field(default=1, ge=1, description="Threads for each pair.")
    cache_gb: float = Field(default=20.0, gt=0, description="Images that are kept, in the folder.")
    lease_s: float = Field(
        default=120.0, ge=1, description="After this long, a run that died has lost its tasks."
    )
    max_attempts: int = Field(
        default=5, ge=1, description="So often may runs die over a task before it counts as failed."
    )
    slurm: SlurmSettings = Field(
        default=SlurmSettings(), description="What a SLURM cluster is asked for, for each job."
    )


class RunFile(Settings):
    """A region and how it is done."""

    name: str = Field(description="The region's name: letters, digits, '-', '_' and '.'.")
    region: RegionSettings = Field(description="Where.")
    search: SearchSettings = Field(description="Which scenes.")
    pair: PairSettings = Field(default=PairSettings(), description="Which of them make pairs.")
    match: MatchSettings = Field(default=MatchSettings(), description="How pairs are matched.")
    calibrate: CalibrateSettings = Field(
        default=CalibrateSettings(), description="How displacements become velocities."
    )
    cube: CubeSettings = Field(default=CubeSettings(), description="How velocities are stacked.")
    invert: InvertSettings = Field(
        default=InvertSettings(), description="How cubes become regular series."
    )
    annual: AnnualSettings = Field(
        default=AnnualSettings(), description="How cubes become annual maps."
    )
    report: ReportSettings = Field(default=ReportSettings(), description="What the report shows.")
    run: RunSettings = Field(
        default=RunSettings(), description="How it is run: nothing here changes a result."
    )

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name: use letters, digits, '-', '_' and '.'")
        return name
