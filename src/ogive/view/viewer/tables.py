"""What is shown, as tables: the map, the points, the section, the network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .point import PointData
from .product import Product
from .profile import Profile

__all__ = ["map_table", "pairs_of", "points_table", "profile_table"]


def map_table(product: Product, key: str, values: NDArray[np.floating]) -> pd.DataFrame:
    """List a map's pixels that have a value: ``x, y`` and the layer."""
    rows, columns = np.nonzero(np.isfinite(values))
    return pd.DataFrame(
        {
            "x": product.data["x"].values[columns],
            "y": product.data["y"].values[rows],
            key: values[rows, columns],
        }
    )


def points_table(points: Sequence[PointData]) -> pd.DataFrame:
    """List all that is known of the points, a line for each observation, period or station."""
    tables = []
    for point in points:
        for kind in ("observations", "series", "years", "stations"):
            table = getattr(point, kind)
            if not table.empty:
                own = {"point": point.number, "x": point.x, "y": point.y, "kind": kind}
                rest = table.drop(columns=[n for n in ("x", "y") if n in table])
                tables.append(pd.DataFrame(own, index=rest.index).join(rest))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["point"])


def profile_table(cut: Profile) -> pd.DataFrame:
    """List the speeds along a line: ``start, end, distance_m, v``."""
    values = cut.along["v"].transpose("time", "distance").values
    count = values.shape[1]
    table = pd.DataFrame(
        {
            "start": np.repeat(cut.edges[:-1], count),
            "end": np.repeat(cut.edges[1:], count),
            "distance_m": np.tile(cut.along["distance"].values, values.shape[0]),
            "v": values.ravel(),
        }
    )
    known: pd.DataFrame = table[np.isfinite(table["v"])].reset_index(drop=True)
    return known


def pairs_of(cube: Product, sensors: NDArray[np.str_]) -> pd.DataFrame:
    """List the pairs of a cube: ``start, end, sensor, baseline_days``."""
    start, end = (cube.data[f"acquisition_date_img{k}"].values for k in (1, 2))
    days = (end - start) / np.timedelta64(1, "D")
    return pd.DataFrame({"start": start, "end": end, "sensor": sensors, "baseline_days": days})
