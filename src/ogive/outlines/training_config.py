"""What a network of outlines is trained with: one commented YAML file.

``ogive train outlines --template`` writes it with all defaults. Defaults of the loss, the
augmentation and the learning rate are the published ones (Maslov et al. 2025).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ogive.learning.fit import FitSettings
from ogive.learning.settings import Settings
from ogive.learning.split import Side

from .augment import Augmentation
from .bands import modalities_of
from .location import REGIONS
from .networks import build_network
from .strategies import Told, ToldKind

__all__ = [
    "AugmentationSettings",
    "DataSettings",
    "GeoTiffSettings",
    "Hdf5Settings",
    "LossSettings",
    "NetworkSettings",
    "OptimiserSettings",
    "SplitSettings",
    "StrategySettings",
    "TrainingConfig",
    "template",
]

VALIDATION_SEEDS = 500_000
_DEFAULT = Augmentation()


class GeoTiffSettings(Settings):
    """Images with masks of the same names."""

    kind: Literal["geotiff"] = "geotiff"
    images: str = Field(
        description="Pattern of paths, with * and **; relative to where ogive runs."
    )
    masks: Path = Field(description="Folder of the masks: 0 ground, 1 glacier, 255 ignored.")
    bands: tuple[str, ...] | None = Field(
        default=None, description="Names of the bands; null where the files describe them."
    )
    scale: float = Field(
        default=1.0, gt=0, description="What turns the images' numbers into reflectance."
    )
    place: str = Field(
        default=r"[^_]+",
        description="Regular expression of the place at the beginning of a file's name.",
    )
    region: str = Field(default="", description="Name of the region, for strategies that need it.")
    coverage: Path | None = Field(
        default=None,
        description="Polygons in which the masks are complete, such as the country of an "
        "inventory; what lies beyond is ignored.",
    )
    side: Side | None = Field(
        default=None, description="train, validation or test for all; null to split by place."
    )
    name: str = Field(default="", description="Of these data, for the model card.")
    licence: str = Field(default="", description="Of these data, for the model card.")


class Hdf5Settings(Settings):
    """Tiles in HDF5 files, as the published benchmark's."""

    kind: Literal["hdf5"] = "hdf5"
    files: str = Field(description="Pattern of paths, with * and **; relative to where ogive runs.")
    side: Side | None = Field(
        default=None, description="train, validation or test for all; null to split by place."
    )
    name: str = Field(default="", description="Of these data, for the model card.")
    licence: str = Field(default="", description="Of these data, for the model card.")


Tiles = Annotated[GeoTiffSettings | Hdf5Settings, Field(discriminator="kind")]


class DataSettings(Settings):
    """What is learned from."""

    bands: tuple[str, ...] = Field(
        min_length=1, description="Bands that the network sees, such as blue, green, red, nir."
    )
    tiles: tuple[Tiles, ...] = Field(min_length=1, description="Where the tiles are.")

    @model_validator(mode="after")
    def _known(self) -> DataSettings:
        modalities_of(self.bands)
        return self


class NetworkSettings(Settings):
    """The network by name, and what it is built with."""

    name: str = Field(
        default="mini", description="glavitu (the published size), mini or deeplabv3+."
    )
    options: dict[str, Any] = Field(
        default={},
        description="What differs from the preset, such as {width: 32, depth: 6}; members: 3 makes "
        "an ensemble.",
    )


class StrategySettings(Settings):
    """Which regions are learned from, and what the network is told of them."""

    regions: tuple[str, ...] = Field(
        default=(), description="One region or a cluster, for regional networks; () for all."
    )
    told: ToldKind = Field(
        default="nothing", description="nothing, region or coordinates: what the network is told."
    )
    encoded_regions: tuple[str, ...] = Field(
        default=REGIONS, description="Regions that have a place in the vector."
    )
    unknown: float = Field(
        default=0.1, ge=0, le=1, description="How often a patch's region is told to be unknown."
    )
    start_from: str | None = Field(
        default=None,
        description="Weights to go on from (a file, or an address with its checksum): fine-tuning.",
    )

    def told_of(self) -> Told:
        """Give what the samples take."""
        return Told(kind=self.told, regions=self.encoded_regions, unknown=self.unknown)


class SplitSettings(Settings):
    """Which places are learned from, and which are kept to judge by."""

    seed: int = Field(default=0, description="Another seed is another split.")
    shares: dict[Side, Annotated[float, Field(ge=0)]] = Field(
        default={"train": 0.6, "validation": 0.2, "test": 0.2},
        description="Of the places. Test places are used nowhere in the training.",
    )
    by_ground: bool = Field(
        default=True,
        description="Whether tiles that overlap on the ground are one place, whatever their names.",
    )


class AugmentationSettings(Settings):
    """How patches are varied; see `ogive.outlines.augment.Augmentation`."""

    turn: bool = Field(default=_DEFAULT.turn, description="Mirror, and turn by quarters.")
    smallest_crop: float = Field(
        default=_DEFAULT.smallest_crop,
        gt=0,
        le=1,
        description="Smallest crop that is enlarged to a patch.",
    )
    largest_crop: float = Field(
        default=_DEFAULT.largest_crop,
        ge=1,
        le=2,
        description="Largest crop that is reduced to a patch.",
    )
    gamma: float = Field(
        default=_DEFAULT.gamma, ge=0, lt=1, description="Contrast: powers from 1 - gamma to 1 + it."
    )
    shift: float = Field(
        default=_DEFAULT.shift, ge=0, description="Standard deviation of a shift of each band."
    )
    noise: float = Field(
        default=_DEFAULT.noise, ge=0, description="Standard deviation of noise of each pixel."
    )
    light: float = Field(
        default=_DEFAULT.light,
        ge=0,
        description="Standard deviation of the logarithm of what all bands are multiplied by.",
    )
    occlusion: float = Field(
        default=_DEFAULT.occlusion, ge=0, le=1, description="How often a rectangle is blanked."
    )
    occlusion_side: float = Field(
        default=_DEFAULT.occlusion_side, gt=0, le=1, description="Its largest side, of the patch."
    )
    mixing: float = Field(
        default=_DEFAULT.mixing,
        ge=0,
        le=1,
        description="How often a rectangle is another tile's, with its labels (CutMix).",
    )

    def augmentation(self) -> Augmentation:
        """Give what the samples take."""
        return Augmentation(**self.model_dump())


class LossSettings(Settings):
    """The focal loss."""

    gamma: float = Field(default=2.0, ge=0, description="Focus on what is not yet known.")
    smoothing: float = Field(default=0.1, ge=0, lt=1, description="Of the labels.")
    auxiliary: float = Field(
        default=0.5, ge=0, description="Weight of the output behind the transformer."
    )
    overlap: float = Field(
        default=0.0, ge=0, description="Weight of the overlap of glaciers, beside the focal loss."
    )


class OptimiserSettings(Settings):
    """Adam (Kingma & Ba 2015)."""

    learning_rate: float = Field(
        default=5e-4, gt=0, description="At its highest; 5e-5 for fine-tuning."
    )
    weight_decay: float = Field(default=0.0, ge=0, description="Decoupled, as in AdamW; 0: Adam.")


class TrainingConfig(Settings):
    """A training of outlines, whole."""

    name: str = Field(default="outlines", min_length=1, description="Of the model.")
    note: str = Field(default="", description="What a user of the model should know.")
    seed: int = Field(default=0, ge=0, lt=10_000, description="Of weights, samples and draws.")
    network: NetworkSettings = Field(default=NetworkSettings(), description="What is trained.")
    data: DataSettings = Field(description="What it learns from.")
    strategy: StrategySettings = Field(
        default=StrategySettings(), description="Global by default; see docs/outlines.md."
    )
    split: SplitSettings = Field(default=SplitSettings(), description="By place, never by patch.")
    augmentation: AugmentationSettings = Field(
        default=AugmentationSettings(), description="How patches are varied."
    )
    loss: LossSettings = Field(default=LossSettings(), description="What it lowers.")
    optimiser: OptimiserSettings = Field(default=OptimiserSettings(), description="Adam.")
    training: FitSettings = Field(description="How long, how fast, where.")

    @model_validator(mode="after")
    def _buildable(self) -> TrainingConfig:
        build_network(self.network.name, **self.network_options())
        return self

    def network_options(self) -> dict[str, Any]:
        """Options of the network, with those that the data and the strategy decide."""
        counts = {name: len(bands) for name, bands in modalities_of(self.data.bands).items()}
        decided = {"modalities": counts, "location_size": self.strategy.told_of().size}
        return {**self.network.options, **decided}


def template() -> TrainingConfig:
    """Give a configuration to start from: all defaults, and patterns to fill in."""
    return TrainingConfig(
        data=DataSettings(
            bands=("blue", "green", "red", "nir"),
            tiles=(
                GeoTiffSettings(
                    images="images/*.tif",
                    masks=Path("masks"),
                    scale=1e-4,
                    name="my images",
                    licence="CC-BY-4.0",
                ),
            ),
        ),
        training=FitSettings(max_minutes=60.0, schedule="cosine", ema_decay=0.999),
    )
