"""Figures, the report and the viewer."""
