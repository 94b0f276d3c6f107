"""Real pairs: Yahtse Glacier, Perito Moreno, and a pair displaced as a whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import fft, ndimage

import ogive
from ogive.evaluation.motion import closure

rasterio = pytest.importorskip("rasterio")

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
YAHTSE = "LC8063018{}LGN00_B8_yahtse.TIF"
STABLE_FROM_COLUMN = 1100
BEST = 0.82


def read(path):
    with rasterio.open(path) as source:
        return source.read()


@pytest.fixture(scope="module")
def yahtse(data_dir):
    folder = data_dir / "yahtse_l8_pair"
    return [read(folder / YAHTSE.format(day))[0] for day in ("2016200", "2016216")]


def nmad(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def moved(image, shift):
    """Shift along both axes by a fraction of a pixel."""
    return moved_by(image, shift, shift)


def moved_by(image, shift_x, shift_y):
    """Shift by fractions of a pixel in the Fourier domain, the border mirrored."""
    padded = np.pad(image.astype(float), 64, mode="reflect")
    cycles_y = shift_y * fft.fftfreq(padded.shape[0])[:, None]
    cycles_x = shift_x * fft.rfftfreq(padded.shape[1])[None, :]
    phase = np.exp(-2j * np.pi * (cycles_y + cycles_x))
    return fft.irfft2(fft.rfft2(padded) * phase, s=padded.shape)[64:-64, 64:-64]


def stable_spread(result):
    stable = np.broadcast_to(result.x.values > STABLE_FROM_COLUMN, result.dx.shape)
    measured = np.isfinite(result.dx.values)
    correlation = np.where(measured, result.correlation.values, -1)
    best = stable & measured & (correlation >= np.quantile(correlation[stable], 1 - BEST))
    return (nmad(result.dx.values[best]) + nmad(result.dy.values[best])) / 2


@pytest.mark.parametrize(("window", "spread_px"), [(16, 0.126), (32, 0.088)])
def test_stable_ground_round_yahtse(yahtse, window, spread_px):
    """Peak locking flatters at whole pixels: the mean over three imposed shifts is judged."""
    spreads = []
    for shift in (0.0, 0.25, 0.5):
        later = yahtse[1] if shift == 0 else moved(yahtse[1], shift)
        result = ogive.match(yahtse[0].astype(float), later, window=window, step=8, search=32)
        spreads.append(stable_spread(result))
        if shift == 0:
            assert float((result.flag == 0).mean()) >= 0.88
    assert np.mean(spreads) <= spread_px


def test_yahtse_flows_fast_at_its_front(yahtse):
    result = ogive.match(*yahtse, window=16, step=4, search=32)
    speed_m_d = np.hypot(result.dx, result.dy) * 15 / 16
    tongue = speed_m_d.sel(x=slice(890, 1050), y=slice(720, 930))
    assert float(tongue.median()) > 10.0
    rock = speed_m_d.sel(x=slice(1250, 1500), y=slice(300, 600))
    assert float(rock.median()) < 0.5


def test_yahtse_against_an_independent_correlator(data_dir, yahtse):
    """The other correlator's offsets are metres (14.7 per pixel on fast ice), east reversed."""
    folder = data_dir / "yahtse_l8_pair"
    east, north = (
        read(folder / f"2016200_2016216_r32x32_s32x32_{axis}xyz.tif")[0].astype(float)
        for axis in ("east", "north")
    )
    known = (east > -30000) & (north > -30000)
    result = ogive.match(*yahtse, window=32, step=8, search=32)
    row, column = np.nonzero(known)
    # Its windows of 32 px start 32 px inside the image and stand 8 px apart.
    j = np.clip((8 * column + 47.5 - result.x.values[0]) // 8, 0, result.sizes["x"] - 1).astype(int)
    i = np.clip((8 * row + 47.5 - result.y.values[0]) // 8, 0, result.sizes["y"] - 1).astype(int)
    theirs_x, theirs_y = -east[row, column], -north[row, column]
    ours_x, ours_y = result.dx.values[i, j], result.dy.values[i, j]
    still = np.isfinite(ours_x) & (8 * j > STABLE_FROM_COLUMN)
    theirs_x, theirs_y = (
        theirs_x - np.median(theirs_x[still]),
        theirs_y - np.median(theirs_y[still]),
    )
    ours_x, ours_y = ours_x - np.median(ours_x[still]), ours_y - np.median(ours_y[still])
    length = np.hypot(ours_x, ours_y)
    fast = np.isfinite(length) & (length * 15 / 16 > 1)
    faster = np.isfinite(length) & (length > 5)
    scale = np.median(np.hypot(theirs_x, theirs_y)[faster] / length[faster])
    apart = np.hypot(theirs_x / scale - ours_x, theirs_y / scale - ours_y)[fast]
    assert (apart < 1.5).mean() >= 0.83


def test_pair_displaced_as_a_whole(data_dir):
    folder = data_dir / "arosics_s2_pair"
    earlier = read(folder / "ref_S2A_20160608T153121_T33UUU_sub.jp2")[0]
    later = read(folder / "tgt_S2A_20160529T153631_T33UUU_sub.jp2")[0]
    # The second image begins 544 columns to the right and 449 rows above the first one.
    left, up = (335440 - 330000) // 10, (5866490 - 5862000) // 10
    rows = min(earlier.shape[0], later.shape[0] - up)
    columns = min(earlier.shape[1] - left, later.shape[1])
    earlier, later = earlier[:rows, left : left + columns], later[up : up + rows, :columns]
    mask = ogive.Masks(earlier > 0, later > 0)
    found = []
    for shift_x, shift_y in ((0.0, 0.0), (0.18, -0.09), (0.36, -0.17)):
        moved_later = moved_by(later, shift_x, shift_y)
        for subpixel in ("translation", "parabola"):
            result = ogive.match(
                earlier, moved_later, window=32, step=32, search=8, mask=mask, subpixel=subpixel
            )
            found.append((float(result.dx.median()) - shift_x, float(result.dy.median()) - shift_y))
    gauss_newton, parabola = np.array(found[::2]), np.array(found[1::2])
    # The published (+0.68, -1.89) px is what a parabola gives: it is drawn towards whole pixels.
    # Moved to where the displacement is nearly whole, the parabola agrees with Gauss-Newton, which
    # finds the same wherever the pair is moved to.
    assert np.ptp(gauss_newton, axis=0).max() < 0.02
    assert np.ptp(parabola, axis=0).max() > 0.04
    np.testing.assert_allclose(gauss_newton[2], parabola[2], atol=0.02)
    np.testing.assert_allclose(gauss_newton[0], (0.68, -1.89), atol=0.075)


def perito_moreno(data_dir, date):
    """A grey look, and where it is not the black beyond the clipped region."""
    image = read(data_dir / "perito_moreno_s2_series" / f"{date}.jpg").astype("f4").mean(axis=0)
    # JPEG rings a few grey levels into the black, and eight pixels deep.
    return image, ndimage.binary_erosion(image > 12, iterations=8)


def test_perito_moreno_flows_and_closes(data_dir, bench_dir):
    """Three looks of one orbit: 0.25 px/d, the same forward and backward, and closed."""
    looks = [perito_moreno(data_dir, date) for date in ("20200131", "20200210", "20200220")]
    options = {"window": 32, "step": 16, "search": 12}
    d12, d23, d13 = (
        ogive.match(
            looks[i][0], looks[j][0], mask=ogive.Masks(looks[i][1], looks[j][1]),
            forward_backward=1.0, **options,
        )
        for i, j in ((0, 1), (1, 2), (0, 2))
    )  # fmt: skip
    points = pd.read_csv(bench_dir / "perito_moreno_points.csv")
    points = points[np.hypot(points.vx_px_per_day, points.vy_px_per_day) > 0.2]
    for found, days in ((d12, 10), (d23, 10), (d13, 20)):
        there = found.interp(x=xr.DataArray(points.x, dims="p"), y=xr.DataArray(points.y, dims="p"))
        # A look is misregistered as a whole by half a pixel or so: 0.05 px/d in ten days.
        assert 0.2 < float(np.hypot(there.dx, there.dy).median()) / days < 0.3
        assert float(found.forward_backward_distance.median()) < 0.1
    residual = closure(d12, d23, d13)
    # Each of the three declares about 0.05 px on this texture.
    assert float(np.hypot(residual.dx, residual.dy).median()) < 0.1
