"""Trained weights in files that cannot run code.

Weights are safetensors: a header of JSON, then numbers. The header carries the name of the network,
the options that build it again, and the `ModelCard`. PyTorch's own files are pickles, which run
whatever code their maker put there; they are recognised and refused, never opened.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ogive.learning.card import ModelCard
from ogive.learning.download import downloaded, is_url
from ogive.learning.files import file_sha256, written_whole
from ogive.model import InputError

__all__ = ["Weights", "fill_network", "load_weights", "save_weights"]

_KEY = "ogive"
_CHECKSUM = "#sha256="
_SHOWN = 3

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Weights:
    """A network's numbers, and what is known of them.

    Attributes
    ----------
    state
        Tensors by name, on the CPU, as a module's ``state_dict`` has them.
    architecture
        Name of the network.
    options
        What its builder needs to make it again.
    card
        Provenance and scores.
    source
        The path or address they came from.
    sha256
        Checksum of the file.
    """

    state: Mapping[str, torch.Tensor]
    architecture: str
    options: Mapping[str, Any]
    card: ModelCard
    source: str
    sha256: str


def save_weights(
    path: str | Path,
    state: Mapping[str, torch.Tensor],
    *,
    architecture: str,
    options: Mapping[str, Any],
    card: ModelCard,
) -> str:
    """Write weights as safetensors; the file appears when it is whole.

    The same weights, options and card give the same bytes.

    Parameters
    ----------
    path
        Must end in ``.safetensors``.
    state
        A module's ``state_dict()``.
    architecture, options
        Name of the network and what its builder needs; options must be JSON-able.
    card
        Provenance and scores.

    Returns
    -------
    str
        The SHA-256 of the file, for those who load it.

    Raises
    ------
    InputError
        If the name does not end in ``.safetensors``, or options are not JSON-able.
    OutputError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> card = ModelCard(name="tiny", architecture="line", parameters=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "tiny.safetensors"
    ...     checksum = save_weights(
    ...         path, torch.nn.Linear(1, 1).state_dict(), architecture="line", options={}, card=card
    ...     )
    ...     weights = load_weights(path, sha256=checksum)
    >>> weights.architecture, sorted(weights.state)
    ('line', ['bias', 'weight'])
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path} must end in .safetensors: weights are kept in no other form")
    try:
        # One key: the writer keeps several in no fixed order, and bytes should not change.
        told = json.dumps(
            {
                "architecture": architecture,
                "options": dict(options),
                "card": json.loads(card.to_json()),
            },
            sort_keys=True,
        )
    except TypeError as error:
        raise InputError(f"the options of {architecture} are not JSON-able: {error}") from error
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()}
    with written_whole(path) as partial:
        save_file(tensors, partial, metadata={_KEY: told})
    return file_sha256(path)


def load_weights(
    path_or_url: str | Path, *, sha256: str | None = None, cache: Path | None = None
) -> Weights:
    """Read weights from a file or an address.

    Parameters
    ----------
    path_or_url
        A ``.safetensors`` file, or the http(s) address of one; either may end in
        ``#sha256=`` and the checksum. What comes from the web is kept in the user's cache folder.
    sha256
        The checksum that the file must have, in hexadecimal. An address needs one, here or in
        itself; a file is believed without.
    cache
        Folder for downloads, in place of the user's.

    Raises
    ------
    InputError
        If there is no such file, its checksum is another, it is no safetensors file, or it was not
        written by `save_weights`. The file is never unpickled.
    """
    place, checksum = _place_and_checksum(str(path_or_url), sha256)
    if is_url(place):
        if checksum is None:
            raise InputError(
                f"{place} needs a checksum, so that it is known what is loaded: end it in "
                f"{_CHECKSUM}… or pass sha256=…"
            )
        path = downloaded(place, sha256=checksum, cache=cache)
    else:
        path = Path(place)
        _refuse_missing(path)
    found = file_sha256(path)
    if checksum is not None and found != checksum:
        raise InputError(
            f"{path} has the SHA-256 {found}, not {checksum}: it is another file than was meant, "
            "or it is damaged"
        )
    state, metadata = _read(path)
    return _weights(state, metadata, source=place, sha256=found)


def fill_network(network: torch.nn.Module, weights: Weights, *, architecture: str) -> None:
    """Put weights into a network that was built for them.

    Parameters
    ----------
    network
        Built by the name and options of ``weights``; changed in place.
    weights
        From `load_weights`.
    architecture
        Name of the network.

    Raises
    ------
    InputError
        If the weights are those of another architecture, or tensors are missing, too many, or of
        another shape. The network is unchanged then.
    """
    if weights.architecture != architecture:
        raise InputError(
            f"{weights.source} holds weights of the network {weights.architecture!r}, "
            f"not of {architecture!r}"
        )
    wanted, given = network.state_dict(), weights.state
    where = f"{weights.source} does not fit the network {architecture!r}"
    if missing := sorted(wanted.keys() - given.keys()):
        raise InputError(f"{where}: it lacks {_some(missing)}")
    if extra := sorted(given.keys() - wanted.keys()):
        raise InputError(f"{where}: it has {_some(extra)}, which the network has not")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise InputError(
                f"{where}: {name} is {_shape(given[name])} in the file, "
                f"{_shape(tensor)} in the network"
            )
        if tensor.is_floating_point() != given[name].is_floating_point():
            raise InputError(
                f"{where}: {name} is {given[name].dtype} in the file, {tensor.dtype} in the network"
            )
    network.load_state_dict(dict(given))


def _place_and_checksum(text: str, sha256: str | None) -> tuple[str, str | None]:
    place, marked, inside = text.partition(_CHECKSUM)
    given = [each.strip().lower() for each in (sha256, inside if marked else None) if each]
    if marked and not inside:
        raise InputError(f"{text} ends in {_CHECKSUM} without a checksum")
    for each in given:
        if len(each) != 64 or set(each) - set("0123456789abcdef"):
            raise InputError(f"{each!r} is no SHA-256: it has 64 hexadecimal digits")
    if len(set(given)) > 1:
        raise InputError(f"{text} carries another checksum than sha256={given[0]}: which is right?")
    return place, given[0] if given else None


def _refuse_missing(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file of weights")
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the path or the address of weights")


def _read(path: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, str]]:
    with path.open("rb") as file:
        start = file.read(2)
    # Zip (torch.save since 1.6) and the first opcode of pickle protocol 2 and later.
    if start in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}:
        raise InputError(
            f"{path} is a pickle of PyTorch, which can run code when it is opened: it is not read; "
            "ogive's weights are safetensors"
        )
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path} is no whole safetensors file: {error}") from error


def _weights(
    state: Mapping[str, torch.Tensor], metadata: Mapping[str, str], *, source: str, sha256: str
) -> Weights:
    if _KEY not in metadata:
        raise InputError(
            f"{source} is a safetensors file, but does not say of which network: "
            "it was not written by ogive"
        )
    try:
        told = json.loads(metadata[_KEY])
        architecture, options = told["architecture"], told["options"]
        card = ModelCard.from_json(json.dumps(told["card"]))
        if not isinstance(architecture, str) or not isinstance(options, dict):
            raise TypeError("the network's name or its options are of another type")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"the description inside {source} cannot be read: {error}") from error
    _log.info("weights %r of the network %s from %s", card.name, architecture, source)
    return Weights(state, architecture, options, card, source, sha256)


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more tensors" if more > 0 else "")


def _shape(tensor: torch.Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
