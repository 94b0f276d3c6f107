"""Dates and origins of images, from their names, folders and tags."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ogive.model import DateError
from ogive.scenes.names import fill_value_from_name, scene_from_name

DATES = {
    "S2A_MSIL1C_20160616T112217_N0204_R137_T29QKF_20160617T193500.SAFE": "2016-06-16T11:22:17",
    "S2A_OPER_PRD_MSIL1C_PDMC_20160617T193500_R137_V20160616T112217_20160616T112217.SAFE": (
        "2016-06-16T11:22:17"
    ),
    "S2B_OPER_MSI_L2A_DS_VGS1_20201101T095401_S20201101T074429": "2020-11-01T07:44:29",
    "L1C_T38EMQ_A016291_20200419T060720": "2020-04-19T06:07:20",
    "T55XEE_20200911T034541_B08.jp2": "2020-09-11T03:45:41",
    "L2A_T55XEE_20200911T034541_B08_10m.jp2": "2020-09-11T03:45:41",
    "S2B_32TLS_20200911_0_L2A": "2020-09-11T00:00:00",
    "S2A_T01LAC_20200717T221944_L1C": "2020-07-17T22:19:44",
    "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531": "2019-06-29T21:25:29",
    "20160616T112217_20160617T193500_T29QKF": "2016-06-16T11:22:17",
    "LC08_L1TP_063018_20160718_20200906_02_T1_B8.TIF": "2016-07-18T00:00:00",
    "LC08_L2SP_047027_20201204_02_T1": "2020-12-04T00:00:00",
    "LC08_063018_20160718": "2016-07-18T00:00:00",
    "LC080630182016071801T1-SC20190101000000": "2016-07-18T00:00:00",
    "LC80630182016200LGN00_B8.TIF": "2016-07-18T00:00:00",
    "LT50630182000366AAA02_B4.tif": "2000-12-31T00:00:00",
    "20200205.jpg": "2020-02-05T00:00:00",
    "ga_ls8c_ard_3-1-0_088080_2020-05-25_final": "2020-05-25T00:00:00",
    "ortho_20200911T034541Z.tif": "2020-09-11T03:45:41",
    "ortho_20200911034541.tif": "2020-09-11T03:45:41",
}


@pytest.mark.parametrize("name", DATES)
def test_date_of_every_known_form(name: str) -> None:
    assert scene_from_name(name).time == datetime.fromisoformat(DATES[name])


def test_sentinel2_product_tells_its_origin() -> None:
    scene = scene_from_name("S2A_MSIL1C_20160616T112217_N0204_R137_T29QKF_20160617T193500.SAFE")
    assert (scene.mission, scene.satellite, scene.sensor) == ("sentinel-2", "2A", "MSI")
    assert (scene.relative_orbit, scene.tile, scene.processing_level) == (137, "T29QKF", "L1C")
    assert scene.properties["processing_baseline"] == "0204"
    assert scene.properties["processing_date"] == "20160617"
    assert scene.id == "S2A_MSIL1C_20160616T112217_N0204_R137_T29QKF_20160617T193500"


def test_landsat_product_tells_its_origin() -> None:
    scene = scene_from_name("LE07_L1GS_219121_20061206_20200918_02_T2_B8.TIF")
    assert (scene.mission, scene.satellite, scene.sensor) == ("landsat", "7", "E")
    assert (scene.path, scene.row, scene.processing_level) == (219, 121, "L1GS")
    assert scene.properties["collection_number"] == 2
    assert scene.properties["collection_category"] == "T2"
    assert scene.properties["processing_date"] == "20200918"
    assert scene.properties["time_of_day_known"] is False
    assert scene.id == "LE07_L1GS_219121_20061206_20200918_02_T2"


def test_product_folder_completes_the_name_of_a_band() -> None:
    product = "S2B_MSIL1C_20200419T060719_N0209_R105_T38EMQ_20200419T091056"
    granule = "GRANULE/L1C_T38EMQ_A016291_20200419T060720/IMG_DATA"
    scene = scene_from_name(f"/archive/{product}.SAFE/{granule}/T38EMQ_20200419T060719_B08.jp2")
    assert scene.id == product
    assert (scene.satellite, scene.relative_orbit) == ("2B", 105)


def test_band_without_date_takes_it_from_the_product_folder() -> None:
    scene = scene_from_name("sentinel-s2-l2a-cogs/32/T/LS/S2B_32TLS_20200911_0_L2A/B08.tif")
    assert scene.time == datetime(2020, 9, 11)
    assert scene.properties["date_source"] == "folder S2B_32TLS_20200911_0_L2A"


def test_folder_of_another_acquisition_is_not_mixed_in() -> None:
    folder = "S2A_MSIL1C_20160616T112217_N0204_R137_T29QKF_20160617T193500.SAFE"
    scene = scene_from_name(Path(folder) / "T55XEE_20200911T034541_B08.jp2")
    assert (scene.time.year, scene.relative_orbit, scene.satellite) == (2020, None, "")


@pytest.mark.parametrize(
    "name",
    [
        "20160718_20160803.tif",
        "LT05_L1GS_219121_19841206_20200918_02_T2_X_LT05_L1GS_226120_19850124_20200918_02_T2.nc",
        "velocity_2016-07-18_2016-08-03.tif",
    ],
)
def test_several_dates_are_refused(name: str) -> None:
    with pytest.raises(DateError, match=r"2 (dates|acquisitions) .*--dates"):
        scene_from_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "image.tif",
        "B8.TIF",
        "clip_20160231.tif",  # no such day
        "clip_20161301.tif",  # no such month
        "clip_12345678.tif",
        "clip_99990101.tif",  # in the future
        "id_1201607181.tif",  # a longer number
        "LC80630182016400LGN00_B8.TIF",  # no such day of the year
        "2016200_2016216_r32x32.tif",
        "phone_0201-2016-0718.tif",
    ],
)
def test_what_is_no_date_is_not_taken_for_one(name: str) -> None:
    with pytest.raises(DateError, match=r"no acquisition date.*--dates"):
        scene_from_name(name)


def test_processing_time_is_not_taken_for_the_acquisition() -> None:
    # This real granule was processed 92 minutes after it was sensed; others years after.
    name = "S2A_OPER_MSI_L1C_TL_SGS__20181231T203637_A018414_T10SDG"
    with pytest.raises(DateError, match=r"that of its processing.*--dates"):
        scene_from_name(name)
    tagged = scene_from_name(name, {"SENSING_TIME": "2018-12-31T19:04:06.567Z"})
    assert tagged.time == datetime(2018, 12, 31, 19, 4, 6, 567000)


@pytest.mark.parametrize(
    ("tags", "time"),
    [
        ({"ACQUISITION_DATE": "2016-07-18"}, datetime(2016, 7, 18)),
        ({"acquisition_date": "20160718"}, datetime(2016, 7, 18)),
        (
            {"DATE_ACQUIRED": "2016-07-18", "SCENE_CENTER_TIME": "20:47:20.5000000Z"},
            datetime(2016, 7, 18, 20, 47, 20, 500000),
        ),
        ({"TIFFTAG_DATETIME": "2016:07:18 20:47:20"}, datetime(2016, 7, 18, 20, 47, 20)),
        (
            {"TIFFTAG_DATETIME": "2024:01:01 00:00:00", "ACQUISITION_DATE": "2016-07-18"},
            datetime(2016, 7, 18),
        ),
    ],
)
def test_tags_are_asked_when_the_name_is_silent(tags: dict[str, str], time: datetime) -> None:
    scene = scene_from_name("image.tif", tags)
    assert scene.time == time
    assert scene.properties["date_source"].startswith("tag ")


def test_date_of_the_file_never_overrides_the_name() -> None:
    scene = scene_from_name("clip_20160718.tif", {"TIFFTAG_DATETIME": "2024:01:01 00:00:00"})
    assert scene.time == datetime(2016, 7, 18)


def test_acquisition_tag_decides_between_two_dates() -> None:
    scene = scene_from_name("20160718_20200906.tif", {"ACQUISITION_DATE": "2016-07-18"})
    assert scene.time == datetime(2016, 7, 18)


@pytest.mark.parametrize("name", ["clip_20160718.tif", "LC80630182016200LGN00_B8.TIF"])
def test_tag_against_name_is_refused(name: str) -> None:
    with pytest.raises(DateError, match="2016-07-18 by its name but 2016-08-03"):
        scene_from_name(name, {"ACQUISITION_DATE": "2016-08-03"})


def test_unreadable_tags_are_no_dates() -> None:
    with pytest.raises(DateError, match="its tags hold none either"):
        scene_from_name("image.tif", {"ACQUISITION_DATE": "summer", "AREA_OR_POINT": "Area"})


days = st.datetimes(datetime(1972, 7, 23), datetime(2025, 12, 31)).map(
    lambda time: time.replace(microsecond=0)
)
frames = st.tuples(st.integers(1, 251), st.integers(1, 248))


@given(days, days, frames)
def test_every_collection_name_is_read_back(
    acquired: datetime, processed: datetime, frame: tuple[int, int]
) -> None:
    path, row = frame
    name = f"LC08_L1TP_{path:03d}{row:03d}_{acquired:%Y%m%d}_{processed:%Y%m%d}_02_T1_B8.TIF"
    scene = scene_from_name(name)
    assert scene.time.date() == acquired.date()
    assert (scene.path, scene.row) == frame


@given(days, frames)
def test_every_name_before_the_collections_is_read_back(
    acquired: datetime, frame: tuple[int, int]
) -> None:
    path, row = frame
    scene = scene_from_name(f"LC8{path:03d}{row:03d}{acquired:%Y%j}LGN00_B8.TIF")
    assert scene.time.date() == acquired.date()
    assert (scene.path, scene.row) == frame


@given(days, st.integers(1, 143), st.timedeltas(timedelta(0), timedelta(days=3000)))
def test_every_sentinel2_name_is_read_back(
    acquired: datetime, orbit: int, later: timedelta
) -> None:
    processed = acquired + later
    name = (
        f"S2B_MSIL1C_{acquired:%Y%m%dT%H%M%S}_N0209_R{orbit:03d}_T45RVL_{processed:%Y%m%dT%H%M%S}"
    )
    scene = scene_from_name(name + ".SAFE")
    assert scene.time == acquired
    assert scene.relative_orbit == orbit


@given(st.text(alphabet="0123456789-_TZSLabc.", max_size=40))
def test_any_name_gives_a_possible_date_or_our_error(name: str) -> None:
    try:
        scene = scene_from_name(name)
    except DateError:
        return
    assert datetime(1946, 1, 1) <= scene.time < datetime.now() + timedelta(days=2)


def test_fill_value_is_that_of_the_format() -> None:
    assert fill_value_from_name("T55XEE_20200911T034541_B08.jp2") == 0
    assert fill_value_from_name("LC80630182016200LGN00_B8.TIF") == 0
    assert fill_value_from_name("hillshade_20160718.tif") is None


def test_real_files_are_dated(data_dir: Path) -> None:
    pair = sorted((data_dir / "yahtse_l8_pair").glob("LC8*.TIF"))
    assert [scene_from_name(path).time for path in pair] == [
        datetime(2016, 7, 18),
        datetime(2016, 8, 3),
    ]
    phase = sorted((data_dir / "perito_moreno_s2_series").glob("2020*.jpg"))
    assert len({scene_from_name(path).time for path in phase}) == len(phase) > 10
