"""Scores of features on real pairs: Perito Moreno (Sentinel-2) and Yahtse Glacier (Landsat 8).

The folders are those of the project's real data (``OGIVE_DATA``) and of the cases with known
answers beside it. Nothing here was trained on.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import xarray as xr
from learned_scores import Array, Bools, Method, matched, moved_by, stable_spread
from scipy import ndimage

import ogive
from ogive.evaluation.motion import closure, forward_backward
from ogive.matching.search import Search

__all__ = ["PeritoMoreno", "Yahtse"]

WINDOWS_PX = (8, 16, 32)
REACH_PX = 8
RIGHT_PX = 2.0
SPACING_PX = 24
"""Distance of the reference points, which lie on a regular grid with gaps."""
CLEAR = ("20200101", "20200131", "20200205", "20200207", "20200210", "20200220")
BASELINES = (
    ("20200131", "20200210"), ("20200131", "20200220"), ("20200101", "20200131"),
    ("20200101", "20200210"), ("20200101", "20200220"),
)  # fmt: skip
"""Clear pairs of 10, 20, 30, 40 and 50 days."""
TRIPLET = ("20200131", "20200210", "20200220")
STILL_MATCHES = 0.5


def read(path: Path) -> Array:
    """All bands of a picture without georeference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path) as source:
            return np.asarray(source.read())


def days_between(earlier: str, later: str) -> int:
    """Days between two dates in the names of the pictures."""
    first, last = (datetime.strptime(name, "%Y%m%d") for name in (earlier, later))
    return (last - first).days


@dataclass(frozen=True)
class PeritoMoreno:
    """Looks of Perito Moreno Glacier and what is known of its motion.

    Parameters
    ----------
    looks
        Folder of the pictures, named by their dates, with ``mask.jpg``.
    known
        Folder of ``perito_moreno_points.csv`` and ``perito_moreno_pairs.csv``.
    """

    looks: Path
    known: Path

    @cached_property
    def points(self) -> pd.DataFrame:
        """Places in pixels and a reference velocity in pixels a day."""
        return pd.read_csv(self.known / "perito_moreno_points.csv")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Pairs with their days and the shift of the whole image."""
        return pd.read_csv(
            self.known / "perito_moreno_pairs.csv", dtype={"earlier": str, "later": str}
        )

    @cached_property
    def ice(self) -> Bools:
        """The ice mask that comes with the pictures."""
        return np.asarray(read(self.looks / "mask.jpg").astype(float).mean(axis=0) > 128)

    @cached_property
    def images(self) -> dict[str, Array]:
        """Grey pictures by date: the mean of red, green and blue."""
        dates = {*self.pairs.earlier, *self.pairs.later, *CLEAR}
        return {date: read(self.looks / f"{date}.jpg").astype("f4").mean(axis=0) for date in dates}

    def residuals(
        self, earlier: str, later: str, days: float, method: Method, window: int
    ) -> Array:
        """Measured less reference displacement at the points, ``(2, point)``; NaN where none.

        Every point is searched on its own, by 8 px round the reference rounded to whole pixels. The
        method's own option ``subpixel`` decides whether peaks are refined.
        """
        # A crop of a few pixels brings the points onto the regular grid of windows.
        x, y = self.points.x.to_numpy(), self.points.y.to_numpy()
        left, top = ((axis[0] - window // 2) % SPACING_PX for axis in (x, y))
        first, second = (
            np.ascontiguousarray(self.images[date][top:, left:]) for date in (earlier, later)
        )
        rows, columns = (
            (axis - window // 2 - offset) // SPACING_PX for axis, offset in ((y, top), (x, left))
        )
        shape = tuple((size - window) // SPACING_PX + 1 for size in first.shape)
        reference = days * self.points[["vx_px_per_day", "vy_px_per_day"]].to_numpy().T
        around = np.zeros((2, *shape))
        around[:, rows, columns] = np.rint(reference)
        centres = [SPACING_PX * np.arange(size) + (window - 1) / 2 for size in shape]
        prior = xr.Dataset(
            {name: (("y", "x"), plane) for name, plane in zip(("dx", "dy"), around, strict=True)},
            coords={"y": centres[0], "x": centres[1]},
        )
        # Between the points nothing is asked: the least search there.
        radius = np.ones(first.shape, np.int64)
        half = [np.rint(axis).astype(int) for axis in (centres[0][rows], centres[1][columns])]
        radius[half[0], half[1]] = REACH_PX
        found = matched(
            first, second, method, window=window, step=SPACING_PX, prior=prior,
            search=Search(radius_px=radius, strategy="full"),
        )  # fmt: skip
        measured = np.stack([found.dx.values, found.dy.values])[:, rows, columns]
        return np.asarray(measured - reference, float)

    def right_share(self, residual: Array, shift: Array) -> float:
        """Share of points within 2 px of the reference plus the shift of the image."""
        with np.errstate(invalid="ignore"):
            return float((np.hypot(*(residual - shift[:, None])) < RIGHT_PX).mean())

    def protocol(self, method: Method) -> dict[str, Any]:
        """Share of right points, mean over the pairs, and pair by pair; distances at 16 px.

        Whole-pixel peaks decide what is right, refined ones the distances.
        """
        whole = replace(method, options={"subpixel": "none"})
        shares: dict[int, list[float]] = {window: [] for window in WINDOWS_PX}
        distances = []
        for pair in self.pairs.itertuples():
            shift = np.array([pair.shift_x_px, pair.shift_y_px])
            for window in WINDOWS_PX:
                residual = self.residuals(pair.earlier, pair.later, pair.days, whole, window)
                shares[window].append(self.right_share(residual, shift))
                if window == 16:
                    residual = self.residuals(pair.earlier, pair.later, pair.days, method, window)
                    distances.append(np.hypot(*(residual - shift[:, None])))
        clear = np.array([{p.earlier, p.later} <= {*CLEAR} for p in self.pairs.itertuples()])
        return {
            **{f"right_share_{window}": float(np.mean(shares[window])) for window in WINDOWS_PX},
            "right_share_16_clear": float(np.array(shares[16])[clear].mean()),
            "right_share_16_cloudy": float(np.array(shares[16])[~clear].mean()),
            "pairs": {
                f"{pair.earlier}-{pair.later}": [shares[window][k] for window in WINDOWS_PX]
                for k, pair in enumerate(self.pairs.itertuples())
            },
            "distances_16": np.array(distances),
        }

    def baselines(self, method: Method, shifts: dict[tuple[str, str], Array]) -> dict[str, Any]:
        """Share of right points at 16 px from 10 to 50 days, and how long half of them match."""
        shares = {}
        for pair in BASELINES:
            days = days_between(*pair)
            residual = self.residuals(
                *pair, days, replace(method, options={"subpixel": "none"}), 16
            )
            shares[days] = self.right_share(residual, shifts[pair])
        matching = [days for days, share in shares.items() if share >= STILL_MATCHES]
        return {
            "share_by_days": {str(days): share for days, share in shares.items()},
            "longest_days": max(matching, default=0),
            "days_at_half": days_at(shares, STILL_MATCHES),
        }

    def shifts(self) -> dict[tuple[str, str], Array]:
        """Shift of each of the `BASELINES` as a whole, by the largest classical windows."""
        found = {}
        for pair in BASELINES:
            method = Method("highpass", "highpass", {})
            residual = self.residuals(*pair, days_between(*pair), method, 48)
            middle = np.nanmedian(residual, axis=1)
            for _ in range(5):
                near = np.hypot(*(residual - middle[:, None])) < RIGHT_PX
                middle = np.median(residual[:, near], axis=1)
            found[pair] = middle
        return found

    def consistency(self, method: Method) -> dict[str, float]:
        """Forward-backward distance and closure of a clear triplet, on ice, as maps are made."""
        looks = [self.images[date] for date in TRIPLET]
        # JPEG rings a few grey levels into the black round the picture, eight pixels deep.
        seen = [ndimage.binary_erosion(look > 12, iterations=8) for look in looks]

        def pair(first: int, last: int) -> xr.Dataset:
            masks = ogive.Masks(seen[first], seen[last])
            return matched(looks[first], looks[last], method, search=12, mask=masks)

        d12, d23, d13, back = pair(0, 1), pair(1, 2), pair(0, 2), pair(1, 0)
        rows, columns = np.rint(d12.y.values).astype(int), np.rint(d12.x.values).astype(int)
        ice = ndimage.binary_erosion(self.ice, iterations=8)[np.ix_(rows, columns)]

        def lengths(residual: xr.Dataset) -> Array:
            length = np.hypot(residual.dx.values, residual.dy.values)[ice].astype(float)
            return np.where(np.isnan(length), np.inf, length)

        there_and_back = lengths(forward_backward(d12, back))
        closed = lengths(closure(d12, d23, d13))
        return {
            "forward_backward_below_1px": float((there_and_back < 1).mean()),
            "forward_backward_median_px": float(np.median(there_and_back)),
            "closure_below_1px": float((closed < 1).mean()),
            "closure_median_px": float(np.median(closed)),
        }


def days_at(shares: dict[int, float], level: float) -> float:
    """Days after which the share falls below a level, between two baselines linearly."""
    ordered = sorted(shares.items())
    if ordered[0][1] < level:
        return float("nan")
    for (days, share), (next_days, next_share) in pairwise(ordered):
        if next_share < level:
            return days + (next_days - days) * (share - level) / (share - next_share)
    return float(ordered[-1][0])


@dataclass(frozen=True)
class Yahtse:
    """Two looks of Yahtse Glacier, sixteen days apart: rock in the east, a fast tongue."""

    folder: Path

    STABLE_FROM_COLUMN = 1100
    BEST = 0.82
    TONGUE = (slice(720, 930), slice(890, 1050))
    """Rows and columns of the crevassed tongue, which flows by 10 m a day."""

    @cached_property
    def images(self) -> list[Array]:
        """Both panchromatic images."""
        names = [f"LC8063018{day}LGN00_B8_yahtse.TIF" for day in ("2016200", "2016216")]
        return [read(self.folder / name)[0].astype(np.float32) for name in names]

    def scores(self, method: Method) -> dict[str, float]:
        """Spread on stable ground under imposed shifts; consistency on the tongue."""
        earlier, later = self.images
        spreads = []
        for shift in (0.0, 0.25, 0.5):
            found = matched(
                earlier, moved_by(later, shift, shift).astype(np.float32), method, search=32
            )
            stable = np.broadcast_to(found.x.values > self.STABLE_FROM_COLUMN, found.dx.shape)
            spreads.append(stable_spread(found, stable, self.BEST))
            if shift == 0.0:
                there = found
        back = matched(later, earlier, method, search=32)
        residual = forward_backward(there, back)
        length = np.hypot(residual.dx, residual.dy)
        rows, columns = self.TONGUE
        tongue = length.sel(y=rows, x=columns).values
        ice = length.sel(x=slice(0, self.STABLE_FROM_COLUMN)).values
        return {
            "stable_nmad_px": float(np.mean(spreads)),
            "tongue_forward_backward_below_1px": float((tongue < 1).mean()),
            "west_forward_backward_below_1px": float((ice < 1).mean()),
        }
