"""Is a simulated archive what a real one would be, and is its truth to be had again?"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import datetime

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import xarray as xr
from scipy import ndimage

from ogive.model import DateError, GridError, InputError, OutputError
from ogive.scenes.names import scene_from_name
from ogive.workflow import simulate
from ogive.workflow.simulate import (
    SimulationSettings,
    read_simulated_glacier,
    simulate_archive,
)

SMALL = SimulationSettings(
    rows=240,
    columns=300,
    start=datetime(2020, 6, 1),
    end=datetime(2020, 10, 1),
    scene_count=5,
    orbits=("sentinel-2-west", "sentinel-2-east", "landsat-west"),
    seed=2,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive") / "glacier"
    told = []
    catalogue = simulate_archive(folder, settings=SMALL, progress=lambda *at: told.append(at))
    assert catalogue == folder / "catalog.json"
    assert told == [(done, 5) for done in range(1, 6)]
    return folder


def items_of(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*/*/*.json"))]


def test_nothing_but_the_archive_is_left(archive):
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    assert len(items_of(archive)) == 5


def test_catalogue_is_read_by_pystac(archive):
    pystac = pytest.importorskip("pystac")
    catalogue = pystac.Catalog.from_file(str(archive / "catalog.json"))
    items = list(catalogue.get_items(recursive=True))
    assert len(items) == 5
    assert {c.id for c in catalogue.get_collections()} == {"sentinel-2-l2a", "landsat-c2-l1"}
    for item in items:
        assert item.datetime is not None
        assert item.get_collection().id == item.collection_id
        for asset in item.assets.values():
            with rasterio.open(asset.get_absolute_href()) as file:
                assert list(file.shape) == asset.extra_fields["proj:shape"]
                assert list(file.transform)[:6] == asset.extra_fields["proj:transform"]
                assert f"EPSG:{file.crs.to_epsg()}" == item.properties["proj:code"]
                assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


@pytest.mark.filterwarnings("ignore:The 'shapely.ops.transform:DeprecationWarning")
def test_scenes_load_with_odc_stac(archive):
    pystac = pytest.importorskip("pystac")
    odc_stac = pytest.importorskip("odc.stac")
    catalogue = pystac.Catalog.from_file(str(archive / "catalog.json"))
    items = list(catalogue.get_child("sentinel-2-l2a").get_items())
    cube = odc_stac.load(items, bands=["nir", "scl"])
    assert cube["nir"].shape == (len(items), 240, 300)
    with rasterio.open(items[0].assets["nir"].get_absolute_href()) as file:
        first = file.read(1)
    when = np.datetime64(items[0].datetime.replace(tzinfo=None))
    np.testing.assert_array_equal(cube["nir"].sel(time=when).to_numpy(), first)


def test_items_say_what_real_ones_say(archive, data_dir):
    """Properties that real items of Earth Search's and the USGS's kind carry, with like values."""
    real = json.loads(
        (
            data_dir / "stac_items/odc-stac/LC08_L2SP_028030_20200114_20200824_02_T1_SR.json"
        ).read_text()
    )["properties"]
    for item in items_of(archive):
        said = item["properties"]
        assert 0 <= said["eo:cloud_cover"] <= 100
        assert 0 < said["view:sun_elevation"] < 90
        assert 0 < said["view:off_nadir"] < said["view:incidence_angle"] < 12
        if item["collection"] == "landsat-c2-l1":
            expected = {key for key in real if key.split(":")[0] in {"landsat", "view", "proj"}}
            assert expected - set(said) <= {"landsat:cloud_cover_land"}
            assert said["platform"] == real["platform"]
        else:
            assert said["grid:code"] == "MGRS-32TMS"
            assert said["sat:relative_orbit"] in {108, 65}


def test_dates_are_found_in_the_names(archive):
    files = [path for path in archive.glob("*/*/*") if path.suffix.lower() == ".tif"]
    assert len(files) == 10
    times = {
        item["id"]: datetime.fromisoformat(item["properties"]["datetime"].removesuffix("Z"))
        for item in items_of(archive)
    }
    for path in files:
        scene = scene_from_name(path.name)
        assert scene.time.date() == times[path.parent.name].date()
        assert scene_from_name(path.parent.name).time.date() == scene.time.date()


def test_cloud_masks_mark_the_clouds(archive):
    for item in items_of(archive):
        folder = archive / item["collection"] / item["id"]
        key, bits = ("scl", {9}) if "scl" in item["assets"] else ("qa_pixel", {22280})
        with rasterio.open(folder / item["assets"][key]["href"]) as file:
            share = np.isin(file.read(1), list(bits)).mean() * 100
        # The mask takes the thin rims too.
        assert share >= item["properties"]["eo:cloud_cover"] - 2
        assert share <= 4 * item["properties"]["eo:cloud_cover"] + 1


def test_ground_files_fit_together(archive):
    with (
        rasterio.open(archive / "dem.tif") as wrong,
        rasterio.open(archive / "dem_true.tif") as good,
    ):
        assert wrong.transform == good.transform
        error = wrong.read(1) - good.read(1)
        bounds, crs = good.bounds, good.crs
    outlines = gpd.read_file(archive / "outlines.gpkg")
    assert outlines.crs == crs
    assert outlines.area.max() > 1e6
    west, south, east, north = outlines.total_bounds
    assert bounds.left <= west < east <= bounds.right
    assert bounds.bottom <= south < north <= bounds.top
    assert 5 < error.std() < 30
    with xr.open_dataset(archive / "truth.nc", decode_coords="all") as truth:
        assert truth["vx"].dims == ("time", "y", "x")
        assert truth.sizes["time"] == 5
        np.testing.assert_allclose(truth["dem_error"], error, atol=1e-3)
        assert truth.rio.crs.to_epsg() == 32632
        speed = np.hypot(truth["vx"], truth["vy"])
        # Nearly all is slower than the limit of the mean flow; the season adds a quarter.
        assert 200 < speed.max() < 600
        assert (speed.where(truth["stable"] == 1) == 0).where(truth["stable"] == 1).all()


def test_truth_is_to_be_had_again(archive):
    glacier = read_simulated_glacier(archive)
    with xr.open_dataset(archive / "truth.nc") as truth:
        x, y = np.meshgrid(truth["x"], truth["y"])
        date = datetime.fromisoformat(str(truth["time"].values[2])[:19])
        again = glacier.velocity(x, y, date)
        moving = truth["ice"].values[2] > 0
        np.testing.assert_allclose(again.dx_m[moving], truth["vx"].values[2][moving], rtol=1e-5)
    item = items_of(archive)[1]
    chosen = next(
        p
        for p in glacier.passes(SMALL.start, SMALL.end, SMALL.orbits)
        if f"{p.time:%Y-%m-%dT%H:%M:%S}Z" == item["properties"]["datetime"]
    )
    scene = glacier.look(chosen)
    asset = next(iter(item["assets"].values()))
    with rasterio.open(archive / item["collection"] / item["id"] / asset["href"]) as file:
        np.testing.assert_array_equal(file.read(1), scene.image)


def test_same_seed_same_bytes(tmp_path):
    settings = replace(SMALL, rows=160, columns=160, scene_count=2, orbits=("sentinel-2-west",))
    sums = []
    for name in ("a", "b"):
        simulate_archive(tmp_path / name, settings=settings)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.suffix in {".tif", ".json"})
        # Two bands and an item for each scene, two elevations, settings, collection and catalogue.
        assert len(files) == 2 * 3 + 2 + 3
        sums.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert sums[0] == sums[1]


def test_real_dem_and_outlines_can_be_used(tmp_path, data_dir):
    """Ice flows over a real surface in the Yukon, given in another zone's coordinates or none."""
    folder = data_dir / "oggm_sample" / "benchmarks" / "south_glacier"
    settings = replace(SMALL, scene_count=1, orbits=("sentinel-2-west",), mean_cloud_cover=0.0)
    simulate_archive(
        tmp_path / "south",
        settings=settings,
        dem=folder / "dem_SouthGlacier.tif",
        outlines=folder / "SouthGlacier.shp",
    )
    (item,) = items_of(tmp_path / "south")
    assert item["properties"]["proj:code"] == "EPSG:32607"
    west, south, _, _ = item["bbox"]
    assert 60 < south < 61
    assert -140 < west < -139
    glacier = read_simulated_glacier(tmp_path / "south")
    assert glacier.place.latitude_deg == pytest.approx((south + item["bbox"][3]) / 2, abs=0.01)
    flow = glacier.flow
    assert flow.speed_m_yr[flow.ice].max() > 100
    # The ice flows down the real surface, where that is steep enough to have a direction.
    down, right = np.gradient(ndimage.gaussian_filter(glacier.terrain.elevation_m, 8))
    along = -(flow.vx_m_yr * right - flow.vy_m_yr * down)
    fast = flow.ice & (flow.speed_m_yr > 30)
    assert (along[fast] > 0).mean() > 0.9


def test_southern_seasons_survive_the_way_through_the_archive(tmp_path, archive):
    """A DEM south of the equator has its summer in January, also when the glacier is read again."""
    with rasterio.open(archive / "dem_true.tif") as file:
        values, profile = file.read(1), {**file.profile, "driver": "GTiff", "crs": "EPSG:32718"}
    with rasterio.open(tmp_path / "dem.tif", "w", **profile) as file:
        file.write(values, 1)
    outlines = gpd.read_file(archive / "outlines.gpkg").set_crs(32718, allow_override=True)
    outlines.to_file(tmp_path / "outlines.gpkg")
    simulate_archive(
        tmp_path / "south",
        settings=replace(SMALL, scene_count=1, orbits=("sentinel-2-west",)),
        dem=tmp_path / "dem.tif",
        outlines=tmp_path / "outlines.gpkg",
    )
    glacier = read_simulated_glacier(tmp_path / "south")
    assert glacier.place.latitude_deg < 0
    assert glacier.change.highest_day < 60
    (item,) = items_of(tmp_path / "south")
    # At midday in June the southern sun stands in the north.
    azimuth = item["properties"]["view:sun_azimuth"]
    assert min(azimuth, 360 - azimuth) < 60


def test_outlines_elsewhere_are_refused(tmp_path, archive, data_dir):
    with pytest.raises(GridError, match="covers a pixel"):
        simulate_archive(
            tmp_path / "nowhere",
            settings=SMALL,
            dem=archive / "dem_true.tif",
            outlines=data_dir / "khumbu_s2_dem" / "dhdt_testdata_RGI_shapes.geojson",
        )
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"end": datetime(2020, 1, 1)}, DateError, "swap"),
        ({"end": datetime(2020, 6, 4), "scene_count": 9}, DateError, "lengthen"),
        ({"scene_count": 0}, InputError, "needs a scene"),
        ({"mean_cloud_cover": 3.0}, InputError, "from 0 to 1"),
        ({"orbits": ("spot",)}, InputError, "no orbit"),
        ({"rows": 40}, InputError, "100 x 100"),
    ],
)
def test_bad_settings_are_refused_and_leave_nothing(tmp_path, change, error, sentence):
    with pytest.raises(error, match=sentence):
        simulate_archive(tmp_path / "new", settings=replace(SMALL, **change))
    assert list(tmp_path.iterdir()) == []


def test_dem_without_outlines_is_refused(tmp_path):
    with pytest.raises(InputError, match="pass both"):
        simulate_archive(tmp_path / "new", settings=SMALL, dem=tmp_path / "dem.tif")


def test_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="not empty"):
        simulate_archive(tmp_path, settings=SMALL)
    assert (tmp_path / "mine.txt").read_text() == "precious"


def test_crash_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(simulate, "_write_truth", fail)
    settings = replace(SMALL, rows=160, columns=160, scene_count=1, orbits=("sentinel-2-west",))
    with pytest.raises(RuntimeError, match="power cut"):
        simulate_archive(tmp_path / "new", settings=settings)
    assert list(tmp_path.iterdir()) == []


def test_folder_without_simulation_is_refused(tmp_path):
    with pytest.raises(InputError, match="simulation"):
        read_simulated_glacier(tmp_path)
