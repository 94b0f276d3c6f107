"""The pages on conventions, choices and other tools speak of what there is."""

from __future__ import annotations

import inspect
import re
from operator import attrgetter
from pathlib import Path

import pytest

import ogive
from ogive import scenes
from ogive.matching.features import feature_names
from ogive.matching.search import search_radius_px
from ogive.model import ATTRIBUTES, Flag, flag_attributes
from ogive.series.filters import FILTERS
from ogive.store.readers import alpglacier, its_live
from ogive.workflow.runfile_settings import RunFile

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {
    name: (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for name in ("conventions", "choosing", "coming-from")
}


@pytest.mark.parametrize("page", PAGES)
def test_functions_that_are_named_are_there(page):
    named = re.findall(r"\b(?:ogive|scenes)(?:\.\w+)+(?=\(|`)", PAGES[page])
    for name in named:
        top, _, rest = name.partition(".")
        found = {"ogive": ogive, "scenes": scenes}[top]
        if rest == "gpkg":
            continue
        if rest.split(".")[0] in ("series", "correction"):
            package, _, function = name.rpartition(".")
            found, rest = __import__(package, fromlist=[function]), function
        assert attrgetter(rest)(found) is not None, name
    assert len(named) > 3


def test_flags_are_those_of_the_files():
    told = re.findall(r"^\| (\d) \| `(\w+)`", PAGES["conventions"], re.MULTILINE)
    meanings = flag_attributes()["flag_meanings"].split()
    assert told == [(str(int(flag)), meanings[flag]) for flag in Flag]


def test_years_are_those_of_the_readers():
    page = PAGES["conventions"]
    assert f"has {ogive.DAYS_PER_YEAR} days" in page
    assert f"| ITS_LIVE cubes, image pairs | {its_live.DAYS_PER_YEAR:g} days |" in page
    assert f"| AlpGlacier cubes | {alpglacier.DAYS_PER_YEAR} days unless" in page
    assert f"365.25 / 365 = {365.25 / its_live.DAYS_PER_YEAR:.5f}" in PAGES["coming-from"]


def test_units_are_those_of_the_variables():
    assert ATTRIBUTES["vx"]["units"] == "meter/year"
    assert "| velocity | `meter/year`, a year of 365.25 days |" in PAGES["conventions"]
    for name in ("vx", "vy"):
        assert f"`{ATTRIBUTES[name]['standard_name']}`" in PAGES["conventions"]


@pytest.mark.parametrize("page", PAGES)
def test_features_and_filters_that_are_named_are_there(page):
    named = re.findall(r'features="([\w-]+)"', PAGES[page])
    assert set(named) <= set(feature_names())
    for names in re.findall(r"ogive\.filter_cube\(cube, \[(.*?)\.\.\.", PAGES[page]):
        assert set(re.findall(r'"(\w+)"', names)) <= set(FILTERS)


def test_defaults_that_are_told_are_those_of_the_functions():
    page = PAGES["coming-from"]
    of_match = inspect.signature(ogive.match).parameters
    of_invert = inspect.signature(ogive.invert).parameters
    for parameters, names in (
        (of_match, ("window", "step", "search")),
        (of_invert, ("regularisation", "max_iterations", "tolerance_m")),
    ):
        for name in names:
            assert f"`{name}` ({parameters[name].default:g})" in page, name


def test_keys_of_the_run_file_are_there():
    keys = re.findall(r"`(\w+): (\w+)`", PAGES["coming-from"])
    for section, key in keys:
        assert key in RunFile.model_fields[section].annotation.model_fields
    assert len(keys) >= 3


def test_the_example_of_the_search_is_right():
    # 3000 m/yr in ten days: 82 m, 8.2 pixels of Sentinel-2, and the search goes to the next one.
    assert search_radius_px(3000.0, days=10, pixel_size_m=10) == 9
    assert "Ice of 3000 m/yr moves 82 m in ten days, 8 px" in PAGES["choosing"]


def test_a_scatter_in_metres_a_year_is_right():
    rows = re.search(r"\| days \|(.*?)\|\n.*\n\| m/yr \|(.*?)\|\n", PAGES["choosing"])
    assert rows
    days, speeds = ([float(part) for part in row.split("|")] for row in rows.groups())
    assert speeds == [round(0.1 * 10 * 365.25 / day) for day in days]
