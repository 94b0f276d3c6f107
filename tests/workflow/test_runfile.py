"""The run file: complete, commented, and refused by line and sentence where it does not fit."""

from __future__ import annotations

from datetime import date

import pytest
import yaml
from tests.workflow.regions import change
from typer.testing import CliRunner

from ogive.cli import app
from ogive.model import InputError, OutputError
from ogive.workflow.runfile import read_run_file, template, write_run_file
from ogive.workflow.runfile_settings import RunFile


@pytest.fixture
def path(tmp_path):
    return write_run_file(template(), tmp_path / "region.yaml")


def keys_of(model, above=()):
    for name, field in model.model_fields.items():
        yield (*above, name), field
        kind = field.annotation
        if hasattr(kind, "model_fields"):
            yield from keys_of(kind, (*above, name))


def test_every_key_is_there_with_a_comment(path):
    told = yaml.safe_load(path.read_text())
    lines = path.read_text().splitlines()
    for place, field in keys_of(RunFile):
        value = told
        for key in place:
            assert key in value, place
            value = value[key]
        assert field.description, f"{place} has no comment"
        assert f"# {field.description.splitlines()[0]}" in [line.strip() for line in lines], place


def test_it_comes_back_as_it_was_written_with_whole_paths(path):
    settings = read_run_file(path)
    assert settings.run.folder == path.parent / "argentiere"
    usual = template().model_dump(exclude={"run"})
    assert settings.model_dump(exclude={"run"}) == usual


def test_what_was_resolved_is_a_run_file_itself(path, tmp_path):
    settings = read_run_file(path)
    again = write_run_file(settings, tmp_path / "elsewhere" / "run.yaml")
    assert read_run_file(again) == settings


def test_paths_are_relative_to_the_run_file(path):
    change(path, "glaciers: null", "glaciers: outlines/rgi.gpkg")
    change(path, "prior: null", "prior: /there/v.nc")
    change(path, "folder: null", "folder: out")
    settings = read_run_file(path)
    assert settings.region.glaciers == path.parent / "outlines" / "rgi.gpkg"
    assert settings.match.prior.as_posix() == "/there/v.nc"
    assert settings.run.folder == path.parent / "out"


def test_an_archive_that_is_a_file_is_found_beside_the_run_file(path):
    (path.parent / "scenes").mkdir()
    change(path, "archive: earth-search", "archive: scenes")
    assert read_run_file(path).search.archive == str(path.parent / "scenes")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("window: 32", "window: 4", "match.window: Input should be greater than or equal to 8"),
        ("window: 32", "windows: 32", "there is no setting 'match.windows'"),
        ("max_days: 400.0", "max_days: long", "pair.max_days: Input should be a valid number"),
        ("end: 2021-10-31", "end: 2019-10-31", "the end 2019-10-31 comes before the start"),
        ("max_days: 400.0", "max_days: 2", "max_days 2 is less than min_days 5"),
        ("name: argentiere", "name: a/b", "'a/b' is no name"),
        ("bbox: [6.9, 45.92, 7.03, 46.0]", "bbox: null", "region: give the region as a bbox or"),
        ("beside_m: null", "beside_m: 500", "region: beside_m needs glaciers"),
        ("method: ols", "method: magic", "annual.method: Input should be"),
        ("year_start: 10-01", "year_start: October", "annual.year_start"),
        ("jobs: 4", "jobs: 0", "run.slurm.jobs"),
        ("redundancy: null", "redundancy: 0", "pair.redundancy"),
    ],
)
def test_what_does_not_fit_is_told_by_line(path, old, new, told):
    line = change(path, old, new)
    with pytest.raises(InputError) as error:
        read_run_file(path)
    assert told in str(error.value)
    # Checks of a whole section are told where it stands.
    whole = told.startswith(("region:", "the end", "max_days 2"))
    if not whole:
        assert f"region.yaml, line {line}: " in str(error.value)
    else:
        assert "region.yaml, line " in str(error.value)


def test_a_missing_key_is_told_where_its_section_stands(path):
    change(path, "  start: 2020-06-01\n", "")
    line = path.read_text().splitlines().index("search:") + 1
    with pytest.raises(InputError, match=f"line {line}: 'search.start' is missing"):
        read_run_file(path)


def test_all_that_is_wrong_is_told_at_once(path):
    change(path, "window: 32", "window: 4")
    change(path, "jobs: 4", "jobs: 0")
    with pytest.raises(InputError) as error:
        read_run_file(path)
    assert len(str(error.value).splitlines()) == 2


def test_a_key_that_stands_twice_is_refused(path):
    line = change(path, "  nearest: null", "  min_days: 3")
    with pytest.raises(InputError, match=f"line {line}: 'min_days' stands on line"):
        read_run_file(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1, 2", r"line \d+: no YAML"),
        ("just text", "holds no settings"),
        ("", "holds no settings"),
        ("[1, 2]", "holds no settings"),
    ],
)
def test_what_is_no_run_file(path, text, told):
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_run_file(path)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_run_file(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="no text file"):
        read_run_file(tmp_path / "binary.yaml")


def test_a_run_file_is_not_written_over(path):
    before = path.read_text()
    with pytest.raises(OutputError, match="was kept"):
        write_run_file(template("other"), path)
    assert path.read_text() == before


def test_a_template_with_wrong_values_is_refused():
    with pytest.raises(InputError, match="comes before the start"):
        template(start=date(2021, 1, 1), end=date(2020, 1, 1))


def test_the_command_new(tmp_path):
    out = tmp_path / "alps.yaml"
    words = ["new", str(out), "--bbox", "6.9", "45.9", "7.0", "46.0", "--start", "2019-01-01"]
    answer = CliRunner().invoke(app, words, catch_exceptions=False)
    assert answer.exit_code == 0
    settings = read_run_file(out)
    assert (settings.name, settings.region.bbox) == ("alps", (6.9, 45.9, 7.0, 46.0))
    assert settings.search.start == date(2019, 1, 1)
    again = CliRunner().invoke(app, words, catch_exceptions=False)
    assert again.exit_code == 2
    assert "was kept" in again.stderr
