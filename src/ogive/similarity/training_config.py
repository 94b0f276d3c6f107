"""What a similarity is trained with: one commented YAML file.

``ogive train similarity --template`` writes it with all defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ogive.learning.fit import FitSettings
from ogive.learning.settings import Settings
from ogive.learning.split import Period, Side

from .loss import LossConfig
from .networks import build_network
from .physics import PHYSICS_TERMS
from .samples.real_settings import SelfSampleSettings, StableGroundSettings
from .samples.simulated.texture import PLACE

__all__ = [
    "LossSettings",
    "ManualSettings",
    "NetworkSettings",
    "OptimiserSettings",
    "SampleSettings",
    "SimulatedSettings",
    "SplitSettings",
    "TextureSettings",
    "TrainingConfig",
    "ValidationSettings",
    "template",
]

TEST_SEEDS = 900_000
"""Seeds from here on belong to test sets, which no training may draw from."""
VALIDATION_SEEDS = 500_000
_DEFAULT_LOSS = LossConfig()


class NetworkSettings(Settings):
    """The network by name, and what it is built with."""

    name: str = Field(default="small", description="small, unet, unet-attention or ms-aff.")
    options: dict[str, Any] = Field(
        default={},
        description="What it is built with, such as {bands: 1, width: 16}; {} for its preset.",
    )


class TextureSettings(Settings):
    """Real images that simulated samples wear."""

    files: str = Field(description="Pattern of paths, with * and **; relative to where ogive runs.")
    bands: tuple[int, ...] = Field(
        default=(1,), description="Numbers of the bands, each a texture."
    )
    place: str = Field(
        default=PLACE,
        description="Regular expression of the place at the beginning of a file's name.",
    )
    weight: float = Field(default=1.0, gt=0, description="How often they are drawn, all together.")
    name: str = Field(default="", description="Of these data, for the model card.")
    licence: str = Field(default="", description="Of these data, for the model card.")


class SimulatedSettings(Settings):
    """Pairs simulated from real textures."""

    kind: Literal["simulated"] = "simulated"
    share: float = Field(
        default=1.0, gt=0, description="How many of the samples, relative to others."
    )
    textures: tuple[TextureSettings, ...] = Field(
        min_length=1, description="Real images whose texture they wear."
    )
    ranges: Path | None = Field(
        default=None, description="YAML of what they are like; null for ogive's own ranges."
    )


class ManualSettings(Settings):
    """Crops round features that were picked by hand."""

    kind: Literal["manual"] = "manual"
    share: float = Field(
        default=1.0, gt=0, description="How many of the samples, relative to others."
    )
    points: str = Field(description="Pattern of GeoPackages of `ogive annotate`.")
    images: Path | None = Field(
        default=None, description="Folder of the images; null: beside the points."
    )
    band: int | str | None = Field(
        default=None, description="Of the images; null if there is just one."
    )
    place: str = Field(
        default=PLACE,
        description="Regular expression of the place at the beginning of a file's name.",
    )
    search_px: int = Field(
        default=8, ge=0, description="Largest displacement that is left in a crop."
    )
    spread_px: int = Field(
        default=6, ge=0, description="How far round a pick its displacement is true."
    )
    name: str = Field(default="", description="Of these data, for the model card.")
    licence: str = Field(default="", description="Of these data, for the model card.")


Kind = Annotated[
    SimulatedSettings | SelfSampleSettings | StableGroundSettings | ManualSettings,
    Field(discriminator="kind"),
]


class SampleSettings(Settings):
    """What is learned from."""

    size_px: int = Field(default=128, ge=32, description="Side of the samples.")
    shown_times: int = Field(
        default=3, gt=0, description="How often each is shown, mirrored and transposed at random."
    )
    kept: int = Field(
        default=1024,
        gt=0,
        description="How many are kept to be shown again: best a multiple of batch_size times\n"
        "workers times devices. One of 128 px takes 0.5 MB.",
    )
    kinds: tuple[Kind, ...] = Field(min_length=1, description="Kinds of samples, with shares.")


class PeriodSettings(Settings):
    """A span of days, both included; null leaves an end open."""

    first: date | None = None
    last: date | None = None

    def period(self) -> Period:
        """Give the span as the split takes it."""
        return Period(self.first, self.last)


class SplitSettings(Settings):
    """Which places are learned from, and which are kept to judge by."""

    seed: int = Field(default=0, description="Another seed is another split.")
    shares: dict[Side, Annotated[float, Field(ge=0)]] = Field(
        default={"train": 0.7, "validation": 0.15, "test": 0.15},
        description="Of the places. Test places are used nowhere in the training.",
    )
    sides: dict[str, Side] = Field(
        default={}, description="Sides of places that are given by name, such as {yahtse: train}."
    )
    periods: dict[Side, PeriodSettings] = Field(
        default={}, description="Dates that a side may use, such as {train: {last: 2019-12-31}}."
    )


class LossSettings(Settings):
    """What the loss is made of; see `ogive.similarity.loss.LossConfig`."""

    windows_px: tuple[int, ...] = Field(
        default=_DEFAULT_LOSS.windows_px,
        description="Sides of the windows; one is drawn for each batch.",
    )
    radius_px: int = Field(default=_DEFAULT_LOSS.radius_px, description="Half-width of the search.")
    windows_per_pair: int = Field(
        default=_DEFAULT_LOSS.windows_per_pair,
        description="How many windows are drawn in each pair.",
    )
    jitter_px: int = Field(
        default=_DEFAULT_LOSS.jitter_px,
        description="How far the search's middle may be from the truth.",
    )
    correlator: float = Field(
        default=_DEFAULT_LOSS.correlator,
        ge=0,
        description="Weight of the loss through the correlator.",
    )
    contrastive: float = Field(
        default=_DEFAULT_LOSS.contrastive, ge=0, description="Weight of the pixel-wise loss."
    )
    vanished: float = Field(
        default=_DEFAULT_LOSS.vanished,
        ge=0,
        description="Weight of windows whose surface has vanished.",
    )
    margin: float = Field(
        default=_DEFAULT_LOSS.margin,
        ge=0,
        description="By how much a right similarity should exceed a wrong one, pixel by pixel.",
    )
    physics: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={}, description=f"Weights of physics terms: {', '.join(PHYSICS_TERMS)}."
    )

    @field_validator("physics")
    @classmethod
    def _known(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        unknown = sorted(weights.keys() - PHYSICS_TERMS.keys())
        if unknown:
            raise ValueError(
                f"there is no physics term {unknown[0]!r}: choose among {', '.join(PHYSICS_TERMS)}"
            )
        return weights

    @model_validator(mode="after")
    def _possible(self) -> LossSettings:
        self.config()
        return self

    def config(self) -> LossConfig:
        """Give what the loss takes."""
        return LossConfig(**self.model_dump())


class OptimiserSettings(Settings):
    """AdamW (Loshchilov & Hutter 2019)."""

    learning_rate: float = Field(default=3e-3, gt=0, description="At its highest.")
    weight_decay: float = Field(default=1e-3, ge=0, description="Of the network's weights.")


class ValidationSettings(Settings):
    """How a training is judged while it runs."""

    windows_px: tuple[int, ...] = Field(
        default=(8, 16), min_length=1, description="Sides of the windows that are matched."
    )
    windows_per_pair: int = Field(default=100, gt=0, description="How many in each pair.")


class TrainingConfig(Settings):
    """A training of the similarity, whole."""

    name: str = Field(default="similarity", min_length=1, description="Of the model.")
    note: str = Field(default="", description="What a user of the model should know.")
    seed: int = Field(
        default=0,
        ge=0,
        lt=10_000,
        description="Of weights, samples and draws. Test sets have seeds from 900,000 on.",
    )
    network: NetworkSettings = Field(default=NetworkSettings(), description="What is trained.")
    samples: SampleSettings = Field(description="What it learns from.")
    split: SplitSettings = Field(
        default=SplitSettings(), description="By place and by time, never by patch."
    )
    loss: LossSettings = Field(default=LossSettings(), description="What it lowers.")
    validation: ValidationSettings = Field(
        default=ValidationSettings(), description="What decides which weights are best."
    )
    optimiser: OptimiserSettings = Field(default=OptimiserSettings(), description="AdamW.")
    training: FitSettings = Field(description="How long, how fast, where.")

    @model_validator(mode="after")
    def _buildable(self) -> TrainingConfig:
        build_network(self.network.name, **self.network.options)
        return self


def template() -> TrainingConfig:
    """Give a configuration to start from: all defaults, and patterns to fill in."""
    return TrainingConfig(
        samples=SampleSettings(
            kinds=(
                SimulatedSettings(
                    textures=(
                        TextureSettings(
                            files="images/*.tif", name="my images", licence="CC-BY-4.0"
                        ),
                    )
                ),
            )
        ),
        training=FitSettings(max_minutes=110.0, ema_decay=0.999, batch_size=6, schedule="cosine"),
    )
