"""The tensors of a TorchScript archive, read without running anything of it.

A TorchScript file is a zip archive of a program and its numbers. Both usual ways to open it run
what its maker put there. `torch.jit.load` builds the module by the archive's own program:
``__setstate__`` methods run while it loads, and the operators at their disposal write files;
PyTorch's security notes call models programs, to be run in a sandbox unless trusted. Python's
``pickle``, in whose notation the tree of attributes is kept, calls whatever it names.

So the attributes are taken from a listing of the notation (`pickletools` disassembles, it executes
nothing) by the few operations that PyTorch itself writes: names, numbers, tuples, dictionaries,
objects of the archive's own classes, and tensors as views of the archive's raw storages. Objects
become dictionaries; anything else that the notation could name or call is refused with a sentence.
The program in the archive is not looked at.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ogive.model import InputError

__all__ = ["read_torchscript"]

MOST_ATTRIBUTE_BYTES = 1 << 24
MOST_ATTRIBUTES = 20_000

_DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        "torch.FloatStorage": torch.float32,
        "torch.DoubleStorage": torch.float64,
        "torch.HalfStorage": torch.float16,
        "torch.BFloat16Storage": torch.bfloat16,
        "torch.LongStorage": torch.int64,
        "torch.IntStorage": torch.int32,
    }
)


class _RefusedError(Exception):
    """What the archive asks for and does not get."""


@dataclass(frozen=True, slots=True)
class _Name:
    """Something that the notation names: a class or a function, never looked up."""

    path: str


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: torch.dtype
    key: str
    number: int


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor: where in which storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(slots=True, eq=False)
class _Object:
    attributes: dict[str, Any] = field(default_factory=dict)


def read_torchscript(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors that are attributes of a scripted or traced module.

    Parameters
    ----------
    path
        A file that ``torch.jit.save`` has written.

    Returns
    -------
    dict of torch.Tensor
        Parameters and buffers by their dotted names, as the module's ``state_dict`` had them.

    Raises
    ------
    InputError
        If there is no such file, it is no TorchScript archive, it is damaged, or it asks for more
        than tensors. Nothing of it is executed in any case.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: give a file of TorchScript weights")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, path)
            root = _interpret(archive.read(entries["data.pkl"]))
            tensors = {name: _tensor(archive, entries, view) for name, view in _views(root)}
    except zipfile.BadZipFile as error:
        raise InputError(f"{path} is no TorchScript file: {error}") from error
    except _RefusedError as error:
        raise InputError(f"{path} is not read: {error}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise InputError(f"{path} is damaged: its attributes cannot be read ({error!r})") from error
    if not tensors:
        raise InputError(
            f"{path} holds no named tensor: a frozen module has its weights among the constants of "
            "its program, where they have no names"
        )
    return tensors


def _entries(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The archive's files by their names inside its one folder."""
    roots = {Path(name).parts[0] for name in archive.namelist() if Path(name).parts}
    entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
    if len(roots) != 1 or "data.pkl" not in entries:
        raise InputError(f"{path} is a zip archive, but not of PyTorch: it has no data.pkl")
    if not any(name.startswith("code/") for name in entries):
        raise InputError(
            f"{path} was written by torch.save, not by torch.jit.save: only TorchScript is "
            "converted"
        )
    if entries["data.pkl"].file_size > MOST_ATTRIBUTE_BYTES:
        raise _RefusedError(f"its attributes take {entries['data.pkl'].file_size} bytes")
    order = entries.get("byteorder")
    if order and (order.file_size > 64 or archive.read(order).strip() != b"little"):
        raise _RefusedError("its numbers are big-endian: save it again on a little-endian machine")
    return entries


# ---- the notation --------------------------------------------------------------------------------


class _Interpreter:
    """A stack, its marks and a memo; see the `pickletools` module for what the operations are."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        taken = self.stack[start:]
        del self.stack[start:]
        return taken

    def last(self, number: int) -> list[Any]:
        if len(self.stack) < number:
            raise IndexError("an operation finds too little on the stack")
        taken = self.stack[-number:]
        del self.stack[-number:]
        return taken

    def new_object(self) -> None:
        made, arguments = self.last(2)
        if not (isinstance(made, _Name) and made.path.startswith("__torch__.")) or arguments:
            raise _RefusedError(f"it makes an object of {_told(made)}, which is not of the archive")
        self.stack.append(_Object())

    def build(self) -> None:
        (attributes,) = self.last(1)
        made = self.stack[-1]
        if not isinstance(made, _Object) or not isinstance(attributes, dict):
            raise _RefusedError("it sets the state of something that is no module")
        made.attributes.update(attributes)

    def call(self) -> None:
        called, arguments = self.last(2)
        path = called.path if isinstance(called, _Name) else ""
        if path not in _CALLS:
            raise _RefusedError(f"it calls {_told(called)}")
        self.stack.append(_CALLS[path](*arguments))

    def stored(self) -> None:
        (told,) = self.last(1)
        kind, storage, key, _device, number = told
        if kind != "storage" or not isinstance(storage, _Name) or storage.path not in _DTYPES:
            raise _RefusedError(f"it keeps numbers as {_told(storage)}")
        self.stack.append(_Storage(_DTYPES[storage.path], str(key), int(number)))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("items are set of what is no dictionary")
        target.update(zip(pairs[::2], pairs[1::2], strict=True))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("items are appended to what is no list")
        target.extend(items)


def _told(thing: Any) -> str:
    return thing.path if isinstance(thing, _Name) else f"a {type(thing).__name__}"


def _view(
    storage: _Storage,
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    _requires_grad: bool,
    _hooks: dict[str, Any],
) -> _View:
    return _View(storage, int(offset), tuple(shape), tuple(strides))


def _items(items: list[Any]) -> list[Any]:
    return list(items)


_CALLS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "torch._utils._rebuild_tensor_v2": _view,
        "collections.OrderedDict": dict,
        **{
            f"torch.jit._pickle.build_{kind}list": _items
            for kind in ("int", "double", "bool", "tensor")
        },
    }
)
"""What stands for the functions that PyTorch's archives name."""

_Operation = Callable[[_Interpreter, Any], Any]

_OPERATIONS: Mapping[str, _Operation] = MappingProxyType(
    {
        "PROTO": lambda m, _: None,
        "MARK": lambda m, _: m.marks.append(len(m.stack)),
        **dict.fromkeys(
            ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
            lambda m, value: m.stack.append(value),
        ),
        "NONE": lambda m, _: m.stack.append(None),
        "NEWTRUE": lambda m, _: m.stack.append(True),
        "NEWFALSE": lambda m, _: m.stack.append(False),
        # pickletools gives module and name with a blank between them.
        "GLOBAL": lambda m, name: m.stack.append(_Name(name.replace(" ", "."))),
        **dict.fromkeys(
            ("BINPUT", "LONG_BINPUT"), lambda m, place: m.memo.update({place: m.stack[-1]})
        ),
        **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, place: m.stack.append(m.memo[place])),
        "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
        "EMPTY_LIST": lambda m, _: m.stack.append([]),
        "EMPTY_DICT": lambda m, _: m.stack.append({}),
        "TUPLE": lambda m, _: m.stack.append(tuple(m.since_mark())),
        "TUPLE1": lambda m, _: m.stack.append(tuple(m.last(1))),
        "TUPLE2": lambda m, _: m.stack.append(tuple(m.last(2))),
        "TUPLE3": lambda m, _: m.stack.append(tuple(m.last(3))),
        "APPEND": lambda m, _: m.extend(m.last(1)),
        "APPENDS": lambda m, _: m.extend(m.since_mark()),
        "SETITEM": lambda m, _: m.set_items(m.last(2)),
        "SETITEMS": lambda m, _: m.set_items(m.since_mark()),
        "NEWOBJ": lambda m, _: m.new_object(),
        "BUILD": lambda m, _: m.build(),
        "REDUCE": lambda m, _: m.call(),
        "BINPERSID": lambda m, _: m.stored(),
    }
)


def _interpret(notation: bytes) -> Any:
    machine = _Interpreter()
    for operation, argument, _ in pickletools.genops(notation):
        if operation.name == "STOP":
            (result,) = machine.stack
            return result
        if operation.name not in _OPERATIONS:
            raise _RefusedError(f"it uses the operation {operation.name}")
        _OPERATIONS[operation.name](machine, argument)
    raise ValueError("the notation has no end")


# ---- tensors -------------------------------------------------------------------------------------


def _views(root: Any) -> Iterator[tuple[str, _View]]:
    """Tensors among the attributes of an object and of the objects inside it, in their order."""
    waiting: list[tuple[str, Any]] = [("", root)]
    seen = 0
    while waiting:
        name, thing = waiting.pop()
        if isinstance(thing, _View):
            yield name, thing
        if not isinstance(thing, _Object):
            continue
        # Objects may be shared, and so hold themselves: the number of visits ends it.
        seen += len(thing.attributes) + 1
        if seen > MOST_ATTRIBUTES:
            raise _RefusedError(f"its modules have more than {MOST_ATTRIBUTES} attributes")
        below = [
            (f"{name}.{key}" if name else key, value) for key, value in thing.attributes.items()
        ]
        waiting += reversed(below)


def _tensor(
    archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], view: _View
) -> Tensor:
    storage = view.storage
    info = entries[f"data/{storage.key}"]
    if info.compress_type != zipfile.ZIP_STORED:
        raise _RefusedError("its numbers are compressed, which PyTorch does not do")
    if info.file_size != storage.number * storage.dtype.itemsize:
        raise ValueError(f"storage {storage.key} has {info.file_size} bytes")
    farthest = view.offset + sum(
        (size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True)
    )
    number = math.prod(view.shape)
    if (
        min((0, view.offset, *view.shape, *view.strides)) < 0
        or number > storage.number
        or (number and farthest >= storage.number)
    ):
        raise ValueError(f"a tensor of shape {view.shape} leaves its storage")
    if not number:
        return torch.zeros(view.shape, dtype=storage.dtype)
    flat = torch.frombuffer(bytearray(archive.read(info)), dtype=storage.dtype)
    return flat.as_strided(view.shape, view.strides, view.offset).clone()
