"""The example of the README runs, and finds what it says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import ogive

README = Path(__file__).resolve().parents[1] / "README.md"


def test_the_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example, str(README), "exec"), names)
    velocity, pair = names["velocity"], names["pair"]
    fastest = np.hypot(pair.dx_px, pair.dy_px).max() * 10 * ogive.DAYS_PER_YEAR / 10
    # Of some hundred fast points, the largest error is not beyond five of the declared ones.
    assert abs(float(velocity.v.quantile(0.99)) - fastest) < 5 * float(velocity.v_error.median())
    assert "points of stable ground" in capsys.readouterr().out


def test_its_links_lead_somewhere():
    text = README.read_text(encoding="utf-8")
    places = [place for place in re.findall(r"\]\(([^)]+)\)", text) if "://" not in place]
    assert len(places) >= 4
    for place in places:
        assert (README.parent / place).is_file(), place
