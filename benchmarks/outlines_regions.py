"""Regions with different spectra, made up so that the right answer is known.

Three regions of four bands. In each, ice is bright in a band of its own; each of the other bands
shows blobs just as bright that are no ice. Which band to believe is nowhere in the pixels: a
network that is not told the region cannot do better than guess, one that is told can be right
everywhere but in the tenth of the pixels whose labels are wrong at random. So these are known:

- told its region or coordinates: IoU near what perfect maps get, 0.818 with a tenth of the labels
  wrong at half ice (0.9 x 0.5 found; 0.5 + 0.05 in the union);
- told nothing: near that of what most of the three bands say, 0.54 (they are right of 0.75 of the
  ice and of 0.75 of the rest; 0.35 found, 0.65 in the union);
- confidence after calibration: never above 0.9.

A hazy scene of each region, whose other bands are faint, tests the bias optimisation: told a wrong
region the network is in doubt, so that the surest mixture should be the true region.

    python benchmarks/outlines_regions.py [FOLDER] [--steps 400]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ogive.evaluation.mapping import MapScore, map_score
from ogive.evaluation.reliability import reliability
from ogive.outlines.bias import optimise_bias
from ogive.outlines.calibration import calibrate_confidence
from ogive.outlines.confidence import confidence
from ogive.outlines.location import region_vector
from ogive.outlines.predict import Arrays, PredictOptions, probability
from ogive.outlines.tile_geotiff import GeoTiffTile, geotiff_tiles
from ogive.outlines.tile_maps import confidence_bins_of, tile_probability
from ogive.outlines.train import TrainingConfig, train
from ogive.outlines.trained import OutlineModel, load_outline_model

REGIONS = ("ALP", "CAU", "SCA")
LEFT_M = {"ALP": 300_000.0, "CAU": 500_000.0, "SCA": 700_000.0}
BANDS = ("blue", "green", "red", "nir")
SIZE_PX, PATCH_PX = 64, 32
TILES = {"train": 24, "validation": 8, "test": 8}
WRONG_LABELS = 0.1
BRIGHT, DARK, NOISE = 0.7, 0.4, 0.03
BINS = 100
PERFECT_IOU = 0.45 / 0.55
NETWORK = {"patch_px": PATCH_PX, "width": 8, "token_width": 16, "depth": 2, "dropout": 0.1}
# Bands that differ by a contrast of their own would be told apart, were contrast varied by band.
STILL = {"gamma": 0.0, "shift": 0.0, "noise": 0.002, "occlusion": 0.0}


@dataclass(frozen=True)
class Scene:
    """Pixels, where ice really is, and the labels that a network learns from."""

    pixels: NDArray[np.float32]
    ice: NDArray[np.bool_]
    labels: NDArray[np.uint8]


def made_scene(region: str, seed: int, *, haze: float = 0.0, size: int = SIZE_PX) -> Scene:
    """Blobs in each band; those in the region's own band are ice.

    ``haze`` takes away that share of the contrast of the other bands.
    """
    rng = np.random.default_rng((REGIONS.index(region), seed))
    own = REGIONS.index(region)
    blobs = [_blobs(rng, size) for _ in BANDS]
    pixels = np.empty((len(BANDS), size, size), np.float32)
    for number, blob in enumerate(blobs):
        clear = np.where(blob, BRIGHT, DARK)
        middle = (BRIGHT + DARK) / 2
        faint = haze if number != own else 0.0
        pixels[number] = middle + (clear - middle) * (1 - faint) + rng.normal(0, NOISE, clear.shape)
    wrong = rng.random((size, size)) < WRONG_LABELS
    return Scene(pixels, blobs[own], (blobs[own] ^ wrong).astype(np.uint8))


def _blobs(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    rough = gaussian_filter(rng.normal(size=(size, size)), 4, mode="wrap")
    return np.asarray(rough > np.median(rough))


def write_regions(folder: Path) -> None:
    """Write the tiles of all regions, a folder for each region and side."""
    for region in REGIONS:
        seed = 0
        for side, count in TILES.items():
            for number in range(count):
                scene = made_scene(region, seed)
                place = f"{region}{seed:03d}"
                left = LEFT_M[region] + 1000.0 * seed
                _write(folder / region / side / "images" / f"{place}.tif", scene.pixels, left)
                _write(folder / region / side / "masks" / f"{place}.tif", scene.labels[None], left)
                seed, _ = seed + 1, number


def _write(path: Path, array: NDArray[Any], left: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", count=len(array), dtype=array.dtype, height=SIZE_PX,
        width=SIZE_PX, crs="EPSG:32632", transform=Affine(10, 0, left, 0, -10, 5_100_000),
    ) as file:  # fmt: skip
        file.write(array)


def tiles_of(folder: Path, region: str, side: str) -> list[GeoTiffTile]:
    """Read the tiles of a region and side."""
    here = folder / region / side
    images = sorted((here / "images").glob("*.tif"))
    return geotiff_tiles(images, here / "masks", place="[^.]+", bands=BANDS, region=region)


def config(folder: Path, *, steps: int, rate: float = 3e-3, **strategy: Any) -> TrainingConfig:
    """A training on some or all regions."""
    tiles = [
        {
            "kind": "geotiff", "images": str(folder / region / side / "images" / "*.tif"),
            "masks": str(folder / region / side / "masks"), "place": "[^.]+", "bands": BANDS,
            "region": region, "side": side, "name": "made up", "licence": "Apache-2.0",
        }
        for region in REGIONS
        for side in TILES
    ]  # fmt: skip
    return TrainingConfig.model_validate(
        {
            "name": "regions",
            "network": {"name": "mini", "options": NETWORK},
            "data": {"bands": BANDS, "tiles": tiles},
            "strategy": {"encoded_regions": REGIONS, **strategy},
            "augmentation": STILL,
            "optimiser": {"learning_rate": rate},
            "training": {
                "max_steps": steps, "batch_size": 8, "schedule": "cosine", "warm_up_steps": 20,
                "validate_every_steps": max(steps // 4, 1), "validation_samples": 96,
                "ema_decay": 0.98,
            },
        }
    )  # fmt: skip


def trained(folder: Path, run: Path, **options: Any) -> OutlineModel:
    """Train, and load what came of it."""
    made = train(config(folder, **options), run)
    assert made.weights is not None
    return load_outline_model(made.weights, device="cpu")


def iou_of(model: OutlineModel, tiles: Sequence[GeoTiffTile]) -> float:
    """Intersection over union with labels of which a tenth are wrong."""
    total = MapScore(0, 0, 0, 0)
    for tile in tiles:
        p = tile_probability(tile, model.network, model.bands, model.told)
        total += map_score(p > 0.5, tile.content.labels == 1)
    return total.iou


def hazy_iou(model: OutlineModel, region: str, location: NDArray[np.float32]) -> float:
    """Intersection over union with the true ice of hazy scenes of a region."""
    total = MapScore(0, 0, 0, 0)
    for scene in hazy_scenes(region):
        p = probability(
            Arrays(scene.pixels, np.ones(scene.ice.shape, bool)),
            model.network, model.bands, PredictOptions(location=location),
        )  # fmt: skip
        total += map_score(p > 0.5, scene.ice)
    return total.iou


def hazy_scenes(region: str) -> list[Scene]:
    """Scenes whose other bands are faint."""
    return [made_scene(region, 900 + number, haze=0.9, size=96) for number in range(4)]


def found_region(model: OutlineModel, region: str) -> NDArray[np.float32]:
    """The mixture of regions that makes the network surest of a hazy scene."""
    scene = hazy_scenes(region)[0]
    found = optimise_bias(
        Arrays(scene.pixels, np.ones(scene.ice.shape, bool)), model.network, model.bands
    )  # fmt: skip
    return found.location


def calibration_figures(model: OutlineModel, folder: Path) -> dict[str, float]:
    """Errors of confidence on test tiles, before and after, by softmax and by dropout."""
    figures: dict[str, float] = {}
    tiles = {side: [t for r in REGIONS for t in tiles_of(folder, r, side)] for side in TILES}
    bins = confidence_bins_of(tiles["validation"], model.network, model.bands, model.told)
    curves = {
        "monotone": calibrate_confidence(bins),
        "free": calibrate_confidence(bins, monotone=False),
    }
    for name, passes in (("softmax", 0), ("dropout", 16)):
        sure, right = [], []
        for tile in tiles["test"]:
            p = tile_probability(
                tile, model.network, model.bands, model.told, PredictOptions(dropout_passes=passes)
            )
            sure.append(confidence(p).ravel())
            right.append(((p > 0.5) == (tile.content.labels == 1)).ravel())
        told, truth = np.concatenate(sure), np.concatenate(right)
        figures[f"ECE raw, {name}"] = reliability(told, truth, bins=BINS).expected_calibration_error
        for kind, curve in curves.items():
            if name == "softmax":
                after = reliability(curve(told), truth, bins=BINS)
                figures[f"ECE calibrated, {kind}"] = after.expected_calibration_error
                figures[f"mean confidence, {kind}"] = float(curve(told).mean())
    return figures


@contextmanager
def _folder(given: str | None) -> Iterator[Path]:
    if given is not None:
        yield Path(given)
    else:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)


def main(arguments: Sequence[str]) -> None:
    """Train all strategies and print what they reach."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--steps", type=int, default=400)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with _folder(asked.folder) as folder:
        data = folder / "tiles"
        write_regions(data)
        test = {region: tiles_of(data, region, "test") for region in REGIONS}
        rows: dict[str, list[float]] = {}
        whole = trained(data, folder / "global", steps=asked.steps)
        rows["global"] = [iou_of(whole, test[region]) for region in REGIONS]
        rows["regional"], rows["fine-tuned"] = [], []
        for region in REGIONS:
            own = trained(data, folder / region, steps=asked.steps // 2, regions=[region])
            rows["regional"].append(iou_of(own, test[region]))
            tuned = trained(
                data, folder / f"{region}-tuned", steps=asked.steps // 2, rate=1e-3,
                regions=[region], start_from=str(folder / "global" / "model.safetensors"),
            )  # fmt: skip
            rows["fine-tuned"].append(iou_of(tuned, test[region]))
        told = trained(data, folder / "told", steps=asked.steps, told="region")
        rows["region encoding"] = [iou_of(told, test[region]) for region in REGIONS]
        placed = trained(data, folder / "placed", steps=asked.steps, told="coordinates")
        rows["coordinate encoding"] = [iou_of(placed, test[region]) for region in REGIONS]
        print(f"| strategy | {' | '.join(REGIONS)} |\n| --- |{' --- |' * len(REGIONS)}")
        for name, scores in rows.items():
            print(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |")
        print(f"| (perfect maps) |{f' {PERFECT_IOU:.3f} |' * len(REGIONS)}")
        print("\nhazy scenes, IoU with the true ice:")
        print("| told | " + " | ".join(REGIONS) + f" |\n| --- |{' --- |' * len(REGIONS)}")
        mixtures = {region: found_region(told, region) for region in REGIONS}
        ways = {
            "unknown": lambda region: region_vector(None, REGIONS),
            "another region": lambda region: region_vector(
                REGIONS[(REGIONS.index(region) + 1) % 3], REGIONS
            ),
            "optimised": lambda region: mixtures[region],
            "its region": lambda region: region_vector(region, REGIONS),
        }
        for name, way in ways.items():
            scores = [hazy_iou(told, region, way(region)) for region in REGIONS]
            print(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} |")
        for region, mixture in mixtures.items():
            print(f"mixture found for {region}: {mixture.round(2).tolist()}")
        for name, figure in calibration_figures(told, data).items():
            print(f"{name}: {figure:.4f}")


if __name__ == "__main__":
    main(sys.argv[1:])
