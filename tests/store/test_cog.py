"""Cloud-optimised GeoTIFFs, checked as GDAL itself marks them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from ogive.model import GridError, InputError
from ogive.store.cog import write_cogs
from ogive.store.qgis_style import layer_style

# Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

Make = Callable[..., xr.Dataset]


def test_maps_are_cogs_with_place_units_and_meaning(tmp_path: Path, make_velocity: Make) -> None:
    velocity = make_velocity(shape=(700, 1100))
    paths = write_cogs(velocity, tmp_path / "maps")
    assert [path.name for path in paths] == ["v.tif", "vx.tif", "vy.tif", "v_error.tif"]
    styles = [path.with_suffix(".qml") for path in paths]
    assert set((tmp_path / "maps").iterdir()) == {*paths, *styles}
    for path, style in zip(paths, styles, strict=True):
        assert style.read_text(encoding="utf-8") == layer_style(velocity[path.stem], path.stem)
    for path in paths:
        array = velocity[path.stem]
        with rasterio.open(path) as file:
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert file.block_shapes == [(512, 512)]
            assert file.overviews(1) == [2, 4]
            assert file.crs.to_epsg() == 32607
            assert file.transform == velocity.odc.geobox.transform
            assert file.units == ("meter/year",)
            assert file.descriptions == (array.attrs["long_name"],)
            assert np.isnan(file.nodata)
            assert file.tags()["features"] == "adaptive"
            np.testing.assert_array_equal(file.read(1), array.values)
    with rasterio.open(paths[1]) as file:
        assert file.tags(1)["stable_shift"] == "12.5"


def test_overviews_average_what_is_there(tmp_path: Path, make_velocity: Make) -> None:
    velocity = make_velocity(shape=(700, 1100))
    velocity["v"] = xr.full_like(velocity.v, 250.0).where(velocity.v.notnull())
    (path,) = write_cogs(velocity, tmp_path, ["v"])
    with rasterio.open(path, overview_level=0) as file:
        overview = file.read(1)
    assert overview.shape == (350, 550)
    assert np.unique(overview[np.isfinite(overview)]) == [250.0]
    # 2 x 2 points of which each is a hole in one case of ten: hardly ever all four.
    assert np.isfinite(overview[2:]).mean() > 0.99


def test_what_cannot_be_written_is_a_sentence(tmp_path: Path, make_velocity: Make) -> None:
    velocity = make_velocity()
    with pytest.raises(InputError, match="no speed"):
        write_cogs(velocity, tmp_path, ["v", "speed"])
    with pytest.raises(InputError, match="dims"):
        write_cogs(velocity, tmp_path, ["coherence"])
    bare = velocity.drop_vars("spatial_ref").assign_coords(x=range(40), y=range(30))
    for array in bare.data_vars.values():
        array.encoding.clear()
    with pytest.raises(GridError, match="no coordinate reference system"):
        write_cogs(bare, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not limit the size of files")
@pytest.mark.parametrize("limit_kb", [1, 64, 512])
def test_full_disk_leaves_no_map_at_all(tmp_path: Path, limit_kb: int) -> None:
    """Run where files may not grow beyond a limit, in a process of its own."""
    program = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import conftest
        from ogive.model import OutputError
        from ogive.store.cog import write_cogs
        velocity = conftest.velocity_map(shape=(700, 700))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_kb} << 10, {limit_kb} << 10))
        try:
            write_cogs(velocity, {str(tmp_path)!r})
        except OutputError as error:
            print("said:", error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "said:" in done.stdout, done.stdout + done.stderr
    assert "v.tif" in done.stdout
    assert "nothing was left there" in done.stdout
    assert list(tmp_path.iterdir()) == []
