"""What must be known of trained weights before they are believed.

A card names the data with their licences, how they were split, when and from which commit the
training ran, its whole configuration, and its scores. It travels inside the weights as JSON, and
beside them as Markdown with the same content as YAML front matter, so that both can be read back.

Model cards were proposed by Mitchell et al. 2019, Model Cards for Model Reporting, FAT*.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, ClassVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from ogive.model import InputError

__all__ = ["DataSource", "ModelCard"]

_FENCE = "---\n"


@dataclass(frozen=True, slots=True)
class DataSource:
    """Something that was learned from.

    Attributes
    ----------
    name
        What a reader would search for.
    licence
        Under which it may be used; an SPDX identifier where there is one.
    detail
        Which part of it, or how it was made.
    """

    name: str
    licence: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """The provenance and the worth of trained weights.

    Attributes
    ----------
    name
        Of this model.
    architecture
        Of its network.
    parameters
        How many numbers were learned.
    data
        What it learned from, with licences.
    split
        Names of the places on each side (``train``, ``validation``, ``test``).
    date
        Day on which the training ended, ``yyyy-mm-dd``.
    commit
        Of ogive, when it was trained; ends in ``+changed`` where files differed from it.
    seed
        Of everything random in the training.
    config
        The training's whole configuration, JSON-able.
    scores
        Measured at the end, on data that were not trained on.
    versions
        Of Python and the packages that matter.
    note
        Anything else a user should know.

    Examples
    --------
    >>> card = ModelCard(
    ...     name="tiny", architecture="small", parameters=18_000,
    ...     data=(DataSource("simulated pairs", "Apache-2.0"),), date="2025-06-01",
    ...     scores={"within_1px": 0.61},
    ... )
    >>> ModelCard.from_json(card.to_json()) == card
    True
    >>> ModelCard.from_markdown(card.to_markdown()) == card
    True
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    architecture: str
    parameters: int
    data: tuple[DataSource, ...] = ()
    split: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    date: str = ""
    commit: str = ""
    seed: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> str:
        """Give the card as one line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card from JSON.

        Raises
        ------
        InputError
            If the text is no card.
        """
        try:
            return _validated(json.loads(text))
        except json.JSONDecodeError as error:
            raise InputError(f"no model card: it is no JSON ({error})") from error

    def to_markdown(self) -> str:
        """Give the card as a page for people, with all of it as YAML front matter."""
        # Through JSON, which has no tuples; and in ASCII, since PyYAML loses some line ends if not.
        told = yaml.safe_dump(json.loads(self.to_json()), sort_keys=False)
        return f"{_FENCE}{told}{_FENCE}\n{_page(self)}"

    @classmethod
    def from_markdown(cls, text: str) -> ModelCard:
        """Read a card from the front matter of its page.

        Raises
        ------
        InputError
            If the text has no front matter, or it is no card.
        """
        opening, _, rest = text.partition(_FENCE)
        told, closing, _ = rest.partition(f"\n{_FENCE}")
        if opening or not closing:
            raise InputError("no model card: the page does not begin with YAML between two ---")
        try:
            return _validated(yaml.safe_load(told))
        except yaml.YAMLError as error:
            raise InputError(f"no model card: its front matter is no YAML ({error})") from error


def _validated(told: Any) -> ModelCard:
    try:
        return _adapter().validate_python(told)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "all of it"
        raise InputError(f"no model card: {place}: {problem['msg']}") from error


@cache
def _adapter() -> TypeAdapter[ModelCard]:
    return TypeAdapter(ModelCard)


def _page(card: ModelCard) -> str:
    """Tell the card in sentences and tables."""
    parts = [
        f"# {card.name}\n",
        f"Network `{card.architecture}`, {card.parameters:,} parameters"
        + (f", trained until {card.date}" if card.date else "")
        + (f" from commit `{card.commit}`" if card.commit else "")
        + (f" with seed {card.seed}" if card.seed is not None else "")
        + ".\n",
    ]
    if card.note:
        parts.append(f"{card.note}\n")
    if card.scores:
        rows = ((name, f"{score:.4g}") for name, score in card.scores.items())
        parts.append(_section("Scores", ("score", "value"), rows))
    if card.data:
        rows3 = ((source.name, source.licence, source.detail) for source in card.data)
        parts.append(_section("Learned from", ("data", "licence", "detail"), rows3))
    if card.split:
        rows = ((side, ", ".join(places)) for side, places in card.split.items())
        parts.append(_section("Split by place", ("side", "places"), rows))
    if card.versions:
        parts.append(_section("Made with", ("package", "version"), card.versions.items()))
    return "\n".join(parts)


def _section(title: str, heads: tuple[str, ...], rows: Any) -> str:
    lines = [f"## {title}\n", _row(heads), _row("---" for _ in heads), *(_row(r) for r in rows)]
    return "\n".join(lines) + "\n"


def _row(cells: Any) -> str:
    told = (str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(told)} |"
