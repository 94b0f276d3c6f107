"""Trained weights as something that maps: network, bands, and what its confidence is worth.

What must be known to use weights travels inside them: how the network is built, which bands it
sees, what turns an image's numbers into reflectance, what it is told of the place, and the
calibration of its confidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from ogive.learning.device import resolve_device
from ogive.learning.weights import Weights, fill_network, load_weights
from ogive.model import InputError

from .bands import bands_in_order
from .calibration import Calibration
from .location import coordinate_vector, longitude_latitude_deg, region_vector
from .networks import OutlineNetwork, build_network
from .strategies import Told
from .training_config import TrainingConfig

__all__ = ["SHIPPED", "OutlineModel", "load_outline_model", "model_options"]

SHIPPED = "weights/mini.safetensors"
"""The weights that ship with ogive, beside this file."""
_CURVE_POINTS = 201


@dataclass(frozen=True)
class OutlineModel:
    """A trained network and all that is needed to use it.

    Attributes
    ----------
    network
        In evaluation mode, on its device.
    bands
        Names of the bands it sees, in its order.
    scale
        What turns the numbers of the images it was trained on into reflectance.
    told
        What it is told of the place.
    calibration
        What its confidence is worth; ``None`` where that is not known.
    name
        Of the model.
    """

    network: OutlineNetwork
    bands: tuple[str, ...]
    scale: float
    told: Told
    calibration: Calibration | None
    name: str

    def location(self, geobox: GeoBox, region: str | None) -> NDArray[np.float32] | None:
        """Give what the network is told of a place.

        Parameters
        ----------
        geobox
            Of the scene.
        region
            Its region; ``None`` for the unknown region.

        Raises
        ------
        InputError
            If the region is not among the network's, or a region is given to one that takes none.
        """
        if self.told.kind == "coordinates":
            return coordinate_vector(**longitude_latitude_deg(geobox))
        if self.told.kind == "region":
            return region_vector(region, self.told.regions)
        if region is not None:
            raise InputError(f"the network {self.name} is told no region: leave it out")
        return None


def load_outline_model(
    path_or_url: str | Path | None = None, *, device: str = "auto"
) -> OutlineModel:
    """Load trained weights.

    Parameters
    ----------
    path_or_url
        A ``.safetensors`` file, or an address with its checksum (see
        `ogive.learning.weights.load_weights`); ``None`` for the weights that ship with ogive:
        Sentinel-2's blue, green, red and near infrared, trained on Swiss glaciers.
    device
        Where the network runs.

    Raises
    ------
    InputError
        If there is no such file, or it holds weights of something else.

    Examples
    --------
    >>> load_outline_model(device="cpu").bands
    ('blue', 'green', 'red', 'nir')
    """
    if path_or_url is not None:
        return _model(load_weights(path_or_url), device)
    with as_file(files(__package__).joinpath(SHIPPED)) as path:
        return _model(load_weights(path), device)


def model_options(
    config: TrainingConfig, network: OutlineNetwork, calibration: Calibration | None
) -> dict[str, Any]:
    """Tell what must be known to use weights, JSON-able."""
    scales = {tiles.scale for tiles in config.data.tiles if tiles.kind == "geotiff"}
    curve = None
    if calibration is not None:
        points = np.linspace(0.0, 1.0, _CURVE_POINTS)
        curve = {
            "confidence": points.round(6).tolist(),
            "accuracy": calibration(points).round(6).tolist(),
            "monotone": calibration.monotone,
        }
    return {
        "network": network.options.as_json(),
        "bands": list(bands_in_order(config.data.bands)),
        "scale": scales.pop() if len(scales) == 1 else 1.0,
        "told": config.strategy.told,
        "regions": list(config.strategy.encoded_regions),
        "calibration": curve,
    }


def _model(weights: Weights, device: str) -> OutlineModel:
    options: Mapping[str, Any] = weights.options
    try:
        network = build_network(weights.architecture, **options["network"])
        bands, scale = tuple(options["bands"]), float(options["scale"])
        told = Told(kind=options["told"], regions=tuple(options["regions"]))
        curve = options.get("calibration")
        calibration = Calibration.of(curve, weights.source) if curve is not None else None
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{weights.source} does not hold weights of glacier outlines: {error!r}"
        ) from error
    fill_network(network, weights, architecture=weights.architecture)
    placed = network.to(resolve_device(device)).eval().requires_grad_(False)
    return OutlineModel(placed, bands, scale, told, calibration, weights.card.name)
