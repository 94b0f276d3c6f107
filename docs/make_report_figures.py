"""The figure of report.md: the head of a report of a simulated region.

python docs/make_report_figures.py     (some minutes; needs Chromium)
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import date, datetime
from pathlib import Path

from playwright.sync_api import sync_playwright

from ogive.workflow.report.page import make_report
from ogive.workflow.run import run_region
from ogive.workflow.runfile import template, write_run_file
from ogive.workflow.simulate import SimulationSettings, simulate_archive

FIGURES = Path(__file__).resolve().parent / "figures"
BOUNDS = (7.976, 46.386, 8.024, 46.414)
SETTINGS = SimulationSettings(
    rows=300,
    columns=360,
    start=datetime(2020, 5, 1),
    end=datetime(2021, 9, 30),
    scene_count=11,
    orbits=("sentinel-2-west",),
    seed=2,
    mean_cloud_cover=0.1,
    decorrelation_days=2000.0,
)


def main() -> None:
    """Simulate an archive, run it, and picture the report's first screen."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        simulate_archive(archive, settings=SETTINGS)
        settings = template(
            "glacier",
            bbox=BOUNDS,
            start=date(2020, 5, 1),
            end=date(2021, 10, 1),
            archive=str(archive / "catalog.json"),
            glaciers=archive / "outlines.gpkg",
        )
        match = settings.match.model_copy(update={"window": 16, "max_speed_m_yr": 1000.0})
        region = write_run_file(
            settings.model_copy(update={"match": match}), Path(folder) / "region.yaml"
        )
        run_region(region, cluster="threads")
        page = make_report(region, Path(folder) / "region.html")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            view = browser.new_page(viewport={"width": 1100, "height": 1410})
            view.goto(page.as_uri())
            view.screenshot(path=FIGURES / "report.png")
            browser.close()


if __name__ == "__main__":
    main()
