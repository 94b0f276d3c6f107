"""Labels from real images that contradict nothing, and samples made of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ogive import match
from ogive.matching.features import highpass
from ogive.model import DateError, GridError, InputError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from ogive.similarity.loss import LossConfig, draw_windows  # noqa: E402
from ogive.similarity.samples.consistency import Matching, consistent_pairs  # noqa: E402
from ogive.similarity.samples.crops import Corner, Corners, cut  # noqa: E402
from ogive.similarity.samples.image_series import ImageSeries, read_series, series_of  # noqa: E402
from ogive.similarity.samples.labelled_pair import LabelledPair  # noqa: E402
from ogive.similarity.samples.sample import stacked  # noqa: E402
from ogive.similarity.samples.seen_again import real_ranges, standardised  # noqa: E402
from ogive.similarity.samples.self_sample import (  # noqa: E402
    SelfSamples,
    WarpedSamples,
    self_sample_round,
    self_sample_rounds,
)
from ogive.similarity.samples.simulated import read_ranges  # noqa: E402

DAYS = [datetime(2020, 7, day) for day in (1, 11, 21)]
SIDE = 200
QUICK = Matching(features="highpass", window_px=24, step_px=6, search_px=8)


def rough(seed: int, side: int = SIDE) -> np.ndarray:
    """Texture of an image that was blurred by its optics."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    image = ndimage.gaussian_filter(noise, 1.0, mode="wrap")
    return image / image.std()


def moved(image: np.ndarray, dx: np.ndarray | float, dy: np.ndarray | float) -> np.ndarray:
    """What was at (x, y) is at (x + dx, y + dy): exact for constants, else for small strains."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    return ndimage.map_coordinates(image, [y - dy, x - dx], order=5, mode="grid-wrap")


def series(*images: np.ndarray, **named) -> ImageSeries:
    return series_of(images, DAYS[: len(images)], place="here", **named)


# ---- consistency ---------------------------------------------------------------------------------


def test_labels_are_right_where_they_are_given_and_absent_where_the_surface_is_new():
    """A strain of 1 % and a part that was replaced.

    Windows of 24 px of this texture at a signal to noise of 10 (power 100) match to some hundredths
    of a pixel, and strain within the step is linear, which interpolation has no error for: labels
    must lie within the tolerance of the way back, all but a few beside the new part, and half of
    them within a tenth of it. The new part's edge is 240 px long; windows that are mostly old reach
    a pixel into it on either side of a label, 240 pixels of 20,000 at most: 1.2 %.
    """
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    texture = rough(1)
    rng = np.random.default_rng(2)
    # Seen from the later image; the strain being small, the earlier one sees it at x - dx.
    dx, dy = 2.0 + 0.01 * (x - SIDE / 2), -1.4 + 0.01 * (y - SIDE / 2)
    later = moved(texture, dx, dy) + 0.1 * rng.normal(size=texture.shape)
    earlier = texture + 0.1 * rng.normal(size=texture.shape)
    later[60:140, 120:] = rough(3)[60:140, 120:]
    ((pair, kept),) = consistent_pairs(series(earlier, later), QUICK)
    true_dx = (2.0 + 0.01 * (x - SIDE / 2)) / 0.99
    true_dy = (-1.4 + 0.01 * (y - SIDE / 2)) / 0.99
    error = np.hypot(pair.displacement[0] - true_dx, pair.displacement[1] - true_dy)
    inside = np.s_[14:-14, 14:-14]
    assert pair.labelled[inside].mean() > 0.5
    assert (error > QUICK.tolerance_px).sum() < 0.012 * pair.labelled.sum()
    assert np.nanmedian(error) < QUICK.tolerance_px / 10
    # Half a window inside the new part, whatever matches there is chance.
    assert pair.labelled[75:125, 140:180].mean() < 0.02
    assert kept.points >= kept.measured >= kept.consistent >= kept.closed >= kept.agreeing > 0
    assert kept.labelled_pixels == pair.labelled.sum()
    assert ((pair.quality > 0) == pair.labelled).mean() > 0.99
    assert pair.quality.max() <= 1


def test_a_third_date_finds_what_both_ways_agree_on_wrongly():
    """A pattern that stands still in two images, like an edge of shadow, over ice that moves."""
    texture, still = rough(4), rough(5)
    images = [moved(texture, 3.0 * k, 0.0) for k in range(3)]
    cover = np.s_[60:140, 60:140]
    for image in images[:2]:
        image[cover] = still[cover]
    under = np.s_[84:116, 84:116]
    ((alone, _),) = consistent_pairs(series(*images[:2]), QUICK)
    assert alone.labelled[under].mean() > 0.9
    np.testing.assert_allclose(alone.displacement[:, *under][0], 0.0, atol=0.1)
    (first, kept), (second, _), _ = consistent_pairs(series(*images), QUICK)
    assert not first.labelled[under].any()
    assert kept.closed < kept.consistent
    # Elsewhere the third date confirms, in both pairs.
    beside = np.s_[28:40, 40:160]
    assert first.labelled[beside].mean() > 0.9
    np.testing.assert_allclose(np.nanmedian(second.displacement[0]), 6.0, atol=0.05)


def test_nothing_is_interpolated_across_a_tear_or_beyond_the_points():
    """Two halves that slide past each other by 4 px: between them is no label."""
    texture = rough(6)
    later = moved(texture, 2.0, 0.0)
    later[SIDE // 2 :] = moved(texture, -2.0, 0.0)[SIDE // 2 :]
    ((pair, _),) = consistent_pairs(series(texture, later), QUICK)
    dx = pair.displacement[0][pair.labelled]
    assert dx.size > 0.5 * SIDE**2
    # Windows across the tear lean to the other half; nothing lies between the halves.
    assert np.abs(dx).min() > 1.5
    assert (np.abs(np.abs(dx) - 2.0) > QUICK.tolerance_px).mean() < 0.01
    half = QUICK.window_px // 2
    assert not pair.labelled[: half - 1].any()
    assert not pair.labelled[:, -half + 1 :].any()


def test_gaps_are_not_labelled():
    texture = rough(7)
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, 90:120] = False
    both = series(texture, moved(texture, 1.0, 1.0), valid=[valid, np.ones_like(valid)])
    ((pair, _),) = consistent_pairs(both, QUICK)
    assert not pair.labelled[:, 90:120].any()
    assert pair.labelled[:, 20:80].mean() > 0.5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"window_px": 25}, "even"),
        ({"window_px": 24, "step_px": 7}, "multiple"),
        ({"search_px": 0}, "search_px"),
        ({"tolerance_px": 0.0}, "tolerance_px"),
    ],
)
def test_impossible_matching_is_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        Matching(**wrong)


# ---- series --------------------------------------------------------------------------------------


def test_series_that_cannot_be_matched_are_refused():
    image = rough(8, 64)
    with pytest.raises(InputError, match="two or more"):
        series_of([image], DAYS[:1], place="here")
    with pytest.raises(GridError, match="one grid"):
        series(image, image[:-1])
    with pytest.raises(DateError, match="dated"):
        series_of([image, image], [DAYS[0], DAYS[0]], place="here")
    with pytest.raises(InputError, match="as many times"):
        series_of([image, image], DAYS, place="here")
    with pytest.raises(InputError, match="no series"):
        self_sample_round([])


def write(path, image, left=0, top=0, crs="EPSG:32607"):
    with rasterio.open(
        path, "w", "GTiff", image.shape[1], image.shape[0], 1, crs=crs, dtype=image.dtype,
        nodata=0, transform=Affine(10, 0, 5e5 + 10 * left, 0, -10, 6.7e6 - 10 * top),
    ) as file:  # fmt: skip
        file.write(image, 1)
    return path


def test_files_are_read_in_the_order_of_their_dates_on_what_they_share(tmp_path):
    image = (1000 + 100 * rough(9, 90)).astype(np.uint16)
    image[:5] = 0
    later = write(tmp_path / "b_20200721.tif", image[:, 10:], left=10)
    earlier = write(tmp_path / "a_20200701.tif", image[:80])
    middle = write(tmp_path / "c_20200711.tif", image)
    found = read_series([later, earlier, middle], place="here")
    assert [one.scene.time for one in found.images] == DAYS
    assert {one.pixels.shape for one in found.images} == {(1, 80, 80)}
    for one in found.images:
        np.testing.assert_array_equal(one.pixels[0], image[:80, 10:])
        assert not one.valid[:5].any()
        assert one.valid[5:].all()
    assert found.pixel_size_m == 10
    with pytest.raises(InputError, match="motion needs two"):
        read_series([later], place="here")
    with pytest.raises(InputError, match="no file"):
        read_series([later, tmp_path / "none_20200101.tif"], place="here")


# ---- crops ---------------------------------------------------------------------------------------


@given(
    left=st.integers(-40, 40), top=st.integers(-40, 40), size=st.integers(16, 40),
    height=st.integers(20, 50), width=st.integers(20, 50),
)  # fmt: skip
@settings(max_examples=40)
def test_a_square_holds_the_image_where_there_is_one(left, top, size, height, width):
    image = np.arange(1.0, height * width + 1).reshape(height, width)
    square = cut(image, Corner(left, top), size, beyond=0)
    y, x = np.mgrid[top : top + size, left : left + size]
    inside = (y >= 0) & (x >= 0) & (y < height) & (x < width)
    expected = np.where(inside, y * width + x + 1, 0)
    np.testing.assert_array_equal(square, expected)


@given(seed=st.integers(0, 1000), share=st.floats(0.05, 0.9))
@settings(max_examples=20)
def test_squares_are_offered_where_enough_is_wanted(seed, share):
    rng = np.random.default_rng(seed)
    wanted = ndimage.gaussian_filter(rng.normal(size=(70, 50)), 6) > 0
    corners = Corners(wanted, size_px=30, least_share=share)
    inner = [
        wanted[top + 6 : top + 24, left + 6 : left + 24].mean()
        for top in range(0, 41, 4)
        for left in range(0, 21, 4)
    ]
    assert len(corners) == sum(value >= max(share, 1 / 18**2) for value in inner)
    if len(corners):
        left, top = corners.draw(rng)
        assert wanted[top + 6 : top + 24, left + 6 : left + 24].mean() >= share


# ---- samples -------------------------------------------------------------------------------------

CALM = {
    "surface": {"snow_share": 0.0, "gamma": [1.0, 1.0], "gain_deviation": 0.0},
    "atmosphere": {"cloud_share": 0.0, "veil_share": 0.0, "cloud_shadow_share": 0.0},
    "sensor": {
        "texture_contrast": [5.0, 5.1], "blur_share": 0.0, "signal_to_noise": [1000.0, 2000.0],
        "stripe_share": 0.0, "eight_bit_share": 0.0,
    },
}  # fmt: skip


def calm():
    """Ranges in which next to nothing is changed, so that images show what labels say."""
    own = real_ranges()
    parts = {name: getattr(own, name).model_copy(update=new) for name, new in CALM.items()}
    return own.model_copy(update=parts)


def labelled_pair(dx: float = 2.0, dy: float = -3.0, side: int = SIDE) -> LabelledPair:
    """A pair that moved as a whole; the right third stands still in the label's sense only."""
    texture = rough(10, side)
    images = series(texture, moved(texture, dx, dy), pixel_size_m=10.0).images
    displacement = np.empty((2, side, side), np.float32)
    displacement[0], displacement[1] = dx, dy
    nothing = np.zeros((side, side), bool)
    quality = np.full((side, side), 0.5, np.float32)
    return LabelledPair("here", *images, displacement, nothing, quality, 10.0)


def measured(sample, margin: int = 16) -> tuple[float, float]:
    """Median error of the label as a match of the two images sees it."""
    field = match(
        sample["earlier"][0].numpy(), sample["later"][0].numpy(), features="highpass",
        window=24, step=4, search=20,
    )  # fmt: skip
    x, y = np.meshgrid(field.x.values, field.y.values)
    label = sample["displacement"].numpy()
    trusted = sample["labelled"].numpy() & sample["matchable"].numpy()
    at = [y, x]
    known = ndimage.map_coordinates(trusted.astype(float), at, order=1) > 0.999
    error = np.hypot(*(
        field[name].values - ndimage.map_coordinates(label[k], at, order=1)
        for k, name in enumerate(("dx", "dy"))
    ))[known]  # fmt: skip
    error = error[np.isfinite(error)]
    assert error.size > 20
    return float(np.median(error)), float(np.mean(error < 1))


@pytest.mark.parametrize("index", range(6))
def test_the_label_of_a_self_sample_is_what_its_images_show(index):
    """Whole pixels are cut, nothing is resampled: what is left is the match's own error."""
    sample = SelfSamples([labelled_pair()], calm(), size_px=96).sample(index)
    median, right = measured(sample)
    assert median < 0.05
    assert right > 0.95


@pytest.mark.parametrize("index", range(6))
def test_the_label_of_a_warped_sample_is_what_its_images_show(index):
    """To what a window of 24 px averages away of an undulation.

    Its nodes are 24 px apart, half a wavelength, of which such a window leaves a share of
    2 / pi: of 0.2 px it takes 0.07 px.
    """
    ranges = calm()
    smooth = {"strain": (0.0005, 0.01), "undulation_px": (0.03, 0.2), "margin_share": 0.0}
    motion = ranges.motion.model_copy(update=smooth)
    images = labelled_pair().earlier
    ranges = ranges.model_copy(update={"motion": motion})
    sample = WarpedSamples([images], ranges, size_px=96).sample(index)
    median, right = measured(sample)
    assert median < 0.1
    assert right > 0.9


def test_samples_are_those_of_their_number_and_of_the_contract():
    pair = labelled_pair()
    for make in (
        lambda seed: SelfSamples([pair], real_ranges(), size_px=64, seed=seed),
        lambda seed: WarpedSamples([pair.earlier], read_ranges(), size_px=64, seed=seed),
    ):
        one, same, other = make(0), make(0), make(1)
        same.sample(3)
        first, again = one.sample(5), same.sample(5)
        assert first.keys() == again.keys()
        for name, value in first.items():
            assert torch.equal(value, again[name]), name
        assert not torch.equal(first["earlier"], one.sample(6)["earlier"])
        assert not torch.equal(first["earlier"], other.sample(5)["earlier"])
        assert first["earlier"].shape == first["later"].shape == (1, 64, 64)
        assert first["valid_earlier"].dtype == first["labelled"].dtype == torch.bool
        assert first["displacement"].shape == (2, 64, 64)
        assert all(bool(value.isfinite().all()) for value in first.values())
        assert not bool((first["matchable"] & ~first["labelled"]).any())
        batch = stacked([one.sample(index) for index in range(4)])
        windows = draw_windows(
            batch, size_px=8, config=LossConfig(), generator=torch.Generator().manual_seed(0)
        )
        assert len(windows.x) > 4 * 10


def test_samples_tell_how_sure_and_how_old_they_are():
    sample = SelfSamples([labelled_pair()], real_ranges(), size_px=64).sample(0)
    assert float(sample["weight"]) == pytest.approx(0.5)
    assert float(sample["years"]) == pytest.approx(10 / 365.25)
    assert bool(sample["condition_earlier"].any())


def test_stable_ground_is_told_only_where_it_lies_still_in_the_sample():
    pair = labelled_pair(0.0, 0.0)
    pair = replace(pair, stable=np.ones_like(pair.stable))
    samples = SelfSamples([pair], real_ranges(), size_px=64)
    told = []
    for index in range(24):
        sample = samples.sample(index)
        told.append(bool(sample["stable"].any()))
        still = float(sample["displacement"].abs().max()) == 0.0
        assert told[-1] == still
    # Half of the draws, give or take three standard deviations of a binomial of 24.
    assert 4 < sum(told) < 20


def test_a_pair_smaller_than_the_sample_is_surrounded_by_nothing():
    sample = SelfSamples([labelled_pair(side=60)], calm(), size_px=96).sample(1)
    assert int(sample["valid_earlier"].sum()) == 60 * 60
    assert not bool((sample["labelled"] & ~sample["valid_earlier"][0]).any())


def test_samples_without_anything_to_learn_from_are_refused():
    pair = labelled_pair()
    empty = replace(pair, displacement=np.full_like(pair.displacement, np.nan))
    with pytest.raises(InputError, match="labelled"):
        SelfSamples([empty], real_ranges(), size_px=64)
    with pytest.raises(InputError, match="32 to"):
        SelfSamples([pair], real_ranges(), size_px=16)
    with pytest.raises(InputError, match="shift_px"):
        SelfSamples([pair], real_ranges(), size_px=64, shift_px=40)
    image = replace(pair.earlier, valid=np.zeros_like(pair.earlier.valid))
    with pytest.raises(InputError, match="valid"):
        WarpedSamples([image], read_ranges(), size_px=64)
    with pytest.raises(GridError, match="do not fit"):
        replace(pair, stable=pair.stable[1:])


@given(gain=st.floats(0.1, 1000), offset=st.floats(-1000, 1000))
@settings(max_examples=5)
def test_standardised_images_have_neither_gain_nor_offset(gain, offset):
    image = torch.from_numpy(rough(11, 64))
    valid = torch.ones(64, 64, dtype=torch.bool)
    valid[:, :9] = False
    one, other = standardised(image, valid), standardised(gain * image + offset, valid)
    torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)
    assert not bool(one[:, :9].any())
    assert not bool(standardised(torch.ones(64, 64), valid).any())


# ---- rounds --------------------------------------------------------------------------------------


def test_rounds_learn_from_warped_images_first_and_from_real_pairs_then():
    texture = rough(12)
    asked = []

    def learn(samples, number):
        asked.append((number, type(samples).__name__, samples.sample(0)["earlier"].shape[-1]))
        return highpass

    here = series(texture, moved(texture, 1.5, -2.5))
    learned, rounds = self_sample_rounds(
        [here], learn, ranges=real_ranges(), rounds=3, matching=QUICK, size_px=64
    )
    assert learned is highpass
    assert asked == [(0, "WarpedSamples", 64), (1, "SelfSamples", 64), (2, "SelfSamples", 64)]
    assert len(rounds) == 2
    moves = rounds[-1].pairs[0].displacement
    np.testing.assert_allclose(np.nanmedian(moves, axis=(1, 2)), [1.5, -2.5], atol=0.05)
    with pytest.raises(InputError, match="rounds"):
        self_sample_rounds([here], learn, ranges=real_ranges(), rounds=0)


@pytest.mark.slow
def test_a_real_pair_gives_labels_that_follow_the_glacier(data_dir):
    """Yahtse: rock in the east stands still, ice flows by more than 5 px in 16 days."""
    folder = data_dir / "yahtse_l8_pair"
    here = read_series(sorted(folder.glob("LC8*_B8_yahtse.TIF")), place="yahtse", nodata=0)
    found = self_sample_round([here])
    (pair,), (kept,) = found.pairs, found.kept
    assert kept.agreeing > 0.5 * kept.points
    speed = np.hypot(*pair.displacement)
    # Stable ground of the same pair is measured to 0.1 px and shifted by less than half a pixel.
    assert np.nanmedian(speed[:, 1100:]) < 0.6
    assert np.nanmax(speed) > 5
    sample = SelfSamples(found.pairs, real_ranges()).sample(0)
    assert 0 < float(sample["weight"]) <= 1
