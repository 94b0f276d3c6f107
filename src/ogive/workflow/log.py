"""What a run says while it runs: kept for the log file, shown as far as the user wants."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["recorded"]

_LINE = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _Handler(logging.Handler):
    """Hands each record on to a function."""

    def __init__(self, take: Callable[[str], None], level: int, form: logging.Formatter) -> None:
        super().__init__(level)
        self._take = take
        self.setFormatter(form)

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record and hand it on."""
        self._take(self.format(record))


@contextmanager
def recorded(
    show: Callable[[str], None], *, show_from: int = logging.WARNING
) -> Iterator[list[str]]:
    """Record all that ogive logs, and show what is important enough.

    The record stays in memory, so that a run on wrong input leaves no file behind.

    Parameters
    ----------
    show
        Takes a message for the user.
    show_from
        The lowest level that is shown.

    Yields
    ------
    list of str
        The lines of the log so far; it grows.
    """
    lines: list[str] = []
    logger = logging.getLogger("ogive")
    handlers = [
        _Handler(lines.append, logging.INFO, _LINE),
        _Handler(show, show_from, logging.Formatter("%(message)s")),
    ]
    before = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.setLevel(before)
        for handler in handlers:
            logger.removeHandler(handler)
