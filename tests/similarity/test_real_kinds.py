"""Stable ground of several years, and real pairs as kinds of samples in a training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

from ogive.model import GridError, InputError

pytest.importorskip("lightning", reason="Lightning is not installed")

from ogive.learning.split import Source, split_sources
from ogive.similarity.mixture import mixtures
from ogive.similarity.real_kinds import stable_found
from ogive.similarity.samples.real_settings import (
    SelfSampleSettings,
    StableGroundSettings,
)
from ogive.similarity.samples.stable_pairs import stable_pairs
from ogive.similarity.samples.year_tiles import read_year_tiles, touching
from ogive.similarity.train import TrainingConfig, train

PIXEL_M, WEST, NORTH = 10, 2_600_000, 1_150_000
SHIFT = {"dx": 0.3, "dy": -0.2}
ICE = np.s_[:, 90:130]


def texture(seed: int, rows: int = 200, columns: int = 300) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(rows, columns))
    image = ndimage.gaussian_filter(noise, 1.0, mode="wrap")
    return 1500 + 300 * image / image.std()


def moved(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    return ndimage.map_coordinates(image, [y - dy, x - dx], order=5, mode="grid-wrap")


def tile(folder: Path, name: str, image: np.ndarray, ice: np.ndarray, left: int, top: int) -> None:
    """Two bands and a mask, as glacier inventories with images come."""
    transform = Affine(PIXEL_M, 0, WEST + PIXEL_M * left, 0, -PIXEL_M, NORTH - PIXEL_M * top)
    rows, columns = image.shape
    for part, bands in (("images", [image, 0.5 * image + 100]), ("masks", [ice])):
        (folder / part).mkdir(exist_ok=True)
        with rasterio.open(
            folder / part / f"{name}_tile_0.tif", "w", "GTiff", columns, rows, len(bands),
            crs="EPSG:2056", transform=transform, nodata=0 if part == "images" else None,
            dtype="uint16" if part == "images" else "uint8",
        ) as file:  # fmt: skip
            file.write(np.stack(bands).round().astype(file.dtypes[0]))


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Overlapping tiles of three glaciers: two years of one piece of ground, one year alone."""
    folder = tmp_path_factory.mktemp("valley")
    first = texture(1)
    later = moved(first, **SHIFT)
    later[ICE] = moved(first, 3.0, 0.0)[ICE]
    later = 1.2 * later + 30 * np.random.default_rng(2).normal(size=later.shape)
    ice = np.zeros(first.shape, np.uint8)
    ice[ICE] = 1
    tile(folder, "alpha_2017", first[:, :180], ice[:, :180], 0, 0)
    tile(folder, "beta_2018", later[20:, 10:160], ice[20:, 10:160], 10, 20)
    # The same image once more, of a neighbour: it makes the seen part wider.
    tile(folder, "gamma_2018", later[20:, 150:], ice[20:, 150:], 150, 20)
    tile(folder, "delta_2018", texture(3), 0 * ice, 900, 900)
    return folder


def tiles_of(folder: Path) -> list[Any]:
    return read_year_tiles(folder / "images" / "*.tif", masks=folder / "masks")


# ---- stable ground -------------------------------------------------------------------------------


def test_ground_of_two_years_is_labelled_with_its_misregistration(valley):
    """The median of some 300 overlapping windows (20 independent) is good to some hundredths."""
    (found,) = stable_pairs(tiles_of(valley))
    assert found.kept
    assert found.dx_px == pytest.approx(SHIFT["dx"], abs=0.05)
    assert found.dy_px == pytest.approx(SHIFT["dy"], abs=0.05)
    assert found.error_px < 0.05
    pair = found.pair
    assert pair.places == {"alpha", "beta", "gamma"}
    assert pair.earlier.pixels.shape == (2, 180, 170)
    assert (pair.earlier.scene.time.year, pair.later.scene.time.year) == (2017, 2018)
    # Columns 10 to 180 of the valley are seen twice; of the ice there is no label.
    labelled = pair.labelled
    assert not labelled[:, 80:120].any()
    assert labelled[10:-10, 10:70].all()
    assert (pair.stable == labelled).all()
    np.testing.assert_allclose(pair.displacement[0][labelled], found.dx_px, atol=1e-6)


def test_ground_that_is_off_or_uncertain_is_not_kept(valley):
    tiles = tiles_of(valley)
    (near,) = stable_pairs(tiles, most_shift_px=0.3)
    assert not near.kept
    (sure,) = stable_pairs(tiles, tolerance_px=0.005)
    assert not sure.kept


def test_tiles_touch_by_others(valley):
    groups = [sorted({tile.place for tile in group}) for group in touching(tiles_of(valley))]
    assert sorted(groups) == [["alpha", "beta", "gamma"], ["delta"]]
    assert touching([]) == []


def test_tiles_that_cannot_be_used_are_refused(valley, tmp_path):
    with pytest.raises(InputError, match="no image matches"):
        read_year_tiles(tmp_path / "*.tif", masks=tmp_path)
    one_year = [each for each in tiles_of(valley) if each.year == 2018]
    with pytest.raises(InputError, match="seen in two years"):
        stable_pairs(one_year)
    nothing = np.zeros((60, 60), np.uint8)
    image = texture(4, 60, 60)
    tile(tmp_path, "nameless", image, nothing, 0, 0)
    with pytest.raises(InputError, match="does not tell place and year"):
        tiles_of(tmp_path)
    (tmp_path / "images" / "nameless_tile_0.tif").rename(tmp_path / "images/a_2017_tile_0.tif")
    with pytest.raises(InputError, match="cannot be read"):
        tiles_of(tmp_path)
    tile(tmp_path, "b_2017", image, nothing, 5, 0)
    (tmp_path / "masks" / "b_2017_tile_0.tif").rename(tmp_path / "masks/a_2017_tile_0.tif")
    with pytest.raises(GridError, match="image and mask"):
        tiles_of(tmp_path)


# ---- kinds of a training -------------------------------------------------------------------------


def pair_of_files(folder: Path) -> Path:
    first = texture(5, 160, 160)
    for name, image in (("20200701", first), ("20200711", moved(first, 2.4, -1.0))):
        with rasterio.open(
            folder / f"here_{name}.tif", "w", "GTiff", 160, 160, 1, dtype="uint16", nodata=0,
            crs="EPSG:32632", transform=Affine(10, 0, 4e5, 0, -10, 5e6),
        ) as file:  # fmt: skip
            file.write(image.round().astype("uint16"), 1)
    return folder


def configuration(kinds: list[dict[str, Any]], split: dict[str, Any]) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "network": {"name": "small", "options": {"width": 4, "channels": 4}},
            "samples": {"size_px": 64, "kinds": kinds},
            "split": split,
            "loss": {"windows_px": [12], "radius_px": 6, "jitter_px": 4, "windows_per_pair": 8},
            "validation": {"windows_px": [12], "windows_per_pair": 8},
            "training": {
                "max_steps": 2, "batch_size": 2, "workers": 0, "validate_every_steps": 2,
                "validation_samples": 2,
            },
        }
    )  # fmt: skip


def series(folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "kind": "self-sample",
        "series": [{"files": str(folder / "here_*.tif"), "place": "here", "name": "Here"}],
        "window_px": 24,
        "step_px": 6,
        "search_px": 8,
        **more,
    }


def stable(folder: Path) -> dict[str, Any]:
    return {
        "kind": "stable-ground",
        "files": str(folder / "images" / "*.tif"),
        "masks": str(folder / "masks"),
    }


def test_rounds_are_named_in_the_configuration(tmp_path):
    pair_of_files(tmp_path)
    split = {"shares": {"train": 1.0}, "sides": {"here": "train"}}
    first = configuration([series(tmp_path)], split)
    mixed, _ = mixtures(first.samples, first.split, seeds={"train": 1})
    assert float(mixed["train"].sample(0)["weight"]) == 1.0
    second = configuration([series(tmp_path, features="highpass")], split)
    mixed, _ = mixtures(second.samples, second.split, seeds={"train": 1})
    sample = mixed["train"].sample(0)
    assert 0 < float(sample["weight"]) < 1
    assert float(sample["years"]) == pytest.approx(10 / 365.25)


def test_a_training_on_real_pairs_leaves_weights_and_tells_its_data(tmp_path, valley):
    pair_of_files(tmp_path)
    kinds = [series(tmp_path), stable(valley)]
    split = {"shares": {"train": 1.0}, "sides": {"here": "train"}}
    trained = train(configuration(kinds, split), tmp_path / "run")
    card = (tmp_path / "run" / "model.md").read_text(encoding="utf-8")
    assert trained.weights is not None
    assert trained.fitted.steps == 2
    assert "Here" in card
    assert "stable-ground samples" in card


def test_all_names_of_one_piece_of_ground_fall_to_one_side(valley):
    """Tiles of neighbours hold the same pixels: no split may part them."""
    settings = StableGroundSettings.model_validate(stable(valley))
    found = stable_found(settings)
    assert [each.content is not None for each in found] == [True, False, False]
    assert {each.source.place for each in found} == {"alpha", "beta", "gamma"}
    west, south, east, north = found[0].source.footprint.bounds
    assert 5.9 < west < east < 10.5
    assert 45.8 < south < north < 47.9
    textures = [Source(f"texture {name}", name) for name in ("alpha", "beta", "gamma", "delta")]
    for seed in range(8):
        split = split_sources(
            [*textures, *(each.source for each in found)],
            seed=seed,
            shares={"train": 1.0, "validation": 0.0, "test": 1.0},
            sides={"delta": "test", "beta": "train"},
        )
        assert {"texture alpha", "texture beta", "texture gamma"} <= set(split.train)


def test_a_kind_without_usable_images_is_refused(tmp_path, valley):
    (tmp_path / "here_20200701.tif").write_bytes(b"")
    split = {"shares": {"train": 1.0}}
    for kind, says in (
        (series(tmp_path), "1 files match"),
        ({**stable(valley), "tolerance_px": 0.001}, "lies still"),
    ):
        config = configuration([kind], split)
        with pytest.raises(InputError, match=says):
            mixtures(config.samples, config.split, seeds={"train": 1})
    with pytest.raises(ValueError, match=re.escape("window_px is 25")):
        SelfSampleSettings.model_validate(series(tmp_path, window_px=25))


@pytest.mark.slow
def test_real_ground_beside_swiss_glaciers_lies_still(data_dir):
    folder = data_dir / "swiss_s2_glaciers"
    tiles = read_year_tiles(folder / "images" / "*.tif", masks=folder / "masks")
    kept = [each for each in stable_pairs(tiles) if each.kept]
    assert len(kept) >= 6
    assert sum(int(each.pair.labelled.sum()) for each in kept) > 100_000
    # Composites of two years of one sensor: all lie within half a pixel of each other.
    assert all(np.hypot(each.dx_px, each.dy_px) < 0.5 for each in kept)
