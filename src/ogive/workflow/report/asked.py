"""Sections: what was asked for in words, and the run file as it was resolved."""

from __future__ import annotations

from pathlib import Path

from ogive.learning.settings import settings_yaml
from ogive.view.document import Section
from ogive.workflow.runfile_settings import MatchSettings, PairSettings, RunFile

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
            f"{_archive(search.archive)}, {search.start} to {search.end}, at most "
            f"{search.max_cloud_percent:g} % of clouds.",
            f"Pairs: {pair.min_days:g} to {pair.max_days:g} days, {orbits[pair.same_orbit]}"
            f"{_thinned(pair)}. Matching: {match.features} features{_given(match)}, windows of "
            f"{match.window} px, a point every {match.spacing_m:g} m,{fastest} clouds "
            f"{'masked' if match.mask_clouds else 'kept'}. Calibration: "
            f"{settings.calibrate.model} shift. Series: periods of "
            f"{settings.invert.sampling_days:g} days. Annual maps: {settings.annual.method}, years "
            f"from {settings.annual.year_start}.",
        ),
    )


def _archive(name: str) -> str:
    """Name an archive; a file or a folder by its last two parts, the rest stands in the run file.

    Examples
    --------
    >>> _archive("earth-search"), _archive("https://a.org/stac"), _archive("/home/me/alps/2020")
    ('earth-search', 'https://a.org/stac', 'alps/2020')
    """
    return name if "://" in name else "/".join(Path(name).parts[-2:])


def _thinned(pair: PairSettings) -> str:
    """Say how pairs were thinned, if they were."""
    if pair.nearest is not None:
        return f", each scene with the next {pair.nearest}"
    if pair.redundancy is not None:
        return f", each step of time spanned {pair.redundancy} times"
    return ""


def _given(match: MatchSettings) -> str:
    """Name the files that matching rests on."""
    weights = "" if match.weights is None else f" of {match.weights.name}"
    prior = "" if match.prior is None else f", round the velocity of {match.prior.name}"
    return weights + prior


def run_file_section(settings: RunFile) -> Section:
    """Give the run file, as it was resolved."""
    return Section("The run file", listing=settings_yaml(settings))
