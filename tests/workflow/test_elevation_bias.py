"""From a cube on disk and what is known of its images to velocity and elevation bias."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest
import xarray as xr
from odc.geo.geobox import GeoBox
from scipy.ndimage import uniform_filter
from tests.workflow.orbits import ORBITS, cube_of_two_orbits
from typer.testing import CliRunner

from ogive.cli import app
from ogive.correction.orthorectification.views import pair_offsets
from ogive.model import GridError, InputError, OutputError
from ogive.scenes.geometry import scene_of_angles, view_geometry
from ogive.simulation.orbits import displacement_network
from ogive.store.cube import stack, write_cube
from ogive.store.readers import open_cube
from ogive.view.elevation_bias import plot_baselines, plot_elevation_bias
from ogive.workflow.elevation_bias import make_elevation_bias
from ogive.workflow.simulate import SimulationSettings, simulate_archive
from ogive.workflow.velocity import velocity
from ogive.workflow.views import cube_views

# Kaskawulsh Glacier.
BOX = GeoBox.from_bbox((580e3, 6.72e6, 584e3, 6.723e6), "EPSG:32607", resolution=200)
NETWORK = {"images": 10, "vy_m_yr": -300.0}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    cube, made = cube_of_two_orbits(BOX, **NETWORK)
    path = tmp_path_factory.mktemp("cube") / "cube.nc"
    write_cube(cube, path)
    return path, made


def within(result, truth):
    off = np.abs(result["elevation_bias"].values - truth)
    return float((off <= 1.96 * result["elevation_bias_error"].values).mean())


def test_a_cube_keeps_the_orbits_of_its_images(stored):
    cube = open_cube(stored[0])
    assert set(np.unique(cube["relative_orbit_img1"])) == set(ORBITS)


@pytest.mark.parametrize("regime", ["constant", "periods", "series", "triplets"])
def test_every_regime_finds_the_bias(stored, tmp_path, regime):
    path, made = stored
    told = []
    summary = make_elevation_bias(
        path, tmp_path / "bias.nc", regime=regime, period="60D", sampling="20D",
        progress=lambda *at: told.append(at),
    )  # fmt: skip
    assert told[-1][0] == told[-1][1]
    assert (summary.images, summary.orbits, summary.nominal) == (10, 2, 10)
    assert summary.pairs == 45
    assert summary.across == 25
    with xr.open_dataset(summary.product, decode_coords="all") as result:
        off = result["elevation_bias"].values - made.elevation_bias_m
        # A base to height of 0.18 to 0.19 for these orbits; a metre and some of error.
        assert np.sqrt(np.mean(off**2)) < 2.5
        assert within(result, made.elevation_bias_m) > 0.90
        assert result["elevation_bias"].attrs["units"] == "m"
        assert result.rio.crs.to_epsg() == 32607
        if regime != "triplets":
            assert (result["geometry"] & 32).all()
    assert summary.median_error_m < 2.5
    assert [figure.name for figure in summary.figures] == ["bias_baselines.png", "bias_map.png"]
    assert all(figure.stat().st_size > 10_000 for figure in summary.figures)


@pytest.mark.parametrize("join", ["estimated", "projected"])
def test_cross_orbit_pairs_join_the_network(stored, tmp_path, join):
    path, made = stored
    make_elevation_bias(path, tmp_path / "bias.nc", corrected=tmp_path / "freed.nc", join=join)
    raw, freed = open_cube(path).load(), open_cube(tmp_path / "freed.nc").load()
    across = raw["relative_orbit_img1"] != raw["relative_orbit_img2"]
    high = xr.DataArray(np.abs(made.elevation_bias_m) > 15, dims=("y", "x"))
    weight = (1 / raw["vx_error"] ** 2).where(across)

    def off(cube):
        """Mean error in vx of pairs across orbits, taken with its sign."""
        error = (cube["vx"] - 200.0) * np.sign(xr.DataArray(made.elevation_bias_m, dims=("y", "x")))
        forward = xr.where(raw["relative_orbit_img1"] == 14, 1.0, -1.0)
        return abs(float((error * forward * weight).where(high).mean() / weight.mean()))

    assert off(freed) < 0.15 * off(raw)
    same = ~across.values
    np.testing.assert_allclose(freed["vx"].values[same], raw["vx"].values[same], rtol=1e-6)


def test_blocks_equal_the_whole(stored, tmp_path, monkeypatch):
    path, _ = stored
    whole = make_elevation_bias(path, tmp_path / "whole.nc").product
    monkeypatch.setattr("ogive.workflow.blocks._BLOCK_BYTES", 1e5)
    blocks = make_elevation_bias(path, tmp_path / "blocks.nc").product
    with xr.open_dataset(whole) as one, xr.open_dataset(blocks) as other:
        for name in ("elevation_bias", "vx", "geometry", "pairs_used"):
            np.testing.assert_array_equal(one[name], other[name])


def test_angle_files_come_before_orbits(stored, tmp_path):
    """STAC items with angles of their own for half of the images; the others' orbits are known."""
    path, made = stored
    folder = tmp_path / "items"
    folder.mkdir()
    for k, time in enumerate(made.views["time"].values[::2]):
        item = {
            "type": "Feature",
            "id": f"S2A_07VEG_{k}",
            "geometry": {"type": "Point", "coordinates": [-139.5, 60.6]},
            "properties": {
                "datetime": f"{np.datetime_as_string(time, 's')}Z",
                "platform": "sentinel-2a",
                "view:azimuth": 30.0,
                "view:incidence_angle": 7.0,
                "ogive:simulated": True,
            },
        }
        (folder / f"{k}.json").write_text(json.dumps(item))
    (folder / "collection.json").write_text('{"type": "Collection"}')
    views, sources = cube_views(open_cube(path), [folder])
    assert len(sources) == 10
    assert views["geometry"].values.tolist() == ["scene-mean", "nominal"] * 5
    np.testing.assert_allclose(
        views["sight_y"].values[::2], np.tan(np.deg2rad(7)) * np.cos(np.deg2rad(30)), atol=0.005
    )


def test_orbits_are_read_from_the_names_of_granules(stored):
    cube = open_cube(stored[0])
    first = cube["acquisition_date_img1"].values
    last = cube["acquisition_date_img2"].values
    orbits = [cube[f"relative_orbit_img{k}"].values.astype(int) for k in (1, 2)]
    names = []
    for k in range(first.size):
        parts = [
            f"S2A_MSIL1C_{str(date)[:10].replace('-', '')}T205351_N0206_R{orbit[k]:03d}_T07VEG_X"
            for date, orbit in ((first[k], orbits[0]), (last[k], orbits[1]))
        ]
        names.append(f"s3://bucket/{parts[0]}_X_{parts[1]}_G0120V02_P075.nc")
    bare = cube.drop_vars(["relative_orbit_img1", "relative_orbit_img2"])
    named = bare.assign_coords(granule_url=("mid_date", np.array(names)))
    views, _ = cube_views(named)
    assert set(views["orbit"].values.tolist()) == set(ORBITS)
    with pytest.raises(InputError, match="10 of 10 images have neither"):
        cube_views(bare)


def test_slopes_of_the_model_bend_the_offsets(stored, tmp_path):
    """A model that rises to the east by half: offsets of views from the east are 9 % larger."""
    path, _ = stored
    x, _y = np.meshgrid(BOX.coordinates["x"].values, BOX.coordinates["y"].values)
    dem = xr.DataArray((0.5 * (x - x.min())).astype("f4"), dims=("y", "x"))
    dem = dem.assign_coords({n: BOX.coordinates[n].values for n in ("y", "x")}).odc.assign_crs(
        BOX.crs
    )
    dem.rio.to_raster(tmp_path / "dem.tif")
    flat = make_elevation_bias(path, tmp_path / "flat.nc").product
    sloping = make_elevation_bias(path, tmp_path / "sloping.nc", dem=tmp_path / "dem.tif").product
    with xr.open_dataset(flat) as one, xr.open_dataset(sloping) as other:
        ratio = (one["elevation_bias"] / other["elevation_bias"]).where(
            abs(one["elevation_bias"]) > 10
        )
        # Of 10.4° from the east and 7.4° from there: 1 / (1 - 0.5 tan θ sin φ), differenced.
        sights = [
            float(view_geometry({"mission": "sentinel-2", "relative_orbit": o}, BOX).sight_x.mean())
            for o in ORBITS
        ]
        bent = [s / (1 - 0.5 * s) for s in sights]
        expected = (bent[1] - bent[0]) / (sights[1] - sights[0])
        assert float(ratio.median()) == pytest.approx(expected, rel=0.01)


def test_the_command(stored, tmp_path):
    path, _ = stored
    runner = CliRunner()
    out = tmp_path / "bias.nc"
    done = runner.invoke(
        app, ["elevation-bias", str(path), "-o", str(out), "--corrected", str(tmp_path / "c.nc")]
    )
    assert done.exit_code == 0, done.output
    assert "10 images of 2 orbits, 45 pairs, 25 of them across orbits" in done.output
    assert "elevation bias: median" in done.output
    assert out.exists()
    again = runner.invoke(app, ["elevation-bias", str(path), "-o", str(out)])
    assert again.exit_code == 2
    assert "was kept" in again.output
    wrong = runner.invoke(
        app, ["elevation-bias", str(path), "-o", str(out), "--overwrite", "--regime", "wild"]
    )
    assert wrong.exit_code == 2
    assert "is unknown" in wrong.output


def test_a_single_orbit_is_told(tmp_path):
    cube, _ = cube_of_two_orbits(BOX, **NETWORK)
    one = cube.isel(
        mid_date=np.flatnonzero(
            (cube["relative_orbit_img1"] == 14) & (cube["relative_orbit_img2"] == 14)
        )
    )
    write_cube(one, tmp_path / "one.nc")
    summary = make_elevation_bias(tmp_path / "one.nc", tmp_path / "bias.nc")
    assert summary.flagged["single_orbit_elevation_bias_unobservable"] == 1.0
    assert np.isnan(summary.median_bias_m)
    assert [figure.name for figure in summary.figures] == ["bias_baselines.png"]
    with xr.open_dataset(summary.product) as result:
        assert "cannot be observed" in result.attrs["comment"]
        assert np.isfinite(result["vx"]).all()


def test_bad_input_is_told(stored, tmp_path):
    path, _ = stored
    with pytest.raises(InputError, match="regime"):
        make_elevation_bias(path, tmp_path / "a.nc", regime="wild")
    with pytest.raises(InputError, match="join"):
        make_elevation_bias(path, tmp_path / "a.nc", join="glued")
    with pytest.raises(InputError, match="does not exist"):
        make_elevation_bias(path, tmp_path / "a.nc", angles=[tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no MTD_TL"):
        make_elevation_bias(path, tmp_path / "a.nc", angles=[tmp_path / "empty"])
    with pytest.raises(OutputError, match="was kept"):
        make_elevation_bias(path, path)
    assert not (tmp_path / "a.nc").exists()
    bare = open_cube(path).drop_vars("spatial_ref")
    for name in ("vx", "vy"):
        bare[name].encoding.pop("grid_mapping", None)
        bare[name].attrs.pop("grid_mapping", None)
    with pytest.raises(GridError, match="no grid"):
        cube_views(bare)


def test_figures_need_something_to_draw(stored):
    empty = xr.Dataset(
        {"elevation_bias": (("y", "x"), np.full((2, 2), np.nan))}, {"y": [1.0, 0], "x": [0.0, 1]}
    )
    with pytest.raises(InputError, match="geometry did not allow"):
        plot_elevation_bias(empty)
    with pytest.raises(InputError, match="to draw"):
        plot_elevation_bias(empty, variable="thickness")
    made = displacement_network(orbits=1)
    figure = plot_baselines(made.cube, made.views)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "20 pairs of one orbit",
        "Sentinel-2, orbit 1 (8)",
    ]


@pytest.mark.slow
def test_a_simulated_archive_of_two_orbits(tmp_path):
    """From images: 3 m of the bias as a window sees it, and pairs across orbits freed of it.

    Of rock more than 10 m above and below the model, which does not move: cross-orbit pairs are
    off by 0.3 to 0.5 px, and by less than 0.05 px in the mean once they are freed.
    """
    archive = tmp_path / "archive"
    settings = SimulationSettings(
        rows=300, columns=300, scene_count=12, mean_cloud_cover=0.05, seed=3,
        start=datetime(2020, 6, 1), end=datetime(2020, 9, 15), seasonal_amplitude=0.1,
    )  # fmt: skip
    simulate_archive(archive, settings=settings)
    items = archive / "sentinel-2-l2a"
    scenes = sorted(
        ((scene_of_angles(item), item.parent) for item in items.glob("*/*.json")),
        key=lambda pair: pair[0].time,
    )
    keep = ("vx", "vy", "vx_error", "vy_error", "vxvy_cov", "img_pair_info")
    maps = []
    for k, (earlier, here) in enumerate(scenes):
        for later, there in scenes[k + 1 :]:
            if (later.time - earlier.time).days <= 40:
                images = [next(place.glob("*_B08_10m.tif")) for place in (here, there)]
                made = velocity(*images, step=6, max_speed=900, ice=archive / "outlines.gpkg")
                maps.append(made[[name for name in keep if name in made]])
    write_cube(stack(maps), tmp_path / "cube.nc")
    summary = make_elevation_bias(
        tmp_path / "cube.nc", tmp_path / "bias.nc", angles=[items], dem=archive / "dem.tif",
        image_error_m=0.5, corrected=tmp_path / "freed.nc",
    )  # fmt: skip
    assert summary.orbits == 2
    assert summary.nominal == 0
    result = xr.open_dataset(summary.product).load()
    with xr.open_dataset(archive / "truth.nc") as truth:
        place = {"y": truth["y"], "x": truth["x"]}
        seen = xr.DataArray(uniform_filter(-truth["dem_error"].values, 17), place, ("y", "x"))
        seen = seen.interp(x=result["x"], y=result["y"])
        rock = truth["ice"].isel(time=0).interp(x=result["x"], y=result["y"]) < 0.01
    off = (result["elevation_bias"] - seen).values
    assert float(np.nanstd(seen)) > 8
    print(f"\nRMSE of the bias from images: {np.sqrt(np.nanmean(off**2)):.2f} m")
    assert np.sqrt(np.nanmean(off**2)) < 3.0
    left = {}
    for name in ("cube", "freed"):
        cube = open_cube(tmp_path / f"{name}.nc").load()
        views, _ = cube_views(cube, [items])
        line = pair_offsets(cube, views)["offset_x"]
        years = (cube["acquisition_date_img2"] - cube["acquisition_date_img1"]) / np.timedelta64(
            31_557_600, "s"
        )
        d = cube["vx"] * years
        high, low = (d.where(where & rock).median(("y", "x")) for where in (seen > 10, seen < -10))
        shift = ((high - low) * np.sign(line) / 2).where(abs(line) > 0.1, drop=True)
        left[name] = shift.values / 10
    for name, shift in left.items():
        print(f"{name}: pairs across orbits off by {shift.mean():+.3f} px in the mean, "
              f"{np.abs(shift).min():.3f} to {np.abs(shift).max():.3f} px each")  # fmt: skip
    assert np.abs(left["cube"]).min() > 0.25
    assert abs(left["freed"].mean()) < 0.05
    assert np.abs(left["freed"]).max() < 0.25 * np.abs(left["cube"]).max()
