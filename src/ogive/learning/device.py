"""Where a network runs."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from ogive.model import InputError

__all__ = ["full_precision", "resolve_device"]


def resolve_device(name: str = "auto") -> torch.device:
    """Find the device of a name, and make sure that it is there.

    Parameters
    ----------
    name
        ``"auto"`` takes a CUDA GPU if there is one and the CPU otherwise; or a name of PyTorch:
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``.

    Raises
    ------
    InputError
        If there is no such device here.

    Examples
    --------
    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"{name!r} is no device: say auto, cpu, cuda, cuda:1 or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise InputError(
                f"device {name!r} was asked for, but PyTorch finds {count} CUDA GPUs here: "
                "say device auto or cpu"
            )
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device 'mps' was asked for, but is not here: say device auto or cpu")
    elif device.type not in {"cpu", "mps"}:
        raise InputError(f"{name!r} is no device ogive runs on: say auto, cpu, cuda, cuda:1 or mps")
    return device


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Compute in single precision inside a training in half.

    What is trained is used in single precision, and so must be judged in it: a network may learn
    what rounding adds, and be worth much less without.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16), full_precision(torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    return torch.autocast(device.type, enabled=False)
