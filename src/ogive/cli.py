"""The command ``ogive``: a thin layer over the library.

Exit codes: 0 done; 1 an unexpected failure, told in a log; 2 wrong input, or a product that cannot
be written; 130 interrupted.

Only what the options need is imported here; the rest waits until a command runs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ogive.model import Pair
    from ogive.workflow.inversion import Point
    from ogive.workflow.product import Product

__all__ = ["app", "main"]

WRONG_INPUT, UNEXPECTED, INTERRUPTED = 2, 1, 130
FAILED_LOG = "failed-run.log"

_log = logging.getLogger(__name__)

app = typer.Typer(
    name="ogive",
    help="Measure how glaciers flow, from optical satellite images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Storage(StrEnum):
    """How velocities are stored."""

    FLOAT32 = "float32"
    INT16 = "int16"


def main() -> None:
    """Run the command line."""
    app()


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ogive {version('ogive')}")
        raise typer.Exit


@app.callback()
def _ogive(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell the version."),
    ] = False,
) -> None:
    """Measure how glaciers flow, from optical satellite images."""


@app.command()
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the product that lies in DIR.")
    ] = False,
) -> None:
    """Measure the velocity of glaciers between two images.

    Writes a NetCDF file in ITS_LIVE's schema, GeoTIFFs of the speed and its components, a picture,
    the options as they were resolved, and a log.
    """
    with _run(out / FAILED_LOG, quiet=quiet, verbose=verbose) as run:
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


@app.command()
def invert(
    cube: Annotated[
        Path, typer.Argument(help="A cube, or a folder of image pairs.", metavar="CUBE")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The series: *.nc or *.zarr.", metavar="FILE")
    ],
    sampling: Annotated[str, typer.Option(help="Length of the periods, in days.")] = "36",
    stable: Annotated[
        Path | None,
        typer.Option(help="Polygons of still ground, to say what the series is worth."),
    ] = None,
    point: Annotated[
        list[str] | None,
        typer.Option(
            help="A place to draw, in the grid's coordinates; may be repeated.", metavar="X,Y"
        ),
    ] = None,
    regularisation: Annotated[float, typer.Option(help="Weight of steady flow.")] = 1.0,
    closure: Annotated[str, typer.Option(help="combined or dates.")] = "combined",
    weights: Annotated[
        str, typer.Option(help="error, uniform, or the name of a quality variable.")
    ] = "error",
    acceleration: Annotated[
        str, typer.Option(help="What is taken for granted: zero or smoothed.")
    ] = "zero",
    units: Annotated[
        str | None, typer.Option(help="meter/year or meter/day, where the files do not say.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
) -> None:
    """Invert the velocities of many image pairs into a regular time series with errors."""
    with _run(_log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.inversion import make_series

        with run.steps(1) as begin:
            begin("invert")
            made = make_series(
                cube,
                out,
                sampling=sampling,
                stable=stable,
                points=[_point(text) for text in point or ()],
                units=units,
                overwrite=overwrite,
                progress=lambda done, count: begin("invert, block by block", count),
                regularisation=regularisation,
                closure=closure,
                weights=weights,
                acceleration=acceleration,
            )
        if not quiet:
            typer.echo(
                f"{made.pairs} pairs, {made.periods} periods from {made.first} to {made.last}"
            )
            for name, rmse in made.stable_rmse_m_yr.items():
                coherence = made.vector_coherence[name]
                typer.echo(
                    f"{name}: RMSE {rmse:.4g} m/yr on stable ground, vector coherence "
                    f"{coherence:.3f} elsewhere"
                )
            for path in (made.series, *made.figures):
                typer.echo(path)


def _point(text: str) -> Point:
    """Read a place that was given as X,Y."""
    from ogive.model import InputError
    from ogive.workflow.inversion import Point

    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{text!r} is no point: give its two coordinates as X,Y") from error
    return Point(x, y)


@app.command()
def annual(
    cube: Annotated[
        Path, typer.Argument(help="A cube, or a folder of image pairs.", metavar="CUBE")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to be made.", metavar="DIR")],
    year_start: Annotated[
        str, typer.Option(help="First day of a year; 01-01 for calendar years.", metavar="MM-DD")
    ] = "10-01",
    method: Annotated[str, typer.Option(help="median, mean, ols or theil-sen.")] = "ols",
    period: Annotated[
        tuple[str, str] | None,
        typer.Option(help="First and last day of one period, in place of years."),
    ] = None,
    points: Annotated[
        Path | None, typer.Option(help="Stakes or GNSS to compare with.", metavar="FILE")
    ] = None,
    points_crs: Annotated[
        str | None, typer.Option(help="Where their positions lie, if the file does not say.")
    ] = None,
    smoothing: Annotated[str, typer.Option(help="gaussian, median or none.")] = "gaussian",
    units: Annotated[
        str | None, typer.Option(help="meter/year or meter/day, where the files do not say.")
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="All there are by default.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace DIR's product.")] = False,
) -> None:
    """Make annual velocity maps and trends of a cube."""
    with _run(_log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.annual import make_annual

        with run.steps(1) as begin:
            begin("filter, average, write")
            made = make_annual(
                cube,
                out,
                year_start=year_start,
                method=method,  # type: ignore[arg-type]  # make_annual checks it
                period=period,
                smoothing=smoothing,  # type: ignore[arg-type]
                units=units,
                points=points,
                points_crs=points_crs,
                threads=threads,
                overwrite=overwrite,
            )
        if not quiet:
            removed = sum(made.removed.values())
            typer.echo(
                f"{made.pairs} pairs, {removed} of {made.observations} observations removed; "
                f"{len(made.years)} periods, "
                f"median speed of the last {made.median_speed_m_yr:.4g} m/yr"
            )
            if made.years_without_data:
                typer.echo(f"without data: {', '.join(made.years_without_data)}")
            for name in made.files:
                typer.echo(out / name)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to be made.", metavar="DIR")],
    start: Annotated[str, typer.Option(help="First day.", metavar="DATE")] = "2020-04-01",
    end: Annotated[str, typer.Option(help="Day after the last.", metavar="DATE")] = "2021-10-01",
    scenes: Annotated[int, typer.Option(help="How many, spread over the time.")] = 25,
    orbit: Annotated[
        list[str] | None,
        typer.Option(help="sentinel-2-west, -east, landsat-west, -east; may be repeated."),
    ] = None,
    size: Annotated[
        tuple[int, int], typer.Option(help="Pixels of 10 m.", metavar="ROWS COLUMNS")
    ] = (600, 600),
    max_speed: Annotated[float, typer.Option(help="Of nearly all of the ice, m/yr.")] = 350.0,
    clouds: Annotated[float, typer.Option(help="Mean cloud cover, 0 to 1.")] = 0.12,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    dem: Annotated[
        Path | None, typer.Option(help="A real surface for the ice to flow over.", metavar="FILE")
    ] = None,
    outlines: Annotated[
        Path | None, typer.Option(help="Outlines of its glaciers.", metavar="FILE")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    """Simulate a glacier and what satellites see of it: a STAC catalogue, and the truth."""
    with _run(_log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.acquisition import as_time
        from ogive.workflow.simulate import SimulationSettings, simulate_archive

        settings = SimulationSettings(
            rows=size[0],
            columns=size[1],
            start=as_time(start),
            end=as_time(end),
            scene_count=scenes,
            seed=seed,
            max_speed_m_yr=max_speed,
            mean_cloud_cover=clouds,
        )
        if orbit:
            settings = replace(settings, orbits=tuple(orbit))
        with run.steps(scenes + 1) as begin:
            begin("simulate the glacier")
            catalogue = simulate_archive(
                out,
                settings=settings,
                dem=dem,
                outlines=outlines,
                progress=lambda done, count: begin(f"scene {done} of {count}"),
            )
        if not quiet:
            typer.echo(catalogue)


@app.command("elevation-bias")
def elevation_bias(
    cube: Annotated[
        Path, typer.Argument(help="A cube, or a folder of image pairs.", metavar="CUBE")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Velocity and bias: *.nc or *.zarr.", metavar="FILE")
    ],
    angles: Annotated[
        list[Path] | None,
        typer.Option(
            help="MTD_TL.xml, ANG.txt, MTL.txt, STAC items, or a folder of them; may be repeated. "
            "Images without take their orbit's nominal angles.",
            metavar="PATH",
        ),
    ] = None,
    regime: Annotated[
        str, typer.Option(help="Of the velocity: constant, periods, series or triplets.")
    ] = "constant",
    period: Annotated[str, typer.Option(help="Length of the periods.")] = "90D",
    sampling: Annotated[str, typer.Option(help="Length of the series' periods.")] = "36D",
    image_error: Annotated[
        float, typer.Option(help="Error of an image that its pairs share.", metavar="METRES")
    ] = 0.0,
    dem: Annotated[
        Path | None, typer.Option(help="Elevation model, whose slopes bend offsets.", metavar="TIF")
    ] = None,
    corrected: Annotated[
        Path | None,
        typer.Option(help="Write the cube freed of the offsets too.", metavar="CUBE"),
    ] = None,
    join: Annotated[
        str, typer.Option(help="How pairs across orbits are freed: estimated or projected.")
    ] = "estimated",
    units: Annotated[
        str | None, typer.Option(help="meter/year or meter/day, where the files do not say.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.")] = False,
) -> None:
    """Estimate velocity and the elevation model's bias from pairs of several orbits together."""
    with _run(_log_beside(out), quiet=quiet, verbose=verbose) as run:
        from ogive.workflow.elevation_bias import make_elevation_bias

        with run.steps(1) as begin:
            begin("elevation bias")
            made = make_elevation_bias(
                cube,
                out,
                angles=angles or (),
                regime=regime,  # type: ignore[arg-type]
                period=period,
                sampling=sampling,
                image_error_m=image_error,
                dem=dem,
                corrected=corrected,
                join=join,  # type: ignore[arg-type]
                units=units,
                overwrite=overwrite,
                progress=lambda done, count: begin("elevation bias, block by block", count),
            )
        if not quiet:
            typer.echo(
                f"{made.images} images of {made.orbits} orbits, {made.pairs} pairs, {made.across} "
                f"of them across orbits; {made.nominal} images with nominal angles"
            )
            if made.median_bias_m == made.median_bias_m:  # some pixel has one
                typer.echo(
                    f"elevation bias: median {made.median_bias_m:+.2f} m, median error "
                    f"{made.median_error_m:.2f} m"
                )
            for name, share in made.flagged.items():
                if share > 0:
                    typer.echo(f"{100 * share:.1f} % of pixels: {name.replace('_', ' ')}")
            for path in (made.product, made.corrected, *made.figures):
                if path is not None:
                    typer.echo(path)


@app.command()
def annotate(
    earlier: Annotated[Path, typer.Argument(help="The earlier image.", metavar="EARLIER")],
    later: Annotated[Path, typer.Argument(help="The later image.", metavar="LATER")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The points; what is there goes on.", metavar="GPKG")
    ],
    dates: Annotated[
        tuple[str, str] | None,
        typer.Option(
            help="When the images were acquired (UTC); else from names and tags.", metavar="D1 D2"
        ),
    ] = None,
    band: Annotated[
        str | None, typer.Option(help="Band of the images, by number from 1 or name.")
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Accept images without a reference; save pixels.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this computer; 0 takes a free one.")
    ] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    """Pick the same features in two images by hand, in the browser.

    Every point is saved at once. Finish in the page or press Ctrl+C; the same command goes on.
    """
    with _run(_log_beside(out), quiet=quiet, verbose=verbose):
        from ogive.view.annotate import annotate as pick
        from ogive.workflow.acquisition import acquired_pair

        count = pick(
            earlier,
            later,
            out,
            pair=acquired_pair(earlier, later, dates),
            band=band,
            allow_no_crs=pixels,
            port=port,
            open_browser=browser,
            # The address is the only way in, so that even --quiet tells it.
            ready=typer.echo,
        )
        if not quiet:
            typer.echo(f"pairs in {out}: {count}")


train_app = typer.Typer(help="Train what ogive learns.", no_args_is_help=True)
app.add_typer(train_app, name="train")


@train_app.callback()
def _train() -> None:
    """Train what ogive learns."""


@train_app.command("similarity")
def train_similarity(
    config: Annotated[
        Path | None, typer.Argument(help="What to train, and with what.", metavar="CONFIG.yaml")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Folder to be made; by default the model's name.", metavar="DIR"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that lies in DIR.")
    ] = False,
    template: Annotated[
        bool, typer.Option("--template", help="Print a CONFIG.yaml to start from.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what is wrong.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what is done.")] = False,
) -> None:
    """Train features that match: a network, through the correlator that will use them.

    Leaves the weights with their card, the figures of the training, and checkpoints. Ctrl-C and
    SIGTERM leave a checkpoint to resume from.
    """
    with _run(_log_beside(out or Path("train")), quiet=quiet, verbose=verbose) as run:
        from ogive.model import InputError

        _need_learning()
        from ogive.learning.settings import read_settings, settings_yaml
        from ogive.similarity.train import TrainingConfig, train
        from ogive.similarity.training_config import template as training_template

        if template:
            typer.echo(settings_yaml(training_template()), nl=False)
            return
        if config is None:
            raise InputError("which training? Name its CONFIG.yaml, or ask for a --template")
        settings = read_settings(config, TrainingConfig)
        folder = out or Path(settings.name)
        with run.steps(settings.training.max_steps or 1) as begin:
            begin("read the data")
            trained = train(
                settings,
                folder,
                resume=resume,
                progress=lambda done, of, figures: begin(
                    f"step {done}, {_figure(figures)}", of or done
                ),
            )
        fitted = trained.fitted
        if fitted.stopped == "interrupted":
            _complain(f"interrupted after {fitted.steps} steps; go on with --resume")
            raise typer.Exit(INTERRUPTED)
        if not quiet and trained.weights is not None:
            for name, score in fitted.scores.items():
                typer.echo(f"{name} {score:.4f} (step {fitted.best_step} of {fitted.steps})")
            typer.echo(f"{trained.weights}#sha256={trained.sha256}")


def _need_learning() -> None:
    """Tell which extra is missing, in place of a failed import."""
    from importlib.util import find_spec

    from ogive.model import InputError

    missing = [name for name in ("torch", "lightning", "safetensors") if find_spec(name) is None]
    if missing:
        raise InputError(
            f"training needs {', '.join(missing)}: install them by pip install 'ogive[learning]'"
        )


def _figure(figures: Mapping[str, float]) -> str:
    """The latest of the figures that tell how well a training goes."""
    for name in ("validation/within_1px", "train/loss"):
        if name in figures:
            return f"{name} {figures[name]:.3f}"
    return "no figures yet"


def _log_beside(out: Path) -> Path:
    """Name the log of a failure whose product is one thing."""
    return out.parent / f"{out.name}.{FAILED_LOG}"


class _Run:
    """One command while it runs: what it says, and where."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self.console = Console(stderr=True)
        self.quiet = quiet
        self.log: list[str] = []

    def show(self, message: str) -> None:
        """Say something to the user, without breaking a progress bar."""
        if not self.quiet:
            self.console.print(message, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def steps(self, count: int) -> Iterator[Callable[..., None]]:
        """Show the steps of a run as they begin; on a terminal only."""
        from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

        bar = Progress(
            SpinnerColumn(),
            "{task.description}",
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=self.quiet or not self.console.is_terminal,
        )
        with bar:
            task = bar.add_task("", total=count, completed=-1)

            def begin(step: str, of: int | None = None) -> None:
                if of is None:
                    _log.info("%s", step)
                bar.update(task, description=step, advance=1, total=count if of is None else of)

            yield begin


@contextmanager
def _run(failed_log: Path, *, quiet: bool, verbose: bool) -> Iterator[_Run]:
    """Run a command: record its log, and turn what goes wrong into a sentence and an exit code."""
    from ogive.model import OgiveError
    from ogive.workflow.log import recorded

    run = _Run(quiet=quiet)
    try:
        with recorded(run.show, show_from=logging.INFO if verbose else logging.WARNING) as run.log:
            from importlib.metadata import version

            _log.info("ogive %s: %s", version("ogive"), " ".join(sys.argv[1:]))
            yield run
    except OgiveError as error:
        _complain(str(error))
        raise typer.Exit(WRONG_INPUT) from error
    except KeyboardInterrupt as error:
        _complain("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from error
    except typer.Exit:
        raise
    except Exception as error:
        _report(error, failed_log, run.log)
        raise typer.Exit(UNEXPECTED) from error


def _complain(sentence: str) -> None:
    typer.echo(f"ogive: {sentence}", err=True)


def _report(error: Exception, path: Path, log: list[str]) -> None:
    """Keep what is needed to find an unexpected failure."""
    import traceback

    told = "\n".join([*log, "".join(traceback.format_exception(error))])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(told, encoding="utf-8")
    except OSError:
        typer.echo(told, err=True)
        _complain(f"unexpected failure ({type(error).__name__}: {error}); its log is above")
    else:
        _complain(f"unexpected failure ({type(error).__name__}: {error}); the log is {path}")


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
