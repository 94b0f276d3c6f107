"""The documentation as a whole: all pages are in its tree, and tell all that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

import ogive
from ogive.cli import app

DOCS = Path(__file__).resolve().parents[2] / "docs"
TREE = re.compile(r"^```\{toctree\}\n(?::.*\n)*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MATH = re.compile(
    r"^```\{math\}\n(.*?)^```$|\$\$(.*?)\$\$|(?<![\\$`\w])\$([^$\n]+?)\$(?!\w)",
    re.DOTALL | re.MULTILINE,
)
CODE = re.compile(r"^```(?!\{math\})[^\n]+\n.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


@pytest.fixture
def pages(monkeypatch):
    """What fills parts of pages from the code."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import pages

    return pages


def written():
    """All pages that are in the tree or should be."""
    return [
        path
        for path in sorted(DOCS.rglob("*.md"))
        if not {"_build", "report", "slides"} & set(path.relative_to(DOCS).parts)
    ]


def prose(path):
    """Read a page without its code."""
    return CODE.sub("", path.read_text(encoding="utf-8"))


def test_every_page_is_reached_once(pages):
    found, left = [], ["index"]
    while left:
        name = left.pop()
        found.append(name)
        path = DOCS / f"{name}.md"
        for tree in TREE.findall(pages.filled(path.read_text(encoding="utf-8"))):
            left += [(path.parent / each).relative_to(DOCS).as_posix() for each in tree.split()]
    assert len(found) == len(set(found))
    assert set(found) == {p.relative_to(DOCS).with_suffix("").as_posix() for p in written()}


def test_links_between_pages_lead_somewhere():
    count = 0
    for path in written():
        for place in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
            if "://" in place or place.startswith("#"):
                continue
            count += 1
            assert (path.parent / place.partition("#")[0]).exists(), f"{path.name}: {place}"
    assert count > 50


def test_python_of_the_pages_compiles():
    for path in written():
        for block in re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL):
            compile(block, path.name, "exec")


def test_all_public_functions_are_told():
    page = (DOCS / "reference" / "functions.md").read_text(encoding="utf-8")
    told = re.findall(r"^\.\. auto\w+:: ogive\.(\w+)$", page, re.MULTILINE)
    assert sorted(told) == sorted(ogive.__all__)


def test_all_commands_are_told(pages):
    page = pages.filled((DOCS / "reference" / "commands.md").read_text(encoding="utf-8"))
    for name, command in get_command(app).commands.items():
        assert f"\n## `ogive {name}`\n" in page
        for option in (each for each in command.params if each.param_type_name == "option"):
            assert max(option.opts, key=len) in page


def test_the_run_file_is_the_one_that_is_read(pages, tmp_path):
    from ogive.workflow.runfile import read_run_file

    page = pages.filled((DOCS / "reference" / "run-file.md").read_text(encoding="utf-8"))
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "region.yaml").write_text(shown, encoding="utf-8")
    assert read_run_file(tmp_path / "region.yaml").name == "my-region"


def test_a_part_that_there_is_not_is_refused(pages):
    assert pages.filled("a\n<<not a mark>>\n") == "a\n<<not a mark>>\n"
    with pytest.raises(KeyError):
        pages.filled("<<weather>>")


def test_equations_are_understood(monkeypatch):
    pytest.importorskip("sphinx", reason="equations are drawn by what `make docs` installs")
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    from mathml import mathml

    equations = [
        next(filter(None, found)) for path in written() for found in MATH.findall(prose(path))
    ]
    assert len(equations) > 40
    for equation in equations:
        told = mathml(equation, as_block=True)
        assert "<math" in told
        assert "\\" not in told, equation
    assert "<mn>12</mn>" not in mathml(r"\tfrac12 k", as_block=False)
