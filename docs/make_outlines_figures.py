"""Figures of outlines.md: maps of test glaciers, confidence against truth, ice divides.

python docs/make_outlines_figures.py FOLDER_OF_REAL_DATA TABLES

TABLES is what ``benchmarks/outlines.py --out`` and ``benchmarks/outlines_divides.py --out`` leave.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from cmcrameri import cm
from matplotlib.colors import LightSource
from matplotlib.figure import Figure

from ogive.learning.settings import read_settings
from ogive.outlines.confidence import band_of_95, confidence
from ogive.outlines.sides import split_tiles
from ogive.outlines.tile_maps import tile_probability
from ogive.outlines.tiles import GLACIER, band_indices
from ogive.outlines.train import TrainingConfig
from ogive.outlines.trained import load_outline_model

FIGURES = Path(__file__).resolve().parent / "figures"
CONFIG = FIGURES.parents[1] / "examples" / "outlines" / "mini.yaml"
INK, MAP, BAND = "#c2253c", "#14607a", "#f2b134"


def draw_maps(count: int = 4) -> None:
    """Test tiles with much ice: the scene with both outlines, probability, confidence."""
    model = load_outline_model(None, device="cpu")
    tiles = split_tiles(read_settings(CONFIG, TrainingConfig))[0]["test"]
    share = [np.mean(tile.content.labels == GLACIER) for tile in tiles]
    # One of each glacier, with neither no ice nor nothing else.
    chosen: dict[str, int] = {}
    for k in np.argsort(np.abs(np.array(share) - 0.45)).tolist():
        chosen.setdefault(tiles[k].info.place, k)
    figure = Figure(figsize=(10.5, 2.95 * count), layout="constrained")
    rows = figure.subplots(count, 3)
    for row, k in zip(rows, list(chosen.values())[:count], strict=True):
        tile = tiles[k]
        p = tile_probability(tile, model.network, model.bands, model.told)
        worth = model.calibration(confidence(p))
        bands = band_indices(tile.info, ("nir", "red", "green"))
        seen = np.moveaxis(tile.content.pixels[bands], 0, -1)
        low, high = np.nanpercentile(seen, (1, 99))
        row[0].imshow(np.clip((seen - low) / (high - low), 0, 1))
        truth = (tile.content.labels == GLACIER).astype(float)
        row[0].contour(truth, [0.5], colors=INK, linewidths=1.3)
        row[0].contour(p, [0.5], colors="w", linewidths=1.3)
        drawn = row[1].imshow(p, cmap=cm.oslo, vmin=0, vmax=1)
        figure.colorbar(drawn, ax=row[1], shrink=0.8, label="probability of glacier")
        drawn = row[2].imshow(worth, cmap=cm.batlow, vmin=0.5, vmax=1)
        band = band_of_95(p > 0.5, worth)
        for edge in (band.inner, band.outer):
            row[2].contour(edge.astype(float), [0.5], colors="w", linewidths=0.9)
        figure.colorbar(drawn, ax=row[2], shrink=0.8, label="calibrated confidence")
        for axes in row:
            axes.set(xticks=[], yticks=[])
    rows[0][0].set_title("NIR, red, green; inventory red, mini white", loc="left", fontsize=10)
    rows[0][1].set_title("Probability", loc="left", fontsize=10)
    rows[0][2].set_title("Confidence, and the 95 % band", loc="left", fontsize=10)
    figure.savefig(FIGURES / "outlines_maps.png", dpi=110)


def draw_confidence(tables: Path) -> None:
    """Reliability before and after calibration, and the estimated against the true overlap."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    raw, calibrated, overlap = figure.subplots(1, 3)
    for axes, kind in ((raw, "raw"), (calibrated, "monotone")):
        bins = pd.read_csv(tables / f"reliability_test_{kind}.csv").query("count > 0")
        axes.plot([0, 1], [0, 1], color="0.7", lw=1)
        size = 4 + 120 * bins["count"] / bins["count"].max()
        axes.scatter(bins["predicted"], bins["observed"], s=size, color=MAP, alpha=0.8, lw=0)
        error = np.average(np.abs(bins["predicted"] - bins["observed"]), weights=bins["count"])
        axes.set(xlim=(0, 1.02), ylim=(0.4, 1.02), xlabel="Confidence", ylabel="Share right")
        title = "As it is" if kind == "raw" else "Calibrated"
        axes.set_title(f"{title}: ECE {error:.4f}", loc="left", fontsize=10)
    told = pd.read_csv(tables / "estimates.csv")
    overlap.plot([0, 1], [0, 1], color="0.7", lw=1)
    size = 4 + 60 * told["ice_px"] / told["ice_px"].max()
    overlap.scatter(told["true"], told["estimated"], s=size, color=INK, alpha=0.6, lw=0)
    overlap.set(xlim=(0, 1), ylim=(0, 1), xlabel="True IoU", ylabel="Estimated IoU")
    r = np.corrcoef(told["true"], told["estimated"])[0, 1]
    overlap.set_title(f"Tiles, r = {r:.2f}", loc="left", fontsize=10)
    for axes in (raw, calibrated, overlap):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(FIGURES / "outlines_confidence.png", dpi=120)


def draw_divides(tables: Path) -> None:
    """The massif of Mont Blanc: glaciers of the inventory and by ice divides."""
    with np.load(tables / "divides.npz") as told:
        shade = LightSource(315, 40).hillshade(told["elevation_m"], vert_exag=1, dx=25, dy=25)
        figure = Figure(figsize=(11, 6), layout="constrained")
        names = {"reference": "Inventory of 2003", "calibrated": "Divides from the terrain"}
        for axes, (kind, title) in zip(figure.subplots(1, 2), names.items(), strict=True):
            axes.imshow(shade, cmap="gray", vmin=0, vmax=1)
            numbers = told[kind]
            mixed = np.where(numbers > 0, (numbers * 7919) % 97 / 97, np.nan)
            axes.imshow(mixed, cmap=cm.romaO, vmin=0, vmax=1, alpha=0.65, interpolation="nearest")
            count = len(np.unique(numbers)) - 1
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{title}: {count} glaciers", loc="left", fontsize=10)
        figure.savefig(FIGURES / "outlines_divides.png", dpi=110)


def main() -> None:
    """Draw all."""
    data, tables = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    draw_confidence(tables)
    draw_divides(tables)
    os.chdir(data)
    draw_maps()


if __name__ == "__main__":
    main()
