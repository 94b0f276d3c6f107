"""Open files in QGIS with the styles it finds by itself, and tell what it makes of them.

Run by the Python that QGIS belongs to, which is rarely that of the tests: ``ask_qgis.py FOLDER
SOURCE...``. Writes a picture of each source with its legend, and the style as QGIS saves it, into
FOLDER; prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsApplication,
    QgsLayerTreeModel,
    QgsLayout,
    QgsLayoutExporter,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsMapLayer,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRasterLayer,
    QgsUnitTypes,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def main() -> None:
    """Tell of all sources of the command line."""
    application = QgsApplication([], False)
    application.initQgis()
    folder = Path(sys.argv[1])
    told = [_ask(source, folder / f"{k:02d}") for k, source in enumerate(sys.argv[2:])]
    print(json.dumps(told))
    application.exitQgis()


def _ask(source: str, stem: Path) -> dict[str, Any]:
    file, _, name = source.partition("|layername=")
    raster = not file.endswith(".gpkg")
    kind = QgsRasterLayer if raster else QgsVectorLayer
    layer = kind(source, name or Path(file).stem)
    if not layer.isValid():
        raise SystemExit(f"{source} cannot be opened in QGIS")
    project = QgsProject.instance()
    project.removeAllMapLayers()
    project.addMapLayer(layer)
    project.setCrs(layer.crs())
    layer.saveNamedStyle(str(stem.with_suffix(".qml")), QgsMapLayer.Symbology)
    _picture(project, layer, stem.with_suffix(".png"))
    return {"renderer": layer.renderer().type(), "legend": _legend(project, layer),
            "colours": _colours(layer) if raster else [], "saved": str(stem) + ".qml",
            "picture": str(stem) + ".png"}  # fmt: skip


def _legend(project: Any, layer: Any) -> list[str]:
    """List what the legend says: each class, or the ends of a continuous bar."""
    model = QgsLayerTreeModel(project.layerTreeRoot())
    told = []
    for node in model.layerLegendNodes(project.layerTreeRoot().findLayer(layer.id())):
        if hasattr(node, "settings"):
            told += [node.settings().minimumLabel(), node.settings().maximumLabel()]
        else:
            told.append(str(node.data(0)))
    return told


def _colours(layer: Any) -> list[list[list[int]]]:
    """Draw pixel for pixel: red, green, blue and opacity."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setExtent(layer.extent())
    settings.setDestinationCrs(layer.crs())
    settings.setOutputSize(QSize(layer.width(), layer.height()))
    settings.setBackgroundColor(QColor(0, 0, 0, 0))
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    return [
        [list(image.pixelColor(x, y).getRgb()) for x in range(layer.width())]
        for y in range(layer.height())
    ]


def _picture(project: Any, layer: Any, path: Path) -> None:
    layout = QgsLayout(project)
    layout.initializeDefaults()
    page = layout.pageCollection().page(0)
    page.setPageSize(QgsLayoutSize(240, 120))
    shown = QgsLayoutItemMap(layout)
    layout.addLayoutItem(shown)
    shown.attemptMove(QgsLayoutPoint(5, 5, QgsUnitTypes.LayoutMillimeters))
    shown.attemptResize(QgsLayoutSize(150, 110, QgsUnitTypes.LayoutMillimeters))
    shown.setCrs(layer.crs())
    shown.setLayers([layer])
    shown.setExtent(layer.extent())
    legend = QgsLayoutItemLegend(layout)
    legend.setLinkedMap(shown)
    layout.addLayoutItem(legend)
    legend.attemptMove(QgsLayoutPoint(160, 5, QgsUnitTypes.LayoutMillimeters))
    legend.adjustBoxSize()
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 100
    QgsLayoutExporter(layout).exportToImage(str(path), settings)


main()
