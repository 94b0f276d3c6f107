"""Images, elevations and outlines on a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401  (the .rio accessor)
import xarray as xr
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import Point, box

from ogive.model import GridError, InputError
from ogive.scenes.read import (
    common_grid,
    rasterize_polygons,
    read_image,
    read_on_grid,
    valid_mask,
)

pytestmark = [
    # Raised inside odc-geo, for its makers: the product of affine maps is told to become `@`.
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
    # Raised while these tests write files without a reference, on purpose.
    pytest.mark.filterwarnings("ignore:Dataset has no geotransform:UserWarning:rasterio"),
    pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning:pyogrio"),
]

UTM = "EPSG:32607"


def write(
    path: Path,
    pixels: np.ndarray,
    *,
    origin: tuple[float, float] = (500_000.0, 6_700_000.0),
    pixel_m: float = 10.0,
    crs: str | None = UTM,
    transform: Affine | None = None,
    mask: np.ndarray | None = None,
    **profile: Any,
) -> Path:
    bands = pixels if pixels.ndim == 3 else pixels[None]
    place = transform or Affine(pixel_m, 0, origin[0], 0, -pixel_m, origin[1])
    georeference = {} if crs is None else {"crs": crs, "transform": place}
    profile = {"driver": "GTiff", "dtype": pixels.dtype, **georeference, **profile}
    count, height, width = bands.shape
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", count=count, height=height, width=width, **profile) as file,
    ):
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
    return path


def noise(shape: tuple[int, ...] = (40, 50), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 4000, shape).astype(np.uint16)


# --- one image ---------------------------------------------------------------------------------


def test_image_has_the_pixels_and_the_grid_of_its_file(tmp_path: Path) -> None:
    pixels = noise()
    image = read_image(write(tmp_path / "image.tif", pixels))
    assert image.dims == ("y", "x")
    assert image.dtype == np.uint16
    np.testing.assert_array_equal(image, pixels)
    assert (image.x[0], image.y[0]) == (500_005.0, 6_699_995.0)  # the centre of the first pixel
    assert image.rio.crs.to_epsg() == 32607
    assert image.rio.transform() == Affine(10, 0, 500_000, 0, -10, 6_700_000)
    assert image.odc.geobox.crs.epsg == 32607
    assert image.name == "image"
    assert valid_mask(image).all()


def test_swiss_grids_are_read_without_a_warning(tmp_path: Path) -> None:
    """CF cannot say all of their projection; what stands beside it does."""
    image = read_image(write(tmp_path / "swiss.tif", noise(), crs="EPSG:2056"))
    assert image.odc.crs.to_epsg() == 2056


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_dtype_of_the_file_is_kept(tmp_path: Path, dtype: str) -> None:
    pixels = (noise() % 100).astype(dtype)
    image = read_image(write(tmp_path / "image.tif", pixels))
    assert image.dtype == dtype
    np.testing.assert_array_equal(image, pixels)


def test_nodata_nan_and_mask_are_all_invalid(tmp_path: Path) -> None:
    pixels = noise().astype(np.float32)
    pixels[0, 0], pixels[1, 1], pixels[2, 2] = -9999, np.nan, np.inf
    expected = np.ones(pixels.shape, bool)
    expected[[0, 1, 2], [0, 1, 2]] = False
    image = read_image(write(tmp_path / "nodata.tif", pixels, nodata=-9999))
    np.testing.assert_array_equal(valid_mask(image), expected)

    mask = np.ones(pixels.shape, bool)
    mask[5:9, 5:9] = False
    masked = read_image(write(tmp_path / "mask.tif", noise(), mask=mask))
    np.testing.assert_array_equal(valid_mask(masked), mask)
    cut = masked.isel(y=slice(4, 10), x=slice(4, 10))
    np.testing.assert_array_equal(valid_mask(cut), mask[4:10, 4:10])


def test_alpha_band_is_a_mask_and_no_choice(tmp_path: Path) -> None:
    bands = np.stack([noise() % 255, np.full((40, 50), 255)]).astype(np.uint8)
    bands[1, 3, 4] = 0
    path = write(tmp_path / "alpha.tif", bands, alpha="YES")
    image = read_image(path)
    assert np.flatnonzero(~valid_mask(image)) == [3 * 50 + 4]


def test_undeclared_fill_value_is_known_by_the_product(tmp_path: Path) -> None:
    pixels = noise()
    pixels[:4] = 0
    product = read_image(
        write(tmp_path / "LC08_L1TP_063018_20160718_20200906_02_T1_B8.TIF", pixels)
    )
    assert not valid_mask(product)[:4].any()
    assert valid_mask(product)[4:].all()
    other = read_image(write(tmp_path / "other.tif", pixels))
    assert valid_mask(other).all()
    told = read_image(tmp_path / "other.tif", nodata=0)
    assert not valid_mask(told)[:4].any()


def test_bands_are_listed_when_none_is_chosen(tmp_path: Path) -> None:
    bands = noise((3, 8, 9))
    path = write(tmp_path / "bands.tif", bands)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B2", "B3", "B8")
    with pytest.raises(InputError, match=r"3 bands, choose one: 1 \(B2\), 2 \(B3\), 3 \(B8\)"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, band=2), bands[1])
    np.testing.assert_array_equal(read_image(path, band="3"), bands[2])
    np.testing.assert_array_equal(read_image(path, band="B8"), bands[2])
    with pytest.raises(InputError, match="no band 'B4'"):
        read_image(path, band="B4")


def test_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file .*nowhere\.tif"):
        read_image(tmp_path / "nowhere.tif")


def test_file_of_another_kind_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.tif").write_text("no image")
    with pytest.raises(InputError, match=r"notes\.tif cannot be read"):
        read_image(tmp_path / "notes.tif")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    "options",
    [
        {"driver": "GTiff"},
        {
            "driver": "GTiff",
            "compress": "deflate",
            "tiled": True,
            "blockxsize": 64,
            "blockysize": 64,
        },
        {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES"},
    ],
    ids=["plain", "deflate", "jp2"],
)
def test_truncated_file_is_a_sentence_that_names_it(
    tmp_path: Path, options: dict[str, Any], share: float
) -> None:
    path = write(tmp_path / "image.tif", noise((256, 256)), **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"image\.tif cannot be read"):
        read_image(path)


def test_no_reference_is_refused_unless_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "plain.tif", noise(), crs=None)
    with pytest.raises(GridError, match=r"no coordinate reference system.*--pixels"):
        read_image(path)
    image = read_image(path, allow_no_crs=True)
    np.testing.assert_array_equal(image.x, np.arange(50))
    np.testing.assert_array_equal(image.y, np.arange(40))
    assert "spatial_ref" not in image.coords


def test_rotated_grid_is_refused(tmp_path: Path) -> None:
    rotated = Affine(9.4, 3.4, 500_000, 3.4, -9.4, 6_700_000)
    path = write(tmp_path / "rotated.tif", noise(), transform=rotated)
    with pytest.raises(GridError, match="rotated"):
        read_image(path)


# --- two images --------------------------------------------------------------------------------


def test_one_grid_is_left_alone(tmp_path: Path) -> None:
    earlier = read_image(write(tmp_path / "a.tif", noise()))
    later = read_image(write(tmp_path / "b.tif", noise(seed=1)))
    pair = common_grid(earlier, later)
    assert pair.earlier is earlier
    assert pair.later is later
    assert not pair.resampled
    assert pair.message == ""


@given(st.integers(-39, 39), st.integers(-49, 49))
def test_one_lattice_is_cropped_without_a_change(rows: int, columns: int) -> None:
    world = noise((140, 160))

    def look(row: int, column: int) -> xr.DataArray:
        geobox = GeoBox((40, 50), Affine(10, 0, 10.0 * column, 0, -10, -10.0 * row), UTM)
        return odc_image(world[row : row + 40, column : column + 50], geobox)

    pair = common_grid(look(50, 55), look(50 + rows, 55 + columns))
    assert not pair.resampled
    assert pair.earlier.shape == (40 - abs(rows), 50 - abs(columns))
    np.testing.assert_array_equal(pair.earlier.values, pair.later.values)
    xr.testing.assert_identical(pair.earlier.x, pair.later.x)
    xr.testing.assert_identical(pair.earlier.y, pair.later.y)
    assert ("cropped" in pair.message) == bool(rows or columns)


def odc_image(pixels: np.ndarray, geobox: GeoBox) -> xr.DataArray:
    from odc.geo.xr import wrap_xr

    return wrap_xr(np.ascontiguousarray(pixels), geobox)


def wave(geobox: GeoBox, wavelength_m: float) -> np.ndarray:
    """A plane wave in map coordinates: known at every point, on any grid."""
    columns, rows = np.meshgrid(np.arange(geobox.shape[1]) + 0.5, np.arange(geobox.shape[0]) + 0.5)
    place = geobox.transform
    x, y = place.c + place.a * columns, place.f + place.e * rows
    return 1000 + 500 * np.sin(2 * np.pi * x / wavelength_m) * np.cos(2 * np.pi * y / wavelength_m)


def cubic_error(radians_per_px: float) -> float:
    """Largest error of Keys' cubic convolution (a = -1/2) on a wave of unit amplitude."""
    t = np.linspace(0, 1, 101)[:, None]
    distance = np.abs(t - np.arange(-1, 3))
    weight = np.where(
        distance <= 1,
        1.5 * distance**3 - 2.5 * distance**2 + 1,
        -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2,
    )
    response = (weight * np.exp(1j * radians_per_px * (np.arange(-1, 3) - t))).sum(axis=1)
    return float(np.abs(response - 1).max())


@pytest.mark.parametrize("shift_px", [0.37, 0.5, 12.25])
def test_other_lattice_is_resampled_to_the_right_place(shift_px: float) -> None:
    wavelength_m = 160.0
    one = GeoBox((60, 70), Affine(10, 0, 500_000, 0, -10, 6_700_000), UTM)
    other = GeoBox((60, 70), Affine(10, 0, 500_000 + 10 * shift_px, 0, -10, 6_700_000 - 7.0), UTM)
    pair = common_grid(
        odc_image(wave(one, wavelength_m).astype(np.float32), one),
        odc_image(wave(other, wavelength_m).astype(np.float32), other),
    )
    assert pair.resampled
    assert "resampled by cubic convolution" in pair.message
    assert pair.later.odc.geobox == pair.earlier.odc.geobox
    assert pair.later.rio.crs.to_epsg() == 32607
    # Both directions err by what cubic convolution does to this wave; float32 adds 1e-7 of 1500.
    tolerance = 500 * 2 * cubic_error(2 * np.pi * 10 / wavelength_m) + 1e-3
    difference = np.abs(pair.later - pair.earlier).values
    assert np.nanmax(difference) <= tolerance
    # A tenth of a pixel off would be told from this: 500 * 2 pi / 16 px * 0.1 px.
    assert tolerance < 19
    assert np.isfinite(difference[2:-3, 2:-3]).all()


def test_resampling_keeps_holes_from_bleeding() -> None:
    one = GeoBox((60, 70), Affine(10, 0, 500_000, 0, -10, 6_700_000), UTM)
    other = GeoBox((60, 70), Affine(10, 0, 500_003, 0, -10, 6_700_000), UTM)
    pixels = np.full((60, 70), 1000, np.uint16)
    pixels[20:30, 20:30] = 0
    later = odc_image(pixels, other)
    later.attrs["nodata"] = 0
    pair = common_grid(odc_image(np.full((60, 70), 1000, np.uint16), one), later)
    measured = pair.later.values[valid_mask(pair.later)]
    np.testing.assert_allclose(measured, 1000, rtol=1e-6)  # a constant stays one
    hole = ~valid_mask(pair.later)
    assert hole[20:30, 21:30].all()
    # The kernel reaches two pixels, and the nearest pixel is at most half a pixel off.
    assert not hole[3:17, 3:-3].any()
    assert not hole[33:-3, 3:-3].any()


def test_coarser_earlier_image_sets_the_grid() -> None:
    one = GeoBox((40, 40), Affine(15, 0, 500_000, 0, -15, 6_700_000), UTM)
    other = GeoBox((60, 60), Affine(10, 0, 500_000, 0, -10, 6_700_000), UTM)
    pixels = np.full((60, 60), 700, np.uint16)
    pixels[30, 30] = 0
    later = odc_image(pixels, other)
    later.attrs["nodata"] = 0
    pair = common_grid(odc_image(np.ones((40, 40), np.uint16), one), later)
    assert pair.later.shape == (40, 40)
    np.testing.assert_allclose(pair.later.values[valid_mask(pair.later)], 700, rtol=1e-6)
    assert not valid_mask(pair.later)[20, 20]
    assert valid_mask(pair.later)[4:-4, 4:16].all()


def test_images_without_reference_share_their_first_corner(tmp_path: Path) -> None:
    one = read_image(write(tmp_path / "a.tif", noise((40, 50)), crs=None), allow_no_crs=True)
    other = read_image(write(tmp_path / "b.tif", noise((45, 30)), crs=None), allow_no_crs=True)
    pair = common_grid(one, other)
    assert pair.earlier.shape == pair.later.shape == (40, 30)
    np.testing.assert_array_equal(pair.later.values, noise((45, 30))[:40])
    assert "cropped" in pair.message


def test_different_references_are_refused_by_name(tmp_path: Path) -> None:
    earlier = read_image(write(tmp_path / "a.tif", noise()))
    later = read_image(write(tmp_path / "b.tif", noise(), crs="EPSG:32608"))
    with pytest.raises(GridError, match=r"b is in EPSG:32608 but a is in EPSG:32607"):
        common_grid(earlier, later)
    plain = read_image(write(tmp_path / "c.tif", noise(), crs=None), allow_no_crs=True)
    with pytest.raises(GridError, match="c is in no coordinate reference system"):
        common_grid(earlier, plain)


def test_degrees_are_refused(tmp_path: Path) -> None:
    place = Affine(1e-4, 0, -141.0, 0, -1e-4, 60.2)
    path = write(tmp_path / "degrees.tif", noise(), crs="EPSG:4326", transform=place)
    with pytest.raises(GridError, match="whose unit is not the metre"):
        common_grid(read_image(path), read_image(path))


def test_apart_images_are_refused_with_both_extents(tmp_path: Path) -> None:
    earlier = read_image(write(tmp_path / "a.tif", noise()))
    later = read_image(write(tmp_path / "b.tif", noise(), origin=(600_000.0, 6_700_000.0)))
    with pytest.raises(GridError, match=r"do not overlap.*500000 to 500500.*600000 to 600500"):
        common_grid(earlier, later)


# --- maps and outlines on a grid ---------------------------------------------------------------


def test_map_is_brought_on_the_grid(tmp_path: Path) -> None:
    source = GeoBox((80, 90), Affine(25, 0, 499_000, 0, -25, 6_701_000), UTM)
    slope = np.tile(np.arange(90, dtype=np.float32), (80, 1))
    slope[:3] = -32768
    path = write(tmp_path / "dem.tif", slope, transform=source.transform, nodata=-32768)
    target = GeoBox((20, 30), Affine(20, 0, 499_500, 0, -20, 6_700_500), UTM)
    there = read_on_grid(path, target)
    assert there.odc.geobox == target
    assert there.dtype == np.float32
    # Bilinear interpolation is exact on a plane; GDAL's weights are float32.
    expected = np.tile((there.x.values - 499_000) / 25 - 0.5, (20, 1))
    np.testing.assert_allclose(there.values, expected, atol=1e-4)


def test_map_away_from_the_grid_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", noise())
    away = GeoBox((20, 30), Affine(30, 0, 700_000, 0, -30, 6_700_500), UTM)
    with pytest.raises(GridError, match=r"dem\.tif gives no value on the grid"):
        read_on_grid(path, away)
    with pytest.raises(InputError, match="no way of resampling"):
        read_on_grid(path, away, "guess")
    plain = write(tmp_path / "plain.tif", noise(), crs=None)
    with pytest.raises(GridError, match="no coordinate reference system"):
        read_on_grid(plain, away)


def test_truncated_map_is_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "dem.tif", noise())
    path.write_bytes(path.read_bytes()[:2000])
    grid = GeoBox((40, 50), Affine(10, 0, 500_000, 0, -10, 6_700_000), UTM)
    with pytest.raises(InputError, match=r"dem\.tif cannot be read"):
        read_on_grid(path, grid)


GRID = GeoBox((40, 50), Affine(10, 0, 500_000, 0, -10, 6_700_000), UTM)


def outlines(path: Path, shapes: list[Any], crs: str | None = UTM) -> Path:
    gpd.GeoDataFrame(geometry=shapes, crs=crs).to_file(path)
    return path


def test_pixels_whose_centres_lie_inside_are_marked(tmp_path: Path) -> None:
    # Columns 10 to 19 and rows 5 to 9, and a hair more that reaches no further centre.
    shape = box(500_100 - 4, 6_699_900 - 4, 500_200 + 4, 6_699_950 + 4)
    inside = rasterize_polygons(outlines(tmp_path / "ice.gpkg", [shape]), GRID)
    expected = np.zeros((40, 50), bool)
    expected[5:10, 10:20] = True
    np.testing.assert_array_equal(inside, expected)


def test_outlines_are_reprojected(tmp_path: Path) -> None:
    shape = gpd.GeoSeries([box(500_100, 6_699_900, 500_200, 6_699_950)], crs=UTM)
    degrees = shape.to_crs("EPSG:4326")
    path = outlines(tmp_path / "ice.geojson", list(degrees), "EPSG:4326")
    inside = rasterize_polygons(path, GRID)
    assert inside[5:10, 10:20].all()
    assert inside.sum() == 50


def test_useless_outlines_are_refused(tmp_path: Path) -> None:
    away = outlines(tmp_path / "away.gpkg", [box(0, 0, 10, 10)])
    with pytest.raises(GridError, match=r"no polygon of .* covers a pixel"):
        rasterize_polygons(away, GRID)
    points = outlines(tmp_path / "points.gpkg", [Point(500_100, 6_699_900)])
    with pytest.raises(InputError, match=r"no polygons \(found: Point\)"):
        rasterize_polygons(points, GRID)
    with pytest.raises(InputError, match="there is no file"):
        rasterize_polygons(tmp_path / "nowhere.gpkg", GRID)
    (tmp_path / "text.gpkg").write_text("no polygons")
    with pytest.raises(InputError, match="no file of polygons"):
        rasterize_polygons(tmp_path / "text.gpkg", GRID)
    unreferenced = outlines(
        tmp_path / "ice.shp", [box(500_100, 6_699_900, 500_200, 6_699_950)], None
    )
    with pytest.raises(GridError, match="no coordinate reference system"):
        rasterize_polygons(unreferenced, GRID)
    pixels = GeoBox((40, 50), Affine.identity(), None)
    with pytest.raises(GridError, match="cannot be laid over images without"):
        rasterize_polygons(away, pixels)


# --- real data ---------------------------------------------------------------------------------


def test_real_pair_of_one_grid(data_dir: Path) -> None:
    folder = data_dir / "yahtse_l8_pair"
    pair = common_grid(*(read_image(path) for path in sorted(folder.glob("LC8*.TIF"))))
    assert not pair.resampled
    assert pair.earlier.shape == (1087, 1698)
    elevation = read_on_grid(folder / "yahtse_srtm_dem.tif", pair.earlier.odc.geobox)
    # From the sea to the peaks of the Saint Elias range; the file's own range is -15 to 3971 m.
    assert -15 <= np.nanmin(elevation) < 5
    assert 1500 < np.nanmax(elevation) < 3971
    assert np.isfinite(elevation).mean() > 0.99


def test_real_pair_of_one_lattice(data_dir: Path) -> None:
    folder = data_dir / "arosics_s2_pair"
    earlier = read_image(folder / "tgt_S2A_20160529T153631_T33UUU_sub.jp2")
    later = read_image(folder / "ref_S2A_20160608T153121_T33UUU_sub.jp2")
    pair = common_grid(earlier, later)
    assert not pair.resampled
    assert pair.earlier.shape == pair.later.shape
    # One place: what agrees here is lost when one image is read 20 pixels off.
    a, b = (image.values[500:1500, 500:1500].astype(float) for image in pair[:2])
    off = pair.later.values[500:1500, 520:1520].astype(float)
    agreement, chance = (np.corrcoef(a.ravel(), c.ravel())[0, 1] for c in (b, off))
    assert agreement > 1.5 * chance


def test_real_outlines_hold_the_real_ice(data_dir: Path) -> None:
    folder = data_dir / "french_alps_alpgm"
    thickness = read_image(folder / "argentiere_2003_glacioclim.tif")
    ice = valid_mask(thickness) & (thickness.values > 1)
    inside = rasterize_polygons(folder / "GLIMS_glaciers_2003_ID.shp", thickness.odc.geobox)
    # The map is above zero on one glacier of the inventory only, and of the same year.
    assert ice.sum() > 1000
    assert inside[ice].mean() > 0.9
    assert inside.mean() < 0.9


def test_bands_of_a_real_clip(data_dir: Path) -> None:
    clip = next((data_dir / "khumbu_s2_dem").glob("S2B*.tif"))
    with pytest.raises(InputError, match="3 bands"):
        read_image(clip)
    assert 0.5 < valid_mask(read_image(clip, band=1)).mean() <= 1
