"""Windows of scenes: the right numbers in the right place, fetched once, every fault told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from tests.servers.stac import Fault, StacServer

from ogive.model import Asset, GridError, InputError, OgiveError, Scene
from ogive.scenes import Cache, Retries, SasSigner, SceneReadError, from_items, read_window, to_dict
from ogive.scenes.errors import (
    DamagedImageError,
    FullDiskError,
    MissingImageError,
    NoOverlapError,
    RefusedError,
    SignatureError,
    UnavailableError,
)
from ogive.scenes.source import _reason

HASTY = Retries(attempts=3, wait_s=0.01, timeout_s=10)
CRS = "EPSG:32632"


def file_grid(scene: Scene, server: StacServer, band: str = "B08") -> tuple[Path, GeoBox]:
    path = server.folder / scene.assets[band].href.split("/files/")[1]
    with rasterio.open(path) as file:
        return path, GeoBox(file.shape, file.transform, CRS)


@pytest.fixture
def scene(server: StacServer) -> Scene:
    return from_items(server.items)[0]


@pytest.fixture
def grid(scene: Scene, server: StacServer) -> GeoBox:
    return file_grid(scene, server)[1][20:100, 30:90]


def test_the_pixels_of_the_file_are_taken_as_they_are(
    scene: Scene, server: StacServer, grid: GeoBox
) -> None:
    path, _ = file_grid(scene, server)
    with rasterio.open(path) as file:
        numbers = file.read(1).astype(float)
    reflectance = np.where(numbers == 0, np.nan, 1e-4 * numbers - 0.1)
    image = read_window(scene, "nir", grid)
    # Two roundings to float32 of numbers below two.
    np.testing.assert_allclose(image, reflectance[20:100, 30:90], atol=2.4e-7)
    assert image.odc.geobox == grid
    assert image.time == np.datetime64(scene.time)
    assert image.dtype == np.float32


def test_beside_the_file_there_is_nothing(scene: Scene, server: StacServer) -> None:
    _, whole = file_grid(scene, server)
    image = read_window(scene, "nir", whole.pad(7))
    assert np.isnan(image[:7]).all()
    assert np.isnan(image[:, -7:]).all()
    np.testing.assert_array_equal(image[7:-7, 7:-7], read_window(scene, "nir", whole))


def ramp(folder: Path, *, nodata: float = 0, **changed: object) -> Scene:
    """A file whose value is linear in x and y, with a hole, as a scene."""
    rows, columns = np.mgrid[0:120, 0:140]
    numbers = (1000 + 3 * columns + 5 * rows).astype(np.uint16)
    numbers[50:60, 70:80] = 0
    path = folder / "ramp_20200701.tif"
    profile = {
        "driver": "GTiff",
        "dtype": "uint16",
        "count": 1,
        "height": 120,
        "width": 140,
        "crs": CRS,
        "transform": rasterio.Affine(10, 0, 500000, 0, -10, 5200000),
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(numbers, 1)
    asset = Asset(str(path), "nir", scale=1e-4, offset=-0.1, nodata=nodata)
    return Scene("ramp", datetime(2020, 7, 1), assets={"B08": asset, "SCL": Asset(str(path))})


def linear(grid: GeoBox) -> np.ndarray:
    x, y = np.meshgrid(grid.coordinates["x"].values, grid.coordinates["y"].values)
    columns, rows = (x - 500005) / 10, (5199995 - y) / 10
    return 1e-4 * (1000 + 3 * columns + 5 * rows) - 0.1


@pytest.mark.parametrize("step_m", [7.0, 10.0, 15.0, 30.0])
def test_on_another_grid_cubic_convolution_keeps_a_plane(tmp_path: Path, step_m: float) -> None:
    scene = ramp(tmp_path)
    grid = GeoBox.from_bbox((500203, 5199000, 501103, 5199800), CRS, resolution=step_m)
    image = read_window(scene, "B08", grid).values
    seen = np.isfinite(image)
    # A plane is kept to float32 and the rounding of GDAL's weights; by a kernel that is widened to
    # one and a half pixels, and sampled there, to 0.06 px.
    pixel = (3 + 5) * 1e-4
    tolerance = 0.06 * pixel if step_m == 15 else 2e-6
    np.testing.assert_allclose(image[seen], linear(grid)[seen], atol=tolerance)
    # Left out is the hole of 100 m with the reach of the kernel round it: two pixels, the coarser.
    hole_m = 100 + 2 * (2 * max(step_m, 10) + 10)
    assert 100**2 <= (~seen).sum() * step_m**2 <= (hole_m + 2 * step_m) ** 2


def test_on_another_map_the_place_is_kept(tmp_path: Path) -> None:
    scene = ramp(tmp_path)
    (x,), (y,) = rasterio.warp.transform(CRS, "EPSG:32633", [500300], [5199700])
    left, bottom = 10 * (x // 10) - 100, 10 * (y // 10) - 100
    grid = GeoBox.from_bbox((left, bottom, left + 200, bottom + 200), "EPSG:32633", resolution=10)
    at = {"x": left + 105, "y": bottom + 105}
    (x,), (y,) = rasterio.warp.transform("EPSG:32633", CRS, [at["x"]], [at["y"]])
    expected = 1e-4 * (1000 + 3 * (x - 500005) / 10 + 5 * (5199995 - y) / 10) - 0.1
    value = float(read_window(scene, "B08", grid).sel(at))
    # GDAL approximates the way between the maps to an eighth of a pixel, of which one is 8e-4 here.
    assert value == pytest.approx(expected, abs=1e-4)


def test_quality_bands_keep_their_numbers(scene: Scene, server: StacServer, grid: GeoBox) -> None:
    path, _ = file_grid(scene, server, "SCL")
    with rasterio.open(path) as file:
        codes = np.kron(file.read(1), np.ones((2, 2), int))
    image = read_window(scene, "SCL", grid)
    np.testing.assert_array_equal(image, codes[20:100, 30:90])
    assert image.attrs["nodata"] == 0


def test_nothing_is_fetched_twice(
    scene: Scene, server: StacServer, grid: GeoBox, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    first = read_window(scene, "nir", grid, cache=cache)
    fetched = len(server.asked("B08"))
    np.testing.assert_array_equal(read_window(scene, "nir", grid, cache=cache), first)
    # Another window of the same file: the same bytes, from the cache.
    read_window(scene, "nir", grid.pad(5), cache=cache)
    assert len(server.asked("B08")) == fetched >= 1
    server.fault("", Fault(status=500, forever=True))
    np.testing.assert_array_equal(read_window(scene, "nir", grid, cache=tmp_path / "cache"), first)


READ_ALONE = """
import json, sys
from odc.geo.geobox import GeoBox
from rasterio import Affine
from ogive.scenes import from_dict, read_window
scene, shape, transform, folder = json.loads(sys.argv[1])
grid = GeoBox(shape, Affine(*transform[:6]), "EPSG:32632")
print(float(read_window(from_dict(scene), "nir", grid, cache=folder).sum()))
"""


def test_processes_share_a_cache_and_fetch_once(
    scene: Scene, server: StacServer, grid: GeoBox, tmp_path: Path
) -> None:
    server.fault("B08", Fault(wait_s=5))  # the other comes before the first has it
    told = json.dumps([to_dict(scene), tuple(grid.shape), tuple(grid.transform), str(tmp_path)])
    running = [
        subprocess.Popen([sys.executable, "-c", READ_ALONE, told], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    sums = {process.communicate(timeout=120)[0] for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert sums == {f"{float(read_window(scene, 'nir', grid, cache=tmp_path).sum())}\n".encode()}
    ranges = [request.range for request in server.asked("B08")]
    assert len(ranges) == len(set(ranges)) >= 1


def test_a_server_without_ranges_gives_the_whole_once(archive: Path, tmp_path: Path) -> None:
    with StacServer(archive, ranges=False) as server:
        scene = from_items(server.items)[0]
        _, whole = file_grid(scene, server)
        read_window(scene, "nir", whole, cache=tmp_path)
        assert len(server.asked("B08")) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=503, retry_after_s=0),
        Fault(status=429),
        Fault(status=500),
        Fault(keep_bytes=100),
        Fault(keep_bytes=0),
    ],
)
def test_what_is_over_at_the_next_attempt_is_no_error(
    scene: Scene, server: StacServer, grid: GeoBox, fault: Fault
) -> None:
    server.fault("B08", fault, fault)
    assert np.isfinite(read_window(scene, "nir", grid, retries=HASTY)).any()
    assert len(server.asked("B08")) >= 3


@pytest.mark.parametrize(
    ("fault", "kind", "asked"),
    [
        (Fault(status=404, forever=True), MissingImageError, 1),
        (Fault(status=410, forever=True), MissingImageError, 1),
        (Fault(status=403, forever=True), RefusedError, 1),
        (Fault(status=503, forever=True), UnavailableError, 3),
        (Fault(keep_bytes=100, forever=True), UnavailableError, 3),
        (Fault(status=418, forever=True), SceneReadError, 1),
        (Fault(truncated_to=20_000, forever=True), DamagedImageError, 1),
        (Fault(truncated_to=100, forever=True), DamagedImageError, 1),
        (Fault(truncated_to=0, forever=True), DamagedImageError, 1),
    ],
)
def test_each_fault_has_its_class(
    scene: Scene,
    server: StacServer,
    grid: GeoBox,
    tmp_path: Path,
    fault: Fault,
    kind: type[SceneReadError],
    asked: int,
) -> None:
    server.fault("B08", fault)
    with pytest.raises(kind, match=r"B08_10m\.tif") as caught:
        read_window(scene, "nir", grid, retries=HASTY, cache=tmp_path)
    assert type(caught.value) is kind
    assert caught.value.transient == (kind is UnavailableError)
    assert len(server.asked("B08")) == asked
    server.mend()  # and the next reading is not spoiled by what was kept of this one
    assert np.isfinite(read_window(scene, "nir", grid, retries=HASTY, cache=tmp_path)).any()


def test_a_server_that_is_not_there(scene: Scene, grid: GeoBox) -> None:
    away = replace(scene, assets={"B08": Asset("http://127.0.0.1:9/B08.tif")})
    with pytest.raises(UnavailableError, match="3 attempts"):
        read_window(away, "B08", grid, retries=HASTY)


def signed(server: StacServer) -> SasSigner:
    return SasSigner(server.tokens_url, host="127.0.0.1")


def test_signatures_are_kept_and_renewed_once_when_they_expire(
    archive: Path, tmp_path: Path
) -> None:
    with StacServer(archive, signed=True) as server:
        scenes = from_items(server.items)
        _, whole = file_grid(scenes[0], server)
        with pytest.raises(RefusedError, match="signer"):
            read_window(scenes[0], "nir", whole, retries=HASTY)
        for scene in scenes[:2]:
            read_window(scene, "nir", whole, signer=signed(server), retries=HASTY)
        assert len(server.asked("/token/")) == 1
        server.expire_tokens()
        read_window(scenes[2], "nir", whole, signer=signed(server), retries=HASTY)
        assert len(server.asked("/token/")) == 2
        server.fault("B08", Fault(status=403, forever=True))
        with pytest.raises(SignatureError, match="signed afresh"):
            read_window(scenes[3], "nir", whole, signer=signed(server), retries=HASTY)
        assert len(server.asked("/token/")) == 3
        server.fault("/token/", Fault(status=500, forever=True))
        with pytest.raises(SignatureError, match="no token"):
            read_window(scenes[4], "nir", whole, signer=signed(server), retries=HASTY)


def test_signatures_do_not_enter_the_cache_or_the_scene(archive: Path, tmp_path: Path) -> None:
    with StacServer(archive, signed=True) as server:
        scene = from_items(server.items)[0]
        _, whole = file_grid(scene, server)
        read_window(scene, "nir", whole, signer=signed(server), cache=tmp_path)
        server.expire_tokens()
        asked = len(server.requests)
        read_window(scene, "nir", whole.pad(1), signer=signed(server), cache=tmp_path)
        assert len(server.requests) == asked
        assert "sig" not in scene.assets["B08"].href


def test_no_overlap_is_told_before_anything_is_fetched(
    scene: Scene, server: StacServer, grid: GeoBox
) -> None:
    far = grid.translate_pix(50_000, 0)
    with pytest.raises(NoOverlapError, match="shows nothing of the grid"):
        read_window(scene, "nir", far)
    assert not server.asked("B08")
    for near in (grid.translate_pix(1000, 0), grid.zoom_to(shape=(9, 7)).translate_pix(400, 0)):
        with pytest.raises(NoOverlapError):
            read_window(replace(scene, footprint=""), "nir", near)


def test_a_window_without_any_measurement_is_no_overlap(tmp_path: Path) -> None:
    scene = ramp(tmp_path)
    hole = GeoBox((6, 6), rasterio.Affine(10, 0, 500720, 0, -10, 5199480), CRS)
    with pytest.raises(NoOverlapError):
        read_window(scene, "B08", hole)
    assert not read_window(scene, "SCL", hole).any()


def test_files_here_fail_in_the_same_classes(tmp_path: Path) -> None:
    scene = ramp(tmp_path)
    grid = GeoBox((20, 20), rasterio.Affine(10, 0, 500100, 0, -10, 5199900), CRS)
    path = Path(scene.assets["B08"].href)
    before = read_window(scene, "B08", grid, cache=tmp_path / "cache")
    as_url = replace(scene, assets={"B08": replace(scene.assets["B08"], href=path.as_uri())})
    np.testing.assert_array_equal(read_window(as_url, "B08", grid), before)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DamagedImageError):  # though the window is in the cache: the file changed
        read_window(scene, "B08", grid, cache=tmp_path / "cache")
    path.unlink()
    with pytest.raises(MissingImageError):
        read_window(scene, "B08", grid)


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    scene = ramp(tmp_path)
    grid = GeoBox((20, 20), rasterio.Affine(10, 0, 500100, 0, -10, 5199900), CRS)
    with pytest.raises(InputError, match="no band pan"):
        read_window(scene, "pan", grid)
    with pytest.raises(GridError, match="coordinate reference system"):
        read_window(scene, "B08", GeoBox((5, 5), grid.transform, None))
    second = replace(scene, assets={"B08": replace(scene.assets["B08"], index=2)})
    with pytest.raises(DamagedImageError, match="has 1 bands, not 2"):
        read_window(second, "B08", grid)
    with pytest.raises(InputError, match="holds nothing"):
        Cache(tmp_path, max_bytes=0)
    with pytest.raises(InputError, match="cannot be asked 0 times"):
        Retries(attempts=0)


def test_a_georeference_beside_a_local_file_counts(tmp_path: Path) -> None:
    path = tmp_path / "plain_20200701.tif"
    values = np.arange(1, 401, dtype=np.uint16).reshape(20, 20)
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(
            path, "w", driver="GTiff", dtype="uint16", count=1, height=20, width=20, crs=CRS
        ) as file,
    ):
        file.write(values, 1)
    path.with_suffix(".tfw").write_text("10\n0\n0\n-10\n500005\n5199995\n")
    scene = Scene("plain", datetime(2020, 7, 1), assets={"B08": Asset(str(path))})
    grid = GeoBox((20, 20), rasterio.Affine(10, 0, 500000, 0, -10, 5200000), CRS)
    np.testing.assert_array_equal(read_window(scene, "B08", grid), values)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("'/vsis3/eodata/a.jp2' does not exist in the file system", MissingImageError),
        ("HTTP response code: 404 - NoSuchKey", MissingImageError),
        ("HTTP response code: 403 - AccessDenied", RefusedError),
        ("AWS_SECRET_ACCESS_KEY and AWS_NO_SIGN_REQUEST are not defined", RefusedError),
        ("TIFFReadEncodedTile() failed.", DamagedImageError),
    ],
)
def test_what_gdal_says_of_its_own_transports(said: str, kind: type[SceneReadError]) -> None:
    assert type(_reason("s3://eodata/a.jp2", None, said)) is kind


def test_the_cache_keeps_its_size_and_what_was_used_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=100_000)
    for number in range(300):
        cache.put(f"{number}", bytes(1000))
        # The clock of a file system is coarser than this loop.
        os.utime(cache._path(f"{number}"), (number, number))
        assert cache.get("0") is not None or number == 0
    kept = [number for number in range(300) if cache._path(f"{number}").exists()]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 102_000
    assert kept[0] == 0
    assert kept[1:] == list(range(kept[1], 300))
    assert len(kept) > 80


def test_half_written_entries_are_never_seen(tmp_path: Path) -> None:
    cache = Cache(tmp_path, max_bytes=100_000)
    cache.put("a", b"whole")
    partial = cache._path("a").parent / ".0123.partial"
    partial.write_bytes(b"ha")
    os.utime(partial, (0, 0))
    cache.clear_to(100_000)
    assert cache.get("a") == b"whole"
    assert not partial.exists()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Path:
    """A disk of 192 kB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(place)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    yield place  # type: ignore[misc]
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_told_and_a_small_one_is_used(
    scene: Scene, server: StacServer, grid: GeoBox, tiny_disk: Path
) -> None:
    cache = Cache(tiny_disk / "cache", max_bytes=10_000_000)
    for number in range(40):  # more than fits: the older ones are given up
        cache.put(f"{number}", bytes(20_000))
    assert cache.get("39") is not None
    cache.clear_to(0)
    (tiny_disk / "other").write_bytes(bytes(170_000))
    with pytest.raises(FullDiskError, match="free some space") as caught:
        read_window(scene, "nir", grid, cache=cache)
    assert caught.value.transient
    assert not list(tiny_disk.rglob("*.partial"))
    (tiny_disk / "other").unlink()
    assert np.isfinite(read_window(scene, "nir", grid, cache=cache)).any()


def test_a_cache_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(OgiveError, match="cannot be written"):
        Cache(tmp_path / "file" / "cache").put("a", b"b")
