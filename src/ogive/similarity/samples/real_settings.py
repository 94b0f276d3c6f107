"""Settings of the samples that are made of real pairs without labels."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ogive.learning.settings import Settings

from .consistency import Matching
from .year_tiles import NAME

__all__ = ["SelfSampleSettings", "SeriesSettings", "StableGroundSettings"]

_DEFAULT = Matching()


class SeriesSettings(Settings):
    """Co-registered images of one place."""

    files: str = Field(description="Pattern of paths of two images or more.")
    place: str = Field(
        min_length=1,
        description="Of the images: as textures of the same place are named, so that all of it\n"
        "falls to one side.",
    )
    band: int | str | None = Field(
        default=None, description="Of the images; null if there is just one."
    )
    nodata: float | None = Field(
        default=None, description="Value without data, where the files do not declare it."
    )
    times: tuple[datetime, ...] | None = Field(
        default=None, description="Of each image, in the order of names; null: as names tell."
    )
    name: str = Field(default="", description="Of these data, for the model card.")
    licence: str = Field(default="", description="Of these data, for the model card.")


class SelfSampleSettings(Settings):
    """Real pairs that label themselves (after Shen et al. 2022), round by round."""

    kind: Literal["self-sample"] = "self-sample"
    share: float = Field(
        default=1.0, gt=0, description="How many of the samples, relative to others."
    )
    series: tuple[SeriesSettings, ...] = Field(min_length=1, description="Real images.")
    features: str | None = Field(
        default=None,
        description="What matches them: a name of ogive.match, or the weights of the round before\n"
        "(a .safetensors file). null is the first round: images are moved onto themselves.",
    )
    window_px: int = Field(
        default=_DEFAULT.window_px,
        description="Side of the windows that make labels: wider than those that learn.",
    )
    step_px: int = Field(default=_DEFAULT.step_px, description="Distance of the labelled points.")
    search_px: int = Field(
        default=_DEFAULT.search_px, description="Largest displacement along each axis."
    )
    tolerance_px: float = Field(
        default=_DEFAULT.tolerance_px, description="How far forward and backward may disagree."
    )
    shift_px: int = Field(
        default=6, ge=0, description="Largest displacement that is left in a sample."
    )
    ranges: Path | None = Field(
        default=None, description="YAML of changes on top; null for ogive's own ranges."
    )

    @model_validator(mode="after")
    def _possible(self) -> SelfSampleSettings:
        self.matching("intensity")
        return self

    def matching(self, features: object) -> Matching:
        """Give how pairs are matched, with the features themselves."""
        return Matching(
            features=features,  # type: ignore[arg-type]
            window_px=self.window_px,
            step_px=self.step_px,
            search_px=self.search_px,
            tolerance_px=self.tolerance_px,
        )


class StableGroundSettings(Settings):
    """Ground beside glaciers, photographed in different years: its displacement is known."""

    kind: Literal["stable-ground"] = "stable-ground"
    share: float = Field(
        default=1.0, gt=0, description="How many of the samples, relative to others."
    )
    files: str = Field(description="Pattern of paths of tiles, all on one lattice of pixels.")
    masks: Path = Field(
        description="Folder of their masks, under the same names: 0 is not glacier."
    )
    tile_name: str = Field(
        default=NAME,
        description="Regular expression of a file's stem, with the groups place and year.",
    )
    tolerance_px: float = Field(
        default=0.3,
        gt=0,
        description="How far displacements may scatter, and three times how uncertain their\n"
        "median may be.",
    )
    shift_px: int = Field(
        default=6, ge=0, description="Largest displacement that is left in a sample."
    )
    ranges: Path | None = Field(
        default=None, description="YAML of changes on top; null for ogive's own ranges."
    )
    name: str = Field(default="", description="Of these data, for the model card.")
    licence: str = Field(default="", description="Of these data, for the model card.")
