"""What decides where ice is divided."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ogive.model import InputError

__all__ = ["DivideOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DivideOptions:
    """Lengths and areas of the division; the defaults are the published ones, per metre.

    Attributes
    ----------
    smoothing_m
        Standard deviation of the Gaussian that smooths the elevation.
    buffer_m, shrink_m
        Ice is widened by the one and narrowed by the other, which closes gaps and leaves a rim in
        which the gutter lies.
    drop_m
        How much lower the gutter is.
    separation_m
        Pour points lie at least so far apart along the gutter; what leaves the ice within this
        distance belongs to them.
    percentile
        Share of the pour points, those that drain least, that are not kept.
    radius_factor, radius_power, largest_radius_m
        Pour points within ``min(largest_radius_m, radius_factor * area_m2 ** radius_power)`` of
        one another, over ice, are those of one glacier. Published: 5.72 times the square root of
        the number of cells of 10 m.
    least_area_m2
        Smaller parts go to the neighbour with which they share the longest border.
    least_odd_area_m2, least_compactness
        So do parts that are smaller than this and less compact (4πA / P²).
    """

    smoothing_m: float = 20.0
    buffer_m: float = 160.0
    shrink_m: float = 60.0
    drop_m: float = 100.0
    separation_m: float = 100.0
    percentile: float = 0.8
    radius_factor: float = 0.572
    radius_power: float = 0.5
    largest_radius_m: float = 1400.0
    least_area_m2: float = 0.1e6
    least_odd_area_m2: float = 0.2e6
    least_compactness: float = 0.5

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        for each in fields(self):
            if not 0 <= getattr(self, each.name) < float("inf"):
                raise InputError(f"{each.name} is {getattr(self, each.name)}: it must be 0 or more")
        if self.percentile >= 1:
            raise InputError(f"percentile is {self.percentile}: it must be below 1")
        if self.shrink_m >= self.buffer_m:
            raise InputError(
                f"shrink_m {self.shrink_m} must be less than buffer_m {self.buffer_m}: ice needs a "
                "rim"
            )
