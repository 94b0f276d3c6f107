"""The tutorials run: each page's cells one after the other, in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

TUTORIALS = Path(__file__).resolve().parents[2] / "docs" / "tutorials"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SLOW = {"region": "seven steps", "training-a-similarity": "a training"}
PAGES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
    for path in sorted(TUTORIALS.glob("*.md"))
    if path.stem != "index"
]

pytestmark = [
    # Threads that read files change the filters of warnings under each other's feet.
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform"),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Work in an empty folder, and draw without a screen."""
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    with matplotlib.rc_context():
        yield
    plt.close("all")


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("path", PAGES)
def test_runs(path, capsys):
    cells = CELL.findall(path.read_text(encoding="utf-8"))
    assert len(cells) >= 3
    names: dict[str, object] = {"__name__": path.stem}
    for number, cell in enumerate(cells, 1):
        exec(compile(cell, f"{path.name}, cell {number}", "exec"), names)
    figures = {plt.figure(number) for number in plt.get_fignums()}
    # Those that ogive draws are not pyplot's.
    figures |= {each for each in names.values() if isinstance(each, Figure)}
    assert figures
    for figure in figures:
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        assert np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 20, "a figure is blank"
    told = capsys.readouterr().out
    assert told.strip()
    assert not re.search(r"\bnan\b", told), "a figure is missing"


def test_all_stand_in_the_index():
    index = (TUTORIALS / "index.md").read_text(encoding="utf-8")
    there = {path.stem for path in TUTORIALS.glob("*.md")} - {"index"}
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", index)) == there
    assert set(index.split(":hidden:")[1].split("```")[0].split()) == there
