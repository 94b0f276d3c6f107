"""Searching by the real client, against a server on the loopback and catalogue files."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import geopandas as gpd
import pytest
import shapely
from tests.servers.stac import Fault, StacServer

from ogive.model import DateError, GridError, InputError, Scene
from ogive.scenes import Retries, latest_processing, search
from ogive.scenes.archives import ARCHIVES
from ogive.scenes.errors import UnavailableError
from ogive.scenes.polygons import read_polygons
from ogive.scenes.region import boxes, region_outline, sees

BOX = (7.9, 46.3, 8.1, 46.5)
SUMMER = {"start": "2020-01-01", "end": "2020-12-31"}
HASTY = Retries(attempts=3, wait_s=0.01)


def test_all_pages_in_the_order_of_time(server: StacServer) -> None:
    scenes = search(BOX, archive=server.url, **SUMMER)
    assert [scene.id for scene in scenes] == sorted(
        (item["id"] for item in server.items), key=lambda name: name.split("_")[2]
    )
    assert len(server.asked("/search")) == 2  # six items in pages of three
    assert {scene.relative_orbit for scene in scenes} == {65, 108}


def test_files_and_the_api_find_the_same(server: StacServer, archive: Path) -> None:
    through_api = search(BOX, archive=server.url, **SUMMER)
    by_catalogue = search(BOX, archive=archive / "catalog.json", **SUMMER)
    items = archive.parent / "items.json"
    features = [json.loads(p.read_text()) for p in archive.glob("sentinel-2-l2a/*/*.json")]
    items.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    by_items = search(BOX, archive=str(items), **SUMMER)
    one = next(archive.glob("sentinel-2-l2a/*/*.json"))
    assert len(search(BOX, archive=one, **SUMMER)) == 1
    assert [s.id for s in through_api] == [s.id for s in by_catalogue] == [s.id for s in by_items]
    assert all(Path(scene.assets["B08"].href).is_file() for scene in by_catalogue)


def test_region_dates_clouds_and_sensor(server: StacServer, archive: Path) -> None:
    every = search(BOX, archive=server.url, **SUMMER)
    clouds = sorted(scene.cloud_cover_percent or 0 for scene in every)
    clear = search(BOX, archive=server.url, max_cloud_percent=clouds[2], **SUMMER)
    assert all((scene.cloud_cover_percent or 0) <= clouds[2] for scene in clear)
    assert 3 <= len(clear) < 6
    middle = every[3].time.date()
    days = search(BOX, archive=server.url, start=every[1].time.date(), end=middle)
    assert [scene.id for scene in days] == [scene.id for scene in every[1:4]]
    assert len(search(archive / "outlines.gpkg", archive=server.url, **SUMMER)) == 6
    assert search((8.2, 46.3, 8.3, 46.5), archive=server.url, **SUMMER) == []
    beside = shapely.box(8.03, 46.3, 8.04, 46.5)
    assert search(beside, archive=server.url, **SUMMER) == []
    assert len(search(beside, buffer_m=3000, archive=server.url, **SUMMER)) == 6
    assert len(search(BOX, archive=server.url, sensor="sentinel-2-l2a", **SUMMER)) == 6
    catalogue = archive / "catalog.json"
    assert len(search(BOX, archive=catalogue, sensor="sentinel-2-l2a", **SUMMER)) == 6
    assert search(BOX, archive=catalogue, sensor=["landsat-l2"], **SUMMER) == []


def test_a_busy_archive_is_asked_again(server: StacServer) -> None:
    server.fault("/search", Fault(status=503), Fault(status=429))
    assert len(search(BOX, archive=server.url, retries=HASTY, **SUMMER)) == 6
    server.fault("/search", Fault(status=503, forever=True))
    with pytest.raises(UnavailableError, match="gave no answer"):
        search(BOX, archive=server.url, retries=HASTY, **SUMMER)
    with pytest.raises(UnavailableError, match="gave no answer"):
        search(BOX, archive="http://127.0.0.1:9", retries=HASTY, **SUMMER)


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"archive": "nowhere"}, InputError, "earth-search"),
        ({"archive": "nowhere.json"}, InputError, "no catalogue file"),
        ({"end": "2019-01-01"}, DateError, "swap the two"),
        ({"start": "last week"}, DateError, "no date"),
        ({"max_cloud_percent": 120}, InputError, "0 to 100"),
        ({"region": (1, 2, 3)}, InputError, "no region"),
        ({"region": "nowhere.gpkg"}, InputError, "no file"),
        ({"region": (8, 47, 9, 46)}, InputError, "no region in degrees"),
        ({"region": (400000, 5e6, 410000, 5.1e6)}, InputError, "no region in degrees"),
        ({"region": shapely.Polygon()}, InputError, "empty"),
        ({"buffer_m": -1}, InputError, "buffer"),
        ({"region": gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)])}, GridError, "no coord"),
    ],
)
def test_what_cannot_be_searched_for(
    archive: Path, asked: dict[str, object], kind: type[Exception], said: str
) -> None:
    given = {"region": BOX, "archive": archive / "catalog.json", **SUMMER, **asked}
    with pytest.raises(kind, match=said):
        search(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["{", "[]", '{"type": "Feature"}', '{"type": "Table"}'])
def test_catalogue_files_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "catalog.json").write_text(text)
    with pytest.raises(InputError):
        search(BOX, archive=tmp_path / "catalog.json", **SUMMER)


def test_presets_are_addresses_with_collections() -> None:
    assert set(ARCHIVES) == {"earth-search", "planetary-computer", "copernicus", "usgs"}
    for archive in ARCHIVES.values():
        assert archive.url.startswith("https://")
        assert all(name.startswith(("sentinel-2-l", "landsat-l")) for name in archive.collections)


def test_of_one_acquisition_the_latest_processing() -> None:
    from datetime import datetime

    def scene(name: str, baseline: str, **more: object) -> Scene:
        time = datetime(2020, 7, 1, 10)
        told = {"processing_baseline": baseline}
        return Scene(name, time, "sentinel-2", "2A", tile="T32TLS", properties=told, **more)  # type: ignore[arg-type]

    old, new = scene("old", "02.09"), scene("new", "05.00")
    other_part, level = scene("part", "05.00"), scene("1C", "02.09", processing_level="L1C")
    kept = latest_processing([old, new, other_part, level])
    assert {s.id for s in kept} == {"new", "part", "1C"}


def test_a_region_across_the_date_line_is_one() -> None:
    outline = region_outline((179, 51, -178, 52))
    assert [tuple(box) for box in boxes(outline)] == [(179, 51, 180, 52), (-180, 51, -178, 52)]
    two = shapely.MultiPolygon([shapely.box(179, 51, 180, 52), shapely.box(-180, 51, -178, 52)])
    assert region_outline(two).equals(outline)
    assert sees("POLYGON ((-179.5 51, -179 51, -179 52, -179.5 52, -179.5 51))", outline)
    assert sees("POLYGON ((179.2 51, 179.5 51, 179.5 52, 179.2 52, 179.2 51))", outline)
    # A footprint that a careless archive drew the long way round.
    assert sees("POLYGON ((179.5 51, -179 51, -179 52, 179.5 52, 179.5 51))", outline)
    assert not sees("POLYGON ((8 51, 9 51, 9 52, 8 52, 8 51))", outline)
    near = region_outline(shapely.box(179.9, 51, 179.99, 51.1), buffer_m=20_000)
    assert near.bounds[2] > 180
    assert len(boxes(near)) == 2


def test_a_buffer_is_in_metres() -> None:
    point = shapely.box(6.999, 61.999, 7.001, 62.001)
    west, south, east, north = region_outline(point, buffer_m=10_000).bounds
    # 111.4 km a degree of latitude at 62 degrees, 52.4 km of longitude.
    assert north - 62.001 == pytest.approx(10 / 111.4, rel=2e-3)
    assert east - 7.001 == pytest.approx(10 / 52.4, rel=5e-3)
    assert (west + east) / 2 == pytest.approx(7, abs=1e-6)
    assert south < 61.92


def test_a_box_round_the_world_stays_one() -> None:
    assert region_outline((-180, -60, 180, 60)).bounds == (-180, -60, 180, 60)


def test_polygons_that_cross_themselves_are_mended_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bow = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    fine = shapely.box(5, 0, 6, 1)
    spike = shapely.Polygon([(8, 0), (9, 0), (9, 1), (9, 3), (9, 1), (8, 1)])
    path = tmp_path / "ice.gpkg"
    gpd.GeoDataFrame(geometry=[bow, fine, spike], crs=32632).to_file(path)
    mended = read_polygons(path)
    assert mended.attrs["mended"] == 2
    assert "2 of 3 outlines" in caplog.text
    assert mended.geometry.is_valid.all()
    assert mended.geometry.area.tolist() == pytest.approx([2, 1, 1])
    assert set(mended.geometry.geom_type) <= {"Polygon", "MultiPolygon"}


def test_real_inventories(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    oetztal = read_polygons(data_dir / "oggm_sample/test-workflow/rgi/rgi_oetztal.shp")
    assert (len(oetztal), oetztal.attrs["mended"]) == (20, 3)
    glims = read_polygons(data_dir / "french_alps_alpgm/GLIMS_glaciers_2003_ID.shp")
    assert (len(glims), glims.attrs["mended"]) == (660, 0)
    # Outlines of RGI state their own area.
    area_km2 = oetztal.to_crs("EPSG:32632").area / 1e6
    assert area_km2.to_numpy() == pytest.approx(oetztal["Area"].to_numpy(), rel=0.01, abs=0.01)
    assert (
        search(
            data_dir / "oggm_sample/test-workflow/rgi/rgi_oetztal.shp",
            archive=data_dir / "stac_items/odc-stac/S2A_28QCH_20200714_0_L2A.json",
            start=date(2020, 1, 1),
            end=date(2020, 12, 31),
        )
        == []
    )
