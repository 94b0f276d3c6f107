"""From files to outlines: scenes, tiles cut from them, products, bias optimisation, the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import torch
from affine import Affine
from torch import Tensor, nn
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import GridError, InputError
from ogive.outlines.bias import optimise_bias
from ogive.outlines.build import BuildOptions, build_tiles
from ogive.outlines.networks import GlaViTUOptions, Logits
from ogive.outlines.predict import Arrays
from ogive.outlines.scene import opened_scene
from ogive.outlines.tile_hdf5 import hdf5_tiles
from ogive.workflow.outlines import OutlineOptions, make_outlines

from .conftest import BANDS, CRS, SCALE, ice_of, reflectance_of, write_image
from .red_network import FOUR, red_network, write_red_network

SIZE = 80
RUN = CliRunner()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that says glacier where red is bright, with a calibration."""
    path = tmp_path_factory.mktemp("weights") / "red.safetensors"
    return write_red_network(path, red_network(), "nothing")


def write_scene(folder: Path, *, seed: int = 0, **options: Any) -> tuple[Path, np.ndarray]:
    ice = ice_of(SIZE, seed)
    numbers = (reflectance_of(ice, seed) / SCALE).astype(np.uint16)
    numbers[:, :3] = 0
    ice[:3] = False
    return write_image(folder / "scene.tif", numbers, **{"names": BANDS, **options}), ice


def write_dem(folder: Path, ice: np.ndarray) -> Path:
    """Two funnels that part in the middle of the ice, on a coarser grid than the scene's."""
    columns = np.nonzero(ice)[1]
    middle = (columns.min() + columns.max()) / 2 / 2 + 10
    x = np.arange(60) - middle
    elevation = 2500 - 20 * abs(x)[None] + np.zeros((60, 1))
    path = folder / "dem.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="float32", height=60, width=60, crs=CRS,
        transform=Affine(20, 0, 4e5 - 200, 0, -20, 5_100_200),
    ) as file:  # fmt: skip
        file.write(elevation.astype(np.float32), 1)
    return path


def test_a_scene_becomes_outlines(tmp_path: Path, weights: Path):
    path, ice = write_scene(tmp_path)
    made = make_outlines([path], tmp_path / "out.gpkg", options=OutlineOptions(weights=weights))
    truth_km2 = ice.sum() * 100 / 1e6
    assert made.glaciers == 1
    # The spectra are far apart: single noisy pixels at most are wrong.
    assert made.ice_km2 == pytest.approx(truth_km2, rel=0.01)
    assert made.inner_km2 <= made.ice_km2 <= made.outer_km2
    assert 0.5 < made.estimated_iou <= 1
    layers = dict(pyogrio.list_layers(made.outlines))
    assert set(layers) == {"glaciers", "inner", "outer", "layer_styles"}
    styles = gpd.read_file(made.outlines, layer="layer_styles")
    assert set(styles["f_table_name"]) == {"glaciers", "inner", "outer"}
    glaciers = gpd.read_file(made.outlines, layer="glaciers")
    assert glaciers.crs.to_epsg() == 32632
    assert glaciers.is_valid.all()
    for product in (made.probability, made.confidence):
        with rasterio.open(product) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            values = file.read(1)
        assert np.isnan(values[:3]).all()
        assert np.isfinite(values[3:]).all()
    with rasterio.open(made.probability) as file:
        np.testing.assert_array_equal(file.read(1)[3:] > 0.5, ice[3:])
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "out.gpkg", "out.png", "out_confidence.qml", "out_confidence.tif",
        "out_probability.qml", "out_probability.tif", "scene.tif",
    ]  # fmt: skip


def test_an_elevation_model_divides_it(tmp_path: Path, weights: Path):
    path, ice = write_scene(tmp_path)
    options = OutlineOptions(weights=weights, dem=write_dem(tmp_path, ice), least_area_km2=0)
    made = make_outlines([path], tmp_path / "out.gpkg", options=options)
    # Two halves of a disc of 0.4 km2: too small for two glaciers by the published areas.
    assert made.glaciers >= 1
    columns = np.nonzero(ice)[1]
    middle = 4e5 + 5 * (columns.min() + columns.max() + 1)
    halves = [shapely.box(4e5, 5_099_000, middle, 5_100_000),
              shapely.box(middle, 5_099_000, 4e5 + 10 * SIZE, 5_100_000)]  # fmt: skip
    inventory = tmp_path / "inventory.gpkg"
    gpd.GeoDataFrame(geometry=halves, crs=CRS).to_file(inventory)
    options = OutlineOptions(weights=weights, dem=options.dem, inventory=inventory)
    copied = make_outlines([path], tmp_path / "copied.gpkg", options=options)
    assert copied.glaciers == 2
    assert copied.ice_km2 == pytest.approx(made.ice_km2, rel=0.01)


def test_several_files_in_any_order_and_resolution(tmp_path: Path, weights: Path):
    path, ice = write_scene(tmp_path)
    with rasterio.open(path) as file:
        stack = file.read()
    paths = [
        write_image(tmp_path / f"{name}.tif", stack[[number]], names=(name,))
        for number, name in reversed(list(enumerate(BANDS)))
    ]
    with opened_scene(paths, FOUR, scale=SCALE) as scene:
        part = scene.read(slice(3, 20), slice(0, SIZE))
    np.testing.assert_allclose(part.pixels, stack[:, 3:20] * SCALE, rtol=1e-6)
    assert part.valid.all()
    made = make_outlines(paths, tmp_path / "o.gpkg", options=OutlineOptions(weights=weights))
    assert made.ice_km2 == pytest.approx(ice.sum() / 1e4, rel=0.01)


def test_slope_is_made_of_the_elevation_model(tmp_path: Path):
    path, ice = write_scene(tmp_path)
    bands = ("red", "elevation", "slope")
    with opened_scene([path], bands, scale=SCALE, dem=write_dem(tmp_path, ice)) as scene:
        part = scene.read(slice(10, 30), slice(5, 15))
    # 20 m down over each 20 m, but for the crest in the middle.
    assert np.median(part.pixels[2]) == pytest.approx(45.0, abs=0.5)
    with (
        pytest.raises(InputError, match="give an elevation model"),
        opened_scene([path], bands, scale=SCALE),
    ):
        pass


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("written", "options", "error", "told"),
    [
        ({}, {"scale": 1.0}, InputError, "0.0001 for Sentinel-2"),
        ({}, {"scale": 1e-9}, InputError, "scaled twice"),
        ({"names": ("B2", "B3", "B4", "B5")}, {}, InputError, "no band 'B5'"),
        ({"names": ("B2", "B3", "B4", "B11")}, {}, InputError, "has no band nir"),
        ({"names": ("B2", "B3", "B4", "B4")}, {}, InputError, "the band red twice"),
        ({"names": None}, {}, InputError, "does not say what its 4 bands are"),
        ({}, {"bands": ["blue", "green"]}, InputError, "has 4 bands, but 2 were named"),
        ({"crs": None}, {}, GridError, "no coordinate reference system"),
        ({"crs": "EPSG:4326"}, {}, GridError, "in metres"),
        ({}, {"region": "ALP"}, InputError, "is told no region"),
        ({}, {"optimise_bias": True}, InputError, "no bias can be optimised"),
        ({}, {"inventory": "a.gpkg"}, InputError, "give one"),
        ({}, {"weights": "none.safetensors"}, InputError, "does not exist"),
    ],
)
def test_scenes_and_options_that_are_wrong(
    tmp_path: Path,
    weights: Path,
    written: dict[str, Any],
    options: dict[str, Any],
    error: type[Exception],
    told: str,
):
    path, _ = write_scene(tmp_path, **written)
    with pytest.raises(error, match=told):
        make_outlines(
            [path], tmp_path / "out.gpkg", options=OutlineOptions(**{"weights": weights, **options})
        )
    assert [each.name for each in tmp_path.iterdir()] == ["scene.tif"]


def test_a_scene_without_data_and_files_that_do_not_overlap(tmp_path: Path, weights: Path):
    empty = write_image(tmp_path / "e.tif", np.zeros((4, 20, 20), np.uint16), names=BANDS)
    options = OutlineOptions(weights=weights)
    with pytest.raises(InputError, match="no pixel with data"):
        make_outlines([empty], tmp_path / "o.gpkg", options=options)
    path, _ = write_scene(tmp_path)
    far = write_image(tmp_path / "f.tif", np.ones((1, 9, 9), np.uint16), left=9e5, names=("B11",))
    with pytest.raises(GridError, match="does not overlap"):
        make_outlines([path, far], tmp_path / "o.gpkg", options=options)
    with pytest.raises(InputError, match="there is no file"):
        make_outlines([tmp_path / "no.tif"], tmp_path / "o.gpkg", options=options)
    with pytest.raises(InputError, match=r"must end in \.gpkg"):
        make_outlines([path], tmp_path / "o.shp", options=options)


def test_a_tiny_scene(tmp_path: Path, weights: Path):
    numbers = (reflectance_of(np.ones((5, 7), bool), 0) / SCALE).astype(np.uint16)
    path = write_image(tmp_path / "t.tif", numbers, names=BANDS)
    options = OutlineOptions(weights=weights, least_area_km2=0)
    made = make_outlines([path], tmp_path / "o.gpkg", options=options)
    assert made.ice_km2 == pytest.approx(35 / 1e4)


def test_nothing_is_replaced_unless_asked(tmp_path: Path, weights: Path):
    path, _ = write_scene(tmp_path)
    (tmp_path / "out_probability.tif").write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        make_outlines([path], tmp_path / "out.gpkg", options=OutlineOptions(weights=weights))
    assert (tmp_path / "out_probability.tif").read_text() == "mine"
    options = OutlineOptions(weights=weights, overwrite=True)
    assert make_outlines([path], tmp_path / "out.gpkg", options=options).glaciers == 1


def test_the_command(tmp_path: Path, weights: Path):
    path, _ = write_scene(tmp_path, names=None)
    asked = ["outlines", str(path), "-o", str(tmp_path / "o.gpkg"), "--weights", str(weights)]
    done = RUN.invoke(app, asked)
    assert done.exit_code == 2
    assert "does not say what its 4 bands are" in done.output
    done = RUN.invoke(app, [*asked, "--bands", "B2, B3, B4, B8", "--augment"])
    assert done.exit_code == 0, done.output
    assert "1 glaciers" in done.output
    assert "95 % band" in done.output
    assert "o_confidence.tif" in done.output


# Tiles cut from a scene.


def test_tiles_are_cut_and_come_back(tmp_path: Path):
    path, ice = write_scene(tmp_path)
    disc = gpd.GeoDataFrame(geometry=_outline(ice), crs=CRS)
    disc.to_crs("EPSG:4326").to_file(tmp_path / "inventory.gpkg")
    built = build_tiles(
        [path], tmp_path / "inventory.gpkg", tmp_path / "tiles", bands=(*FOUR, "elevation"),
        options=BuildOptions(region="ALP", scale=SCALE, tile_px=20, empty=True, seed=3),
        dem=write_dem(tmp_path, ice),
    )  # fmt: skip
    assert sum(built.counts.values()) + built.left_out == 16
    assert all(built.counts[side] > 0 for side in ("train", "validation", "test"))
    seen = np.zeros((SIZE, SIZE), int)
    for file in built.files.values():
        for tile in hdf5_tiles(file):
            info = tile.info
            assert info.region == "ALP"
            assert info.geobox is not None
            left, top = info.geobox.transform.c, info.geobox.transform.f
            here = np.s_[round((5_100_000 - top) / 10) :, round((left - 4e5) / 10) :]
            read = tile.read(slice(0, info.height), slice(0, info.width), ("red",))
            seen[here][: info.height, : info.width] += read.valid
            wanted = ice[here][: info.height, : info.width]
            # Reprojecting there and back moves the border by far less than a pixel.
            assert ((read.labels == 1) == wanted)[read.valid].mean() > 0.99
    assert (seen[3:] == 1).all()
    assert (seen[:3] == 0).all()


def _outline(ice: np.ndarray) -> list[shapely.Geometry]:
    from rasterio.features import shapes

    transform = Affine(10, 0, 4e5, 0, -10, 5_100_000)
    drawn = shapes(ice.astype(np.uint8), mask=ice, transform=transform)
    return [shapely.geometry.shape(shape) for shape, _ in drawn]


def test_tiles_without_glaciers_or_inventory(tmp_path: Path):
    path, _ = write_scene(tmp_path)
    far = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10)], crs=CRS)
    far.to_file(tmp_path / "far.gpkg")
    options = BuildOptions(region="ALP", scale=SCALE)
    with pytest.raises(GridError, match="no polygon of"):
        build_tiles([path], tmp_path / "far.gpkg", tmp_path, bands=FOUR, options=options)
    bow = shapely.Polygon([(4e5, 5.1e6), (4.01e5, 5.09e6), (4.01e5, 5.1e6), (4e5, 5.09e6)])
    gpd.GeoDataFrame(geometry=[bow], crs=CRS).to_file(tmp_path / "bow.gpkg")
    with pytest.raises(InputError, match="cross themselves"):
        build_tiles([path], tmp_path / "bow.gpkg", tmp_path, bands=FOUR, options=options)
    assert not list(tmp_path.glob("*.hdf5"))


# Bias optimisation.


class Regional(nn.Module):
    """Sure of a scene if it is told the second of three regions, and in doubt otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.options = GlaViTUOptions(modalities={"optical": 1}, patch_px=16, location_size=3)

    def forward(self, features: dict[str, Tensor], location: Tensor | None = None) -> Logits:
        assert location is not None
        logit = (features["optical"] - 0.25) * 40 * location[:, 1, None, None, None]
        logits = torch.cat([-logit, logit], 1)
        return Logits(logits, logits)


def test_bias_optimisation_finds_the_region():
    rng = np.random.default_rng(0)
    scene = Arrays(rng.uniform(0.1, 1, (1, 40, 50)).astype("f4"), np.ones((40, 50), bool))
    found = optimise_bias(scene, Regional(), ["red"], learning_rate=0.1, epochs=30)
    assert found.location.argmax() == 1
    assert found.location[1] > 0.9
    assert found.location.sum() == pytest.approx(1, abs=1e-5)
    assert found.entropy[-1] < found.entropy[0]


def test_bias_optimisation_ends_when_nothing_changes():
    scene = Arrays(np.ones((1, 20, 20), "f4"), np.ones((20, 20), bool))
    found = optimise_bias(scene, Regional(), ["red"], learning_rate=1e-12, epochs=100)
    assert len(found.entropy) == 5
    # Where it began: the second region all but alone.
    np.testing.assert_allclose(found.location[1], np.e**5 / (np.e**5 + 2), rtol=1e-5)


def test_bias_of_networks_that_are_told_nothing():
    network = Regional()
    network.options = GlaViTUOptions(modalities={"optical": 1}, patch_px=16)
    scene = Arrays(np.ones((1, 20, 20), "f4"), np.zeros((20, 20), bool))
    with pytest.raises(InputError, match="is told no region"):
        optimise_bias(scene, network, ["red"])
    with pytest.raises(InputError, match="no valid pixel"):
        optimise_bias(scene, Regional(), ["red"])
