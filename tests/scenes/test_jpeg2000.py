"""Windows of real JPEG 2000 over HTTP, by threads too."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from tests.servers.stac import Fault, StacServer

from ogive.model import Asset, Scene
from ogive.scenes import read_window
from ogive.scenes.errors import DamagedImageError


def test_a_real_image_by_ranges_from_several_threads(data_dir: Path, tmp_path: Path) -> None:
    folder = data_dir / "arosics_s2_pair"
    paths = sorted(folder.glob("*.jp2"))
    with StacServer(folder) as server:
        scenes, grids, expected = [], [], []
        for path in paths:
            asset = Asset(f"{server.url}/files/{path.name}")
            scenes.append(Scene(path.stem, datetime(2016, 6, 8), assets={"image": asset}))
            with rasterio.open(path) as file:
                grids.append(
                    GeoBox(file.shape, file.transform, file.crs.to_wkt())[500:700, 600:900]
                )
                expected.append(file.read(1)[500:700, 600:900])
        work = [(scenes[k % 2], grids[k % 2]) for k in range(8)]
        with ThreadPoolExecutor(4) as threads:
            images = list(
                threads.map(lambda it: read_window(it[0], "image", it[1], cache=tmp_path), work)
            )
        for number, image in enumerate(images):
            np.testing.assert_array_equal(image, expected[number % 2])
        ranges = [(request.path, request.range) for request in server.requests]
        assert len(ranges) == len(set(ranges))
        server.fault(paths[0].name, Fault(truncated_to=200_000, forever=True))
        with pytest.raises(DamagedImageError):
            read_window(scenes[0], "image", grids[0])
