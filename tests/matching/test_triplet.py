"""Triplet matching on sequences whose motion is known, and on real looks."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.interpolate import griddata

import ogive
from ogive.matching.features import FeaturePair, highpass, orientation, sobel
from ogive.model import DateError, Flag, GridError, InputError
from ogive.simulation.sequence import simple_sequence

OPTIONS = {"window": 32, "step": 8, "search": 8, "threads": 1}


def truth(found, displacement):
    """Of an image's displacements at the centres of windows, between pixels."""
    at = np.meshgrid(found["y"].values, found["x"].values, indexing="ij")
    return ndimage.map_coordinates(displacement, at, order=1)


def errors(found, sequence):
    """Distance from the truth in pixels; infinite where there is no value."""
    off_x = found["dx"].values - truth(found, sequence.dx_px[-1])
    off_y = found["dy"].values - truth(found, sequence.dy_px[-1])
    off = np.hypot(off_x, off_y)
    return np.where(np.isfinite(off), off, np.inf)


def right(found, sequence):
    """Number of points that are kept and within a pixel of the truth."""
    return int((errors(found, sequence) <= 1).sum())


@pytest.fixture(scope="module")
def aged():
    """Three looks whose ends have so little in common that half of all pairwise matches fail."""
    return simple_sequence((400, 400), times=(0, 0.5, 1), likeness=0.3, snr=3, seed=1)


@pytest.fixture(scope="module")
def fresh():
    """Three looks that are well matched."""
    return simple_sequence((300, 300), times=(0, 0.5, 1), likeness=0.9, snr=20, seed=2)


# What it must show --------------------------------------------------------------------------------


@pytest.mark.parametrize("correlator", ["frequency", "spatial"])
@pytest.mark.parametrize("features", ["orientation", "adaptive"])
def test_half_as_many_points_again_where_half_the_pairs_fail(aged, features, correlator):
    """At 50 % outliers and the same SNR: 1.5 times the points within a pixel.

    Of those kept no more than one in ten is false, by the triplet as by the pair.
    """
    first, middle, last = aged.images
    options = OPTIONS | {"features": features, "correlator": correlator}
    everything = ogive.match_triplet(first, [], last, min_snr=0, **options)
    assert 0.4 < (errors(everything, aged) > 1).mean() < 0.6
    pair = ogive.match_triplet(first, [], last, **options)
    triplet = ogive.match_triplet(first, middle, last, **options)
    assert pair.attrs["least_snr"] == triplet.attrs["least_snr"]
    assert right(triplet, aged) >= 1.5 * right(pair, aged)

    for found in (pair, triplet):
        known = np.isfinite(found["dx"].values)
        assert (errors(found, aged)[known] > 1).mean() < 0.1


def test_costs_less_than_three_pairwise_matches():
    """CPU time of one thread, the best of five; 1.5 to 2.2 times, of which the test leaves room."""
    sequence = simple_sequence((300, 300), likeness=0.5, snr=5, seed=3)
    first, middle, last = sequence.images
    spent = {"pair": [], "triplet": []}
    for _ in range(6):  # the first one compiles
        for name, middles in (("pair", []), ("triplet", [middle])):
            begun = time.process_time()
            ogive.match_triplet(first, middles, last, **OPTIONS)
            spent[name].append(time.process_time() - begun)
    assert min(spent["triplet"][1:]) < 3 * min(spent["pair"][1:])


# How good it is -----------------------------------------------------------------------------------


def held(found, sequence):
    """Share of the 95 % intervals that hold the truth, of both components."""
    shares = []
    for name, true in (("dx", sequence.dx_px), ("dy", sequence.dy_px)):
        off = np.abs(found[name].values - truth(found, true[-1]))
        shares.append((off <= 1.96 * np.sqrt(found[f"{name}_var"].values))[np.isfinite(off)].mean())
    return np.mean(shares)


def test_sub_pixel_places_and_errors_are_as_good_as_those_of_a_plain_match(fresh):
    """Of 1000 points: medians known to 4 %, shares to 1.5 % (windows overlap four times).

    Both err by what bends inside a window at the margins, which is no matter of the search.
    """
    found = ogive.match_triplet(*fresh.images, **OPTIONS)
    plain = ogive.match(
        fresh.images[0], fresh.images[-1], features="orientation", fallback=None, **OPTIONS
    )
    off, other = (errors(one, fresh) for one in (found, plain))
    assert (off < 1).mean() > 0.9
    assert np.median(off[off < 1]) < 1.1 * np.median(other[other < 1])
    assert held(found, fresh) > held(plain, fresh) - 0.03


def test_a_quadratic_is_drawn_towards_whole_pixels_by_a_tenth_at_most(fresh):
    found = ogive.match_triplet(*fresh.images, subpixel="quadratic", **OPTIONS)
    off = errors(found, fresh)
    exact = errors(ogive.match_triplet(*fresh.images, subpixel="affine", **OPTIONS), fresh)
    assert np.median(off[off < 1]) < np.median(exact[exact < 1]) + 0.1


def test_more_middle_images_help_where_one_is_clouded():
    """Three middle images, each hidden somewhere else: what one does not show another does.

    They share both ends, and add little: a few points in a hundred.
    """
    times = np.linspace(0, 1, 5)
    many = simple_sequence(
        (300, 300), times=times, likeness=0.3, snr=5, hidden_fraction=0.25, seed=5
    )
    first, *middles, last = many.images
    kept = [
        right(ogive.match_triplet(first, some, last, **OPTIONS), many)
        for some in ([], [middles[1]], middles)
    ]
    assert kept[1] > 1.5 * kept[0]
    assert kept[2] > kept[1]


def test_a_middle_image_of_something_else_does_no_harm(fresh):
    """Its steps are led to where the ends agree, and there Gauss-Newton finds nothing to hold."""
    first, _, last = fresh.images
    other = simple_sequence((300, 300), seed=77).images[0]
    alone, clouded, true = (
        ogive.match_triplet(first, middle, last, **OPTIONS)
        for middle in ([], other, fresh.images[1])
    )
    assert right(clouded, fresh) >= 0.97 * right(alone, fresh)
    assert float(clouded["closure_residual"].median()) > 0.4
    assert float(true["closure_residual"].median()) < 0.1
    assert float(clouded["path_support"].median()) < 0.2 * float(true["path_support"].median())


@pytest.mark.parametrize("end", [0, -1])
@pytest.mark.parametrize("features", ["orientation", "adaptive"])
def test_an_end_of_something_else_passes_by_chance_only(fresh, features, end):
    """What a clouded end looks like in one image it looks like in the other, and that closes.

    Two points of a hundred may pass; of 1200 whose windows overlap, three and a half.
    """
    looks = list(fresh.images)
    looks[end] = simple_sequence((300, 300), seed=77).images[0]
    found = ogive.match_triplet(*looks, **(OPTIONS | {"features": features}))
    assert np.isfinite(found["dx"]).mean() < 0.035


def test_the_closure_residual_tells_right_from_wrong(aged):
    """Of two points, one right and one wrong, the right one closes better seven times in eight."""
    found = ogive.match_triplet(*aged.images, min_snr=0, **OPTIONS)
    residual, off = found["closure_residual"].values, errors(found, aged)
    good, bad = (residual[(off <= 1) & ~np.isnan(residual)], residual[(off > 1) & (off < np.inf)])
    bad = np.where(np.isnan(bad), np.inf, bad)  # no middle image speaks for it
    better = np.mean(good[:, None] < bad[None, :]) + 0.5 * np.mean(good[:, None] == bad[None, :])
    assert better > 0.85
    vector = np.hypot(found["closure_dx"][0], found["closure_dy"][0]).values
    known = ~np.isnan(residual)
    np.testing.assert_allclose(residual[known], vector[known], rtol=1e-5)


def test_what_the_middle_image_moved_by(fresh):
    """Half of the way in half of the time."""
    found = ogive.match_triplet(*fresh.images, **OPTIONS)
    for name, true in (("middle_dx", fresh.dx_px), ("middle_dy", fresh.dy_px)):
        off = np.abs(found[name][0].values - truth(found, true[1]))
        assert np.nanmedian(off) < 0.1
    assert float(found["closure_residual"].median()) < 0.1


# Features of any kind -----------------------------------------------------------------------------


def test_learned_features_by_name(aged):
    pytest.importorskip("torch")
    first, middle, last = (image[:200, :200] for image in aged.images)
    pair, triplet = (
        ogive.match_triplet(first, middles, last, features="learned", **OPTIONS)
        for middles in ([], [middle])
    )
    assert triplet.attrs["features"].startswith("learned")
    assert right(triplet, aged) > 1.2 * right(pair, aged)


def test_learned_features_of_several_bands_or_of_each_image_its_own(fresh):
    """A network of two bands gets both, and a network for each image is what one for all is."""
    pytest.importorskip("torch")
    from ogive.similarity.features import LearnedFeature
    from ogive.similarity.networks import build_network

    network = LearnedFeature(network=build_network("small", bands=2).eval(), name="two bands")
    looks = [np.stack([image, image[::-1]])[:, :160, :160] for image in fresh.images]
    found = ogive.match_triplet(*looks, features=network, **OPTIONS)
    assert found.attrs["features"] == "two bands"
    each = ogive.match_triplet(*looks, features=[network] * 3, **OPTIONS)
    stacks = [network(look, None) for look in looks]
    given_stacks = ogive.match_triplet(*stacks, **OPTIONS)
    for other in (each, given_stacks):
        np.testing.assert_array_equal(found["dx"], other["dx"])
        np.testing.assert_array_equal(found["closure_residual"], other["closure_residual"])
    with pytest.raises(InputError, match="takes images of 2 bands, not of 1"):
        ogive.match_triplet(*(look[0] for look in looks), features=network, **OPTIONS)


def test_features_of_each_image_its_own(fresh):
    """A negative is found again by features that know of it, and by others is not."""

    def negative(image, valid, *, threads):
        return -highpass(image, valid, threads=threads)

    first, middle, last = fresh.images
    looks = (first, 6000 - middle, last)
    known, unknown = (
        ogive.match_triplet(*looks, features=features, **OPTIONS)
        for features in ([highpass, negative, highpass], highpass)
    )
    assert known.attrs["features"] == "highpass / negative"
    assert (known["closure_residual"] < 0.2).mean() > 0.8
    assert (unknown["closure_residual"] < 0.2).mean() < 0.1


def test_bands_are_put_side_by_side(fresh):
    """Of a name or function; only under the default three dimensions are a stack."""
    looks = [np.stack([image, image**2 / 3000])[:, :200, :200] for image in fresh.images]
    by_name = ogive.match_triplet(*looks, features="sobel", smoothing=0.0, **OPTIONS)
    stacks = [np.concatenate([sobel(band) for band in look]) for look in looks]
    np.testing.assert_array_equal(by_name["dx"], ogive.match_triplet(*stacks, **OPTIONS)["dx"])
    assert by_name.attrs["features"] == "sobel"


def test_stacks_and_functions_give_what_their_name_gives(fresh):
    by_name = ogive.match_triplet(*fresh.images, smoothing=0.0, **OPTIONS)
    by_function = ogive.match_triplet(*fresh.images, features=orientation, **OPTIONS)
    stacks = [orientation(image, None, threads=1) for image in fresh.images]
    given_stacks = ogive.match_triplet(*stacks, **OPTIONS)
    assert given_stacks.attrs["features"] == "given"
    for name in ("dx", "dy", "snr", "closure_residual"):
        np.testing.assert_array_equal(by_name[name], by_function[name])
        np.testing.assert_array_equal(by_name[name], given_stacks[name])


# Directions, priors, masks, threads ---------------------------------------------------------------


@settings(max_examples=12)
@given(u=st.integers(-4, 4), v=st.integers(-4, 4), p=st.integers(-3, 3), q=st.integers(-3, 3))
def test_whole_pixels_are_found_in_any_direction(u, v, p, q):
    scene = np.random.default_rng(0).standard_normal((96, 96)).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((3, 96, 96)).astype(np.float32)
    looks = [
        np.roll(scene, shift, (0, 1)) + 0.3 * one
        for shift, one in zip(((0, 0), (q, p), (v, u)), noise, strict=True)
    ]
    found = ogive.match_triplet(*looks, features="intensity", **OPTIONS)
    inner = found.isel(y=slice(1, -1), x=slice(1, -1))
    # Noise of a third of the texture in 1000 pixels: some hundredths of a pixel.
    np.testing.assert_allclose(inner["dx"], u, atol=0.1)
    np.testing.assert_allclose(inner["dy"], v, atol=0.1)
    np.testing.assert_allclose(inner["middle_dx"][0], p, atol=0.1)
    np.testing.assert_allclose(inner["middle_dy"][0], q, atol=0.1)


def on_map(images):
    y, x = (np.arange(size, dtype=float) for size in images[0].shape)
    coordinates = {"y": 5000 - 10 * y, "x": 300 + 10 * x}
    return [xr.DataArray(image, coordinates, ("y", "x")) for image in images]


def test_units_and_directions_are_those_of_the_coordinates(fresh):
    pixels = ogive.match_triplet(*fresh.images, **OPTIONS)
    metres = ogive.match_triplet(*on_map(fresh.images), **OPTIONS)
    for name, factor in (
        ("dx", 10), ("dy", -10), ("middle_dx", 10), ("middle_dy", -10), ("closure_dx", 10),
        ("closure_dy", -10), ("closure_residual", 10), ("dx_var", 100), ("snr", 1),
    ):  # fmt: skip
        np.testing.assert_allclose(
            metres[name].values, factor * pixels[name].values, rtol=1e-4, atol=1e-3
        )


def test_the_rest_of_the_road_takes_a_triplet(fresh):
    """Filters, calibration and velocities: 5 px of 10 m in 50 days are 365 m/yr on the trunk."""
    found = ogive.match_triplet(*fresh.images, **OPTIONS)
    speed = np.hypot(*(truth(found, true[-1]) for true in (fresh.dx_px, fresh.dy_px)))
    moved = ogive.calibrate(ogive.remove_outliers(found), speed < 0.01)
    velocity = ogive.to_velocity(moved, days=50.0, pixel_size_m=10.0)
    off = velocity["v"].values - speed * 10 * 365.25 / 50
    # A tenth of a pixel is 7 m/yr; more of what bends inside a window at the margins.
    assert np.nanmedian(np.abs(off)) < 7.3
    assert np.isfinite(velocity["v"]).mean() > 0.85


def test_a_prior_takes_the_search_to_fast_ice():
    """12 px are beyond a search of 4, round the prior they are not; shares follow the dates."""
    scene = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    noise = np.random.default_rng(1).standard_normal((3, 128, 128)).astype(np.float32)
    looks = [np.roll(scene, k, 1) + 0.3 * n for k, n in zip((0, 9, 12), noise, strict=True)]
    prior = xr.Dataset(
        {"dx": (("y", "x"), np.full((2, 2), 11.0)), "dy": (("y", "x"), np.zeros((2, 2)))},
        {"y": [0.0, 127.0], "x": [0.0, 127.0]},
    )
    options = OPTIONS | {"search": 4, "features": "intensity"}
    dates = ["2020-01-01", "2020-01-10", "2020-01-13"]
    found = ogive.match_triplet(*looks, prior=prior, dates=dates, **options)
    inner = found.isel(y=slice(1, -1), x=slice(1, -3))
    np.testing.assert_allclose(inner["dx"], 12, atol=0.1)
    np.testing.assert_allclose(inner["middle_dx"][0], 9, atol=0.1)
    assert str(found["middle_time"].values[0])[:10] == "2020-01-10"
    without = ogive.match_triplet(*looks, **options)
    assert np.mean(np.abs(without["dx"].values - 12) < 1) < 0.05


@pytest.mark.parametrize("correlator", ["frequency", "spatial"])
def test_masked_pixels_have_no_say(fresh, correlator):
    """What stands under a mask changes nothing, to the last bit."""
    mask = np.ones((300, 300), bool)
    mask[100:140, 60:200] = False
    options = OPTIONS | {"correlator": correlator, "mask": mask, "features": "highpass"}
    results = []
    for seed in (1, 2):
        spoilt = [image.copy() for image in fresh.images]
        rubbish = np.random.default_rng(seed).normal(3000, 2000, (3, 300, 300))
        for image, other in zip(spoilt, rubbish, strict=True):
            image[~mask] = other[~mask]
        results.append(ogive.match_triplet(*spoilt, **options))
    np.testing.assert_array_equal(results[0]["dx"], results[1]["dx"])
    np.testing.assert_array_equal(results[0]["flag"], results[1]["flag"])
    assert (results[0]["flag"] == Flag.MASKED).any()
    assert right(results[0], fresh) > 0.6 * results[0]["dx"].size


def test_one_mask_for_each_image(fresh):
    whole = np.ones((300, 300), bool)
    half = whole.copy()
    half[:, :150] = False
    found = ogive.match_triplet(*fresh.images, mask=[None, half, None], **OPTIONS)
    left = found["x"].values < 120
    # The middle image says nothing on its masked half, and the match is still made.
    assert np.isnan(found["closure_residual"].values[:, left]).all()
    assert (found["flag"].values[:, left] == Flag.MEASURED).mean() > 0.9


def test_threads_change_nothing(fresh):
    one, other = (ogive.match_triplet(*fresh.images, **(OPTIONS | {"threads": n})) for n in (1, 3))
    xr.testing.assert_identical(one, other)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"features": "texture"}, InputError, "no features 'texture'"),
        ({"features": 3}, InputError, "a name, a function, or a sequence"),
        ({"features": FeaturePair(sobel, sobel)}, InputError, "a name, a function, or a sequence"),
        ({"features": [sobel, "highpass", sobel]}, InputError, "a name, a function, or a sequence"),
        ({"features": [sobel, sobel]}, InputError, "2 feature functions for 3 images"),
        ({"features": [sobel, highpass, sobel]}, InputError, "2 channels: as many are needed"),
        ({"correlator": "optical"}, InputError, "no correlator"),
        ({"subpixel": "parabola"}, InputError, "no sub-pixel method"),
        ({"search": 0}, InputError, "at least 1"),
        ({"search": 16}, InputError, "up to 15 px"),
        ({"window": 4}, InputError, "8 to 128"),
        ({"window": 128}, InputError, "larger than the image"),
        ({"step": 0}, InputError, "step of 0"),
        ({"min_snr": -1.0}, InputError, "from 0 up"),
        ({"min_valid": 0.0}, InputError, "min_valid"),
        ({"smoothing": 9.0}, InputError, "smoothing"),
        ({"mask": [None, None]}, InputError, "2 masks for 3 images"),
        ({"mask": np.ones((5, 5), bool)}, GridError, "mask has the shape"),
        ({"dates": ["2020-01-01", "2020-01-02"]}, DateError, "2 dates for 3 images"),
        ({"dates": ["2020-01-01", "2020-01-03", "2020-01-02"]}, DateError, "not after"),
        ({"dates": ["2020-01-01", "NaT", "2020-01-02"]}, DateError, "missing"),
        ({"dates": ["today", "tomorrow", "then"]}, DateError, "cannot be read"),
    ],
)
def test_bad_options_are_told(change, error, sentence):
    looks = np.random.default_rng(0).standard_normal((3, 100, 100))
    with pytest.raises(error, match=sentence):
        ogive.match_triplet(*looks, **(OPTIONS | change))


def test_bad_images_are_told():
    a, b, c = np.random.default_rng(0).standard_normal((3, 100, 100))
    with pytest.raises(InputError, match="are the same"):
        ogive.match_triplet(a, a, c, **OPTIONS)
    with pytest.raises(GridError, match="bring them onto one grid"):
        ogive.match_triplet(a, b[:90], c, **OPTIONS)
    with pytest.raises(InputError, match="constant"):
        ogive.match_triplet(a, np.zeros((100, 100)), c, **OPTIONS)
    with pytest.raises(InputError, match="no valid pixel"):
        ogive.match_triplet(a, np.full((100, 100), np.nan), c, **OPTIONS)
    with pytest.raises(InputError, match="the middle image holds complex128"):
        ogive.match_triplet(a, b + 0j, c, **OPTIONS)
    ours, theirs, ours_too = on_map([a, b, c])
    with pytest.raises(GridError, match="first and middle image"):
        ogive.match_triplet(ours, theirs.assign_coords(x=theirs["x"] + 5), ours_too, **OPTIONS)

    def one_channel_more(image, valid, *, threads):
        one_channel_more.calls += 1
        return np.stack([image] * one_channel_more.calls)

    one_channel_more.calls = 0
    with pytest.raises(InputError, match="1 and 2 and 3 channels: as many are needed"):
        ogive.match_triplet(a, b, c, features=one_channel_more, **OPTIONS)
    with pytest.raises(InputError, match="gave an array of shape"):
        ogive.match_triplet(
            a, b, c, features=lambda image, valid, *, threads: image[:50], **OPTIONS
        )


# Real looks ---------------------------------------------------------------------------------------


def look(folder, day):
    """A grey look at Perito Moreno, and where it is not the black beyond the clipped region."""
    rasterio = pytest.importorskip("rasterio")
    with rasterio.open(folder / f"{day}.jpg") as source:
        image = source.read().astype("f4").mean(axis=0)
    return image, ndimage.binary_erosion(image > 12, iterations=8)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_perito_moreno_under_clouds(data_dir, bench_dir):
    """8 January to 5 February 2020, a cloudy look first: a middle image cannot mend that.

    Right is within 2 px of a reference made of other pairs, searched 8 px round it. A triplet keeps
    what the pair does, and the cloud passes no more often than by chance.
    """
    days = ["20200108", "20200123", "20200205"]
    moved, shift_x, shift_y = 28, 0.40, 0.33  # days; the looks' own shift, both as in the bench
    points = pd.read_csv(bench_dir / "perito_moreno_points.csv")
    expected = {name: moved * points[f"v{name[1]}_px_per_day"].values for name in ("dx", "dy")}
    y, x = np.arange(0.0, 1231, 24), np.arange(0.0, 1731, 24)
    grid = tuple(np.meshgrid(x, y))
    prior = xr.Dataset(
        {
            name: (("y", "x"), griddata(points[["x", "y"]].values, values, grid, "nearest"))
            for name, values in expected.items()
        },
        {"y": y, "x": x},
    )
    looks = [look(data_dir / "perito_moreno_s2_series", day) for day in days]
    images, masks = ([one[k] for one in looks] for k in (0, 1))
    right, false = {}, {}
    for name, kept in (("pair", [0, 2]), ("triplet", [0, 1, 2])):
        first, *middle, last = (images[k] for k in kept)
        found = ogive.match_triplet(
            first, middle, last, mask=[masks[k] for k in kept], prior=prior, window=24, step=24,
            search=8, dates=[days[k] for k in kept],
        )  # fmt: skip
        at = {axis: xr.DataArray(points[axis].values.astype(float), dims="p") for axis in "xy"}
        there = found[["dx", "dy"]].interp(at, method="nearest")
        off = np.hypot(
            there["dx"] - expected["dx"] - shift_x, there["dy"] - expected["dy"] - shift_y
        )
        right[name], false[name] = float((off <= 2).mean()), float((off > 2).mean())
    print(f"\nright {right}, false {false}")
    assert right["triplet"] > right["pair"]
    assert false["triplet"] < 0.035
