"""The page on matching: its pictures are there and small, its code is Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest

mpl_image = pytest.importorskip("matplotlib.image")

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "matching.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"!\[[^\]]+\]\((figures/[^)]+)\)", PAGE)


def test_every_figure_is_shown_once():
    drawn = {f"figures/{path.name}" for path in (DOCS / "figures").glob("matching_*.png")}
    assert set(SHOWN) == drawn
    assert len(SHOWN) == len(drawn) >= 5


@pytest.mark.parametrize("figure", SHOWN)
def test_figure_is_small_and_not_blank(figure):
    path = DOCS / figure
    assert path.stat().st_size < 350_000
    pixels = mpl_image.imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 50


def test_code_is_python():
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        ast.parse(block)
