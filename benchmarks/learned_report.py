"""The table of `learned`: features in rows, figures in columns, in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["report"]

HARD = ("long baseline", "shadow", "low texture")
Results = Mapping[str, Mapping[str, Any]]
Column = tuple[str, Callable[[Mapping[str, Any]], float], str, Callable[..., Any] | None]


def table(results: Results, columns: Sequence[Column]) -> list[str]:
    """One table; the best of each column in bold (by ``max``, ``min``, or none)."""
    cells = []
    for _, value, style, best in columns:
        numbers = [value(found) for found in results.values()]
        known = [number for number in numbers if np.isfinite(number)]
        wanted = best(known) if best is not None and known else None
        cells.append(
            [
                "-" if not np.isfinite(number)
                else f"**{number:{style}}**" if number == wanted
                else f"{number:{style}}"
                for number in numbers
            ]
        )  # fmt: skip
    lines = [
        "| features | " + " | ".join(column[0] for column in columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for row, name in enumerate(results):
        lines.append(f"| {name} | " + " | ".join(column[row] for column in cells) + " |")
    return lines


def situation_table(results: Results, part: str, name: str, style: str, best: Any) -> list[str]:
    """One figure of all simulated situations."""
    situations = next(iter(results.values()))[part]
    return table(
        results,
        [
            (situation, lambda f, s=situation: f[part][s][name], style, best)
            for situation in situations
        ],
    )


def of(*path: str) -> Callable[[Mapping[str, Any]], float]:
    """A figure by its path."""

    def value(found: Mapping[str, Any]) -> float:
        part: Any = found
        for name in path:
            part = part[name]
        return float(part)

    return value


def hard_ratio(results: Results) -> list[str]:
    """Right points of learned features over those of the best classical ones."""
    learned = [name for name in results if name.startswith("learned")]
    classical = [name for name in results if name not in learned]
    if not learned or not classical:
        return []
    lines = ["", "## Learned over best classical", ""]
    lines += ["| | " + " | ".join(results[learned[0]]["equal"]) + " | hard, pooled |"]
    lines += ["|---|" + "---|" * (len(results[learned[0]]["equal"]) + 1)]
    for part in ("equal", "best"):
        for name in learned:
            shares = results[name][part]
            top = {
                s: max(results[other][part][s]["right_share"] for other in classical)
                for s in shares
            }
            ratios = [shares[s]["right_share"] / top[s] for s in shares]
            points = {s: shares[s]["points"] for s in HARD}
            pooled = sum(points[s] * shares[s]["right_share"] for s in HARD) / max(
                sum(points[s] * results[other][part][s]["right_share"] for s in HARD)
                for other in classical
            )
            cells = [f"{ratio:.2f}" for ratio in (*ratios, pooled)]
            lines.append(f"| {name}, {part} | " + " | ".join(cells) + " |")
    return lines


def report(results: Results) -> str:
    """All tables."""
    lines = ["# Learned and classical features", ""]
    lines += ["## Simulated, equal settings: share of points on ice within 1 px", ""]
    lines += situation_table(results, "equal", "right_share", ".3f", max)
    lines += ["", "## Simulated, equal settings: coverage at 95 % precision", ""]
    lines += situation_table(results, "equal", "coverage_at_95", ".3f", max)
    lines += ["", "## Simulated, equal settings: median error of right points, px", ""]
    lines += situation_table(results, "equal", "median_error_of_right_px", ".3f", min)
    lines += ["", "## Simulated, equal settings: median error of all points, px", ""]
    lines += situation_table(results, "equal", "median_error_px", ".3f", min)
    lines += ["", "## Simulated, equal settings: share of margin points within 1 px", ""]
    lines += situation_table(results, "equal", "margin_right_share", ".3f", max)
    lines += ["", "## Simulated, each at its best: share of points on ice within 1 px", ""]
    lines += situation_table(results, "best", "right_share", ".3f", max)
    lines += ["", "## Simulated, each at its best: window, px", ""]
    lines += situation_table(results, "best", "window_px", ".0f", None)
    lines += hard_ratio(results)
    lines += ["", "## Below the pixel, stable ground, speed", ""]
    columns: list[Column] = [
        ("bias curve, peak to peak, px", of("bias", "peak_to_peak_px"), ".3f", min),
        ("simulated rock (easy), NMAD, px", of("equal", "easy", "stable_nmad_px"), ".3f", min),
        ("CPU s per million points", of("seconds_per_million_points"), ".1f", min),
    ]
    if all("yahtse" in found for found in results.values()):
        columns[2:2] = [("Yahtse rock, NMAD, px", of("yahtse", "stable_nmad_px"), ".3f", min)]
    lines += table(results, columns)
    if all("perito_moreno" in found for found in results.values()):
        lines += real_tables(results)
    return "\n".join(lines) + "\n"


def real_tables(results: Results) -> list[str]:
    """Perito Moreno and Yahtse."""
    place = "perito_moreno"
    lines = ["", "## Perito Moreno: share of points within 2 px of the reference", ""]
    lines += table(
        results,
        [
            *((f"window {w}", of(place, f"right_share_{w}"), ".3f", max) for w in (8, 16, 32)),
            ("16, clear pairs", of(place, "right_share_16_clear"), ".3f", max),
            ("16, cloudy pairs", of(place, "right_share_16_cloudy"), ".3f", max),
            (
                "distance where all are right, px",
                of(place, "median_distance_where_all_are_right_px"), ".3f", min,
            ),
        ],
    )  # fmt: skip
    days = next(iter(results.values()))[place]["baselines"]["share_by_days"]
    lines += ["", "## Perito Moreno: clear pairs by days between them, window 16", ""]
    lines += table(
        results,
        [
            *((f"{d} d", of(place, "baselines", "share_by_days", d), ".3f", max) for d in days),
            ("longest that matches, d", of(place, "baselines", "longest_days"), ".0f", None),
        ],
    )
    lines += ["", "## Consistency without a reference, window 16", ""]
    lines += table(
        results,
        [
            (
                "Perito Moreno, there and back < 1 px",
                of(place, "forward_backward_below_1px"), ".3f", max,
            ),
            ("median, px", of(place, "forward_backward_median_px"), ".3f", min),
            ("triplet closure < 1 px", of(place, "closure_below_1px"), ".3f", max),
            ("median, px", of(place, "closure_median_px"), ".3f", min),
            (
                "Yahtse tongue, there and back < 1 px",
                of("yahtse", "tongue_forward_backward_below_1px"), ".3f", max,
            ),
            (
                "Yahtse, all west",
                of("yahtse", "west_forward_backward_below_1px"), ".3f", max,
            ),
        ],
    )  # fmt: skip
    return lines
