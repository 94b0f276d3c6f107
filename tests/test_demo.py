"""The demonstration runs from nothing, and its scores say what they measure."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr

from ogive.model import StableGroundError

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


class Demo(NamedTuple):
    road: ModuleType
    report: ModuleType


@pytest.fixture
def demo(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import demo
    import demo_report

    return Demo(demo, demo_report)


def scenes_on(demo, days_of_orbits):
    start = datetime(2020, 4, 1)
    return sorted(
        (
            demo.road.ListedScene(start + timedelta(day), "2a", orbit, 0.0, Path(), Path())
            for orbit, days in days_of_orbits.items()
            for day in days
        ),
        key=lambda scene: scene.time,
    )


def test_pairs_share_an_orbit_and_go_forward_by_five_to_a_hundred_days(demo):
    scenes = scenes_on(demo, {65: [0, 3, 8, 108], 108: [1, 101, 102]})
    start = scenes[0].time
    found = {
        (a.relative_orbit, (a.time - start).days, b.relative_orbit, (b.time - start).days)
        for a, b in demo.road.same_orbit_pairs(scenes)
    }
    assert found == {(65, 0, 65, 8), (65, 3, 65, 8), (65, 8, 65, 108), (108, 1, 108, 101)}


def test_the_archive_is_read_by_its_links_and_clouds_are_masked(demo, tmp_path):
    from ogive.workflow.simulate import SimulationSettings, simulate_archive

    settings = SimulationSettings(
        rows=400, columns=400, scene_count=3, end=datetime(2020, 8, 1), mean_cloud_cover=0.4
    )
    archive = tmp_path / "archive"
    simulate_archive(archive, settings=settings)
    scenes = demo.road.list_scenes(archive)
    assert len(scenes) == 3
    assert [s.time for s in scenes] == sorted(s.time for s in scenes)
    assert {s.relative_orbit for s in scenes} == {65, 108}
    cloudiest = max(scenes, key=lambda s: s.cloud_cover_percent)
    hidden = 1 - demo.road.read_clear(cloudiest).valid.mean().item()
    # Shadows of clouds are masked besides the clouds; they may lie outside of the image.
    assert cloudiest.cloud_cover_percent > 5
    assert hidden > 0.9 * cloudiest.cloud_cover_percent / 100


def test_a_pair_without_ground_to_calibrate_on_is_told(demo, monkeypatch):
    scenes = scenes_on(demo, {65: [0, 10, 20]})
    pairs = demo.road.same_orbit_pairs(scenes)
    assert len(pairs) == 3

    def measured(earlier, later, *, dates, **options):
        if dates[0] == scenes[0].time:
            raise StableGroundError("too few stable points")
        return xr.Dataset(attrs={"dates": dates})

    monkeypatch.setattr(demo.road, "read_clear", lambda scene: None)
    monkeypatch.setattr(demo.road.ogive, "velocity", measured)
    maps, left_out = demo.road.measure(pairs, demo.report.Steps())
    assert [m.attrs["dates"] for m in maps] == [[scenes[1].time, scenes[2].time]]
    assert left_out == [
        "2020-04-01 to 2020-04-11: too few stable points",
        "2020-04-01 to 2020-04-21: too few stable points",
    ]


def test_scores_count_errors_gaps_and_intervals_as_they_are(demo):
    shape = (200, 200)
    rng = np.random.default_rng(5)
    motion = demo.report.Motion
    true = motion(np.full(shape, 100.0), np.zeros(shape))
    found = motion(*(t + 3.0 * rng.standard_normal(shape) for t in true))
    found.vx[:50] = np.nan
    found.vy[:50] = np.nan
    errors = xr.Dataset(
        {name: (("y", "x"), np.full(shape, 3.0)) for name in ("vx_error", "vy_error")}
    )
    everywhere = np.ones(shape, bool)
    told = demo.report.score("map", found, true, errors, "everywhere", everywhere)
    assert told.measured == 0.75
    # 60,000 independent components: four standard errors of the spread and of the share.
    assert told.rmse == pytest.approx(3.0, rel=4 / np.sqrt(2 * 60_000))
    assert told.held == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / 60_000))

    found.vx[100:120] += 1000.0  # a seventh of what is left is wrong: no score hides it
    wrong = demo.report.score("map", found, true, errors, "everywhere", everywhere)
    share = 20 / 150 / 2
    assert wrong.rmse == pytest.approx(1000 * np.sqrt(share), rel=0.01)
    assert wrong.held == pytest.approx(0.95 * (1 - share), abs=0.005)
    assert np.isnan(demo.report.score("map", found, true, None, "everywhere", everywhere).held)


@pytest.mark.slow
def test_the_demonstration(tmp_path):
    answer = subprocess.run(
        [sys.executable, str(EXAMPLES / "demo.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    folder = tmp_path / "demo"
    assert {"demo.png", "series.png", "index.html", "demo.log", "cube.zarr", "series.zarr"} <= {
        path.name for path in folder.iterdir()
    }
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    assert "src=" not in page.replace('src="data:', "")  # self-contained
    told = dict.fromkeys(("single pairs", "inverted series", "annual map"))
    for product in told:
        block = answer.stdout.split(f"\n{product}", 1)[1]  # a row of scores, not a step
        row = re.search(
            r"ice, whole window +(\d+) % measured; RMSE +([\d.]+), NMAD +([\d.]+)", block
        )
        assert row is not None
        told[product] = tuple(map(float, row.groups()))
    # A tenth of a pixel is what matching is good for; the shortest pairs are 45 days long.
    precision = 0.1 * 10 * 365.25 / 45
    assert told["single pairs"][2] < precision
    assert told["annual map"][2] < precision
    # Every point of ice is clear in some pair, and a year must gather them.
    assert told["annual map"][0] > 90
    assert "index.html" in answer.stdout.splitlines()[-1]
