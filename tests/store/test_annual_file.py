"""Annual maps on the disk: names, CF, GeoTIFFs, styles, catalogue; and the joining of tiles."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import odc.geo.xr  # noqa: F401  (the .odc accessor)
import pytest
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox

from ogive.model import GridError, InputError, OutputError
from ogive.series.annual import annual
from ogive.store.annual_file import annual_layers, read_annual, write_annual
from ogive.store.cube import write_cube
from ogive.store.geocube import geocubes, mosaic
from ogive.store.readers import open_cube

# Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

PUBLISHED = {"a", "cnt", "stdev", "stdeva", "flag", "trend_mask", "trend_2015_2018",
             "v2015_2016", "v2016_2017", "v2017_2018"}  # fmt: skip


def make_cube(crs="EPSG:32632", left=344_000.0, side=30, height=24) -> xr.Dataset:
    rng = np.random.default_rng(3)
    box = GeoBox.from_bbox(
        (left, 5_078_000, left + 50 * side, 5_078_000 + 50 * height), crs, resolution=50
    )
    first = np.sort(rng.integers(0, 730, 60))
    second = first + rng.integers(30, 360, 60)
    across = np.clip(1 - np.linspace(-1.5, 1.5, side) ** 2, 0, None) * np.ones((height, 1))
    shape = (60, height, side)
    vx, vy = (s * 90 * across + rng.normal(0, 6, shape) for s in (0.8, -0.6))
    epoch = np.datetime64("2015-10-01", "ns")
    dims = ("mid_date", "y", "x")
    cube = xr.Dataset(
        {n: (dims, v.astype("f4"), {"units": "meter/year"}) for n, v in (("vx", vx), ("vy", vy))},
        {
            "acquisition_date_img1": ("mid_date", epoch + first.astype("timedelta64[D]")),
            "acquisition_date_img2": ("mid_date", epoch + second.astype("timedelta64[D]")),
        },
    )
    cube["vx"][:, :3, :4] = np.nan
    return cube.assign_coords({a: box.coordinates[a].values for a in "yx"}).odc.assign_crs(crs)


@pytest.fixture(scope="module")
def maps() -> xr.Dataset:
    return annual(make_cube())


def test_layers_have_the_published_names(maps):
    layers = annual_layers(maps)
    assert set(layers.data_vars) > PUBLISHED
    np.testing.assert_array_equal(layers.v2016_2017.values, maps.v.values[1])
    calendar = annual_layers(annual(make_cube(), "01-01"))
    assert {"v2016", "v2017", "v2018", "trend_2016_2018"} < set(calendar.data_vars)


def test_netcdf_comes_back_exactly(maps, tmp_path):
    path = write_annual(maps, tmp_path)[0]
    assert path.name == "annual.nc"
    back = read_annual(path)
    layers = annual_layers(maps)
    assert set(back.data_vars) == set(layers.data_vars)
    for name, layer in layers.data_vars.items():
        np.testing.assert_array_equal(back[name].values, layer.values, err_msg=str(name))
    assert back.odc.geobox == maps.odc.geobox
    assert back.odc.crs.to_epsg() == 32632
    assert back.attrs["days_per_year"] == 365.25
    assert back.attrs["removed_by_direction"] == maps.attrs["removed_by_direction"]
    assert "Rabatel" in back.attrs["references"]


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:3413"])
def test_passes_the_cf_checker(crs, tmp_path):
    path = write_annual(annual(make_cube(crs)), tmp_path)[0]
    checker = str(Path(sys.executable).parent / "compliance-checker")
    done = subprocess.run(
        [checker, "--test=cf:1.11", "--criteria=strict", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All tests passed!" in done.stdout, done.stdout


def test_geotiffs_hold_the_layers_in_their_place(maps, tmp_path):
    write_annual(maps, tmp_path)
    layers = annual_layers(maps)
    for name, layer in layers.data_vars.items():
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            assert file.crs.to_epsg() == 32632
            assert file.transform == maps.odc.geobox.transform
            np.testing.assert_array_equal(file.read(1), layer.values)
            assert file.dtypes[0] == layer.dtype.name
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.units[0] == layer.attrs.get("units")


def test_every_layer_has_a_style_that_spans_its_values(maps, tmp_path):
    write_annual(maps, tmp_path)
    for name, layer in annual_layers(maps).data_vars.items():
        text = (tmp_path / f"{name}.qml").read_text()
        assert text.startswith("<!DOCTYPE qgis")
        renderer = Xml.fromstring(text.split("\n", 1)[1]).find("pipe/rasterrenderer")
        assert renderer is not None
        if renderer.get("type") == "paletted":
            drawn = {int(e.get("value")) for e in renderer.iter("paletteEntry")}
            assert set(np.unique(layer.values)) <= drawn
            continue
        values = [float(item.get("value")) for item in renderer.iter("item")]
        assert values == sorted(values)
        known = layer.values[np.isfinite(layer.values)]
        inside = (known >= values[0] - 1e-6) & (known <= values[-1] + 1e-6)
        assert inside.mean() > 0.9, name


def test_catalogue_is_valid_and_names_every_geotiff(maps, tmp_path):
    write_annual(maps, tmp_path)
    collection = json.loads((tmp_path / "collection.json").read_text())
    assert collection["stac_version"] == "1.1.0"
    named = set()
    for link in collection["links"]:
        if link["rel"] != "item":
            continue
        item = json.loads((tmp_path / link["href"]).read_text())
        assert item["properties"]["proj:code"] == "EPSG:32632"
        for asset in item["assets"].values():
            assert (tmp_path / asset["href"]).is_file()
            named.add(Path(asset["href"]).name)
    assert named == {p.name for p in tmp_path.iterdir() if p.suffix in (".tif", ".qml", ".nc")}
    west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
    # 50 km and more west of the central meridian of 9 degrees, at 45.8 north.
    assert 6.9 < west < east < 7.1
    assert 45.8 < south < north < 45.9
    interval = collection["extent"]["temporal"]["interval"][0]
    assert interval == ["2015-10-01T00:00:00Z", "2018-10-01T00:00:00Z"]


def test_catalogue_is_read_by_pystac(maps, tmp_path):
    pystac = pytest.importorskip("pystac")
    write_annual(maps, tmp_path)
    collection = pystac.Collection.from_file(str(tmp_path / "collection.json"))
    items = list(collection.get_items())
    assert [item.id for item in items] == [
        "annual_2015_2016", "annual_2016_2017", "annual_2017_2018", "annual_period",
    ]  # fmt: skip
    assert items[0].assets["v2015_2016"].get_absolute_href().endswith("v2015_2016.tif")


def test_maps_without_a_place_are_refused(maps, tmp_path):
    with pytest.raises(GridError, match="coordinate reference system"):
        write_annual(maps.drop_vars("spatial_ref"), tmp_path)
    with pytest.raises(InputError, match="no annual maps: they lack cnt"):
        write_annual(maps.drop_vars("cnt"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot be read"):
        read_annual(tmp_path / "nothing.nc")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_annual(maps, tmp_path / "file")


def test_tiles_on_different_grids_are_refused_by_name():
    tiles = {name: annual(tile) for name, tile in geocubes(make_cube(), size_px=30)}
    one, *_ = tiles
    shifted = tiles[one].assign_coords(x=tiles[one].x + 20.0)
    with pytest.raises(GridError, match=f"{one} and moved lie on different grids"):
        mosaic({one: tiles[one], "moved": shifted})
    coarse = tiles[one].isel(x=slice(None, None, 2), y=slice(None, None, 2))
    with pytest.raises(GridError, match=r"pixels of 50 and 100 m"):
        mosaic({one: tiles[one], "coarse": coarse})
    elsewhere = tiles[one].drop_vars("spatial_ref").odc.assign_crs("EPSG:32633")
    with pytest.raises(GridError, match=r"is in EPSG:32632 but other is in EPSG:32633"):
        mosaic({one: tiles[one], "other": elsewhere})
    with pytest.raises(InputError, match="differ in cnt"):
        mosaic({one: tiles[one], "other": tiles[one].drop_vars("cnt")})
    renamed = tiles[one].assign_coords(year=["a", "b", "c"])
    with pytest.raises(InputError, match="different years"):
        mosaic({one: tiles[one], "other": renamed})
    with pytest.raises(InputError, match="does not say what is its core"):
        mosaic({one: tiles[one].assign_attrs(), "bare": tiles[one].drop_attrs(deep=False)})
    with pytest.raises(InputError, match="no tile"):
        mosaic({})


def test_geocubes_on_the_disk_join_to_the_whole(tmp_path):
    cube = make_cube()
    # A cube is stored and read again sorted by its middle dates.
    paths = [write_cube(tile, tmp_path / f"{name}.nc") for name, tile in geocubes(cube, size_px=20)]
    assert len(paths) == 9
    joined = mosaic({path.stem: annual(open_cube(path)) for path in paths})
    whole = annual(cube)
    for name in whole.data_vars:
        np.testing.assert_array_equal(joined[name].values, whole[name].values, err_msg=str(name))
    assert joined.odc.geobox == whole.odc.geobox


def test_a_missing_tile_is_a_gap():
    cube = make_cube()
    tiles = {name: annual(tile) for name, tile in geocubes(cube, size_px=20)}
    whole = mosaic(tiles)
    names = list(tiles)
    # The one in the middle, so that the grid stays.
    gone = {name: tile for name, tile in tiles.items() if name != names[1]}
    joined = mosaic(gone)
    assert joined.sizes == whole.sizes
    lost = joined.v.isnull() & whole.v.notnull()
    core = tiles[names[1]].attrs
    inside = (whole.x >= core["core_x_min"]) & (whole.x <= core["core_x_max"])
    inside = inside & (whole.y >= core["core_y_min"]) & (whole.y <= core["core_y_max"])
    np.testing.assert_array_equal(
        lost.any("year").values, (inside & whole.v.notnull().any("year")).transpose("y", "x")
    )
    assert int(joined.cnt.where(inside).max()) == 0
    assert joined.attrs["observations_given"] < whole.attrs["observations_given"]
