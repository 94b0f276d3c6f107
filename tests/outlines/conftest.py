"""Small tiles whose truth is known: bright ice on dark ground."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

CRS = "EPSG:32632"
BANDS = ("B2", "B3", "B4", "B8")
SCALE = 1e-4


def ice_of(size: int, seed: int) -> NDArray[np.bool_]:
    """A round glacier somewhere on the tile."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    row, column = rng.uniform(0.3, 0.7, 2) * size
    return np.hypot(y - row, x - column) < rng.uniform(0.2, 0.3) * size


def reflectance_of(ice: NDArray[np.bool_], seed: int) -> NDArray[np.float32]:
    """Blue, green, red, nir: ice is bright and falls off towards the infrared."""
    rng = np.random.default_rng((seed, 1))
    spectra = np.array([[0.62, 0.6, 0.58, 0.45], [0.12, 0.14, 0.16, 0.26]], np.float32)
    clean = np.where(ice, spectra[0][:, None, None], spectra[1][:, None, None])
    return (clean + rng.normal(0, 0.02, clean.shape)).clip(0.01, 1.5).astype(np.float32)


def write_image(
    path: Path,
    array: NDArray[np.generic],
    *,
    left: float = 400_000.0,
    crs: str | None = CRS,
    nodata: float | None = 0,
    names: tuple[str, ...] | None = None,
) -> Path:
    """Write a stack ``(band, y, x)`` of 10 m pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff", "count": len(array), "dtype": array.dtype, "nodata": nodata,
        "height": array.shape[1], "width": array.shape[2], "crs": crs,
        "transform": Affine(10, 0, left, 0, -10, 5_100_000),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
        for index, name in enumerate(names or (), 1):
            file.set_band_description(index, name)
    return path


def write_tile(
    folder: Path, name: str, *, size: int = 48, seed: int = 0, left: float = 4e5
) -> None:
    """An image in digital numbers, and its mask."""
    ice = ice_of(size, seed)
    numbers = (reflectance_of(ice, seed) / SCALE).astype(np.uint16)
    write_image(folder / "images" / f"{name}.tif", numbers, left=left, names=BANDS)
    write_image(folder / "masks" / f"{name}.tif", ice[None].astype(np.uint8), left=left)


@pytest.fixture
def tiles_folder(tmp_path: Path) -> Path:
    """Twelve tiles of twelve glaciers, side by side."""
    for number in range(12):
        write_tile(tmp_path, f"g{number:02d}_2020", seed=number, left=4e5 + 1000 * number)
    return tmp_path
