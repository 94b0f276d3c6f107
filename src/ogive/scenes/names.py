"""What the name of an image says of it: when it was acquired, by which satellite, from where.

Providers write the acquisition into the names of their products. The forms known here are those of
Sentinel-2 (product, granule, band, and the shorter names of cloud archives) and of Landsat
(Collections 1 and 2, their STAC items, and the names before the Collections). Everything else is
searched for one calendar date, and failing that the file's own metadata tags are asked.

A wrong date is worse than none, because it scales every velocity: where a name holds two different
dates and does not say which is the acquisition, the reader is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from ogive.model import DateError, Scene

__all__ = ["fill_value_from_name", "scene_from_name"]

_LONGEST_SUFFIX = 8  # ".geotiff"; what is longer is part of the name, as in "v1.20160718_mosaic"
_FIRST_YEAR = 1946  # the first aerial surveys of glaciers

# Not \b: an underscore is a word character, and names are full of them.
_START = r"(?<![A-Za-z0-9])"
_END = r"(?![A-Za-z0-9])"
_TIME = r"\d{8}T\d{6}"
_TILE = r"T?(?P<tile>\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])"
_LEVEL = r"(?P<level>L(?:1C|2A))"
_MADE = rf"(?P<processed>{_TIME})"
_S2 = rf"{_START}S(?P<satellite>2[A-D])"
_LANDSAT_0 = rf"{_START}L(?P<sensor>[COTEM])0(?P<satellite>[1-9])"
_FRAME = r"(?P<path>\d{3})(?P<row>\d{3})"

_SENTINEL2 = (
    # Product since 2016: the first time is that of the datatake, the last that of processing.
    rf"{_S2}_MSI{_LEVEL}_(?P<time>{_TIME})(?:_N(?P<baseline>\d{{4}}))?_R(?P<orbit>\d{{3}})_{_TILE}"
    rf"(?:_{_MADE})?{_END}",
    # Product before that; V is the validity, from and to: the sensing.
    rf"{_S2}_OPER_PRD_MSI{_LEVEL}_\w{{4}}_{_MADE}_R(?P<orbit>\d{{3}})_V(?P<time>{_TIME})_{_TIME}{_END}",
    # Datastrip; S is the sensing.
    rf"{_S2}_OPER_MSI_{_LEVEL}_DS_\w{{4}}_{_MADE}_S(?P<time>{_TIME})(?:_N\d\d\.\d\d)?{_END}",
    # Granule since 2016.
    rf"{_START}{_LEVEL}_{_TILE}_A\d{{6}}_(?P<time>{_TIME}){_END}",
    # Cloud archives: S2B_32TLS_20200911_0_L2A, S2A_T01LAC_20200717T221944_L1C.
    rf"{_S2}_{_TILE}_(?P<time>\d{{8}}(?:T\d{{6}})?)(?:_\d{{1,2}})?(?:_{_LEVEL})?{_END}",
    # Clips: S2A_20160608T153121_T33UUU.
    rf"{_S2}_(?P<time>{_TIME})_{_TILE}{_END}",
    # Earth Engine: sensing, processing, tile.
    rf"{_START}(?P<time>{_TIME})_{_MADE}_{_TILE}{_END}",
    # Band: T55XEE_20200911T034541_B08_10m.
    rf"{_START}(?:L2A_)?{_TILE}_(?P<time>{_TIME}){_END}",
)
_SENTINEL2_MADE_ONLY = re.compile(rf"{_S2}_OPER_MSI_{_LEVEL}_TL_\w{{4}}_{_MADE}_A\d{{6}}_{_TILE}")
_LANDSAT = (
    # Collections: the first date is the acquisition, the second the processing.
    rf"{_LANDSAT_0}_(?P<level>L\w{{3}})_{_FRAME}_(?P<time>\d{{8}})(?:_(?P<processed>\d{{8}}))?"
    rf"_(?P<collection>\d\d)_(?P<category>RT|A1|A2|T1|T2){_END}",
    # Earth Engine: LC08_063018_20160718.
    rf"{_LANDSAT_0}_{_FRAME}_(?P<time>\d{{8}}){_END}",
    # Orders of surface reflectance: LC080630182016071801T1.
    rf"{_LANDSAT_0}{_FRAME}(?P<time>\d{{8}})(?P<collection>\d\d)(?P<category>RT|T1|T2){_END}",
    # Before the Collections, year and day of the year: LC80630182016200LGN00.
    rf"{_START}L(?P<sensor>[COTEM])(?P<satellite>[1-9]){_FRAME}(?P<time>\d{{7}})[A-Z]{{3}}\d\d{_END}",
)
_ANY_DATE = re.compile(
    r"(?<!\d)(?:(?P<plain>\d{8})(?:T?(?P<clock>\d{6}))?|(?P<dashed>\d{4}-\d\d-\d\d)"
    r"(?:T(?P<dashed_clock>\d\d[:-]?\d\d[:-]?\d\d))?)(?!\d)(?!-\d)"
)
_ACQUISITION_TAGS = (
    "ACQUISITION_DATE",
    "ACQUISITIONDATE",
    "ACQUISITIONDATETIME",
    "ACQUISITION_DATETIME",
    "DATE_ACQUIRED",
    "SENSING_TIME",
    "DATATAKE_1_DATATAKE_SENSING_START",
    "PRODUCT_START_TIME",
)
# The date of the image by the TIFF standard, but some programs write the date of the file here:
# asked last, and never held against another date.
_FILE_TAG = "TIFFTAG_DATETIME"
_TAG_DATE = re.compile(
    r"(?P<year>\d{4})[-:/]?(?P<month>\d\d)[-:/]?(?P<day>\d\d)"
    r"(?:[T ]?(?P<clock>\d\d:?\d\d:?\d\d)(?P<fraction>\.\d{1,9})?)?\s*Z?(?:\+00:?00)?"
)


def scene_from_name(path_or_name: str | PurePath, tags: Mapping[str, str] | None = None) -> Scene:
    """Read what an image's name, its folders and its tags say of its acquisition.

    The file's name comes first. A product's folder (``….SAFE``) adds what a band's name leaves out.
    Where the name holds no date, the tags are asked: those of an acquisition first, and
    ``TIFFTAG_DATETIME`` last. ``properties["date_source"]`` says where the date was found, and
    ``properties["time_of_day_known"]`` whether more than the calendar day was (Landsat's names give
    only the day; two passes over one path differ by whole days all the same).

    Parameters
    ----------
    path_or_name
        A path, a file name or a scene identifier. No file is opened.
    tags
        Metadata tags of the file, as GDAL gives them.

    Returns
    -------
    Scene
        Time in UTC. Fields that the name does not tell keep their defaults.

    Raises
    ------
    DateError
        If no date is found, or different dates and no word on which is the acquisition.

    Examples
    --------
    >>> scene = scene_from_name("LC08_L1TP_063018_20160718_20200906_02_T1_B8.TIF")
    >>> scene.time.date().isoformat(), scene.satellite, scene.path, scene.row
    ('2016-07-18', '8', 63, 18)
    >>> scene_from_name("T55XEE_20200911T034541_B08.jp2").tile
    'T55XEE'
    """
    parts = _parts(path_or_name)
    scene = (
        _scene_of_provider(parts)
        or _scene_of_tag(parts[0], tags, _ACQUISITION_TAGS)
        or _scene_of_date(parts[0])
        or _scene_of_tag(parts[0], tags, (_FILE_TAG,))
    )
    if scene is None:
        raise DateError(_nothing_found(parts[0], tags))
    _refuse_other_acquisition(scene, parts[0], tags)
    return scene


def fill_value_from_name(path_or_name: str | PurePath) -> int | None:
    """Tell the value that marks a lack of data in a provider's product, by its format.

    Sentinel-2 and Landsat keep 0 for pixels outside the swath, but their files often do not declare
    it. Returns ``None`` for any other name.

    Examples
    --------
    >>> fill_value_from_name("T55XEE_20200911T034541_B08.jp2")
    0
    >>> fill_value_from_name("ortho_20200911.tif") is None
    True
    """
    name = _parts(path_or_name)[0]
    known = any(re.search(pattern, name) for pattern in (*_SENTINEL2, *_LANDSAT))
    return 0 if known or _SENTINEL2_MADE_ONLY.search(name) else None


def _parts(path_or_name: str | PurePath) -> list[str]:
    """Name and folders of a path, innermost first, without the suffix of the file."""
    path = PurePath(str(path_or_name).replace("\\", "/"))
    name = path.name
    while (suffix := PurePath(name).suffix) and re.fullmatch(
        rf"\.[A-Za-z]\w{{0,{_LONGEST_SUFFIX - 2}}}", suffix
    ):
        name = name.removesuffix(suffix)
    return [name, *reversed([part.removesuffix(".SAFE") for part in path.parts[:-1]])]


def _scene_of_provider(parts: list[str]) -> Scene | None:
    """Read a provider's own form of name; outer folders complete inner names."""
    found: Scene | None = None
    for depth, part in enumerate(parts):
        here = _scene_in(part, source="file name" if depth == 0 else f"folder {part}")
        if here is None:
            continue
        if found is None:
            if depth and _dates_in(parts[0]):
                continue  # a dated file in a product's folder speaks for itself
            found = here
        elif _same_acquisition(found, here):
            found = _completed(found, here)
    return found


def _scene_in(name: str, source: str) -> Scene | None:
    """Read the one acquisition that a name tells in a provider's form."""
    scenes = _scenes_in(name)
    if not scenes:
        return None
    days = sorted({scene.time.date() for scene in scenes})
    if len(days) > 1:
        raise DateError(
            f"{name} names {len(days)} acquisitions ({', '.join(map(str, days))}): "
            "pass one image, or the dates with --dates"
        )
    scene = scenes[0]
    return replace(scene, properties={**scene.properties, "date_source": source})


def _scenes_in(name: str) -> list[Scene]:
    """Scenes in a name by the first form that fits, Sentinel-2 before Landsat."""
    for forms, scene_of in ((_SENTINEL2, _sentinel2), (_LANDSAT, _landsat)):
        for form in forms:
            scenes = [scene_of(match) for match in re.finditer(form, name)]
            dated = [scene for scene in scenes if scene is not None]
            if dated:
                return dated
    return []


def _sentinel2(match: re.Match[str]) -> Scene | None:
    part = match.groupdict()
    time = _time(part["time"])
    if time is None:
        return None
    properties: dict[str, Any] = {"time_of_day_known": "T" in part["time"]}
    if part.get("baseline"):
        properties["processing_baseline"] = part["baseline"]
    if part.get("processed"):
        properties["processing_date"] = part["processed"][:8]
    return Scene(
        id=match.group(),
        time=time,
        mission="sentinel-2",
        satellite=part.get("satellite") or "",
        sensor="MSI",
        relative_orbit=int(part["orbit"]) if part.get("orbit") else None,
        tile=f"T{part['tile']}" if part.get("tile") else "",
        processing_level=part.get("level") or "",
        properties=properties,
    )


def _landsat(match: re.Match[str]) -> Scene | None:
    part = match.groupdict()
    time = _time(part["time"])
    if time is None:
        return None
    properties: dict[str, Any] = {"time_of_day_known": False}
    if part.get("collection"):
        properties["collection_number"] = int(part["collection"])
        properties["collection_category"] = part["category"]
    if part.get("processed"):
        properties["processing_date"] = part["processed"]
    return Scene(
        id=match.group(),
        time=time,
        mission="landsat",
        satellite=part["satellite"],
        sensor=part["sensor"],
        path=int(part["path"]),
        row=int(part["row"]),
        processing_level=part.get("level") or "",
        properties=properties,
    )


def _time(text: str) -> datetime | None:
    """Read yyyymmdd, yyyymmddThhmmss or yyyyddd; ``None`` where the calendar has no such day."""
    form = {7: "%Y%j", 8: "%Y%m%d", 15: "%Y%m%dT%H%M%S"}[len(text)]
    try:
        time = datetime.strptime(text, form)
    except ValueError:
        return None
    return time if _possible(time) else None


def _possible(time: datetime) -> bool:
    """Whether an image can have been taken then: eight digits are not always a date."""
    tomorrow = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    return time.year >= _FIRST_YEAR and time < tomorrow


def _same_acquisition(one: Scene, other: Scene) -> bool:
    tiles_agree = not (one.tile and other.tile) or one.tile == other.tile
    frames_agree = one.path is None or (one.path, one.row) == (other.path, other.row)
    return (
        one.mission == other.mission
        and one.time.date() == other.time.date()
        and tiles_agree
        and frames_agree
    )


def _completed(inner: Scene, outer: Scene) -> Scene:
    """Add what only the outer name tells; the longer identifier is the product's."""
    orbit = inner.relative_orbit if inner.relative_orbit is not None else outer.relative_orbit
    return replace(
        inner,
        id=max(inner.id, outer.id, key=len),
        satellite=inner.satellite or outer.satellite,
        relative_orbit=orbit,
        tile=inner.tile or outer.tile,
        processing_level=inner.processing_level or outer.processing_level,
        properties={**outer.properties, **inner.properties},
    )


def _dates_in(name: str) -> dict[datetime, bool]:
    """All possible dates in a name, and whether the time of day was with each."""
    if _SENTINEL2_MADE_ONLY.search(name):
        return {}
    dates: dict[datetime, bool] = {}
    for match in _ANY_DATE.finditer(name):
        day = (match["plain"] or match["dashed"]).replace("-", "")
        clock = re.sub(r"[:-]", "", match["clock"] or match["dashed_clock"] or "")
        time = _time(f"{day}T{clock}") if clock else _time(day)
        if time is not None:
            dates[time] = bool(clock)
    return dates


def _scene_of_date(name: str) -> Scene | None:
    """Make a scene of unknown origin from the one calendar date in its name."""
    dates = _dates_in(name)
    if not dates:
        return None
    days = sorted({time.date() for time in dates})
    if len(days) > 1:
        raise DateError(
            f"{name} holds {len(days)} dates ({', '.join(map(str, days))}) and does not say which "
            "is the acquisition: pass the dates of both images with --dates"
        )
    timed = [time for time, has_clock in dates.items() if has_clock]
    known = len(timed) == 1
    time = timed[0] if known else datetime.combine(days[0], datetime.min.time())
    return Scene(
        id=name,
        time=time,
        properties={"date_source": "file name", "time_of_day_known": known},
    )


def _scene_of_tag(
    name: str, tags: Mapping[str, str] | None, wanted: tuple[str, ...]
) -> Scene | None:
    """Make a scene from the first of the wanted tags that holds a date."""
    upper = {key.upper(): value for key, value in (tags or {}).items()}
    for tag in wanted:
        time, known = _tag_time(upper.get(tag, ""))
        if time is None:
            continue
        clock, clock_known = _tag_clock(upper.get("SCENE_CENTER_TIME", ""))
        if tag == "DATE_ACQUIRED" and not known and clock_known:
            time, known = time + clock, True
        properties = {"date_source": f"tag {tag}", "time_of_day_known": known}
        return Scene(id=name, time=time, properties=properties)
    return None


def _tag_time(text: str) -> tuple[datetime | None, bool]:
    match = _TAG_DATE.fullmatch(str(text).strip())
    if match is None:
        return None, False
    time = _time(match["year"] + match["month"] + match["day"])
    if time is None or match["clock"] is None:
        return time, False
    clock, known = _tag_clock(match["clock"] + (match["fraction"] or ""))
    return time + clock, known


def _tag_clock(text: str) -> tuple[timedelta, bool]:
    """Time of day from hh:mm:ss or hhmmss, with a fraction or without."""
    match = re.fullmatch(r"(\d\d):?(\d\d):?(\d\d)(\.\d{1,9})?Z?", str(text).strip().strip('"'))
    if match is None:
        return timedelta(), False
    hours, minutes, seconds = (int(part) for part in match.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 59:
        return timedelta(), False
    fraction = float(match[4] or 0)
    return timedelta(hours=hours, minutes=minutes, seconds=seconds + fraction), True


def _refuse_other_acquisition(scene: Scene, name: str, tags: Mapping[str, str] | None) -> None:
    """Refuse a tag of acquisition that no date of the name agrees with.

    A day's difference is a matter of time zones and of datatakes that cross midnight.
    """
    tagged = _scene_of_tag(name, tags, _ACQUISITION_TAGS)
    if tagged is None:
        return
    named = [scene.time] if scene.mission else list(_dates_in(name))
    if named and all(abs((time.date() - tagged.time.date()).days) > 1 for time in named):
        raise DateError(
            f"{name} is dated {named[0].date()} by its name but {tagged.time.date()} by its "
            f"{tagged.properties['date_source']}: pass the dates of both images with --dates"
        )


def _nothing_found(name: str, tags: Mapping[str, str] | None) -> str:
    made = _SENTINEL2_MADE_ONLY.search(name)
    if made is not None:
        return (
            f"the date in {name} ({made['processed'][:8]}) is that of its processing, not of its "
            "acquisition: pass the acquisition dates with --dates"
        )
    asked = "its tags hold none either" if tags else "it has no tags to ask"
    return (
        f"no acquisition date in the name {name} (neither in Sentinel-2's or Landsat's form nor as "
        f"yyyymmdd or yyyy-mm-dd), and {asked}: pass the dates of both images with --dates"
    )
