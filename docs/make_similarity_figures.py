"""Draw the figures of samples in ``similarity.md`` and print how much the real images gave.

``python docs/make_similarity_figures.py [FOLDER OF REAL DATA]``. Samples that are picked by hand
are drawn by ``make_annotate_figures.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from numpy.typing import NDArray

from ogive.similarity.samples.consistency import Matching
from ogive.similarity.samples.image_series import ImageSeries, read_series
from ogive.similarity.samples.sample import Sample
from ogive.similarity.samples.seen_again import real_ranges
from ogive.similarity.samples.self_sample import Round, SelfSamples, self_sample_round
from ogive.similarity.samples.simulated import SimulatedSamples, read_ranges, read_textures
from ogive.similarity.samples.stable_pairs import StablePair, stable_pairs
from ogive.similarity.samples.warped import WarpedSamples
from ogive.similarity.samples.year_tiles import read_year_tiles

mpl.use("Agg")
import matplotlib.pyplot as plt
from cmcrameri import cm
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FIGURES = Path(__file__).resolve().parent / "figures"
ARROWS_PX = 16
HIDDEN = "#c8b8a0"


def show(axis: Axes, image: NDArray[np.float32], **named: Any) -> None:
    """An image in grey, stretched."""
    low, high = np.nanpercentile(image, [1, 99])
    axis.imshow(image, cmap="gray", vmin=low, vmax=high, **named)
    axis.set(xticks=[], yticks=[])


def draw_samples(samples: Sequence[tuple[str, Sample]]) -> Figure:
    """Columns of samples: both images, and the displacement where it is known."""
    figure = plt.figure(figsize=(1.75 * len(samples) + 0.6, 5.6), layout="constrained")
    axes = figure.subplots(3, len(samples))
    for column, (title, sample) in enumerate(samples):
        for row, name in enumerate(("earlier", "later")):
            pixels = sample[name][0].numpy().copy()  # type: ignore[literal-required]
            valid = sample[f"valid_{name}"][0].numpy()  # type: ignore[literal-required]
            pixels[~valid] = np.nan
            show(axes[row, column], pixels)
        seen = sample["labelled"] & sample["matchable"]
        dx, dy = torch.where(seen, sample["displacement"], torch.nan).numpy()
        axis = axes[2, column]
        axis.set_facecolor(HIDDEN)
        drawn = axis.imshow(np.hypot(dx, dy), cmap=cm.batlow, vmin=0, vmax=10)
        at = slice(ARROWS_PX // 2, None, ARROWS_PX)
        y, x = np.mgrid[: dx.shape[0], : dx.shape[1]][:, at, at]
        axis.quiver(
            x, y, dx[at, at], dy[at, at], angles="xy", scale_units="xy", scale=0.6, color="white",
            width=0.008,
        )  # fmt: skip
        axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(title, fontsize=9)
    for row, name in enumerate(("earlier", "later", "displacement")):
        axes[row, 0].set_ylabel(name, fontsize=9)
    bar = figure.colorbar(drawn, ax=axes[2, :], pad=0.01, aspect=10, extend="max")
    bar.set_label("pixels", fontsize=9)
    return figure


def simulated_samples(data: Path) -> list[tuple[str, Sample]]:
    """Pairs simulated from the textures that the shipped model learned from."""
    textures = [
        *read_textures(data / "yahtse_l8_pair/LC8*_yahtse.TIF"),
        *read_textures(data / "khumbu_s2_dem/S2B_*.tif", bands=(1, 2, 3)),
        *read_textures(data / "swiss_s2_glaciers/images/7f*.tif", bands=(2, 4)),
    ]
    samples = SimulatedSamples(textures, read_ranges(), seed=1)
    return [("", samples.sample(index)) for index in (1, 4, 10, 11, 17, 20, 22)]


def real_samples(
    here: ImageSeries, done: Round, ground: Sequence[StablePair]
) -> list[tuple[str, Sample]]:
    """Two of each kind: moved onto itself, labelled by matching, stable ground."""
    kinds = {
        "moved onto itself": (WarpedSamples(here.images, read_ranges(), seed=3), (0, 4)),
        "matched, consistent": (SelfSamples(done.pairs, real_ranges(), seed=3), (2, 5, 6)),
        "stable ground": (
            SelfSamples([each.pair for each in ground if each.kept], real_ranges(), seed=3),
            (15, 18),
        ),
    }
    return [
        (title, samples.sample(index))
        for title, (samples, chosen) in kinds.items()
        for index in chosen
    ]


def draw_labels(done: Round, ground: Sequence[StablePair]) -> Figure:
    """Labels of Yahtse Glacier, and ground that was seen in two years."""
    figure = plt.figure(figsize=(12, 4.1), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=[1.6, 1, 1])
    pair = done.pairs[0]
    show(left, pair.earlier.grey)
    speed = np.where(pair.labelled, np.hypot(*pair.displacement), np.nan)
    drawn = left.imshow(speed, cmap=cm.batlow, vmin=0, vmax=10, alpha=0.75)
    figure.colorbar(drawn, ax=left, pad=0.01, extend="max").set_label("pixels in 16 days")
    left.set_title("Yahtse: what contradicts nothing", fontsize=10)
    largest = max((each for each in ground if each.kept), key=lambda each: each.windows)
    for axis, image in zip(
        (middle, right), (largest.pair.earlier, largest.pair.later), strict=True
    ):
        show(axis, image.grey)
        axis.contour(largest.pair.labelled, [0.5], colors="#ffb000", linewidths=0.9)
        year = image.scene.time.year
        axis.set_title(f"{year}: framed, ground that stands still", fontsize=10)
    return figure


def tell(done: Round, ground: Sequence[StablePair]) -> None:
    """Print how much there is."""
    print("| place | days | points | measured | there and back | round | kept | labelled pixels |")
    print("|---|---|---|---|---|---|---|---|")
    for kept in done.kept:
        counts = (kept.points, kept.measured, kept.consistent, kept.closed, kept.agreeing)
        cells = " | ".join(f"{count:,}" for count in (*counts, kept.labelled_pixels))
        print(f"| {kept.place} | {kept.days:.0f} | {cells} |")
    print("\n| ground of | years | windows | dx, dy px | scatter px | error px | pixels | kept |")
    print("|---|---|---|---|---|---|---|---|")
    for each in sorted(ground, key=lambda each: -each.windows):
        pair = each.pair
        years = f"{pair.earlier.scene.time.year}-{pair.later.scene.time.year}"
        print(
            f"| {len(pair.places)} glaciers | {years} | {each.windows} | {each.dx_px:.2f}, "
            f"{each.dy_px:.2f} | {each.spread_px:.2f} | {each.error_px:.2f} | "
            f"{int(pair.stable.sum()):,} | {'yes' if each.kept else 'no'} |"
        )


def main(data: Path) -> None:
    """Draw all and tell the counts."""
    here = read_series(
        sorted((data / "yahtse_l8_pair").glob("LC8*_yahtse.TIF")), place="Yahtse", nodata=0
    )
    fields = read_series(
        sorted((data / "arosics_s2_pair").glob("*.jp2")), place="lowland, no ice", nodata=0
    )
    done = self_sample_round([here, fields], Matching(search_px=24))
    swiss = data / "swiss_s2_glaciers"
    ground = stable_pairs(read_year_tiles(swiss / "images/*.tif", masks=swiss / "masks"))
    tell(done, ground)
    yahtse = Round(done.pairs[:1], done.kept[:1])
    for name, figure in (
        ("samples_simulated", draw_samples(simulated_samples(data))),
        ("samples_self", draw_samples(real_samples(here, yahtse, ground))),
        ("samples_labels", draw_labels(yahtse, ground)),
    ):
        figure.savefig(FIGURES / f"{name}.png", dpi=110)
        plt.close(figure)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(Path(given[0]) if given else Path(__file__).resolve().parents[2] / "shared" / "data")
