"""Equations as MathML, made by docutils: every browser draws it, and no page asks the network."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

_log = logging.getLogger(__name__)
# TeX reads \frac12 as a half, docutils as twelve over what follows.
_DIGITS = re.compile(r"(\\[dt]?frac)\s*(\d)\s*(\d)")


def mathml(tex: str, *, as_block: bool) -> str:
    """Turn an equation into MathML.

    Raises
    ------
    MathError
        If it is not understood.
    """
    return str(tex2mathml(_DIGITS.sub(r"\1{\2}{\3}", tex), as_block=as_block))


def _of(node: nodes.Element, *, as_block: bool) -> str:
    try:
        return mathml(node.astext(), as_block=as_block)
    except MathError as error:
        _log.warning("an equation is not understood: %s: %r", error, node.astext(), location=node)
        return ""


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_of(node, as_block=False))
    raise nodes.SkipNode


def _display(translator: Any, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="equation">{_of(node, as_block=True)}</div>\n')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Register the renderer ``mathml``."""
    app.add_html_math_renderer("mathml", (_inline, None), (_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
