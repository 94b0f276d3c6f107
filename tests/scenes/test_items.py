"""All items and metadata that were recorded from real archives become scenes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pystac
import pytest

from ogive.model import InputError, Scene
from ogive.scenes import (
    asset_of,
    fingerprint,
    from_dict,
    from_items,
    local,
    matching_band,
    pairs,
    to_dict,
)
from ogive.scenes.archives import search
from ogive.scenes.geometry import view_geometry
from ogive.scenes.landsat import scene_of_item as landsat_scene
from ogive.scenes.mtl import mtl_item
from ogive.scenes.safe import safe_item
from ogive.scenes.sentinel2 import scene_of_item as sentinel2_scene
from ogive.scenes.sentinel2 import track_of_orbit

SAFE = "s2_metadata_stactools/tests/data-files"
ITEMS = "stac_items/odc-stac"
COPERNICUS = "S2C_MSIL2A_20250330T100051_N0511_R122_T33UWP_20250330T145914_cdse_stac_v110.TRIMMED"
LANDSAT = "LC08_L2SP_028030_20200114_20200824_02_T1_SR"
BASELINE_4 = "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE"
MADE_UP_OFFSET = "S2A_OPER_MSI_L2A_TL_VGS1_20220401T110010_A035382_T34LBQ"
AUSTRALIAN = "ga_ls8c_ard_3-1-0_088080_2020-05-25_final.stac-item"


def recorded_items(data_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for folder in ("stac_items", "s2_metadata_stactools", "landsat_metadata_stactools"):
        for path in sorted((data_dir / folder).rglob("*json")):
            told = json.loads(path.read_text(encoding="utf-8"))
            for item in told.get("features", [told]):
                if item.get("type") == "Feature":
                    yield path, item


def only(data_dir: Path, name: str) -> Scene:
    return from_items([json.loads((data_dir / name).read_text(encoding="utf-8"))])[0]


def test_every_recorded_item_becomes_a_scene(data_dir: Path) -> None:
    scenes = []
    for path, item in recorded_items(data_dir):
        (scene,) = from_items([item])
        scenes.append(scene)
        assert scene.mission in {"sentinel-2", "landsat"}, path
        assert scene.satellite in {"1", "2", "3", "4", "5", "7", "8", "9", "2A", "2B", "2C"}, path
        assert scene.footprint, path
        assert scene.assets, path
        assert scene.processing_level[:2] in {"L1", "L2"}, path
        assert scene.crs.startswith("EPSG:") or "landsat" in str(path), path
        assert from_dict(json.loads(json.dumps(to_dict(scene)))) == scene
        if scene.mission == "sentinel-2":
            assert 1 <= (scene.relative_orbit or 0) <= 143, path
            assert len(scene.tile) == 6, path
        else:
            assert scene.path, path
            assert scene.row, path
    assert len(scenes) == 105


def test_two_adjacent_orbits_over_one_tile_are_told_apart(data_dir: Path) -> None:
    """36MYB: product identifiers tell orbits 92 and 135; the items have no field for them."""
    file = data_dir / "stac_items/intake-stac/earthsearch_v0_single-file-stac.json"
    scenes = search((30, -5, 40, 0), start="2020-07-01", end="2020-08-31", archive=file)
    assert [scene.relative_orbit for scene in scenes] == [92, 135] * 9
    assert {scene.tile for scene in scenes} == {"T36MYB"}
    same, across = pairs(scenes), pairs(scenes, same_orbit="never")
    assert len(same) == 2 * (9 * 8 // 2)
    assert all(p.earlier.relative_orbit == p.later.relative_orbit for p in same)
    assert all(round(p.days) % 5 == 0 for p in same)
    assert {round(p.days) % 5 for p in across} == {2, 3}


@pytest.mark.parametrize(
    ("name", "band", "scale", "offset"),
    [
        (f"{ITEMS}/S2A_28QCH_20200714_0_L2A.json", "B08", 1e-4, 0.0),
        (f"{ITEMS}/{COPERNICUS}.json", "blue", 1e-4, -0.1),
        (f"{SAFE}/{BASELINE_4}/expected_output.json", "nir", 1e-4, -0.1),
        (f"{SAFE}/{MADE_UP_OFFSET}/expected_output.json", "nir", 1e-4, -0.7),
        (f"{ITEMS}/{LANDSAT}.json", "nir08", 2.75e-5, -0.2),
        (f"{ITEMS}/{AUSTRALIAN}.json", "pan", 1.0, 0.0),
    ],
)
def test_numbers_become_reflectance_as_the_item_says(
    data_dir: Path, name: str, band: str, scale: float, offset: float
) -> None:
    asset = asset_of(only(data_dir, name), band)
    assert (asset.scale, asset.offset) == (scale, offset)


def item(**properties: Any) -> dict[str, Any]:
    return {
        "id": "S2A_32TLS_20220814_0_L2A",
        "properties": {
            "datetime": "2022-08-14T10:36:12Z",
            "platform": "sentinel-2a",
            "s2:product_uri": "S2A_MSIL2A_20220814T103031_N0400_R108_T32TLS_20220814T170000.SAFE",
            **properties,
        },
        "assets": {"nir": {"href": "https://a.org/B08.tif", "type": "image/tiff"}},
    }


@pytest.mark.parametrize(
    ("told", "offset"),
    [
        ({}, -0.1),
        ({"earthsearch:boa_offset_applied": True}, 0.0),
        ({"earthsearch:boa_offset_applied": False}, -0.1),
        ({"s2:processing_baseline": "05.10"}, -0.1),
        ({"s2:processing_baseline": "03.01"}, 0.0),
        ({"s2:product_uri": "S2A_MSIL2A_20200814T103031_N0214_R108_T32TLS_20200814T1"}, 0.0),
    ],
)
def test_the_offset_of_baseline_four(told: dict[str, Any], offset: float) -> None:
    assert asset_of(from_items([item(**told)])[0], "B08").offset == offset


@pytest.mark.parametrize(
    "told",
    [
        {"sat:relative_orbit": 108},
        {"sentinel:product_id": "S2A_MSIL2A_20220814T103031_N0400_R108_T32TLS_20220814T170000"},
        {"s2:product_uri": "S2A_MSIL2A_20220814T103031_N0400_R108_T32TLS_20220814T170000.SAFE"},
        {"sat:absolute_orbit": 37285},
        {"s2:tile_id": "S2A_OPER_MSI_L2A_TL_VGS1_20220814T170000_A037285_T32TLS_N04.00"},
        {"s2:datatake_id": "GS2A_20220814T103031_037285_N04.00"},
    ],
)
def test_the_relative_orbit_has_many_sources(told: dict[str, Any]) -> None:
    assert from_items([item(**{"s2:product_uri": None, **told})])[0].relative_orbit == 108


def test_absolute_orbits_agree_with_the_relative_ones_that_are_told(data_dir: Path) -> None:
    compared = 0
    for path, told in recorded_items(data_dir):
        properties = told["properties"]
        name = properties.get("s2:datatake_id") or properties.get("eopf:datatake_id")
        if name is None or "sat:relative_orbit" not in properties:
            continue
        satellite, absolute = name[1:4].removeprefix("S"), int(name.split("_")[2])
        assert track_of_orbit(satellite, absolute) == properties["sat:relative_orbit"], path
        compared += 1
    assert compared > 20


@pytest.mark.parametrize(
    "told",
    [
        {"grid:code": "MGRS-06VVN"},
        {"s2:mgrs_tile": "6VVN"},
        {"mgrs:utm_zone": 6, "mgrs:latitude_band": "V", "mgrs:grid_square": "VN"},
        {"sentinel:utm_zone": 6, "sentinel:latitude_band": "V", "sentinel:grid_square": "VN"},
    ],
)
def test_the_tile_has_many_names(told: dict[str, Any]) -> None:
    scene = from_items([item(**told)])[0]
    assert scene.tile == "T06VVN"
    assert scene.crs == "EPSG:32606"  # by the zone, where the item names none


def test_old_and_new_names_of_fields_say_the_same() -> None:
    old = item(**{"proj:epsg": 32632, "eo:sun_azimuth": 160.0, "eo:sun_elevation": 55.0})
    new = item(
        **{"proj:code": "EPSG:32632", "view:sun_azimuth": 160.0, "s2:mean_solar_zenith": 35.0}
    )
    one, other = from_items([old, new])
    assert one == other
    assert (one.crs, one.sun_azimuth_deg, one.sun_elevation_deg) == ("EPSG:32632", 160.0, 55.0)


def test_catalogue_angles_are_kept_but_not_believed_where_the_orbit_is_known(
    data_dir: Path,
) -> None:
    scene = only(data_dir, f"{ITEMS}/{COPERNICUS}.json")
    assert scene.view_zenith_deg == pytest.approx(3.378, abs=1e-3)
    from odc.geo.geobox import GeoBox

    box = GeoBox.from_bbox((550000, 5340000, 560000, 5350000), "EPSG:32633", resolution=1000)
    assert view_geometry(scene, box).attrs["geometry"] == "nominal"


def test_pystac_items_and_relative_addresses(archive: Path) -> None:
    path = next(archive.glob("sentinel-2-l2a/*/S2*.json"))
    scene = from_items([pystac.Item.from_file(str(path))])[0]
    told = json.loads(path.read_text(encoding="utf-8"))
    told["links"] = [{"rel": "self", "href": f"https://a.org/items/{path.name}"}]
    elsewhere = from_items([told])[0]
    assert scene.relative_orbit in {65, 108}
    assert asset_of(elsewhere, "nir").href.startswith("https://a.org/items/T32")


def test_signatures_are_taken_off_so_that_fingerprints_last() -> None:
    signed = item()
    address = "https://x.blob.core.windows.net/a/B08.tif"
    signed["assets"]["nir"]["href"] = f"{address}?sv=2024&se=2026-11-21&sig=abc%3D"
    scene = from_items([signed])[0]
    assert scene.assets["B08"].href == address
    signed["assets"]["nir"]["href"] = f"{address}?sv=2024&se=2026-11-22&sig=xyz%3D"
    assert fingerprint(from_items([signed])[0]) == fingerprint(scene)


def test_an_alternate_address(data_dir: Path) -> None:
    path = data_dir / f"{ITEMS}/{LANDSAT}.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    assert asset_of(from_items([told])[0], "B5").href.startswith("https://")
    assert asset_of(from_items([told], alternate="s3")[0], "B5").href.startswith("s3://")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"id": "a"}, "no properties"),
        ({"properties": {}}, "no id"),
        ({"id": "a", "properties": {"platform": "sentinel-1a"}}, "sentinel-1a"),
        (item(datetime=None), "no time"),
        (item(datetime="soon"), "no time"),
        (item(**{"proj:code": "EPSG:0"}), "no reference system"),
        (item(**{"eo:cloud_cover": "much"}), "no number"),
        ({**item(), "geometry": {"type": "Polygon", "coordinates": [[1, 2]]}}, "outline"),
    ],
)
def test_items_that_are_none_are_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        from_items([told])


def test_bands_by_any_name(data_dir: Path) -> None:
    sentinel = only(data_dir, f"{ITEMS}/S2A_28QCH_20200714_0_L2A.json")
    assert asset_of(sentinel, "nir") is asset_of(sentinel, "b8") is sentinel.assets["B08"]
    assert matching_band(sentinel) == "B08"
    landsat = only(data_dir, f"{ITEMS}/{LANDSAT}.json")
    assert asset_of(landsat, "nir") is landsat.assets["B5"]
    assert matching_band(landsat) == "B5"
    with pytest.raises(InputError, match="no band B77, only"):
        asset_of(landsat, "B77")


def safe_products() -> list[str]:
    folder = Path(__file__).parents[2].parent / "shared/data" / SAFE
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize("name", safe_products())
def test_product_metadata_give_what_their_items_give(data_dir: Path, name: str) -> None:
    folder = data_dir / SAFE / name
    scene = sentinel2_scene(safe_item(folder))
    assert scene.tile
    assert scene.relative_orbit
    assert scene.processing_level in {"L1C", "L2A"}
    expected = folder / "expected_output.json"
    if not expected.exists():
        return
    known = from_items([json.loads(expected.read_text(encoding="utf-8"))])[0]
    for field in ("satellite", "relative_orbit", "tile", "processing_level", "crs"):
        assert getattr(scene, field) == getattr(known, field), field
    assert scene.sun_elevation_deg == pytest.approx(known.sun_elevation_deg, abs=1e-9)
    assert scene.cloud_cover_percent == pytest.approx(known.cloud_cover_percent, abs=1e-6)
    if known.view_zenith_deg is not None:
        assert scene.view_zenith_deg == pytest.approx(known.view_zenith_deg, abs=1e-9)
    # Items have the start of the datatake, which lasts half an hour at the most.
    assert abs(scene.time - known.time) < timedelta(minutes=30)
    for band, asset in scene.assets.items():
        assert asset.offset == pytest.approx(known.assets[band].offset), band


def test_landsat_metadata_in_three_forms_say_the_same(data_dir: Path) -> None:
    files = sorted((data_dir / "landsat_metadata_stactools").rglob("*_MTL.*"))
    scenes = {path: landsat_scene(mtl_item(path)) for path in files}
    by_product: dict[str, set[str]] = {}
    for path, scene in scenes.items():
        assert scene.crs.startswith("EPSG:")
        assert scene.sun_elevation_deg is not None
        assert scene.path
        by_product.setdefault(str(path.with_suffix("")), set()).add(json.dumps(to_dict(scene)))
        if scene.processing_level.startswith("L2"):
            assert asset_of(scene, "nir08").offset == -0.2
    assert len(files) == 31
    assert all(len(forms) == 1 for forms in by_product.values())


def test_a_metadata_file_of_antarctica(data_dir: Path) -> None:
    (path,) = data_dir.glob("landsat_metadata_stactools/**/LC08_L2SR_099120*_MTL.txt")
    scene = landsat_scene(mtl_item(path))
    assert scene.crs == "EPSG:3031"
    assert scene.time == datetime(2019, 11, 29, 1, 0, 37, 576470)


def test_folders_of_products_are_sources(data_dir: Path) -> None:
    assert len(local(data_dir / "landsat_metadata_stactools")) == 19  # one of them lies there twice
    assert len({scene.id for scene in local(data_dir / "s2_metadata_stactools")}) == 20


def test_metadata_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no metadata of Sentinel-2"):
        safe_item(tmp_path)
    (tmp_path / "MTD_TL.xml").write_text("<a><b>", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        safe_item(tmp_path)
    (tmp_path / "MTD_TL.xml").write_text("<a><b>1</b></a>", encoding="utf-8")
    with pytest.raises(InputError, match="do not tell when"):
        safe_item(tmp_path)
    for name, text, said in (
        ("x_MTL.txt", "GROUP = A\n", "no Landsat MTL file"),
        ("x_MTL.json", "{", "cannot be read"),
        ("x_MTL.xml", "<a>", "cannot be read"),
    ):
        (tmp_path / name).write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=said):
            mtl_item(tmp_path / name)
