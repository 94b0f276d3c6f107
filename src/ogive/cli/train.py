"""``ogive train``: training what ogive learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Quiet, Verbose
from .session import INTERRUPTED, Run, complain, log_beside, running

__all__ = ["need_learning", "train_app"]

Config = Annotated[
    Path | None, typer.Argument(help="What to train, and with what.", metavar="CONFIG.yaml")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Folder to be made; by default the model's name.", metavar="DIR"
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the training that lies in DIR.")]
Template = Annotated[bool, typer.Option("--template", help="Print a CONFIG.yaml to start from.")]

train_app = typer.Typer(help="Train what ogive learns.", no_args_is_help=True)


@train_app.callback()
def _train() -> None:
    """Train what ogive learns."""


@train_app.command("similarity")
def train_similarity(
    config: Config = None,
    out: Out = None,
    resume: Resume = False,
    template: Template = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train features that match: a network, through the correlator that will use them.

    Leaves the weights with their card, the figures of the training, and checkpoints. Ctrl-C and
    SIGTERM leave a checkpoint to resume from.
    """
    with running(log_beside(out or Path("train")), quiet=quiet, verbose=verbose) as run:
        need_learning("training", "learning")
        from ogive.similarity.train import TrainingConfig, train
        from ogive.similarity.training_config import template as example

        if template:
            _tell(example())
        else:
            _train_with(train, TrainingConfig, config, out, resume=resume, quiet=quiet, run=run)


@train_app.command("outlines")
def train_outlines(
    config: Config = None,
    out: Out = None,
    resume: Resume = False,
    template: Template = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a network that maps glaciers, and learn what its confidence is worth.

    Leaves the weights with their card, the figures of the training, and checkpoints. Ctrl-C and
    SIGTERM leave a checkpoint to resume from.
    """
    with running(log_beside(out or Path("train")), quiet=quiet, verbose=verbose) as run:
        need_learning("training", "outlines")
        from ogive.outlines.train import TrainingConfig, train
        from ogive.outlines.training_config import template as example

        if template:
            _tell(example())
        else:
            _train_with(train, TrainingConfig, config, out, resume=resume, quiet=quiet, run=run)


def _tell(settings: Any) -> None:
    """Print settings as the YAML that would make them."""
    from ogive.learning.settings import settings_yaml

    typer.echo(settings_yaml(settings), nl=False)


def _train_with(
    train: Callable[..., Any],
    kind: Any,
    config: Path | None,
    out: Path | None,
    *,
    resume: bool,
    quiet: bool,
    run: Run,
) -> None:
    """Train what a configuration asks, and tell what came of it."""
    from ogive.learning.settings import read_settings
    from ogive.model import InputError

    if config is None:
        raise InputError("which training? Name its CONFIG.yaml, or ask for a --template")
    settings = read_settings(config, kind)
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
        complain(f"interrupted after {fitted.steps} steps; go on with --resume")
        raise typer.Exit(INTERRUPTED)
    if not quiet and trained.weights is not None:
        for name, score in fitted.scores.items():
            typer.echo(f"{name} {score:.4f} (step {fitted.best_step} of {fitted.steps})")
        typer.echo(f"{trained.weights}#sha256={trained.sha256}")


def need_learning(what: str, extra: str) -> None:
    """Tell which extra is missing, in place of a failed import."""
    from importlib.util import find_spec

    from ogive.model import InputError

    needed = ["torch", "lightning", "safetensors"]
    needed += ["h5py", "sklearn", "pysheds"] if extra == "outlines" else []
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise InputError(
            f"{what} needs {', '.join(missing)}: install them by pip install 'ogive[{extra}]'"
        )


def _figure(figures: Mapping[str, float]) -> str:
    """The latest of the figures that tell how well a training goes."""
    for name in ("validation/within_1px", "validation/iou", "train/loss"):
        if name in figures:
            return f"{name} {figures[name]:.3f}"
    return "no figures yet"
