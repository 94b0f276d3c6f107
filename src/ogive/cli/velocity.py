"""``ogive velocity``: two images to a velocity map."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import Quiet, Verbose
from .session import FAILED_LOG, running

if TYPE_CHECKING:
    from ogive.model import Pair
    from ogive.workflow.product import Product

__all__ = ["velocity"]


class Storage(StrEnum):
    """How velocities are stored."""

    FLOAT32 = "float32"
    INT16 = "int16"


def velocity(
    earlier: Annotated[Path, typer.Argument(help="The earlier image.", metavar="EARLIER")],
    later: Annotated[Path, typer.Argument(help="The later image.", metavar="LATER")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the product.", metavar="DIR")],
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="When the images were acquired (UTC); else from names and tags.", metavar="D1 D2"
        ),
    ] = None,
    window: Annotated[int, typer.Option(help="Side of the matching windows, pixels.")] = 32,
    step: Annotated[int, typer.Option(help="Distance between points, pixels.")] = 8,
    max_speed: Annotated[
        float | None, typer.Option(help="Fastest ice to be expected, m/yr: sets the search.")
    ] = None,
    search: Annotated[
        int | None, typer.Option(help="How far to search, pixels; 32 without a largest speed.")
    ] = None,
    features: Annotated[
        str,
        typer.Option(help="What is matched: adaptive, learned, highpass, sobel, orientation, ..."),
    ] = "adaptive",
    subpixel_features: Annotated[
        str, typer.Option(help="What is measured below a pixel: same, adaptive, ...")
    ] = "same",
    weights: Annotated[
        str | None,
        typer.Option(help="Weights of learned features: a file, or an address#sha256=..."),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where learned features are computed: auto, cpu, cuda, cuda:1, mps.")
    ] = "auto",
    stable: Annotated[
        Path | None, typer.Option(help="Polygons of ground that does not move.", metavar="FILE")
    ] = None,
    ice: Annotated[
        Path | None,
        typer.Option(help="Glacier outlines: the ground beside them is stable.", metavar="FILE"),
    ] = None,
    prior: Annotated[
        Path | None,
        typer.Option(help="Older velocity to search round (NetCDF, GeoTIFF).", metavar="FILE"),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(help="Raster that is 0 where images must not be used.", metavar="FILE"),
    ] = None,
    band: Annotated[
        str | None, typer.Option(help="Band of the images, by number from 1 or name.")
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Accept images without a reference; measure in pixels.")
    ] = False,
    pixel_size: Annotated[
        float | None,
        typer.Option(help="Metres per pixel of such images: gives m/yr.", metavar="METRES"),
    ] = None,
    forward_backward: Annotated[
        float | None,
        typer.Option(help="Match both ways; drop points that miss by more.", metavar="PIXELS"),
    ] = None,
    calibration: Annotated[
        str, typer.Option(help="constant, plane, across_track or along_track.")
    ] = "constant",
    track_azimuth: Annotated[
        float | None,
        typer.Option(help="Direction of flight, degrees clockwise from north.", metavar="DEG"),
    ] = None,
    storage: Annotated[
        Storage, typer.Option("--format", help="How velocities are stored.")
    ] = Storage.FLOAT32,
    threads: Annotated[int | None, typer.Option(help="By default all there are.")] = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the product that lies in DIR.")
    ] = False,
) -> None:
    """Measure the velocity of glaciers between two images.

    Writes a NetCDF file in ITS_LIVE's schema, GeoTIFFs of the speed and its components, a picture,
    the options as they were resolved, and a log.
    """
    with running(out / FAILED_LOG, quiet=quiet, verbose=verbose) as run:
        from ogive.store.atomic import atomic_path
        from ogive.workflow.product import LOG, published, write_product
        from ogive.workflow.velocity import STEPS, Options, measure_motion

        options = Options(
            dates=dates,
            window=window,
            step=step,
            max_speed=max_speed,
            search=search,
            features=features,
            subpixel_features=subpixel_features,
            weights=weights,
            device=device,
            stable=stable,
            ice=ice,
            prior=prior,
            mask=mask,
            calibration=calibration,  # type: ignore[arg-type]  # measure_motion checks it
            track_azimuth=track_azimuth,
            forward_backward=forward_backward,
            band=band,
            pixels=pixels or pixel_size is not None,
            pixel_size=pixel_size,
            threads=threads,
        )
        with published(out, overwrite=overwrite) as folder, run.steps(len(STEPS) + 1) as begin:
            motion = measure_motion(earlier, later, options, progress=begin)
            begin("write the product")
            images = [str(earlier), str(later)]
            product = write_product(
                motion, folder, options=options, images=images, dtype=storage.value
            )
            with atomic_path(folder / LOG) as path:
                path.write_text("\n".join(run.log) + "\n", encoding="utf-8")
        if not quiet:
            _show(product, motion.pair, out)


def _show(product: Product, pair: Pair | None, folder: Path) -> None:
    """Close with a table of what was measured and where it lies."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="bold")
    table.add_column()
    if pair is not None:
        for name, scene in (("earlier", pair.earlier), ("later", pair.later)):
            source = scene.properties["date_source"]
            table.add_row(name, f"{scene.time.isoformat(sep=' ')} (from {source})")
        table.add_row("days", f"{pair.days:g}")
    share = 100 * product.measured / product.count
    table.add_row("points", f"{product.count:,}")
    table.add_row("measured", f"{share:.1f} %")
    if product.shift_x == product.shift_x:  # stable ground was there
        unit = product.unit
        table.add_row("shift of stable ground", _pair(product.shift_x, product.shift_y, unit))
        table.add_row("NMAD on stable ground", _pair(product.nmad_x, product.nmad_y, unit))
    else:
        table.add_row("stable ground", "none: not calibrated")
    if product.measured:
        speeds = f"{product.median_speed:.4g} and {product.top_speed:.4g} {product.unit}"
        table.add_row("median and 99 % speed", speeds)
    Console(highlight=False).print(table)
    for path in (folder / name for name in product.files):
        typer.echo(path)


def _pair(x: float, y: float, unit: str) -> str:
    return f"x {x:.3g}, y {y:.3g} {unit}"
