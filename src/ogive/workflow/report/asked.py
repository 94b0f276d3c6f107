"""Sections: what was asked for in words, and the run file as it was resolved."""

from __future__ import annotations

from ogive.learning.settings import settings_yaml
from ogive.view.document import Section
from ogive.workflow.runfile_settings import RunFile

__all__ = ["asked_section", "run_file_section"]


def asked_section(settings: RunFile) -> Section:
    """Say in words where, when, from what and how velocities were asked for."""
    region, search, pair, match = settings.region, settings.search, settings.pair, settings.match
    where = (
        "{:.3f}° to {:.3f}° east, {:.3f}° to {:.3f}° north".format(
            *(region.bbox[k] for k in (0, 2, 1, 3))
        )
        if region.bbox is not None
        else f"the polygons of {region.file.name if region.file else 'a file'}"
    )
    ground = (
        "glacier outlines tell stable ground"
        if region.glaciers is not None
        else "stable ground was drawn"
        if region.stable is not None
        else "nothing is known of stable ground, so that nothing was calibrated"
    )
    orbits = {True: "of one orbit", False: "of any orbits", "never": "of different orbits"}
    fastest = "" if match.max_speed_m_yr is None else f" ice up to {match.max_speed_m_yr:g} m/yr,"
    return Section(
        "What was asked",
        (
            f"Region: {where}; {ground}. Scenes: {', '.join(search.sensors) or 'all sensors'} of "
            f"{search.archive}, {search.start} to {search.end}, at most "
            f"{search.max_cloud_percent:g} % of clouds.",
            f"Pairs: {pair.min_days:g} to {pair.max_days:g} days, {orbits[pair.same_orbit]}. "
            f"Matching: {match.features} features, windows of {match.window} px, a point every "
            f"{match.spacing_m:g} m,{fastest} clouds {'masked' if match.mask_clouds else 'kept'}. "
            f"Series: periods of {settings.invert.sampling_days:g} days. Annual maps: "
            f"{settings.annual.method}, years from {settings.annual.year_start}.",
        ),
    )


def run_file_section(settings: RunFile) -> Section:
    """Give the run file, as it was resolved."""
    return Section("The run file", listing=settings_yaml(settings))
