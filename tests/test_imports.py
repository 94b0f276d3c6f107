"""The house's rule of who may import whom, read from the code itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "ogive"

NUMERICS = {"matching", "correction", "series", "simulation", "evaluation"}
FLOOR = {
    "model": 1,
    "georeference": 1,
    "learning": 1,
    "scenes": 2,
    "matching": 2,
    "correction": 2,
    "series": 2,
    "store": 2,
    "simulation": 2,
    "evaluation": 2,
    "outlines": 2,
    "workflow": 3,
    "view": 3,
    "similarity": 3,
    "cli": 4,
}
# What opens files, sockets or databases; the numerics do without.
WORLD = {
    "rasterio", "rioxarray", "geopandas", "pyogrio", "netCDF4", "h5netcdf", "zarr", "sqlalchemy",
    "pystac_client", "odc.stac", "requests", "urllib", "socket", "sqlite3", "distributed",
    "matplotlib", "typer", "rich", "yaml", "pydantic",
}  # fmt: skip
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name not in {"_version.py"})


def imported(path: Path) -> set[str]:
    """Absolute names of all modules a file imports, inside functions too."""
    inside = path.relative_to(PACKAGE.parent).with_suffix("").parts
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def part_of(path: Path) -> str:
    """The part of the house a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def ogive_parts(names: set[str]) -> set[str]:
    """The parts of ogive among imported names."""
    parts = {name.split(".")[1] for name in names if name.startswith("ogive.")}
    return parts & FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return
    assert part in FLOOR, f"{part} has no floor: give it one in DESIGN and here"
    for other in ogive_parts(imported(path)) - {part}:
        assert FLOOR[other] <= FLOOR[part], f"{path} imports {other}, from a higher floor"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_numerics_touch_no_world(path: Path) -> None:
    if part_of(path) not in NUMERICS:
        return
    names = imported(path)
    touched = {name for name in names for world in WORLD if (name + ".").startswith(world + ".")}
    assert not touched, f"{path} is numerics but imports {sorted(touched)}"
    for other in ogive_parts(names) - {part_of(path)}:
        assert other in NUMERICS | {"model"}, f"{path} is numerics but imports {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_nothing_imports_the_workflow_but_the_command_line(path: Path) -> None:
    if part_of(path) in {"workflow", "cli", "__init__"}:
        return
    assert not ogive_parts(imported(path)) & {"workflow", "cli"}


def test_parts_of_a_floor_do_not_import_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    for path in FILES:
        part = part_of(path)
        if part != "__init__":
            graph.setdefault(part, set()).update(ogive_parts(imported(path)) - {part})
    done: set[str] = set()

    def visit(part: str, above: tuple[str, ...]) -> None:
        assert part not in above, f"circle: {' -> '.join((*above, part))}"
        if part not in done:
            for other in graph.get(part, set()):
                visit(other, (*above, part))
            done.add(part)

    for part in graph:
        visit(part, ())
