"""`ogive.match`: known motion, invariants, masks, priors, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import ogive
from ogive.matching.field import CHANCE_SIGMAS, DOUBTFUL_SIGMAS, Points
from ogive.matching.search import search_radius_px
from ogive.model import Flag, GridError, InputError
from ogive.simulation.pair import simple_pair

VALUES = ("dx", "dy", "dx_var", "dy_var", "dxdy_cov", "correlation", "peak_ratio", "snr")


@pytest.fixture(scope="module")
def pair():
    return simple_pair((300, 360), seed=2, max_displacement_px=6, decorrelated_fraction=0.0)


@pytest.fixture(scope="module")
def found(pair):
    return ogive.match(pair.earlier, pair.later, window=16, step=8, search=12)


def truth_at(pair, displacement):
    """Truth at the window centres, which lie between pixels for even windows."""
    x, y = displacement.x.values, displacement.y.values
    grid = {"y": ("y", np.arange(pair.dx_px.shape[0])), "x": ("x", np.arange(pair.dx_px.shape[1]))}
    truth = xr.Dataset(
        {"dx": (("y", "x"), pair.dx_px), "dy": (("y", "x"), pair.dy_px)}, coords=grid
    )
    return truth.interp(y=y, x=x)


def assert_same(a, b, exact=True, names=VALUES):
    for name in names:
        if exact:
            np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=name)
        else:
            np.testing.assert_allclose(a[name].values, b[name].values, atol=2e-3, err_msg=name)
    if exact:
        np.testing.assert_array_equal(a.flag.values, b.flag.values)


def test_known_motion_is_found(pair, found):
    truth = truth_at(pair, found)
    error = np.hypot(found.dx - truth.dx, found.dy - truth.dy)
    measured = found.flag == Flag.MEASURED
    inner = measured[2:-2, 2:-2]
    assert float(inner.mean()) > 0.97
    # At SNR 10 the bound for a window of 16 px is 0.057 px per component, 0.08 px in length: the
    # median of such a Rayleigh distribution is 0.067, and 5 sigma-lengths are 0.4. Only in the
    # margins, where motion varies by pixels within a window, may one point in a hundred exceed it.
    assert float(error.median()) < 0.08
    assert float((error > 0.4).mean()) < 0.01


def test_declared_errors_cover(pair, found):
    truth = truth_at(pair, found)
    for axis in ("dx", "dy"):
        z = (found[axis] - truth[axis]) / np.sqrt(found[f"{axis}_var"])
        covered = float((np.abs(z) < 1.96).sum() / np.isfinite(z).sum())
        assert 0.90 <= covered <= 0.99


def test_result_stands_at_the_window_centres(found):
    assert found.sizes == {"y": 36, "x": 44, "frequency": 46}
    np.testing.assert_array_equal(found.x[:3], [7.5, 15.5, 23.5])
    np.testing.assert_array_equal(found.y[:3], [7.5, 15.5, 23.5])
    points = Points.of_image((20, 33), 9, 4)
    assert points.shape == (3, 7)
    assert points.centre_x[0] == 4.0


def test_flags_say_why(found):
    assert found.flag.attrs["flag_meanings"].split()[0] == "measured"
    np.testing.assert_array_equal(np.isfinite(found.dx), found.flag == Flag.MEASURED)
    np.testing.assert_array_equal(np.isfinite(found.dx_var), found.flag == Flag.MEASURED)


@pytest.mark.parametrize("features", ["adaptive", "sobel"])
def test_threads_do_not_change_a_bit(pair, features):
    one, three = (
        ogive.match(
            pair.earlier, pair.later, window=16, step=8, search=12, features=features, threads=n
        )
        for n in (1, 3)
    )
    assert_same(one, three)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "float64"])
def test_types_do_not_matter(dtype):
    """Whole numbers that fit every type give the same field in each."""
    made = simple_pair((160, 160), seed=5, max_displacement_px=3, decorrelated_fraction=0)
    scaled = []
    for image in (made.earlier, made.later):
        low, high = np.percentile(image, (0.1, 99.9))
        scaled.append(np.clip(np.rint(255 * (image - low) / (high - low)), 0, 255))
    reference = ogive.match(*scaled, window=16, step=16, search=8)
    typed = ogive.match(*(image.astype(dtype) for image in scaled), window=16, step=16, search=8)
    assert_same(reference, typed, exact=False, names=("dx", "dy", "correlation"))


def test_bright_images_of_16_bits_do_not_overflow():
    made = simple_pair((160, 160), seed=5, max_displacement_px=3, decorrelated_fraction=0)
    bright = [
        np.clip(image - image.max() + 65535, 0, 65535).astype(np.uint16)
        for image in (made.earlier, made.later)
    ]
    as_float = [image.astype(np.float64) for image in bright]
    for features in ("sobel", "laplacian", "adaptive"):
        options = {"window": 16, "step": 16, "search": 8, "features": features}
        assert_same(
            ogive.match(*bright, **options),
            ogive.match(*as_float, **options),
            exact=False,
            names=("dx", "dy", "correlation"),
        )


@given(st.integers(-9, 9), st.integers(-9, 9))
@settings(max_examples=8)
def test_whole_shifts_are_exact(u, v):
    rng = np.random.default_rng(7)
    scene = rng.standard_normal((120, 140)).astype(np.float32)
    moved = np.roll(scene, (v, u), (0, 1))
    result = ogive.match(scene, moved, window=16, step=12, search=12, features="highpass")
    inner = result.isel(y=slice(2, -2), x=slice(2, -2))
    # Gauss-Newton ends when it expects to move by less than 0.003 px more, and the predicted
    # deformation carries a little of the coarse search's noise.
    np.testing.assert_allclose(inner.dx, u, atol=0.01)
    np.testing.assert_allclose(inner.dy, v, atol=0.01)


@pytest.mark.parametrize("axis", [0, 1])
def test_flipping_the_images_flips_the_motion(axis):
    # Rows and columns such that the windows of the flipped image are the flipped windows.
    made = simple_pair((16 + 8 * 30, 16 + 8 * 32), seed=3, max_displacement_px=4)
    plain = ogive.match(made.earlier, made.later, window=16, step=8, search=8, features="highpass")
    flipped = ogive.match(
        np.flip(made.earlier, axis), np.flip(made.later, axis), window=16, step=8, search=8,
        features="highpass",
    )  # fmt: skip
    both = (plain.flag.values == 0) & (np.flip(flipped.flag.values, axis) == 0)
    assert both[2:-2, 2:-2].mean() > 0.85
    sign = (1, -1) if axis == 0 else (-1, 1)
    for name, factor in zip(("dx", "dy"), sign, strict=True):
        difference = factor * np.flip(flipped[name].values, axis) - plain[name].values
        # The coarse search halves the image from the other end and predicts a slightly other
        # deformation: a few hundredths of a pixel of the 0.06 px that noise leaves.
        assert np.abs(difference[both]).max() < 0.15
        assert np.median(np.abs(difference[both])) < 0.01


def test_gain_and_offset_do_not_matter(pair, found):
    other = ogive.match(pair.earlier, 0.25 * pair.later + 900, window=16, step=8, search=12)
    assert_same(found, other, exact=False, names=("dx", "dy", "correlation"))


def georeferenced(values, *, size=10.0, north_up=True):
    y = 5_000_000 - size * (np.arange(values.shape[0]) + 0.5)
    if not north_up:
        y, values = y[::-1], values[::-1]
    x = 400_000 + size * (np.arange(values.shape[1]) + 0.5)
    return xr.DataArray(values, dims=("y", "x"), coords={"y": y, "x": x})


def test_displacement_is_along_the_coordinates(pair, found):
    earlier, later = georeferenced(pair.earlier), georeferenced(pair.later)
    mapped = ogive.match(earlier, later, window=16, step=8, search=12)
    np.testing.assert_allclose(mapped.dx, 10 * found.dx, rtol=1e-6)
    np.testing.assert_allclose(mapped.dy, -10 * found.dy, rtol=1e-6)
    np.testing.assert_allclose(mapped.dx_var, 100 * found.dx_var, rtol=1e-5)
    np.testing.assert_allclose(mapped.dxdy_cov, -100 * found.dxdy_cov, rtol=1e-5)
    assert mapped.x.values[0] == pytest.approx(400_000 + 10 * 8)
    assert mapped.y.values[0] == pytest.approx(5_000_000 - 10 * 8)


def test_masked_pixels_take_no_part(pair):
    """Garbage under the mask changes nothing, and windows under it say so."""
    mask = np.ones(pair.earlier.shape, bool)
    mask[100:160, 120:200] = False
    results = []
    for garbage in (0.0, 50_000.0):
        earlier, later = pair.earlier.copy(), pair.later.copy()
        earlier[~mask] = garbage
        later[~mask] = garbage
        results.append(ogive.match(earlier, later, window=16, step=8, search=12, mask=mask))
    assert_same(*results)
    inside = results[0].sel(x=slice(132, 188), y=slice(112, 148))
    assert np.all(inside.flag == Flag.MASKED)
    partly = results[0].valid_fraction
    assert float(partly.min()) < 0.8
    truth = truth_at(pair, results[0])
    error = np.hypot(results[0].dx - truth.dx, results[0].dy - truth.dy)
    edge = (partly < 1) & np.isfinite(error)
    assert int(edge.sum()) > 10
    assert float(error.where(edge).median()) < 0.15


def test_nan_inf_and_fill_values_are_masked(pair):
    earlier, later = pair.earlier.copy(), pair.later.copy()
    earlier[50:90, 60:110] = np.nan
    later[200:230, 60:110] = np.inf
    result = ogive.match(earlier, later, window=16, step=8, search=12)
    assert np.isfinite(result.correlation.where(result.flag == 0, 0)).all()
    assert np.all(result.flag.sel(x=slice(70, 100), y=slice(60, 80)) == Flag.MASKED)
    filled = georeferenced(np.where(np.isfinite(earlier), earlier, 0)).assign_attrs(_FillValue=0)
    other = ogive.match(filled, georeferenced(pair.later), window=16, step=8, search=12)
    assert np.all(other.flag.values[6:9, 8:11] == Flag.MASKED)


def test_a_flat_patch_has_no_value(pair):
    earlier = pair.earlier.copy()
    earlier[100:180, 100:180] = 2500.0
    result = ogive.match(earlier, pair.later, window=16, step=8, features="intensity", search=12)
    inside = result.sel(x=slice(110, 170), y=slice(110, 170))
    assert np.all(inside.flag == Flag.FLAT)
    assert np.isnan(inside.dx).all()


def test_unrelated_images_are_refused_point_by_point():
    one, two = (
        simple_pair((240, 240), seed=seed, max_displacement_px=1).earlier for seed in (11, 12)
    )
    result = ogive.match(one, two, window=16, step=8, search=12, features="highpass")
    assert float((result.flag == Flag.MEASURED).mean()) < 0.05


def test_lines_of_lost_data_are_bridged(pair):
    """Landsat 7 without its scan-line corrector: stripes of a quarter of the image."""
    gaps = np.zeros(pair.earlier.shape, bool)
    for start in range(0, 300, 32):
        gaps[start : start + 5] = True
    result = ogive.match(
        np.where(gaps, 0, pair.earlier), np.where(np.roll(gaps, 6, 0), 0, pair.later),
        window=32, step=16, search=12, mask=ogive.Masks(~gaps, ~np.roll(gaps, 6, 0)), min_valid=0.4,
    )  # fmt: skip
    truth = truth_at(pair, result)
    error = np.hypot(result.dx - truth.dx, result.dy - truth.dy)
    assert float((result.flag == 0).mean()) > 0.6
    assert float(error.median()) < 0.15


def test_prior_leads_a_short_search(pair, found):
    smooth = truth_at(pair, found)
    wide = ogive.Search(radius_px=1, prior_radius_px=2)
    with_prior = ogive.match(pair.earlier, pair.later, window=16, step=8, search=wide, prior=smooth)
    without = ogive.match(pair.earlier, pair.later, window=16, step=8, search=wide)
    truth = truth_at(pair, found)
    fast = np.hypot(truth.dx, truth.dy) > 4
    shares = []
    for result in (with_prior, without):
        near = np.hypot(result.dx - truth.dx, result.dy - truth.dy) < 0.5
        shares.append(float(near.where(fast).mean()))
    assert shares[0] > 0.85
    assert shares[1] < shares[0] - 0.2


def test_full_search_finds_the_same(pair, found):
    full = ogive.match(
        pair.earlier, pair.later, window=16, step=16,
        search=ogive.Search(radius_px=10, strategy="full"),
    )  # fmt: skip
    truth = truth_at(pair, full)
    error = np.hypot(full.dx - truth.dx, full.dy - truth.dy)
    assert float((full.flag == 0).mean()) > 0.9
    assert float(error.median()) < 0.09


def test_full_search_of_some_points_needs_no_neighbours(pair):
    """A point is measured alike whether the points round it were searched, or found nothing."""
    asked = np.ones(pair.earlier.shape, np.int64)
    asked[8::32, 8::32] = 10
    options = {"window": 16, "step": 16, "subpixel": "none"}
    everywhere = ogive.match(
        pair.earlier, pair.later, search=ogive.Search(radius_px=10, strategy="full"), **options
    )
    here = ogive.match(
        pair.earlier, pair.later, search=ogive.Search(radius_px=asked, strategy="full"), **options
    )
    every, some = (found.isel(y=np.s_[::2], x=np.s_[::2]) for found in (everywhere, here))
    # Only a doubtful peak is searched again, over what the neighbours show.
    doubtful = everywhere.attrs["chance_correlation"] * DOUBTFUL_SIGMAS / CHANCE_SIGMAS
    sure = (every.flag == 0) & (every.correlation > doubtful)
    assert int(sure.sum()) > 50
    assert bool((some.flag == 0).where(sure, True).all())
    for name in ("dx", "dy"):
        np.testing.assert_array_equal(some[name].where(sure), every[name].where(sure))


def test_search_range_may_vary_over_the_image(pair):
    radius = np.full(pair.earlier.shape, 12)
    uniform = ogive.match(pair.earlier, pair.later, window=16, step=8, search=12)
    varied = ogive.match(
        pair.earlier, pair.later, window=16, step=8, search=ogive.Search(radius_px=radius)
    )
    assert_same(uniform, varied)


@pytest.mark.parametrize(
    ("subpixel", "median_px"),
    # What each leaves at SNR 10: Gauss-Newton near the bound; the fits are biased towards whole
    # pixels, by up to 0.06 px for the parabola; whole pixels err by 0.38 px on average.
    [
        ("translation", 0.09),
        ("affine", 0.09),
        ("quadratic", 0.12),
        ("parabola", 0.14),
        ("gaussian", 0.14),
        ("fourier", 0.12),
        ("none", 0.5),
    ],
)
def test_subpixel_methods(pair, subpixel, median_px):
    result = ogive.match(pair.earlier, pair.later, window=16, step=16, search=12, subpixel=subpixel)
    truth = truth_at(pair, result)
    error = np.hypot(result.dx - truth.dx, result.dy - truth.dy)
    assert float(error.median()) < median_px
    assert result.attrs["subpixel"] == subpixel


@pytest.mark.parametrize("window", [8, 9, 24, 48, 64, 128])
def test_windows_of_all_sizes(pair, window):
    result = ogive.match(pair.earlier, pair.later, window=window, step=16, search=8)
    truth = truth_at(pair, result)
    error = np.hypot(result.dx - truth.dx, result.dy - truth.dy)
    assert float((result.flag == 0)[1:-1, 1:-1].mean()) > (0.4 if window < 16 else 0.8)
    # Small windows know less; large ones hold both margin and trunk of this narrow glacier, whose
    # motion is a mean over all of them.
    assert float(error.median()) < (0.3 if window < 16 else 0.12 if window < 40 else 1.0)


def test_steps_of_one_pixel():
    made = simple_pair((96, 104), seed=1, max_displacement_px=2, decorrelated_fraction=0)
    result = ogive.match(made.earlier, made.later, window=16, step=1, search=5)
    assert result.sizes["y"] == 81
    assert result.sizes["x"] == 89
    assert float((result.flag == 0).mean()) > 0.7


def test_forward_and_backward(pair):
    result = ogive.match(
        pair.earlier, pair.later, window=16, step=8, search=12, forward_backward=0.3
    )
    distance = result.forward_backward_distance
    kept = result.flag == Flag.MEASURED
    assert float(distance.where(kept).max()) <= 0.3
    assert float(kept.mean()) > 0.75
    # Both directions err together only in part: the sum has about the error of one.
    assert float(distance.where(kept).median()) < 0.1


def test_own_features_and_own_stacks(pair):
    def gradient(image, valid, *, threads=1):
        return np.stack(np.gradient(image)).astype(np.float32)

    by_function = ogive.match(
        pair.earlier, pair.later, window=16, step=16, search=12, features=gradient
    )
    assert by_function.attrs["features"] == "gradient"
    stacks = [gradient(image, None) for image in (pair.earlier, pair.later)]
    by_stack = ogive.match(*stacks, window=16, step=16, search=12)
    assert by_stack.attrs["features"] == "given"
    truth = truth_at(pair, by_stack)
    for result in (by_function, by_stack):
        error = np.hypot(result.dx - truth.dx, result.dy - truth.dy)
        assert float(error.median()) < 0.15


def test_fixed_features_are_smoothed_by_what_the_noise_asks_for():
    noisy = simple_pair((300, 360), seed=2, max_displacement_px=4, decorrelated_fraction=0, snr=1)
    clean = simple_pair((300, 360), seed=2, max_displacement_px=4, decorrelated_fraction=0, snr=30)
    options = {"window": 16, "step": 8, "search": 10, "features": "highpass"}
    assert ogive.match(clean.earlier, clean.later, **options).attrs["features"] == "highpass"
    by_itself = ogive.match(noisy.earlier, noisy.later, **options)
    assert "smoothed by" in by_itself.attrs["features"]
    plain = ogive.match(noisy.earlier, noisy.later, smoothing=0.0, **options)
    spreads = []
    for result in (by_itself, plain):
        truth = truth_at(noisy, result)
        error = np.hypot(result.dx - truth.dx, result.dy - truth.dy)
        spreads.append(float(error.median()))
    assert spreads[0] < 0.95 * spreads[1]


def test_spectra_are_kept_with_the_result(found):
    assert found.coherence.dims == ("frequency",)
    assert float(found.filter_response.max()) == 1.0
    assert found.attrs["features"] == "adaptive"
    assert found.attrs["noise_factor"] > 1.0


def test_scattered_clouds_leave_room_for_the_adaptive_filter(pair):
    """No window of 64 px is free of clouds, some of 32 px are."""
    clear = np.ones(pair.earlier.shape, bool)
    for y in range(5, 300, 56):
        for x in range(5, 360, 56):
            clear[y : y + 12, x : x + 12] = False
    result = ogive.match(pair.earlier, pair.later, window=16, step=8, search=12, mask=clear)
    assert result.attrs["features"] == "adaptive"
    assert result.sizes["frequency"] == 24


def test_a_small_image_falls_back_openly(caplog):
    rng = np.random.default_rng(0)
    scene = rng.standard_normal((30, 30)).astype(np.float32)
    result = ogive.match(scene, np.roll(scene, 1, 1), window=16, step=4, search=4)
    assert "too few windows" in result.attrs["features"]
    assert "high-pass" in caplog.text


def test_search_radius_follows_speed_and_is_clipped():
    assert search_radius_px(3000.0, days=16, pixel_size_m=15) == 9
    assert search_radius_px(1.0, days=5, pixel_size_m=10) == 4
    assert search_radius_px(30_000.0, days=400, pixel_size_m=10) == 64
    speeds = np.array([[1.0, 3000.0]])
    assert search_radius_px(speeds, days=16, pixel_size_m=15).tolist() == [[4, 9]]
    with pytest.raises(InputError, match="above zero"):
        search_radius_px(-1.0, days=16, pixel_size_m=15)


IMAGE = np.random.default_rng(0).standard_normal((60, 70)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"earlier": np.ones((60, 70))}, InputError, "constant"),
        ({"later": np.full((60, 70), np.nan)}, InputError, "no valid pixel"),
        ({"mask": np.zeros((60, 70), bool)}, InputError, "no valid pixel"),
        ({"mask": np.ones((6, 7), bool)}, GridError, "mask has the shape"),
        ({"later": IMAGE[:50]}, GridError, "shape"),
        ({"window": 64}, InputError, "larger than the image"),
        ({"window": 4}, InputError, "8 to 128"),
        ({"step": 0}, InputError, "at least 1"),
        ({"search": 0}, InputError, "at least 1"),
        ({"features": "deep"}, InputError, "adaptive, intensity"),
        ({"features": lambda image, valid, threads: image[:9]}, InputError, "is needed"),
        ({"subpixel": "spline"}, InputError, "sub-pixel"),
        ({"min_valid": 0.0}, InputError, "min_valid"),
        ({"smoothing": -1.0}, InputError, "smoothing"),
        ({"earlier": IMAGE + 1j}, InputError, "real numbers"),
        ({"earlier": IMAGE[0]}, InputError, "dimensions"),
        ({"earlier": xr.DataArray(IMAGE, dims=("y", "x"))}, GridError, "both"),
        ({"prior": xr.Dataset({"dx": ("x", [1.0, 2.0])})}, InputError, "dy"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(change, error, says):
    options = {
        "earlier": IMAGE,
        "later": np.roll(IMAGE, 1, 1),
        "window": 16,
        "step": 8,
        "search": 4,
    }
    options.update(change)
    with pytest.raises(error, match=says):
        ogive.match(options.pop("earlier"), options.pop("later"), **options)


def test_images_on_other_grids_are_refused():
    one = georeferenced(IMAGE)
    with pytest.raises(GridError, match="different x"):
        ogive.match(one, one.assign_coords(x=one.x + 5), window=16)
    with pytest.raises(GridError, match="dimensions"):
        ogive.match(one.rename(x="lon"), one.rename(x="lon"), window=16)
    uneven = one.assign_coords(x=one.x + np.linspace(0, 30, one.x.size) ** 2)
    with pytest.raises(GridError, match="evenly"):
        ogive.match(uneven, uneven, window=16)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(InputError, match="strategy"):
        ogive.Search(strategy="random")
