"""Buttons that keep what is shown: tables as CSV, pictures as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pandas as pd
import panel as pn

__all__ = ["csv_button", "png_button"]

# What Bokeh's own save tool does, for all figures that lie in one layout.
_SAVE_PNG = """
const [view] = Bokeh.index.query((one) => one.model.name === name && "export" in one)
if (view !== undefined) {
  view.export("png").to_blob().then((blob) => {
    const link = document.createElement("a")
    link.href = URL.createObjectURL(blob)
    link.download = `${name}.png`
    link.click()
  })
}
"""


def csv_button(name: str, table: Callable[[], pd.DataFrame]) -> Any:
    """Make a button that keeps a table, which is made when it is pressed.

    Parameters
    ----------
    name
        Of the file, without its suffix.
    table
        Gives what is shown now.
    """

    def written() -> io.StringIO:
        text = io.StringIO()
        table().to_csv(text, index=False)
        text.seek(0)
        return text

    return pn.widgets.FileDownload(
        label=f"{name}.csv", filename=f"{name}.csv", callback=written, width=130
    )


def png_button(name: str) -> Any:
    """Make a button that keeps a picture of the layout of that name, as the browser shows it."""
    button = pn.widgets.Button(name=f"{name}.png", width=130)
    button.js_on_click(args={"name": name}, code=_SAVE_PNG)
    return button
