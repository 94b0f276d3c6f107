"""What a triplet of images gave, as maps: the displacement, how it closes, who speaks for it."""

from __future__ import annotations

import xarray as xr
from matplotlib.figure import Figure

from ogive.model import InputError
from ogive.store.layer_colours import short_units

from .map_parts import draw_bar, draw_layer, draw_place, map_size

__all__ = ["plot_triplet"]


def plot_triplet(moved: xr.Dataset) -> Figure:
    """Draw a displacement that images from between helped to find.

    Parameters
    ----------
    moved
        Of `ogive.match_triplet`, with at least one image in the middle.

    Returns
    -------
    matplotlib.figure.Figure
        Three maps: the length of the displacement, the closure residual of the best supported
        middle image, and how many middle images speak for the displacement.

    Raises
    ------
    InputError
        If a variable is missing, or there was no image in the middle.
    """
    wanted = ("dx", "dy", "closure_residual", "path_support")
    missing = [name for name in wanted if name not in moved]
    if missing or not moved.sizes.get("middle", 0):
        lack = ", ".join(missing) or "an image in the middle"
        raise InputError(f"this is no displacement of a triplet: it lacks {lack}")
    length = (moved["dx"] ** 2 + moved["dy"] ** 2) ** 0.5
    for_it = (moved["path_support"] > 0).sum("middle").where(length.notnull())
    units = short_units(str(moved["dx"].attrs.get("units", "")))
    middle = moved.sizes["middle"]
    width, height = map_size(length)
    figure = Figure(figsize=(3 * width + 0.6, height + 1.4), layout="compressed")
    panels = (
        ("Displacement", "v", length, f"displacement ({units})"),
        ("Closure of the triangle", "error", moved["closure_residual"], f"residual ({units})"),
        ("Support", "cnt", for_it, f"middle images for it, of {middle}"),
    )
    for axes, (title, layer, field, label) in zip(figure.subplots(1, 3), panels, strict=True):
        drawn = draw_layer(axes, field, layer)
        draw_bar(figure, axes, drawn, label, location="bottom", shrink=0.8, aspect=30)
        axes.set_title(title, loc="left", fontsize=10)
        draw_place(axes, field)
    return figure
