"""Styles for QGIS: made of what QGIS itself writes, and drawn by it as they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import shapely
import xarray as xr
from cmcrameri import cm
from matplotlib.colors import to_hex, to_rgb

from ogive.model import InputError, flag_attributes
from ogive.store.cog import write_cogs
from ogive.store.layer_colours import colour_range, layer_colours
from ogive.store.qgis_style import (
    Category,
    category_style,
    flag_categories,
    layer_style,
    polygon_style,
    ramp_style,
    write_package_styles,
    write_style,
)

# Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

SAVED = Path(__file__).parent / "qgis_saved"
"""Styles as QGIS 3.22 saves them."""


def parsed(style: str) -> Xml.Element:
    assert style.startswith("<!DOCTYPE qgis")
    return Xml.fromstring(style.split("\n", 1)[1])


def names_of(element: Xml.Element, path: str = "") -> dict[str, set[str]]:
    """Elements by their path, with the names of their attributes; options by their own names."""
    path = f"{path}/{element.tag}"
    if element.tag == "Option" and "name" in element.attrib:
        path += f"[{element.get('name')}]"
    found = {path: set(element.attrib)}
    for child in element:
        for name, attributes in names_of(child, path).items():
            found[name] = found.get(name, set()) | attributes
    return found


def stops_of(style: str) -> list[tuple[float, str, str]]:
    items = parsed(style).iter("item")
    return [(float(i.get("value")), str(i.get("color")), str(i.get("label"))) for i in items]


@pytest.mark.parametrize(
    ("style", "saved"),
    [
        (ramp_style(low=1, high=900, logarithmic=True, transparent=[0]), "ramp"),
        (ramp_style(low=-5, high=5, colours="vik", units="m"), "ramp"),
        (category_style([Category(0, "no", "#d9d9d9")]), "categories"),
        (polygon_style(line="#112233", dashed=True, fill_opacity=0.2), "polygons"),
    ],
)
def test_nothing_is_written_that_qgis_would_not_write(style: str, saved: str) -> None:
    allowed = names_of(parsed((SAVED / f"{saved}.qml").read_text(encoding="utf-8")))
    for path, attributes in names_of(parsed(style)).items():
        assert path in allowed, path
        assert attributes <= allowed[path], path


def test_linear_ramp_spans_its_range_in_the_colours_of_the_map() -> None:
    stops = stops_of(ramp_style(low=-40, high=40, colours="vik", units="m/yr"))
    assert [stops[0][0], stops[-1][0]] == [-40, 40]
    assert [stops[0][2], stops[-1][2]] == ["-40 m/yr", "40 m/yr"]
    for value, colour, _ in stops:
        assert colour == to_hex(cm.vik(value / 80 + 0.5))


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (3.0, 900.0, ["2", "5", "10", "20", "50", "100", "200", "500", "1000"]),
        (1.0, 100.0, ["1", "2", "5", "10", "20", "50", "100"]),
        (21.0, 160.0, ["20", "30", "50", "70", "100", "150", "200"]),
        (0.004, 0.3, ["0.002", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]),
    ],
)
def test_logarithmic_ramp_has_round_stops_at_even_colours(
    low: float, high: float, labels: list[str]
) -> None:
    style = ramp_style(low=low, high=high, units="m/yr", logarithmic=True)
    stops = stops_of(style)
    assert [label.removesuffix(" m/yr") for *_, label in stops] == labels
    values = np.array([value for value, *_ in stops])
    shares = np.log(values / values[0]) / np.log(values[-1] / values[0])
    assert [colour for _, colour, _ in stops] == [to_hex(cm.batlow(float(s))) for s in shares]
    # QGIS draws a continuous legend linearly: it would be wrong here.
    assert parsed(style).find(".//rampLegendSettings").get("useContinuousLegend") == "0"


def test_layers_are_styled_by_what_they_are(make_velocity: Callable[..., xr.Dataset]) -> None:
    velocity = make_velocity()
    reach = np.nanpercentile(np.abs(velocity.vx), 98)
    stops = stops_of(layer_style(velocity.vx, "vx"))
    # The range is found in float64, the percentile above in float32.
    assert [stops[0][0], stops[-1][0]] == pytest.approx([-reach, reach], rel=1e-6)
    assert stops[len(stops) // 2][1] == to_hex(cm.vik(0.5))
    errors = stops_of(layer_style(velocity.v_error, "v_error"))
    assert errors[0][:2] == (0.0, to_hex(cm.lajolla(0.0)))
    assert errors[-1][2].endswith(" m/yr")
    share = stops_of(layer_style(velocity.correlation, "correlation"))
    assert [share[0][0], share[-1][0]] == [0, 1]
    flags = parsed(layer_style(velocity.flag, "flag"))
    entries = {int(e.get("value")): e.get("label") for e in flags.iter("paletteEntry")}
    assert entries[0] == "measured"
    assert set(np.unique(velocity.flag)) <= set(entries)
    counts = xr.DataArray(np.array([[0, 3]]), attrs={"units": "1"})
    assert parsed(layer_style(counts, "cnt")).find(".//pixelListEntry").get("min") == "0.0"


def test_ranges_are_logarithmic_only_for_speeds_that_span_decades() -> None:
    wide = np.concatenate([np.linspace(1, 5, 900), np.linspace(500, 2000, 100), [np.nan]])
    assert colour_range(wide, "speed").logarithmic
    assert not colour_range(wide, "positive").logarithmic
    assert not colour_range(np.linspace(50, 300, 100), "speed").logarithmic
    for kind in ("speed", "positive", "any", "symmetric", "share", "circle"):
        for values in (np.array([np.nan]), np.zeros(5), np.array([], int)):
            low, high, logarithmic = colour_range(values, kind)
            assert low < high
            assert not logarithmic
    low, high, _ = colour_range(np.arange(-50.0, 51.0), "any")
    assert (low, high) == (-48.0, 48.0)
    assert layer_colours("something").kind == "any"


def test_flags_made_of_bits_are_told_by_their_combinations() -> None:
    bits = xr.DataArray(
        np.array([[0, 1], [4, 5]], np.uint8),
        attrs={"flag_masks": np.array([1, 4], np.uint8), "flag_meanings": "one_pair too_fast"},
    )
    told = flag_categories(bits, none="reliable")
    assert [(one.value, one.label) for one in told] == [
        (0, "reliable"), (1, "one pair"), (4, "too fast"), (5, "one pair, too fast"),
    ]  # fmt: skip
    assert len({one.colour for one in told}) == 4


def test_styles_without_a_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no range"):
        ramp_style(low=3.0, high=3.0)
    with pytest.raises(InputError, match="cannot start at 0"):
        ramp_style(low=0.0, high=3.0, logarithmic=True)
    with pytest.raises(InputError, match="'jet' is unknown"):
        ramp_style(low=0.0, high=3.0, colours="jet")
    with pytest.raises(InputError, match="needs categories"):
        category_style([])
    path = write_style(tmp_path / "v.qml", category_style([Category(1, "ice & snow", "#ffffff")]))
    assert "ice &amp; snow" in path.read_text(encoding="utf-8")


def package(path: Path) -> Path:
    """Write two layers of polygons, each with its own style."""
    for name, side in (("glaciers", 900), ("inner", 500)):
        shapes = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, side, side)], crs="EPSG:32632")
        shapes.to_file(path, layer=name, driver="GPKG")
    write_package_styles(
        path,
        {
            "glaciers": polygon_style(line="#102030", fill_opacity=0.4),
            "inner": polygon_style(line="#f0a010", width_mm=0.8, dashed=True),
        },
    )
    return path


def test_package_keeps_its_layers_beside_its_styles(tmp_path: Path) -> None:
    path = package(tmp_path / "outlines.gpkg")
    layers = dict(pyogrio.list_layers(path))
    assert list(layers)[:2] == ["glaciers", "inner"]
    assert layers["layer_styles"] is None  # a table without places
    assert len(gpd.read_file(path, layer="glaciers")) == 1
    table = gpd.read_file(path, layer="layer_styles")
    assert table["f_table_name"].tolist() == ["glaciers", "inner"]
    assert table["f_geometry_column"].tolist() == ["geom", "geom"]
    assert table["useAsDefault"].all()
    with pytest.raises(InputError, match="no such layer"):
        write_package_styles(path, {"outer": polygon_style(line="red")})


# ---- in QGIS itself ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ask_qgis(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Ask the QGIS of the system's Python; skips where there is none."""
    python = shutil.which("python3", path=os.pathsep.join(("/usr/bin", "/usr/local/bin")))
    folder = tmp_path_factory.mktemp("qgis")
    own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {"QT_QPA_PLATFORM": "offscreen", "XDG_RUNTIME_DIR": str(folder)}
    if (
        python is None
        or subprocess.run(
            [python, "-c", "import qgis.core"], env=environment, capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("no QGIS: the system's Python has no module qgis (Debian's python3-qgis)")
    folder.chmod(0o700)

    def ask(*sources: str | Path) -> list[dict[str, Any]]:
        program = Path(__file__).with_name("ask_qgis.py")
        done = subprocess.run(
            [python, str(program), str(folder), *map(str, sources)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: list[dict[str, Any]] = json.loads(done.stdout)
        return told

    return ask


def test_qgis_draws_maps_in_these_colours(
    tmp_path: Path, make_velocity: Callable[..., xr.Dataset], ask_qgis: Callable[..., Any]
) -> None:
    velocity = make_velocity()
    random = np.random.default_rng(0)
    speeds = np.exp(random.uniform(np.log(2), np.log(10), (30, 40)))
    speeds[:, 15:22] = np.exp(random.uniform(np.log(100), np.log(3000), (30, 7)))
    velocity["v"] = velocity.v.copy(data=speeds.astype(np.float32)).where(velocity.v.notnull())
    velocity["flag"].attrs |= flag_attributes()
    names = ("v", "vx", "flag")
    told = dict(zip(names, ask_qgis(*write_cogs(velocity, tmp_path, names)), strict=True))
    assert [told[name]["renderer"] for name in names] == [
        "singlebandpseudocolor", "singlebandpseudocolor", "paletted",
    ]  # fmt: skip
    for name in names:
        drawn = np.array(told[name]["colours"])
        known = np.isfinite(velocity[name].values)
        assert (drawn[~known] == 0).all()
        assert (drawn[known][:, 3] == 255).all()
    for name in ("v", "vx"):
        stops = stops_of((tmp_path / f"{name}.qml").read_text(encoding="utf-8"))
        places = [value for value, *_ in stops]
        field = velocity[name].values
        known = np.isfinite(field)
        drawn = np.array(told[name]["colours"])[known][:, :3]
        for band in range(3):
            colours = [255 * to_rgb(colour)[band] for _, colour, _ in stops]
            # Between stops colours are mixed; QGIS cuts off what is behind the point.
            np.testing.assert_allclose(
                drawn[:, band], np.interp(field[known], places, colours), atol=1.01
            )
    assert "2 m/yr" in told["v"]["legend"]
    ends = [label for label in told["vx"]["legend"] if label.endswith(" m/yr")]
    assert len(ends) == 2
    assert "measured" in told["flag"]["legend"]
    assert Path(told["v"]["picture"]).stat().st_size > 1000


def test_qgis_keeps_what_it_read(
    tmp_path: Path, make_velocity: Callable[..., xr.Dataset], ask_qgis: Callable[..., Any]
) -> None:
    paths = write_cogs(make_velocity(), tmp_path, ["v", "flag"])
    for path, told in zip(paths, ask_qgis(*paths), strict=True):
        ours = parsed(path.with_suffix(".qml").read_text(encoding="utf-8"))
        saved = parsed(Path(told["saved"]).read_text(encoding="utf-8"))
        for tag in ("item", "paletteEntry"):
            one, other = (
                [(float(e.get("value")), e.get("color"), e.get("label")) for e in root.iter(tag)]
                for root in (ours, saved)
            )
            # QGIS writes 15 digits.
            assert [told[1:] for told in one] == [told[1:] for told in other]
            np.testing.assert_allclose([t[0] for t in one], [t[0] for t in other], rtol=1e-14)


def test_qgis_finds_the_style_of_each_layer(tmp_path: Path, ask_qgis: Callable[..., Any]) -> None:
    path = package(tmp_path / "outlines.gpkg")
    told = ask_qgis(*(f"{path}|layername={name}" for name in ("glaciers", "inner")))
    found = [
        {
            option.get("name"): option.get("value")
            for option in parsed(Path(one["saved"]).read_text(encoding="utf-8")).iter("Option")
        }
        for one in told
    ]
    assert [one["outline_color"] for one in found] == ["16,32,48,255", "240,160,16,255"]
    assert [one["outline_style"] for one in found] == ["solid", "dash"]
    assert [one["outline_width"] for one in found] == ["0.5", "0.8"]
    assert [one["style"] for one in found] == ["solid", "no"]
    assert found[0]["color"] == "16,32,48,102"
