"""Do simulated scenes show what they should: parallax, motion, sun, snow, cloud, and no more?"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage

from ogive.model import DateError, InputError
from ogive.simulation import (
    ORBITS,
    Front,
    Ground,
    Pass,
    Place,
    SimulatedGlacier,
    SurfaceChange,
    Weather,
)
from ogive.simulation.atmosphere import clouds
from ogive.simulation.noise import fractal_noise
from ogive.simulation.resample import displaced, refined, spline_layers
from ogive.simulation.rhythm import years_since_epoch
from ogive.simulation.satellite import LANDSAT, SENTINEL_2
from ogive.simulation.sun import SunPosition, cast_shadow, irradiance, sun_position
from ogive.simulation.surface import generation_weights

WEST, EAST = ORBITS["sentinel-2-west"], ORBITS["sentinel-2-east"]
NOON = datetime(2020, 8, 10, 10, 14)


@pytest.fixture(scope="module")
def clear():
    """A glacier under perfect weather, whose surface keeps its texture."""
    return SimulatedGlacier.build(
        (400, 400),
        weather=Weather.perfect(),
        change=SurfaceChange(decorrelation_days=np.inf),
        dem_error_m=20.0,
    )


def residual_shift(reference, image, gradient_sigma=0.0):
    """Least-squares shift of ``image`` against ``reference`` (columns, rows), in pixels.

    Linear in the shift, so good for residuals of some hundredths of a pixel; the gradient is the
    mean of both images' gradients, which cancels the second order.
    """
    mean = (reference + image) / 2
    down, right = np.gradient(mean)
    inner = np.s_[3:-3, 3:-3]
    system = np.stack([right[inner].ravel(), down[inner].ravel(), np.ones(right[inner].size)], 1)
    solution, *_ = np.linalg.lstsq(system, (reference - image)[inner].ravel(), rcond=None)
    return solution[:2]


def windows(mask, size, step):
    for row in range(0, mask.shape[0] - size, step):
        for column in range(0, mask.shape[1] - size, step):
            part = np.s_[row : row + size, column : column + size]
            if mask[part].all():
                yield part


def fine_places(glacier):
    """Places of the fine samples, a quarter of a cell apart."""
    return np.meshgrid(
        *(
            axis[0] + sign * (np.arange(axis.size * 4) - 1.5) * 5.0
            for axis, sign in ((glacier.terrain.x, 1), (glacier.terrain.y, -1))
        )
    )


def later_on_earlier(glacier, earlier, later):
    """The later image pulled back by what the truth says a perfect matcher would measure."""
    x, y = np.meshgrid(earlier.x, earlier.y)
    apparent = glacier.apparent_displacement(earlier, later, x, y)
    columns = (x + apparent.dx_m - later.x[0]) / (later.x[1] - later.x[0])
    rows = (later.y[0] - y - apparent.dy_m) / (later.x[1] - later.x[0])
    return ndimage.map_coordinates(later.image.astype(float), [rows, columns], order=5), apparent


def test_same_orbit_shows_no_parallax(clear):
    one, two = (clear.look(Pass(NOON + timedelta(days=d), "2A", WEST)) for d in (0, 5))
    x, y = np.meshgrid(one.x, one.y)
    stable = clear.is_stable(x, y)
    apparent = clear.apparent_displacement(one, two, x, y)
    # The DEM is wrong, but in the same way for both.
    assert np.hypot(*clear.parallax(one, x, y))[stable].max() > 2.0
    # Both lines of sight are iterated to 1 mm; below cliffs the iteration may jump between ledges.
    assert np.quantile(np.hypot(*apparent)[stable], 0.99) < 0.002 * 10
    assert np.hypot(*apparent)[stable].max() < 0.02 * 10
    lit = stable & (one.ground == two.ground) & (one.ground != Ground.DARK)
    shifts = [
        residual_shift(one.image[w].astype(float), two.image[w].astype(float))
        for w in windows(lit, 24, 12)
    ]
    assert len(shifts) > 10
    # The sun moves by a degree or so in five days, and shading with it; the windows' median is
    # free of what that does at single ridges.
    assert np.abs(np.median(shifts, axis=0)).max() < 0.02


def test_two_orbits_show_the_prescribed_parallax(clear):
    """(tan a - tan b) dZ across track, from the DEM and the angles alone, to 0.02 px."""
    west, east = (
        clear.look(Pass(NOON + timedelta(minutes=m), "2A", o)) for m, o in ((0, WEST), (1, EAST))
    )
    x, y = np.meshgrid(west.x, west.y)
    stable = clear.is_stable(x, y)
    apparent = clear.apparent_displacement(west, east, x, y)
    columns = (x - clear.terrain.x[0]) / clear.terrain.step_m
    rows = (clear.terrain.y[0] - y) / clear.terrain.step_m
    excess = ndimage.map_coordinates(
        (clear.terrain.elevation_m - clear.dem_m).astype(float), [rows, columns], order=3
    )
    centre_x, centre_y = clear.terrain.x.mean(), clear.terrain.y.mean()
    expected = np.zeros((2, *x.shape))
    for orbit, sign in ((EAST, 1), (WEST, -1)):
        azimuth = np.deg2rad(orbit.view_azimuth_deg)
        tangent = orbit.tangent(x, y, centre_x=centre_x, centre_y=centre_y)
        expected[0] -= sign * excess * tangent * np.sin(azimuth)
        expected[1] -= sign * excess * tangent * np.cos(azimuth)
    assert np.hypot(*expected)[stable].max() > 5
    error_px = np.hypot(apparent.dx_m - expected[0], apparent.dy_m - expected[1]) / 10
    slope = np.hypot(*np.gradient(clear.terrain.elevation_m.astype(float), 20.0))
    slope = ndimage.map_coordinates(slope, [rows, columns], order=1)
    # To first order; the second one is the shift times the slope times the tangent.
    second_px = (np.abs(excess) * np.tan(np.deg2rad(9)) ** 2 * slope) / 10
    gentle = stable & (second_px < 0.005)
    assert gentle.sum() > 2000
    assert np.quantile(error_px[gentle], 0.95) < 0.02

    pulled, _ = later_on_earlier(clear, west, east)
    lit = stable & (west.ground != Ground.DARK) & (west.image > 1100)
    lit[:10], lit[-10:], lit[:, :10], lit[:, -10:] = False, False, False, False
    shifts = np.array(
        [residual_shift(west.image[w].astype(float), pulled[w]) for w in windows(lit, 32, 16)]
    )
    raw = np.array(
        [
            residual_shift(west.image[w].astype(float), east.image[w].astype(float))
            for w in windows(lit, 32, 16)
        ]
    )
    assert len(shifts) > 20
    assert np.median(np.hypot(*raw.T)) > 0.1
    assert np.median(np.hypot(*shifts.T)) < 0.02


def test_parallax_points_away_from_the_satellite_where_the_dem_is_too_low(clear):
    higher = replace(clear, dem_m=clear.terrain.elevation_m - np.float32(100))
    scene = clear.look(Pass(NOON, "2A", WEST))
    x, y = np.array([clear.terrain.x.mean()]), np.array([clear.terrain.y.mean()])
    shift = higher.parallax(scene, x, y)
    assert shift.dx_m[0] == pytest.approx(
        100 * np.tan(np.deg2rad(8.9)) * -np.sin(np.deg2rad(286.5)), rel=0.1
    )
    assert shift.dx_m[0] > 0


def test_texture_moves_as_the_truth_says(clear):
    """Half a year: what the trajectories bring back is what was there."""
    start, end = years_since_epoch(NOON), years_since_epoch(NOON) + 0.5
    first, second = (clear.scenery.moved_texture(t).brightness for t in (start, end))
    x, y = fine_places(clear)
    moved = clear.scenery.trajectories.move(x, y, start, end)
    columns, rows = (moved.x - x[0, 0]) / 5, (y[0, 0] - moved.y) / 5
    pulled = ndimage.map_coordinates(second, [rows, columns], order=5)
    fast = clear.is_ice(x, y, NOON) & (np.hypot(moved.x - x, moved.y - y) > 20)
    fast = ndimage.binary_erosion(fast, iterations=6)
    shifts = [residual_shift(first[w], pulled[w]) for w in windows(fast, 32, 32)]
    assert len(shifts) > 20
    # In fine samples of half a pixel.
    assert np.abs(shifts).max() < 0.04
    assert np.corrcoef(first[fast], pulled[fast])[0, 1] > 0.98


def test_landscape_moves_as_the_truth_says():
    """Two months under one sun: matching the pulled-back scenery finds nothing left."""
    bare = SurfaceChange(decorrelation_days=np.inf, snow_line_low_m=5e3, snow_line_high_m=5e3)
    clear = SimulatedGlacier.build((400, 400), weather=Weather.perfect(), change=bare)
    sun = SunPosition(150.0, 50.0)
    start, end = years_since_epoch(NOON), years_since_epoch(NOON) + 1 / 6
    first, second = (clear.scenery.view(t, sun).reflectance for t in (start, end))
    x, y = fine_places(clear)
    moved = clear.scenery.trajectories.move(x, y, start, end)
    columns, rows = (moved.x - x[0, 0]) / 5, (y[0, 0] - moved.y) / 5
    pulled = ndimage.map_coordinates(second, [rows, columns], order=5)
    motion = np.hypot(moved.x - x, moved.y - y) / 5
    fast = ndimage.binary_erosion(clear.is_ice(x, y, NOON) & (motion > 3), iterations=8)
    # Large-scale shading stays where it is: look at the fine texture.
    fine = [im - ndimage.gaussian_filter(im, 4) for im in (first, pulled)]
    shifts = np.array([residual_shift(fine[0][w], fine[1][w]) for w in windows(fast, 48, 24)])
    assert len(shifts) > 10
    assert motion[fast].max() > 8
    # In fine samples; what is left is the shading of the slopes that stay, a hundredth of the
    # motion of some five samples.
    assert np.median(np.abs(shifts)) < 0.05


def test_misregistration_shifts_the_whole_image(clear):
    moved = replace(clear, weather=Weather(0, 0, 0, (0.3, 0.3), noise=False))
    straight, shifted = (g.look(Pass(NOON, "2A", WEST)) for g in (clear, moved))
    assert np.hypot(*shifted.misregistration) == pytest.approx(3.0)
    columns, rows = shifted.misregistration.dx_m / 10, -shifted.misregistration.dy_m / 10
    back = ndimage.shift(shifted.image.astype(float), (-rows, -columns), order=5)
    found = residual_shift(straight.image[20:-20, 20:-20].astype(float), back[20:-20, 20:-20])
    assert np.abs(found).max() < 0.01


def test_same_seed_same_bytes_whatever_was_drawn_before():
    when = Pass(datetime(2020, 7, 3, 10), "2A", WEST)
    one, two = (SimulatedGlacier.build((160, 160), seed=3) for _ in range(2))
    two.look(Pass(datetime(2023, 1, 1, 10), "2B", EAST))
    first, second = one.look(when), two.look(when)
    assert first.image.tobytes() == second.image.tobytes()
    assert first.ground.tobytes() == second.ground.tobytes()
    assert one.dem_m.tobytes() == two.dem_m.tobytes()
    other = SimulatedGlacier.build((160, 160), seed=4).look(when)
    assert other.image.tobytes() != first.image.tobytes()


def test_resampling_leaves_no_fingerprint():
    """Power of texture sampled at a fractional shift, against the source, below 0.4 cycles/px."""
    rng = np.random.default_rng(0)
    texture = fractal_noise((1024, 1024), slope=2.0, longest=200, shortest=2.2, rng=rng)
    factor = SENTINEL_2.pixel_m / 5.0
    coefficients = spline_layers(texture[np.newaxis])
    frequency = np.hypot(np.fft.fftfreq(1024)[:, None], np.fft.fftfreq(1024)[None]) * factor
    edges = np.arange(0.02, 0.41, 0.02)
    taper = np.hanning(1024)[:, None] * np.hanning(1024)

    def spectrum(image):
        power = np.abs(np.fft.fft2(image * taper)) ** 2
        which = np.digitize(frequency.ravel(), edges)
        return np.bincount(which, power.ravel(), edges.size + 1)[1:-1]

    for shift in (0.25, 0.5):
        right = np.full(texture.shape, shift, np.float32)
        moved = displaced(coefficients, right, right)[0]
        ratio = spectrum(moved) / spectrum(texture)
        assert np.abs(ratio - 1).max() < 0.05


def test_refining_keeps_quadratics_exactly():
    rows, columns = np.mgrid[0:30, 0:30].astype(float)
    coarse = 0.3 * columns**2 - 0.2 * rows * columns + rows
    fine = refined(coarse, 4)
    row, column = ((np.arange(120) + 0.5) / 4 - 0.5 for _ in range(2))
    row, column = np.meshgrid(row, column, indexing="ij")
    expected = 0.3 * column**2 - 0.2 * row * column + row
    # Mirrored edges bend the spline; the bend dies by 0.27 a cell.
    inner = np.s_[48:-48, 48:-48]
    np.testing.assert_allclose(fine[inner], expected[inner], atol=2e-3)


def test_displaced_by_whole_pixels_is_a_copy():
    image = np.random.default_rng(0).standard_normal((1, 40, 50)).astype(np.float32)
    right, down = np.full((40, 50), 3, np.float32), np.full((40, 50), -2, np.float32)
    moved = displaced(spline_layers(image), right, down)
    np.testing.assert_allclose(moved[0, 5:-5, 5:-5], image[0, 3:-7, 8:-2], atol=1e-5)


def test_sun_stands_where_providers_say(data_dir):
    """Against the angles in real Landsat items, whose scene centre the footprint gives."""
    checked = 0
    for path in sorted((data_dir / "stac_items" / "odc-stac").glob("L*.json")):
        item = json.loads(path.read_text())
        properties = item["properties"]
        if "view:sun_elevation" not in properties:
            continue
        west, south, east, north = item["bbox"]
        time = datetime.fromisoformat(properties["datetime"].replace("Z", ""))
        sun = sun_position(time, latitude_deg=(south + north) / 2, longitude_deg=(west + east) / 2)
        # The middle of the footprint is within 0.1 degrees of the scene's centre.
        assert sun.elevation_deg == pytest.approx(properties["view:sun_elevation"], abs=0.15)
        assert sun.azimuth_deg == pytest.approx(properties["view:sun_azimuth"], abs=0.3)
        checked += 1
    assert checked >= 2


def test_sun_at_the_solstices():
    north = sun_position(datetime(2021, 6, 21, 12, 2), latitude_deg=50, longitude_deg=0)
    assert north.elevation_deg == pytest.approx(90 - 50 + 23.44, abs=0.03)
    south = sun_position(datetime(2021, 12, 21, 12), latitude_deg=-40, longitude_deg=0)
    assert south.elevation_deg == pytest.approx(90 - 40 + 23.44, abs=0.1)
    assert min(south.azimuth_deg, 360 - south.azimuth_deg) < 3


def test_wall_casts_a_shadow_as_long_as_the_sun_is_low():
    height = np.zeros((60, 200), np.float32)
    height[:, 100:103] = 150.0
    sun = SunPosition(azimuth_deg=90.0, elevation_deg=30.0)
    lit = cast_shadow(height, sun, step_m=10.0)
    length = (lit[30, :100] < 0.5).sum() * 10.0
    # The foot of the wall is interpolated over one cell.
    assert length == pytest.approx(150 / np.tan(np.deg2rad(30)), abs=11)
    assert (lit[:, 110:] == 1).all()


def test_light_follows_the_slope():
    x = np.arange(40) * 10.0
    ramp = np.broadcast_to(x * np.tan(np.deg2rad(20)), (40, 40)).astype(np.float32)
    lit = np.ones((40, 40), np.float32)
    towards = SunPosition(270.0, 40.0)
    flat = irradiance(np.zeros((40, 40), np.float32), lit, towards, step_m=10.0)
    np.testing.assert_allclose(flat, 1, atol=1e-5)
    facing = irradiance(ramp, lit, towards, step_m=10.0)[20, 20]
    direct = (facing - 0.16 * (1 + np.cos(np.deg2rad(20))) / 2) / 0.84
    assert direct == pytest.approx(np.sin(np.deg2rad(60)) / np.sin(np.deg2rad(40)), rel=1e-3)


def test_winter_is_white_and_summer_is_not(clear):
    summer, winter = (
        clear.look(Pass(datetime(2020, month, 20, 10, 14), "2A", WEST)) for month in (8, 3)
    )
    share = [np.mean(scene.ground == Ground.SNOW_OR_ICE) for scene in (summer, winter)]
    assert share[1] > share[0] + 0.1
    assert np.mean(summer.ground == Ground.ROCK) > 0.1


def test_texture_decorrelates_on_its_time_scale():
    """The fine texture of the moved ice keeps a third of itself after the given time."""
    change = SurfaceChange(decorrelation_days=200, snow_line_low_m=5000, snow_line_high_m=5000)
    glacier = SimulatedGlacier.build((240, 240), weather=Weather.perfect(), change=change)
    flow = glacier.flow
    inner = refined(ndimage.distance_transform_edt(flow.ice), 4) > 4

    def bright(years):
        field = glacier.scenery.moved_texture(years).drifts
        return (field - ndimage.gaussian_filter(field, 8))[inner]

    start = 20.0
    weights = generation_weights(start, decorrelation_years=0.5476)
    assert sum(w**2 for w in weights.values()) == pytest.approx(1)
    first = bright(start)
    same = np.corrcoef(first, bright(start + 1e-4))[0, 1]
    far = np.corrcoef(first, bright(start + 2.5 * 200 / 365.25))[0, 1]
    assert same > 0.99
    # Another generation altogether; some 1500 independent samples of a few pixels each.
    assert abs(far) < 0.1


def test_clouds_cover_what_was_asked_and_throw_shadows_away_from_the_sun():
    sun = SunPosition(180.0, 45.0)
    sky = clouds((300, 300), cover=0.2, sun=sun, pixel_m=10.0, rng=np.random.default_rng(1))
    assert np.mean(sky.opacity > 0.5) == pytest.approx(0.2, abs=0.01)
    # Sun in the south at 45 degrees: shadows lie the clouds' height further north, up the image.
    reach = round(1900 / 10)
    bare = sky.opacity[: 300 - reach] < 0.01
    above = sky.opacity[reach:]
    assert np.corrcoef(sky.shadow[: 300 - reach][bare], above[bare])[0, 1] > 0.9


def test_cloud_mask_marks_bright_clouds():
    glacier = SimulatedGlacier.build((200, 200))
    scene = glacier.look(Pass(NOON, "2A", WEST), cloud_cover=0.3)
    assert np.mean(scene.ground == Ground.CLOUD) > 0.25
    assert scene.scene.cloud_cover_percent == pytest.approx(30, abs=1)
    assert np.mean(scene.ground == Ground.CLOUD_SHADOW) > 0.02


def test_polar_night_is_dark_and_says_so():
    glacier = SimulatedGlacier.build((160, 160), place=Place(latitude_deg=78.0))
    scene = glacier.look(Pass(datetime(2020, 12, 21, 11), "2A", WEST))
    assert scene.dark
    assert scene.scene.properties["dark"] is True
    assert scene.scene.sun_elevation_deg < 0
    assert (scene.ground == Ground.DARK).all()
    assert scene.image.max() < 1400


def test_landsat_sees_the_same_world():
    glacier = SimulatedGlacier.build((300, 300), weather=Weather.perfect())
    fine, coarse = (
        glacier.look(Pass(NOON, s, ORBITS[o]))
        for s, o in (("2A", "sentinel-2-west"), ("8", "landsat-west"))
    )
    assert coarse.image.shape == (200, 200)
    assert coarse.x[0] - 7.5 == fine.x[0] - 5
    # Blocks of 3 Sentinel-2 pixels are blocks of 2 of Landsat's.
    a = fine.image.astype(float).reshape(100, 3, 100, 3).mean((1, 3))
    b = coarse.image.astype(float).reshape(100, 2, 100, 2).mean((1, 3))
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.98


def test_digital_numbers_are_the_products():
    reflectance = np.full((4, 4), 0.4, np.float32)
    quiet = [replace(sensor, snr=1e9) for sensor in (SENTINEL_2, LANDSAT)]
    rng = np.random.default_rng(0)
    s2, l8 = (s.record(reflectance, sun_elevation_deg=30.0, rng=rng) for s in quiet)
    assert (s2 == 5000).all()
    assert (l8 == round((0.4 * 0.5 + 0.1) / 2e-5)).all()


def test_noise_is_that_of_the_sensor():
    reflectance = np.full((300, 300), 0.3, np.float32)
    numbers = SENTINEL_2.record(
        reflectance, sun_elevation_deg=90.0, rng=np.random.default_rng(0)
    ).astype(float)
    # 90,000 samples: the standard deviation is known to 0.3 %.
    assert 3000 / numbers.std() == pytest.approx(170, rel=0.02)


def test_calving_takes_ice_away():
    glacier = SimulatedGlacier.build((300, 300), front=Front(retreat_m_yr=120, season_m=20))
    x, y = np.meshgrid(glacier.terrain.x, glacier.terrain.y)
    early, late = datetime(2020, 6, 1), datetime(2021, 6, 1)
    before, after = (glacier.is_ice(x, y, date) for date in (early, late))
    assert before.sum() - after.sum() > 20
    gone = glacier.is_occluded(x, y, early, late)
    assert gone[before & ~after].mean() > 0.9
    assert not gone[glacier.is_stable(x, y)].any()
    scene = glacier.look(Pass(datetime(2021, 8, 1, 10), "2A", WEST), cloud_cover=0)
    assert np.sum(scene.ground == Ground.WATER) > 20


def test_passes_follow_the_schedule():
    glacier = SimulatedGlacier.build((120, 120))
    found = glacier.passes(
        datetime(2020, 1, 1), datetime(2021, 1, 1), ["sentinel-2-west", "landsat-east"]
    )
    sentinel = [p.time for p in found if p.orbit is WEST]
    assert len(sentinel) in (73, 74)
    gaps = {round((b - a) / timedelta(days=1)) for a, b in pairwise(sentinel)}
    assert gaps == {5}
    landsat = [p.time for p in found if p.orbit is ORBITS["landsat-east"]]
    gaps = {round((b - a) / timedelta(days=1)) for a, b in pairwise(landsat)}
    assert gaps == {8}
    assert found == sorted(found, key=lambda p: p.time)


def test_bad_requests_are_refused(clear):
    with pytest.raises(DateError, match="swap"):
        clear.passes(datetime(2021, 1, 1), datetime(2020, 1, 1))
    with pytest.raises(InputError, match="sentinel-2-west"):
        clear.passes(datetime(2020, 1, 1), datetime(2021, 1, 1), ["spot"])
    with pytest.raises(InputError, match="100 x 100"):
        SimulatedGlacier.build((50, 400))
    one, two = (clear.look(Pass(NOON + timedelta(days=d), "2A", WEST)) for d in (0, 5))
    with pytest.raises(DateError, match="swap"):
        clear.apparent_displacement(two, one, np.zeros(1), np.zeros(1))


@pytest.mark.slow
def test_large_scene_is_quick_and_small():
    """A scene of 1000 x 1000 px: below five seconds on one core and below 1 GB, compiled."""
    script = """
import resource, time
from datetime import datetime
from ogive.simulation import ORBITS, Pass, SimulatedGlacier
west = ORBITS["sentinel-2-west"]
SimulatedGlacier.build((120, 120)).look(Pass(datetime(2020, 8, 1, 10), "2A", west))
glacier = SimulatedGlacier.build((1000, 1000))
start = time.process_time()
glacier.look(Pass(datetime(2020, 8, 1, 10), "2A", west), cloud_cover=0.1)
print(time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=300
    )
    seconds, gigabytes = map(float, done.stdout.split())
    assert seconds < 5
    assert gigabytes < 1
