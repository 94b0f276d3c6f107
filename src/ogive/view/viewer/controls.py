"""The page's controls, all of them reachable by the keyboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import panel as pn

from ogive.model import InputError

from .colours import Scale
from .masks import masks_of
from .product import Layer, Product
from .times import COLOUR_BY
from .workspace import Workspace

__all__ = ["CLICKS", "NO_GROUND", "SCALES", "Controls", "numbers"]

NO_GROUND = "none"
SCALES: Mapping[str, Scale | None] = {"automatic": None, "linear": "linear", "logarithmic": "log"}
CLICKS = ("shows its series", "adds to the profile line")

_WIDTH_PX = 260
_OVER_GROUND = 0.75


class Controls:
    """What can be chosen on the page.

    Parameters
    ----------
    workspace
        What there is to choose from.
    """

    def __init__(self, workspace: Workspace) -> None:
        names = list(workspace.project.products)
        grounds = [*workspace.grounds(), NO_GROUND]
        opacity = 1.0 if grounds[0] == NO_GROUND else _OVER_GROUND
        choose, button, type_in = pn.widgets.Select, pn.widgets.Button, pn.widgets.TextInput
        self.product = choose(name="Product", options=names, value=names[0])
        self.layer = choose(name="Layer")
        self.frame = choose(name="Date")
        self.earlier, self.later = button(name="◀ earlier"), button(name="later ▶")
        self.scale = choose(name="Colour scale", options=list(SCALES))
        self.mask = choose(name="Hide")
        self.ground = choose(name="Ground", options=grounds, value=grounds[0])
        self.opacity = pn.widgets.FloatSlider(
            name="Opacity", start=0.1, end=1.0, step=0.05, value=opacity
        )
        self.arrows = pn.widgets.Checkbox(name="Flow arrows", value=True)
        self.outlines = pn.widgets.Checkbox(
            name="Outlines", value=True, disabled=workspace.outlines is None
        )
        self.click = pn.widgets.RadioBoxGroup(name="A click on the map", options=list(CLICKS))
        self.place = type_in(name="Point: x, y", placeholder="432100, 5140200")
        self.line = type_in(
            name="Profile line: x y, x y, …", placeholder="430000 5141000, 432000 5139500"
        )
        self.forget, self.forget_line = button(name="Remove points"), button(name="Remove line")
        components = {"speed": "v", "velocity along x": "vx", "velocity along y": "vy"}
        self.component = choose(name="Series of", options=components)
        self.colour_by = choose(name="Bars coloured by", options=list(COLOUR_BY))
        for control in vars(self).values():
            control.width = 110 if isinstance(control, button) else _WIDTH_PX - 20

    def offer(self, product: Product) -> None:
        """Offer the layers, dates and masks of a product, and choose the first.

        Of annual maps the last year is chosen, of others the first date.
        """
        self.layer.param.update(
            options={_label(layer): key for key, layer in product.layers.items()},
            value=next(iter(product.layers)),
        )
        last = len(product.frames) - 1
        self.frame.param.update(
            options={label: k for k, label in enumerate(product.frames)},
            value=last if product.kind == "annual" else 0,
        )
        for control in (self.frame, self.earlier, self.later):
            control.disabled = last == 0
        masks = list(masks_of(product))
        self.mask.param.update(options=masks, value=masks[0])
        self.arrows.disabled = not product.has_flow

    def column(self) -> Any:
        """Lay out what belongs to the map."""
        return pn.Column(
            self.product,
            self.layer,
            self.frame,
            pn.Row(self.earlier, self.later),
            self.scale,
            self.mask,
            self.ground,
            self.opacity,
            self.arrows,
            self.outlines,
            pn.pane.Markdown("A click on the map", margin=(4, 10, 0, 10)),
            self.click,
            self.place,
            self.line,
            pn.Row(self.forget, self.forget_line),
            width=_WIDTH_PX,
        )


def _label(layer: Layer) -> str:
    title = layer.key if layer.title == layer.key else f"{layer.title} ({layer.key})"
    return f"{title}, {layer.units}" if layer.units else title


def numbers(text: str) -> tuple[float, float]:
    """Read two coordinates that were typed.

    Raises
    ------
    InputError
        If there are not two numbers.

    Examples
    --------
    >>> numbers("432100, 5140200")
    (432100.0, 5140200.0)
    """
    try:
        x, y = (float(part) for part in text.replace(",", " ").split())
    except ValueError as error:
        raise InputError(f"{text!r} is no place: give its two coordinates as x, y") from error
    return x, y
