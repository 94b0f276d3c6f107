"""One command while it runs: what it says, its log, and its exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = [
    "FAILED_LOG",
    "INTERRUPTED",
    "UNEXPECTED",
    "WRONG_INPUT",
    "Run",
    "complain",
    "log_beside",
    "running",
]

WRONG_INPUT, UNEXPECTED, INTERRUPTED = 2, 1, 130
FAILED_LOG = "failed-run.log"

_log = logging.getLogger(__name__)


def log_beside(out: Path) -> Path:
    """Name the log of a failure whose product is one thing."""
    return out.parent / f"{out.name}.{FAILED_LOG}"


class Run:
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
    def bar(self) -> Iterator[Callable[[str, int, int], None]]:
        """Show how many tasks of a step have ended; on a terminal only."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

        shown = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self.console,
            disable=self.quiet or not self.console.is_terminal,
        )
        tasks: dict[str, TaskID] = {}
        with shown:

            def advance(step: str, ended: int, count: int) -> None:
                if step not in tasks:
                    tasks[step] = shown.add_task(step)
                shown.update(tasks[step], completed=ended, total=count)

            yield advance


@contextmanager
def running(failed_log: Path, *, quiet: bool, verbose: bool) -> Iterator[Run]:
    """Run a command: record its log, and turn what goes wrong into a sentence and an exit code."""
    from ogive.model import OgiveError
    from ogive.workflow.log import recorded

    run = Run(quiet=quiet)
    try:
        with recorded(run.show, show_from=logging.INFO if verbose else logging.WARNING) as run.log:
            from importlib.metadata import version

            _log.info("ogive %s: %s", version("ogive"), " ".join(sys.argv[1:]))
            yield run
    except OgiveError as error:
        complain(str(error))
        raise typer.Exit(WRONG_INPUT) from error
    except KeyboardInterrupt as error:
        complain("interrupted; nothing was written")
        raise typer.Exit(INTERRUPTED) from error
    except typer.Exit:
        raise
    except Exception as error:
        _report(error, failed_log, run.log)
        raise typer.Exit(UNEXPECTED) from error


def complain(sentence: str) -> None:
    """Tell what is wrong, where errors are told."""
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
        complain(f"unexpected failure ({type(error).__name__}: {error}); its log is above")
    else:
        complain(f"unexpected failure ({type(error).__name__}: {error}); the log is {path}")
