"""What matches of pairs with known motion knew of their points, and how far they were off.

Of each pair a few settings are drawn (windows, steps, ranges, strategies); all features are matched
with the same, so that they can be compared point by point. What was found is kept in a folder and
not measured again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confidence_cases import Known, Source
from numpy.typing import NDArray

from ogive.matching.confidence import PREDICTORS, predictors
from ogive.matching.field import measure_field
from ogive.matching.search import Search
from ogive.model import Flag

__all__ = [
    "Evidence",
    "Setting",
    "drawn_settings",
    "evidence_of",
    "measured_evidence",
]

WINDOWS_PX = (8, 12, 16, 24, 32, 48)
STEPS_PX = (6, 8, 12)
RADII_PX = {"coarse-to-fine": (8, 16, 32), "full": (8, 16)}
FULL_EACH = 3
"""Every third pair is searched fully too: that is slow."""

Array = NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setting:
    """Of a match."""

    window_px: int
    step_px: int
    radius_px: int
    strategy: str


@dataclass(frozen=True)
class Evidence:
    """Of one match: all points in a row; NaN where there is no displacement.

    Attributes
    ----------
    pair
        Name of the pair.
    setting
        Of the match.
    predictors
        `PREDICTORS` by name.
    u, v
        Displacement in pixels.
    error_px
        Its distance from the truth: infinite where there is nothing to find, NaN where that is not
        known, however the point was measured.
    """

    pair: str
    setting: Setting
    predictors: dict[str, Array]
    u: Array
    v: Array
    error_px: Array

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Where there is a displacement."""
        return np.isfinite(self.u)


def drawn_settings(number: int, *, windows: int = 2) -> Iterator[Setting]:
    """Draw settings for the pair of this number."""
    rng = np.random.default_rng([number, 7])
    strategies = ["coarse-to-fine"] * windows + ["full"] * (number % FULL_EACH == 0)
    sizes = rng.permutation(WINDOWS_PX)
    for size, strategy in zip(sizes, strategies, strict=False):
        yield Setting(
            int(size), int(rng.choice(STEPS_PX)), int(rng.choice(RADII_PX[strategy])), strategy
        )


def evidence_of(known: Known, features: Any, setting: Setting) -> Evidence:
    """Match a pair, with every peak kept."""
    field = measure_field(
        known.earlier, known.later, features=features, window_px=setting.window_px,
        step_px=setting.step_px, least_sigmas=0.0,
        search=Search(radius_px=setting.radius_px, strategy=setting.strategy),  # type: ignore[arg-type]
    )  # fmt: skip
    measured = field.flag == Flag.MEASURED
    if field.circumstances is None:
        raise RuntimeError("a match without circumstances")
    found = predictors(field.planes, measured, field.circumstances)
    # The truth is asked for everywhere: a point without a displacement counts as a miss.
    still = [np.where(measured, field.planes[name], 0.0) for name in ("u", "v")]
    error = known.error_px(field.points, *still)
    error[~measured & np.isfinite(error)] = np.inf
    return Evidence(
        known.name, setting,
        {name: np.broadcast_to(found[name], measured.shape)[...].astype("f4").ravel()
         for name in PREDICTORS},
        field.planes["u"].ravel(), field.planes["v"].ravel(), error.astype("f4").ravel(),
    )  # fmt: skip


def measured_evidence(
    sources: Iterable[Source],
    name: str,
    features: Any,
    folder: Path,
    *,
    settings: Callable[[int], Iterable[Setting]] = drawn_settings,
) -> list[Evidence]:
    """Match pairs, or read what was found before under this name of the features."""
    kept = folder / "evidence"
    kept.mkdir(parents=True, exist_ok=True)
    found: list[Evidence] = []
    for source in sources:
        path = kept / f"{name} {source.name}.npz".replace(" ", "_")
        if not path.exists():
            known = source.known(folder / "cases")
            _write(path, [evidence_of(known, features, each) for each in settings(source.number)])
            _log.info("%s: %s", name, source.name)
        found += _read(path, source.name)
    return found


def _write(path: Path, some: list[Evidence]) -> None:
    arrays: dict[str, Any] = {}
    for k, one in enumerate(some):
        setting = one.setting
        arrays[f"{k} setting"] = np.array(
            [setting.window_px, setting.step_px, setting.radius_px, setting.strategy == "full"]
        )
        for plane in ("u", "v", "error_px"):
            arrays[f"{k} {plane}"] = getattr(one, plane)
        for predictor, values in one.predictors.items():
            arrays[f"{k} predictor {predictor}"] = values.astype("f2")
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.rename(path)


def _read(path: Path, pair: str) -> list[Evidence]:
    found = []
    with np.load(path) as kept:
        number = 1 + max(int(name.split()[0]) for name in kept.files)
        for k in range(number):
            window, step, radius, full = (int(value) for value in kept[f"{k} setting"])
            strategy = "full" if full else "coarse-to-fine"
            of = {name: kept[f"{k} predictor {name}"].astype("f4") for name in PREDICTORS}
            u, v, error = (kept[f"{k} {plane}"] for plane in ("u", "v", "error_px"))
            found.append(Evidence(pair, Setting(window, step, radius, strategy), of, u, v, error))
    return found
