"""The command as a user meets it: products, sentences, exit codes, and nothing half-written."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import geopandas as gpd
import numpy as np
import odc.geo.xr  # noqa: F401  (gives datasets their .odc accessor)
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from shapely.geometry import box
from typer.testing import CliRunner

import ogive
from ogive.cli import app
from ogive.simulation import simple_pair

pytestmark = [
    # Raised while these tests write files without a reference, on purpose.
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform:UserWarning:rasterio"),
    pytest.mark.filterwarnings(
        "ignore:Dataset has no geotransform:rasterio.errors.NotGeoreferencedWarning"
    ),
]

UTM = "EPSG:32607"
PIXEL_M = 10.0
SIZE = 240
PLACE = Affine(PIXEL_M, 0, 560_000, 0, -PIXEL_M, 6_690_000)
SMALL = ("--window", "16", "--search", "8")
PRODUCT = {"quicklook.png", "run.log", "run.yaml", "v.tif", "v_error.tif", "vx.tif", "vy.tif",
           "v.qml", "v_error.qml", "vx.qml", "vy.qml"}  # fmt: skip
MAIN = "simulated_20200701_X_simulated_20200711_G0080V02_P"


def write(path, pixels, *, crs=UTM, place=PLACE, **profile):
    bands = pixels if pixels.ndim == 3 else pixels[None]
    profile = {"dtype": bands.dtype, **({"crs": crs, "transform": place} if crs else {}), **profile}
    with rasterio.open(
        path, "w", "GTiff", bands.shape[2], bands.shape[1], count=len(bands), **profile
    ) as file:
        file.write(bands)
    return path


@pytest.fixture(scope="module")
def pair():
    return simple_pair((SIZE, SIZE), seed=3, max_displacement_px=5.0)


@pytest.fixture(scope="module")
def inputs(pair, tmp_path_factory):
    """Two images, and the rectangle above the glacier as stable ground."""
    folder = tmp_path_factory.mktemp("inputs")
    earlier, later = (
        write(folder / f"simulated_{date}.tif", np.rint(image).astype(np.uint16))
        for date, image in (("20200701", pair.earlier), ("20200711", pair.later))
    )
    still = int(np.argmin(pair.stable.all(axis=1)))
    stable = folder / "stable.gpkg"
    corner = (PLACE.c, PLACE.f - still * PIXEL_M, PLACE.c + SIZE * PIXEL_M, PLACE.f)
    gpd.GeoDataFrame(geometry=[box(*corner)], crs=UTM).to_file(stable)
    return {"earlier": earlier, "later": later, "stable": stable, "still": still}


def run(*arguments, out):
    words = ["velocity", *map(str, arguments), "-o", str(out)]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def done(inputs, tmp_path_factory):
    """A run as it should be: its answer and its folder."""
    out = tmp_path_factory.mktemp("product") / "new" / "out"
    answer = run(inputs["earlier"], inputs["later"], "--stable", inputs["stable"], *SMALL, out=out)
    return answer, out


def main_file(folder: Path) -> Path:
    (path,) = folder.glob("*.nc")
    return path


# ---- a run as it should be -----------------------------------------------------------------------


def test_all_products_are_there_and_nothing_else(done):
    answer, out = done
    assert answer.exit_code == 0, answer.stderr
    names = {path.name for path in out.iterdir()}
    assert main_file(out).name.startswith(MAIN)
    assert names == PRODUCT | {main_file(out).name}


def test_the_product_is_what_the_library_gives(done, inputs, pair):
    found = ogive.velocity(
        inputs["earlier"], inputs["later"], stable=inputs["stable"], window=16, search=8
    )
    kept = ogive.read_velocity(main_file(done[1]))
    for name in ("vx", "vy", "v", "vx_error", "vxvy_cov", "flag"):
        np.testing.assert_array_equal(kept[name], found[name])
    assert kept.attrs["calibration"] == found.attrs["calibration"]
    with rasterio.open(done[1] / "v.tif") as file:
        np.testing.assert_array_equal(file.read(1), found.v)
        assert file.crs == UTM


def test_the_ice_flows_as_it_does(done, pair):
    found = ogive.read_velocity(main_file(done[1]))
    middle = found.sel(x=PLACE.c + 1200, y=PLACE.f - 1200, method="nearest")
    true = pair.dx_px[120, 120] * PIXEL_M * ogive.DAYS_PER_YEAR / 10
    # The point lies half a step from the middle at most, where the trunk moves alike to 1 %.
    assert float(middle.vx) == pytest.approx(true, abs=3 * float(middle.vx_error) + 0.01 * true)


def test_the_table_tells_what_matters(done):
    answer, out = done
    for word in (
        "2020-07-01 00:00:00 (from file name)",
        "measured",
        "shift of stable ground",
        "NMAD",
        "median",
        str(main_file(out)),
    ):
        assert word in answer.stdout
    assert answer.stderr == ""


def test_the_run_is_described(done, inputs):
    told = yaml.safe_load((done[1] / "run.yaml").read_text(encoding="utf-8"))
    assert told["options"]["window"] == 16
    assert told["options"]["search"] == 8
    assert told["options"]["stable"] == str(inputs["stable"])
    assert told["earlier"]["time"] == "2020-07-01T00:00:00"
    assert told["found"]["features"] == "adaptive"
    assert set(told["files"]) == {path.name for path in done[1].iterdir()}
    log = (done[1] / "run.log").read_text(encoding="utf-8")
    for word in ("match", "rejected", "calibrated: dx", "write the product"):
        assert word in log


def test_the_picture_is_a_picture(done):
    import matplotlib.image as mpimg

    picture = mpimg.imread(done[1] / "quicklook.png")
    assert min(picture.shape[:2]) > 300
    assert np.unique(picture[..., :3].reshape(-1, 3), axis=0).shape[0] > 100


def test_quiet_says_nothing_and_verbose_says_more(inputs, tmp_path):
    quiet = run(inputs["earlier"], inputs["later"], *SMALL, "-q", out=tmp_path / "q")
    assert (quiet.exit_code, quiet.stdout, quiet.stderr) == (0, "", "")
    verbose = run(inputs["earlier"], inputs["later"], *SMALL, "-v", out=tmp_path / "v")
    assert "not calibrated" in verbose.stderr
    assert "points rejected" in verbose.stderr
    plain = run(inputs["earlier"], inputs["later"], *SMALL, out=tmp_path / "p")
    assert "not calibrated" in plain.stderr
    assert "points rejected" not in plain.stderr
    assert "none: not calibrated" in plain.stdout
    assert not logging.getLogger("ogive").handlers


def test_whole_numbers_by_choice(inputs, tmp_path):
    answer = run(inputs["earlier"], inputs["later"], *SMALL, "--format", "int16", out=tmp_path)
    assert answer.exit_code == 0
    with xr.open_dataset(main_file(tmp_path), mask_and_scale=False) as file:
        assert file.vx.dtype == np.int16


def test_given_dates_make_the_speed(inputs, tmp_path, done):
    """Twice the time, half the speed; the names say otherwise, which is told."""
    answer = run(
        inputs["earlier"], inputs["later"], *SMALL, "--stable", inputs["stable"],
        "--dates", "2020-07-01", "2020-07-21", out=tmp_path,
    )  # fmt: skip
    assert "is dated 2020-07-11" in answer.stderr
    once, twice = (ogive.read_velocity(main_file(path)) for path in (done[1], tmp_path))
    np.testing.assert_allclose(2 * twice.vx, once.vx, rtol=1e-5)


# ---- pixels --------------------------------------------------------------------------------------


@pytest.fixture
def bare(pair, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    return [
        write(folder / f"{name}.tif", np.rint(image).astype(np.uint16), crs=None)
        for name, image in (("one", pair.earlier), ("two", pair.later))
    ]


def test_images_without_a_reference_give_pixels(bare, pair, tmp_path):
    out = tmp_path / "out"
    answer = run(*bare, "--pixels", *SMALL, out=out)
    assert answer.exit_code == 0, answer.stderr
    assert "is not dated" in answer.stderr
    assert {path.name for path in out.iterdir()} == {
        "displacement.nc", "quicklook.png", "run.log", "run.yaml",
    }  # fmt: skip
    with xr.open_dataset(out / "displacement.nc") as file:
        moved = file.load()
    assert moved.dx.attrs["units"] == "pixel"
    middle = moved.sel(x=120, y=120, method="nearest")
    true = pair.dx_px[120, 120]
    assert float(middle.dx) == pytest.approx(true, abs=3 * float(middle.dx_var) ** 0.5 + 0.05)
    assert " px" in answer.stdout


def test_a_pixel_size_gives_speeds(bare, tmp_path, done):
    out = tmp_path / "out"
    answer = run(
        *bare, "--pixel-size", PIXEL_M, "--dates", "2020-07-01", "2020-07-11", *SMALL, out=out
    )
    assert answer.exit_code == 0, answer.stderr
    found = ogive.read_velocity(main_file(out))
    assert found.vx.attrs["units"] == "meter/year"
    assert found.chip_size_width.max() == 16 * PIXEL_M
    shift = ogive.read_velocity(main_file(done[1])).vx.attrs["stable_shift"]
    on_map = ogive.read_velocity(main_file(done[1]))
    np.testing.assert_allclose(found.vx, on_map.vx + shift, rtol=1e-4, atol=0.1)
    assert not list(out.glob("*.tif"))


# ---- what lies there already ---------------------------------------------------------------------


def test_a_product_is_kept_unless_it_shall_be_replaced(inputs, tmp_path):
    images = inputs["earlier"], inputs["later"]
    out = tmp_path / "out"
    assert run(*images, *SMALL, out=out).exit_code == 0
    (out / "notes.txt").write_text("mine")
    first = main_file(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = run(*images, *SMALL, out=out)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    replaced = run(*images, "--window", "32", "--step", "16", "--overwrite", out=out)
    assert replaced.exit_code == 0, replaced.stderr
    assert main_file(out) != first  # another grid, another name: the older file has gone
    assert (out / "notes.txt").read_text() == "mine"
    assert set(yaml.safe_load((out / "run.yaml").read_text())["files"]) == {
        path.name for path in out.iterdir()
    } - {"notes.txt"}


def test_a_failed_run_leaves_the_older_product_as_it_was(inputs, tmp_path, monkeypatch):
    images = inputs["earlier"], inputs["later"]
    assert run(*images, *SMALL, out=tmp_path).exit_code == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    rename = Path.rename

    def stubborn(self, target):
        published = Path(target) == tmp_path / "v.tif"
        if published and self.parent.name != "before":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    answer = run(*images, *SMALL, "--overwrite", out=tmp_path)
    assert answer.exit_code == 2
    assert "no space left" in answer.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---- wrong input ---------------------------------------------------------------------------------


def refused(answer, out, *words):
    """A sentence at the end of standard error, exit code 2, no file and no folder."""
    assert answer.exit_code == 2, answer.output
    assert answer.stdout == ""
    assert answer.stderr.splitlines()[-1].startswith("ogive: ")
    assert "Traceback" not in answer.stderr
    for word in words:
        assert word in answer.stderr
    assert not out.exists()


def test_a_missing_file(inputs, tmp_path):
    out = tmp_path / "out"
    refused(run(tmp_path / "no.tif", inputs["later"], out=out), out, "there is no file", "no.tif")


def test_a_truncated_file(inputs, tmp_path):
    cut = tmp_path / "cut_20200711.tif"
    cut.write_bytes(inputs["later"].read_bytes()[:40_000])
    out = tmp_path / "out"
    refused(run(inputs["earlier"], cut, out=out), out, "cut_20200711.tif", "truncated")


def test_another_reference_system(inputs, pair, tmp_path):
    other = write(tmp_path / "b_20200711.tif", pair.later, crs="EPSG:32608")
    out = tmp_path / "out"
    refused(run(inputs["earlier"], other, out=out), out, "EPSG:32608", "EPSG:32607")


def test_no_overlap(inputs, pair, tmp_path):
    place = Affine.translation(10_000, 0) * PLACE
    other = write(tmp_path / "b_20200711.tif", pair.later, place=place)
    out = tmp_path / "out"
    refused(run(inputs["earlier"], other, out=out), out, "do not overlap")


def test_no_reference_system(bare, tmp_path):
    out = tmp_path / "out"
    refused(run(*bare, out=out), out, "no coordinate reference system", "--pixels")


def test_no_reference_system_in_one_of_the_two(bare, inputs, tmp_path):
    out = tmp_path / "out"
    refused(
        run(inputs["earlier"], bare[1], "--pixels", out=out), out, "no coordinate reference system"
    )


def test_stable_ground_for_images_without_a_map(bare, inputs, tmp_path):
    out = tmp_path / "out"
    answer = run(*bare, "--pixels", "--stable", inputs["stable"], out=out)
    refused(answer, out, "stable.gpkg", "coordinate reference system")


@pytest.mark.parametrize(
    ("dates", "word"),
    [
        (("2020-07-01", "2020-07-01"), "both images are dated"),
        (("2020-07-11", "2020-07-01"), "swap"),
        (("July", "2020-07-01"), "is no date"),
    ],
)
def test_dates(inputs, dates, word, tmp_path):
    out = tmp_path / "out"
    refused(run(inputs["earlier"], inputs["later"], "--dates", *dates, out=out), out, word)


def test_reversed_images(inputs, tmp_path):
    out = tmp_path / "out"
    refused(run(inputs["later"], inputs["earlier"], out=out), out, "swap")


def test_undated_images(pair, tmp_path):
    paths = [write(tmp_path / f"{name}.tif", pair.earlier) for name in "ab"]
    out = tmp_path / "out"
    refused(run(*paths, out=out), out, "--dates")


def test_several_bands_without_a_choice(inputs, pair, tmp_path):
    colours = write(tmp_path / "b_20200711.tif", np.stack([pair.later] * 3))
    out = tmp_path / "out"
    refused(run(inputs["earlier"], colours, out=out), out, "3 bands, choose one")


def test_a_band_by_choice(pair, tmp_path):
    """The motion is in the second band; the first one stands still."""
    one, two = (
        write(tmp_path / f"c_{date}.tif", np.stack([pair.earlier, image]))
        for date, image in (("20200701", pair.earlier), ("20200711", pair.later))
    )
    answer = run(one, two, "--band", "2", *SMALL, out=tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    assert float(ogive.read_velocity(main_file(tmp_path / "out")).v.max()) > 1000


def test_a_constant_image(inputs, tmp_path):
    flat = write(tmp_path / "b_20200711.tif", np.full((SIZE, SIZE), 7, np.uint16))
    out = tmp_path / "out"
    refused(run(inputs["earlier"], flat, out=out), out, "later image is constant")


def test_nothing_but_masked_pixels(inputs, tmp_path):
    for name, pixels, profile in (
        ("nodata", np.zeros((SIZE, SIZE), np.uint16), {"nodata": 0}),
        ("nan", np.full((SIZE, SIZE), np.nan, np.float32), {}),
    ):
        empty = write(tmp_path / f"{name}_20200711.tif", pixels, **profile)
        out = tmp_path / "out"
        refused(run(inputs["earlier"], empty, out=out), out, "no valid pixel")


def test_a_window_larger_than_the_image(pair, tmp_path):
    paths = [
        write(tmp_path / f"a_{date}.tif", pair.earlier[:60, :60])
        for date in ("20200701", "20200711")
    ]
    out = tmp_path / "out"
    refused(run(*paths, "--window", "64", out=out), out, "larger than the image")


def test_pixels_that_are_no_numbers_are_masked(inputs, pair, tmp_path):
    broken = pair.later.copy()
    broken[60:90, 60:90] = np.nan
    broken[5, 5] = np.inf
    path = write(tmp_path / "b_20200711.tif", broken)
    answer = run(inputs["earlier"], path, *SMALL, out=tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    found = ogive.read_velocity(main_file(tmp_path / "out"))
    assert np.isnan(found.v.sel(x=PLACE.c + 750, y=PLACE.f - 750, method="nearest"))
    assert found.v.notnull().mean() > 0.6


def test_numbers_near_the_end_of_uint16(pair, tmp_path):
    """58,000 more in every pixel: the same motion, without overflow in any difference."""
    found = []
    for more in (0, 58_000):
        folder = tmp_path / str(more)
        folder.mkdir()
        pixels = [np.rint(image) + more for image in (pair.earlier, pair.later)]
        assert max(image.max() for image in pixels) <= 65535
        paths = [
            write(folder / f"simulated_{date}.tif", image.astype(np.uint16))
            for date, image in zip(("20200701", "20200711"), pixels, strict=True)
        ]
        answer = run(*paths, *SMALL, "--features", "sobel", out=folder / "out")
        assert answer.exit_code == 0, answer.stderr
        found.append(ogive.read_velocity(main_file(folder / "out")))
    np.testing.assert_allclose(found[1].vx, found[0].vx, atol=1.0)


def test_too_little_stable_ground(inputs, tmp_path):
    small = tmp_path / "small.gpkg"
    gpd.GeoDataFrame(
        geometry=[box(PLACE.c, PLACE.f - 300, PLACE.c + 300, PLACE.f)], crs=UTM
    ).to_file(small)
    out = tmp_path / "out"
    answer = run(inputs["earlier"], inputs["later"], "--stable", small, *SMALL, out=out)
    refused(answer, out, "too few to calibrate on", "whole window of 16 pixels")


def test_polygons_elsewhere(inputs, tmp_path):
    far = tmp_path / "far.gpkg"
    gpd.GeoDataFrame(geometry=[box(0, 0, 1, 1)], crs="EPSG:4326").to_file(far)
    out = tmp_path / "out"
    answer = run(inputs["earlier"], inputs["later"], "--ice", far, out=out)
    refused(answer, out, "no polygon of", "far.gpkg")


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--features", "magic", "no features 'magic'"),
        ("--window", "3", "window of 3 pixels"),
        ("--step", "0", "step of 0 pixels"),
        ("--max-speed", "-5", "largest speed"),
        ("--calibration", "cubic", "no calibration 'cubic'"),
        ("--prior", "missing.nc", "there is no file missing.nc"),
        ("--stable", "missing.gpkg", "there is no file missing.gpkg"),
        ("--band", "nir", "no band 'nir'"),
        ("--pixel-size", "10", "leave the pixel size out"),
    ],
)
def test_options(inputs, option, value, word, tmp_path):
    out = tmp_path / "out"
    refused(run(inputs["earlier"], inputs["later"], option, value, out=out), out, word)


def test_a_place_that_cannot_be_written(inputs, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("a file, no folder")
    for out in (note, note / "out"):
        answer = run(inputs["earlier"], inputs["later"], *SMALL, out=out)
        assert answer.exit_code == 2
        assert f"{out} cannot be written" in answer.stderr
    assert note.read_text() == "a file, no folder"
    assert list(tmp_path.iterdir()) == [note]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to this user"
)
def test_a_folder_without_permission(inputs, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    answer = run(inputs["earlier"], inputs["later"], *SMALL, out=closed / "out")
    assert answer.exit_code == 2
    assert "permission denied" in answer.stderr


@pytest.mark.parametrize("limit", [30_000, 200_000])
def test_a_full_disk(inputs, done, limit, tmp_path):
    """No file may grow beyond the limit: the NetCDF comes to the lower one, the picture to both."""
    pytest.importorskip("resource")
    assert done[0].exit_code == 0  # the kernels are compiled and kept by now
    out = tmp_path / "out"
    program = (
        "import resource, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from ogive.cli import main\n"
        "main()\n"
    )
    words = ["velocity", str(inputs["earlier"]), str(inputs["later"]), *SMALL, "-o", str(out)]
    answer = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2, answer.stderr
    assert "cannot be written" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not out.exists()


# ---- what nobody expects -------------------------------------------------------------------------


def test_an_interruption_leaves_nothing(inputs, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("ogive.workflow.velocity.match", interrupted)
    out = tmp_path / "out"
    answer = run(inputs["earlier"], inputs["later"], out=out)
    assert answer.exit_code == 130
    assert "interrupted" in answer.stderr
    assert not out.exists()


def test_an_unexpected_failure_keeps_its_log(inputs, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("a planted fault")

    monkeypatch.setattr("ogive.workflow.velocity.match", broken)
    out = tmp_path / "out"
    answer = run(inputs["earlier"], inputs["later"], out=out)
    assert answer.exit_code == 1
    assert "unexpected failure" in answer.stderr
    assert str(out / "failed-run.log") in answer.stderr
    log = (out / "failed-run.log").read_text()
    assert "a planted fault" in log
    assert "Traceback" in log
    assert [path.name for path in out.iterdir()] == ["failed-run.log"]


def test_usage_errors_are_exit_code_2(tmp_path):
    answer = run("only_one.tif", out=tmp_path / "out")
    assert answer.exit_code == 2
    assert "LATER" in answer.stderr


# ---- the other commands --------------------------------------------------------------------------


def invoke(*words):
    return CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)


def test_a_cube_is_inverted(tmp_path):
    """All pairs of six dates, 100 m/yr along x: the series says the same at every date."""
    days = np.datetime64("2020-01-01", "ns") + 12 * np.arange(6) * np.timedelta64(1, "D")
    i, j = np.triu_indices(6, 1)
    fields = {"vx": 100.0, "vy": 0.0, "vx_error": 5.0, "vy_error": 5.0}
    shape = (i.size, 3, 4)
    cube = xr.Dataset(
        {name: (("mid_date", "y", "x"), np.full(shape, v, "f4")) for name, v in fields.items()},
        {
            "mid_date": days[i] + (days[j] - days[i]) / 2,
            "y": PLACE.f - 120.0 * np.arange(3),
            "x": PLACE.c + 120.0 * np.arange(4),
            "acquisition_date_img1": ("mid_date", days[i]),
            "acquisition_date_img2": ("mid_date", days[j]),
        },
    ).odc.assign_crs(UTM)
    for name in fields:
        cube[name].attrs["units"] = "meter/year"
    source = ogive.write_cube(cube, tmp_path / "cube.zarr")
    out = tmp_path / "series.nc"
    answer = invoke("invert", source, "-o", out, "--sampling", "12D")
    assert answer.exit_code == 0, answer.stderr
    assert "15 pairs, 5 periods" in answer.stdout
    with xr.open_dataset(out) as series:
        np.testing.assert_allclose(series.vx, 100.0, rtol=1e-4)
        assert series.sizes["time"] == 5
    still = tmp_path / "still.gpkg"
    corner = box(PLACE.c - 60, PLACE.f - 180, PLACE.c + 60, PLACE.f + 60)
    gpd.GeoDataFrame(geometry=[corner], crs=UTM).to_file(still)
    place = f"{PLACE.c},{PLACE.f}"
    told = invoke(
        "invert", source, "-o", out, "--sampling", "12", "--stable", still, "--point", place,
        "--overwrite",
    )  # fmt: skip
    assert told.exit_code == 0, told.stderr
    assert "series: RMSE 100 m/yr on stable ground, vector coherence 1.000" in told.stdout
    assert (tmp_path / "series_1.png").stat().st_size > 10_000
    for wrong in ("nowhere", "0,0"):
        refused = invoke("invert", source, "-o", out, "--overwrite", "--point", wrong)
        assert refused.exit_code == 2
        assert "point" in refused.stderr
    again = invoke("invert", source, "-o", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr
    missing = invoke("invert", tmp_path / "no.zarr", "-o", tmp_path / "other.nc")
    assert missing.exit_code == 2
    assert "no.zarr" in missing.stderr
    wrong = invoke("invert", source, "-o", tmp_path / "other.nc", "--closure", "magic")
    assert wrong.exit_code == 2
    assert not (tmp_path / "other.nc").exists()


def test_annual_maps_are_made(tmp_path):
    """Two years of the same flow: both maps say so."""
    days = np.datetime64("2019-10-15", "ns") + 30 * np.arange(24) * np.timedelta64(1, "D")
    i = np.arange(23)
    fields = {"vx": 60.0, "vy": 80.0, "vx_error": 2.0, "vy_error": 2.0}
    rng = np.random.default_rng(0)
    cube = xr.Dataset(
        {
            name: (
                ("mid_date", "y", "x"),
                (v + (rng.normal(0, 2, (23, 12, 12)) if len(name) == 2 else 0)).astype("f4")
                if len(name) == 2
                else np.full((23, 12, 12), v, "f4"),
            )
            for name, v in fields.items()
        },
        {
            "mid_date": days[i] + np.timedelta64(15, "D"),
            "y": PLACE.f - 50.0 * np.arange(12),
            "x": PLACE.c + 50.0 * np.arange(12),
            "acquisition_date_img1": ("mid_date", days[i]),
            "acquisition_date_img2": ("mid_date", days[i + 1]),
        },
    ).odc.assign_crs(UTM)
    for name in fields:
        cube[name].attrs["units"] = "meter/year"
    source = ogive.write_cube(cube, tmp_path / "cube.zarr")
    out = tmp_path / "annual"
    answer = invoke("annual", source, "-o", out)
    assert answer.exit_code == 0, answer.stderr
    assert "23 pairs" in answer.stdout
    with xr.open_dataset(out / "annual.nc") as maps:
        speed = maps["v2019_2020"]
        # Some ten pairs of 2 m/yr each: their mean is known to 0.7 m/yr.
        assert float(abs(speed - 100).max()) < 5
    again = invoke("annual", source, "-o", out)
    assert again.exit_code == 2
    wrong = invoke("annual", source, "-o", tmp_path / "other", "--method", "guess")
    assert wrong.exit_code == 2
    assert not (tmp_path / "other").exists()


def test_a_glacier_is_simulated(tmp_path):
    """Two scenes whose names tell their dates, so that a velocity can be measured between them."""
    out = tmp_path / "archive"
    words = ("simulate", "-o", out, "--size", 120, 120, "--scenes", 2, "--clouds", 0)
    answer = invoke(
        *words, "--start", "2020-07-01", "--end", "2020-08-01", "--orbit", "sentinel-2-west"
    )
    assert answer.exit_code == 0, answer.stderr
    assert answer.stdout.strip() == str(out / "catalog.json")
    bands = sorted(path for path in out.rglob("*B08*.tif"))
    assert len(bands) == 2
    again = invoke(*words)
    assert again.exit_code == 2
    assert "not empty" in again.stderr
    reversed_ = invoke("simulate", "-o", tmp_path / "b", "--start", "2021", "--end", "2020-01-01")
    assert reversed_.exit_code == 2
    assert not (tmp_path / "b").exists()


# ---- the program itself --------------------------------------------------------------------------


def test_the_version_is_told():
    answer = CliRunner().invoke(app, ["--version"])
    assert answer.exit_code == 0
    assert answer.stdout.startswith("ogive 0")


def test_help_loads_no_numerics():
    """So that `ogive --help` answers at once: numpy alone would double its time."""
    program = (
        "import sys\n"
        "from ogive.cli import app\n"
        "app(['velocity', '--help'], standalone_mode=False)\n"
        "print(sorted({'numpy', 'xarray', 'rasterio', 'numba'} & set(sys.modules)))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "--max-speed" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[]"
