"""From scenes to outlines by the command: any grid, any strips, and one sentence for what fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import Result
from matplotlib.figure import Figure
from matplotlib.image import imread
from rasterio.features import rasterize
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import InputError, OutputError
from ogive.outlines.bands import normalised
from ogive.outlines.predict import ScenePart
from ogive.outlines.scene import RasterScene
from ogive.workflow import outlines as workflow
from ogive.workflow.outlines import OutlineOptions, make_outlines

from .conftest import BANDS, CRS, SCALE, ice_of, reflectance_of, write_image
from .red_network import FOUR, MIDDLE, SIDE, STEEP, red_network, write_red_network

HEIGHT, WIDTH = 70, 90
LEFT, TOP = 4e5, 5.1e6


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_red_network(
        tmp_path_factory.mktemp("weights") / "red.safetensors", red_network(), "nothing"
    )


@pytest.fixture(scope="module")
def regional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_red_network(
        tmp_path_factory.mktemp("weights") / "told.safetensors", red_network(3), "region"
    )


def scene_of(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of four bands, and where the ice is."""
    ice = ice_of(WIDTH, seed)[:HEIGHT]
    return (reflectance_of(ice, seed) / SCALE).astype(np.uint16), ice


def outlines(folder: Path, *given: object, name: str = "o") -> Result:
    asked = ["outlines", *map(str, given), "--out", str(folder / f"{name}.gpkg")]
    return CliRunner().invoke(app, asked)


def probability_of(folder: Path, name: str = "o") -> np.ndarray:
    with rasterio.open(folder / f"{name}_probability.tif") as file:
        return file.read(1)


def files_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


# Grids.


@pytest.mark.parametrize(
    ("crs", "to_map"),
    [
        (CRS, Affine.translation(LEFT, TOP) * Affine.rotation(30) * Affine.scale(10, -10)),
        (CRS, Affine.translation(LEFT, TOP) * Affine.scale(10, 10)),
        ("EPSG:3413", Affine.translation(-2e5, -2.1e6) * Affine.scale(20, -20)),
        ("EPSG:2056", Affine.translation(2.64e6, 1.16e6) * Affine.scale(30, -30)),
    ],
    ids=["rotated", "from the south", "polar", "Swiss"],
)
def test_outlines_lie_where_the_ice_is(tmp_path: Path, weights: Path, crs: str, to_map: Affine):
    numbers, ice = scene_of()
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=4, dtype="uint16", nodata=0, crs=crs, transform=to_map,
        height=HEIGHT, width=WIDTH,
    ) as file:  # fmt: skip
        file.write(numbers)
        file.descriptions = BANDS
    done = outlines(tmp_path, path, "--weights", weights)
    assert done.exit_code == 0, done.output
    glaciers = gpd.read_file(tmp_path / "o.gpkg", layer="glaciers")
    assert glaciers.crs == crs
    drawn = rasterize(glaciers.geometry, ice.shape, transform=to_map)
    # The spectra are ten standard deviations of the noise apart.
    np.testing.assert_array_equal(drawn == 1, ice)
    np.testing.assert_array_equal(probability_of(tmp_path) > 0.5, ice)
    cell_km2 = abs(to_map.determinant) / 1e6
    assert glaciers.area_km2.sum() == pytest.approx(ice.sum() * cell_km2, rel=1e-6)


# The picture.


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures as they were drawn."""
    kept: list[Figure] = []
    draw = workflow.draw_outlines

    def keeping(*given: Any, **named: Any) -> Figure:
        kept.append(draw(*given, **named))
        return kept[-1]

    monkeypatch.setattr(workflow, "draw_outlines", keeping)
    return kept


@pytest.mark.parametrize(
    "turned", [Affine.scale(10, -10), Affine.rotation(30) * Affine.scale(10, -10)]
)
def test_a_picture_lies_beside_the_outlines(
    tmp_path: Path, weights: Path, drawn: list[Figure], turned: Affine
):
    numbers, ice = scene_of()
    numbers[:, :5] = 0  # no data
    path = tmp_path / "scene.tif"
    to_map = Affine.translation(LEFT, TOP) * turned
    with rasterio.open(
        path, "w", driver="GTiff", count=4, dtype="uint16", crs=CRS, transform=to_map,
        height=HEIGHT, width=WIDTH,
    ) as file:  # fmt: skip
        file.write(numbers)
        file.descriptions = BANDS
    done = outlines(tmp_path, path, "--weights", weights)
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "o.png") in done.output.replace("\n", "")
    assert imread(tmp_path / "o.png").std() > 0.05
    (figure,) = drawn
    lines, probability, _ = figure.axes[:3]
    assert len(lines.collections) == 3  # outlines, and the two of the band
    ground, seen = lines.images[0].get_array(), probability.images[0].get_array()
    # Grey where the scene has data, and the ice brighter than the rest.
    pixel_m2 = 100.0
    left, right, bottom, top = probability.images[0].get_extent()
    drawn_m2 = (right - left) * (top - bottom) / seen.size
    known = np.ma.masked_invalid(ground)
    wanted_m2 = (HEIGHT - 5) * WIDTH * pixel_m2
    # Borders of a turned scene are drawn to a pixel or so.
    border_m2 = 2 * (HEIGHT + WIDTH) * pixel_m2
    assert known.count() * drawn_m2 == pytest.approx(wanted_m2, abs=border_m2)
    glacier = np.ma.masked_invalid(seen).filled(0) > 0.5
    assert glacier.sum() * drawn_m2 == pytest.approx(ice.sum() * pixel_m2, rel=0.05)
    assert known[glacier].mean() > 2 * known[~glacier].mean()


def test_large_scenes_are_drawn_no_finer_than_the_picture(
    tmp_path: Path, weights: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(workflow, "LARGEST_SIDE_PX", 30)
    path = write_image(tmp_path / "scene.tif", scene_of()[0], names=BANDS)
    assert outlines(tmp_path, path, "--weights", weights).exit_code == 0
    shapes = {image.get_array().shape for axes in drawn[0].axes[:3] for image in axes.images}
    assert {max(shape) for shape in shapes} == {30}
    extent = drawn[0].axes[1].images[0].get_extent()
    assert extent[0] == pytest.approx(LEFT)
    assert extent[3] == pytest.approx(TOP)


def test_pictures_of_others_are_kept(tmp_path: Path, weights: Path):
    path = write_image(tmp_path / "scene.tif", scene_of()[0], names=BANDS)
    (tmp_path / "o.png").write_bytes(b"mine")
    done = outlines(tmp_path, path, "--weights", weights)
    assert done.exit_code == 2
    assert "o.png is there already" in " ".join(done.output.split())
    assert (tmp_path / "o.png").read_bytes() == b"mine"
    assert outlines(tmp_path, path, "--weights", weights, "--overwrite").exit_code == 0
    assert (tmp_path / "o.png").read_bytes()[1:4] == b"PNG"


# Strips.


@pytest.mark.parametrize("augment", [False, True])
def test_strips_give_what_the_whole_would(tmp_path: Path, weights: Path, augment: bool):
    """A network that sees single pixels tells: neither strips nor patches nor turns show."""
    numbers, _ = scene_of()
    path = write_image(tmp_path / "scene.tif", numbers, names=BANDS)
    done = outlines(tmp_path, path, "--weights", weights, *(["--augment"] if augment else []))
    assert done.exit_code == 0, done.output
    red = normalised((numbers * SCALE).astype(np.float32), FOUR)[2]
    wanted = 1 / (1 + np.exp(-STEEP * (red - MIDDLE)))
    # The four norms of the network have an epsilon of 1e-3: two thousandths of red, times 60.
    np.testing.assert_allclose(probability_of(tmp_path), wanted, atol=0.01)


def test_no_more_than_a_patch_is_read_at_once(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
):
    sizes, read = [], RasterScene.read

    def counting(self: RasterScene, rows: slice, columns: slice) -> ScenePart:
        part = read(self, rows, columns)
        sizes.append(part.valid.size)
        return part

    monkeypatch.setattr(RasterScene, "read", counting)
    numbers, _ = scene_of()
    tall = np.concatenate([numbers] * 4, 1)
    path = write_image(tmp_path / "scene.tif", tall, names=BANDS)
    seen = []
    make_outlines(
        [path],
        tmp_path / "o.gpkg",
        options=OutlineOptions(weights=weights),
        progress=lambda done, rows: seen.append((done, rows)),
    )
    assert max(sizes) == SIDE * SIDE
    assert seen == sorted(seen)
    assert seen[-1] == (4 * HEIGHT, 4 * HEIGHT)
    # Patches overlap by half: no strip but the last is higher than half a patch.
    assert max(np.diff([0, *(done for done, _ in seen[:-1])])) <= SIDE // 2


def test_dropout_is_the_same_twice(tmp_path: Path, weights: Path):
    path = write_image(tmp_path / "scene.tif", scene_of()[0], names=BANDS)
    for name in ("a", "b"):
        done = outlines(tmp_path, path, "--weights", weights, "--dropout-passes", 2, name=name)
        assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(*(probability_of(tmp_path, name) for name in ("a", "b")))


# The region that a network is told.


def test_the_bias_is_optimised_to_the_region_of_the_scene(tmp_path: Path, regional: Path):
    numbers = scene_of()[0][:, 10:50, 20:60]
    path = write_image(tmp_path / "scene.tif", numbers, names=BANDS)
    asked = (path, "--weights", regional)
    for name, more in {
        "true": ["--region", "CAU"], "unknown": [], "found": ["--optimise-bias"],
    }.items():  # fmt: skip
        done = outlines(tmp_path, *asked, *more, name=name)
        assert done.exit_code == 0, done.output
    true, unknown, found = (probability_of(tmp_path, n) for n in ("true", "unknown", "found"))
    assert abs(found - true).max() < 0.05
    assert abs(unknown - true).max() > 0.3
    wrong = outlines(tmp_path, *asked, "--region", "XXX", name="x")
    assert wrong.exit_code == 2
    assert "the region 'XXX' is not among those of the network (ALP, CAU)" in wrong.output


# What fails: one sentence, and nothing is left.


@pytest.mark.parametrize(
    ("image", "given", "told"),
    [
        ({}, ["--scale", "0"], "scale must be above 0"),
        ({}, ["--scale", "nan"], "scale must be above 0"),
        ({}, ["--scale", "1"], "which is no reflectance"),
        ({}, ["--scale", "1e-8"], "pass scale=0.0001"),
        ({}, ["--bands", "nir,red,green,blue"], "name the bands in the order of the file"),
        ({}, ["--bands", "blue,green,red"], "has 4 bands, but 3 were named"),
        ({}, ["--bands", "blue,green,red,B5"], "there is no band 'B5'"),
        ({"names": None}, [], "does not say what its 4 bands are"),
        ({"crs": None}, [], "no coordinate reference system"),
        ({"crs": "EPSG:4326"}, [], "no grid in metres"),
        ({"crs": "EPSG:2263"}, [], "no grid in metres"),
        ({}, ["--region", "ALP"], "is told no region"),
        ({}, ["--optimise-bias"], "no bias can be optimised"),
        ({}, ["--inventory", "nowhere.gpkg"], "give one"),
        ({}, ["--dem", "nowhere.tif"], "there is no file nowhere.tif"),
        ({}, ["--device", "tpu"], "is no device"),
        ({}, ["--least-area", "-1"], "Invalid value"),
        ({}, ["--dropout-passes", "-1"], "Invalid value"),
    ],
)
def test_what_cannot_be_mapped(
    tmp_path: Path, weights: Path, image: dict[str, Any], given: list[str], told: str
):
    path = write_image(tmp_path / "scene.tif", scene_of()[0], **{"names": BANDS, **image})
    done = outlines(tmp_path / "out", path, "--weights", weights, *given)
    assert done.exit_code == 2, done.output
    # A narrow terminal breaks lines.
    assert told in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert files_in(tmp_path) == ["scene.tif"]


def _dem(path: Path, **changes: Any) -> Path:
    elevation = np.full((1, HEIGHT + 40, WIDTH + 40), 2500, np.float32)
    elevation[0, :, : WIDTH // 2] += np.arange(WIDTH // 2) * 5
    fill = changes.pop("fill", None)
    if fill is not None:
        elevation[0, 50:60] = fill
    return write_image(path, elevation, **{"left": LEFT - 200, "nodata": -32768, **changes})


@pytest.mark.parametrize(
    ("dem", "told"),
    [
        ({"left": 7e5}, "does not overlap"),
        ({"crs": None}, "no coordinate reference system"),
        ({"fill": -32768}, "the elevation model has no value at"),
        ({"fill": -9999}, "no data be declared"),
    ],
)
def test_elevation_models_that_cannot_divide(
    tmp_path: Path, weights: Path, dem: dict[str, Any], told: str
):
    path = write_image(tmp_path / "scene.tif", scene_of()[0], names=BANDS)
    model = _dem(tmp_path / "dem.tif", **dem)
    done = outlines(tmp_path, path, "--weights", weights, "--dem", model)
    assert done.exit_code == 2, done.output
    assert told in done.output
    assert files_in(tmp_path) == ["dem.tif", "scene.tif"]


def test_inventories_by_the_command(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    numbers, ice = scene_of()
    path, model = write_image(tmp_path / "scene.tif", numbers, names=BANDS), tmp_path / "dem.tif"
    _dem(model)
    middle = LEFT + 10 * int(np.nonzero(ice)[1].mean())
    halves = [shapely.box(LEFT, TOP - 800, middle, TOP),
              shapely.box(middle, TOP - 800, LEFT + 1000, TOP)]  # fmt: skip
    asked = (path, "--weights", weights, "--dem", model, "--inventory", tmp_path / "i.gpkg")
    gpd.GeoSeries(halves, crs=CRS).to_crs("EPSG:4326").to_file(tmp_path / "i.gpkg")
    done = outlines(tmp_path, *asked)
    assert done.exit_code == 0, done.output
    glaciers = gpd.read_file(tmp_path / "o.gpkg", layer="glaciers")
    assert len(glaciers) == 2
    for half in halves:
        inside = glaciers.intersection(half).area.max()
        # Copied to the pixel: the halves part along pixels' edges.
        assert inside == pytest.approx(glaciers.union_all().intersection(half).area, rel=1e-6)
    before = files_in(tmp_path)
    bow = shapely.Polygon([(LEFT, TOP), (middle, TOP - 700), (middle, TOP), (LEFT, TOP - 700)])
    # Inventories are judged before the network is asked.
    monkeypatch.setattr(workflow, "_map", None)
    for wrong, told in ((bow, "cross themselves"), (shapely.box(0, 0, 9, 9), "reaches the scene")):
        gpd.GeoSeries([wrong], crs=CRS).to_file(tmp_path / "i.gpkg")
        done = outlines(tmp_path, *asked, name="again")
        assert done.exit_code == 2, done.output
        assert told in done.output
        assert files_in(tmp_path) == before


@pytest.mark.parametrize("step", ["_glaciers", "_write_cog", "draw_outlines"])
def test_nothing_is_left_whatever_fails(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    path = write_image(tmp_path / "scene.tif", scene_of()[0], names=BANDS)

    def fails(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr(workflow, step, fails)
    done = outlines(tmp_path, path, "--weights", weights)
    assert done.exit_code == 2
    assert "ogive: the disk is full" in done.output
    assert files_in(tmp_path) == ["scene.tif"]


def test_places_that_cannot_be_written(tmp_path: Path, weights: Path):
    path = write_image(tmp_path / "scene.tif", scene_of()[0], names=BANDS)
    done = outlines(path, path, "--weights", weights)  # a file is no folder
    assert done.exit_code == 2
    assert "cannot be written" in done.output
    assert files_in(tmp_path) == ["scene.tif"]


def test_a_scene_is_never_replaced_by_its_map(tmp_path: Path, weights: Path):
    path = write_image(tmp_path / "o_probability.tif", scene_of()[0], names=BANDS)
    before = path.read_bytes()
    with pytest.raises(InputError, match="is read from"):
        make_outlines(
            [path], tmp_path / "o.gpkg", options=OutlineOptions(weights=weights, overwrite=True)
        )
    assert path.read_bytes() == before


# Few pixels, little ice.


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (7, 3)])
def test_tiny_scenes(tmp_path: Path, weights: Path, height: int, width: int):
    numbers = (reflectance_of(np.ones((height, width), bool), 0) / SCALE).astype(np.uint16)
    path = write_image(tmp_path / "scene.tif", numbers, names=BANDS)
    done = outlines(tmp_path, path, "--weights", weights, "--least-area", 0)
    assert done.exit_code == 0, done.output
    glaciers = gpd.read_file(tmp_path / "o.gpkg", layer="glaciers")
    assert glaciers.area_km2.tolist() == pytest.approx([height * width / 1e4])


def test_scenes_without_ice(tmp_path: Path, weights: Path):
    numbers = (reflectance_of(np.zeros((HEIGHT, WIDTH), bool), 0) / SCALE).astype(np.uint16)
    path = write_image(tmp_path / "scene.tif", numbers, names=BANDS)
    done = outlines(tmp_path, path, "--weights", weights, "--dem", _dem(tmp_path / "dem.tif"))
    assert done.exit_code == 0, done.output
    assert "0 glaciers, 0.000 km2" in done.output
    glaciers = gpd.read_file(tmp_path / "o.gpkg", layer="glaciers")
    assert len(glaciers) == 0
    assert {"glacier", "number", "area_km2"} <= set(glaciers.columns)
    assert glaciers.crs == CRS
