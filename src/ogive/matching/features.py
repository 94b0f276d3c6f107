"""What of an image is compared: a stack of features for each pixel.

A feature is a function ``feature(image, valid, *, threads) -> (channel, y, x)`` of one image in
single precision; `FEATURES` names those that ship here, and any installed package can add others by
an entry point (see `find_feature`). Invalid pixels are filled before a filter runs over them and
take no part in the correlation afterwards, so a fill only has to be smooth.

The default of `ogive.match`, ``"adaptive"``, is not here: it depends on the pair (see `spectra`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy import ndimage

from ..model import InputError
from .kernels import BoolArray, Float32Array, convolve_separable

__all__ = [
    "ENTRY_POINTS",
    "FEATURES",
    "Feature",
    "FeaturePair",
    "LocalFeature",
    "each_band",
    "feature_names",
    "fill_invalid",
    "filled_and_centred",
    "find_feature",
    "highpass",
    "intensity",
    "laplacian",
    "near_anomaly_offset",
    "orientation",
    "smoothed",
    "sobel",
    "wallis",
]


class Feature(Protocol):
    """A function that turns an image into a stack of features."""

    def __call__(
        self, image: Float32Array, valid: BoolArray | None, /, *, threads: int = 1
    ) -> Float32Array:
        """Give the stack ``(channel, y, x)`` of an image ``(y, x)`` or ``(band, y, x)``."""
        ...


@runtime_checkable
class LocalFeature(Protocol):
    """A feature that says how far it looks, so that it may be computed piece by piece."""

    @property
    def channels(self) -> int:
        """Of the stack that it gives."""
        ...

    @property
    def halo_px(self) -> int:
        """A pixel of the stack depends on the image's pixels within this distance."""
        ...

    @property
    def multiple_px(self) -> int:
        """A piece gives what the image gives if its first row and column are multiples of this."""
        ...

    @property
    def half_precision(self) -> bool:
        """Whether its values may be kept in two bytes."""
        ...

    def __call__(
        self, image: Float32Array, valid: BoolArray | None, /, *, threads: int = 1
    ) -> Float32Array:
        """Give the stack, as any `Feature`."""
        ...


@dataclass(frozen=True)
class FeaturePair:
    """One feature for each image, where the two differ: each may know its own sun and date."""

    earlier: Feature
    later: Feature


STRIP_ROWS = 512
"""A filter over a whole image is run on so many rows at once, with what they need around."""


def _box_taps(size_px: int) -> Float32Array:
    if size_px < 3 or size_px % 2 == 0:
        raise ValueError(f"a box filter needs an odd size of at least 3 pixels, not {size_px}")
    return np.full(size_px // 2 + 1, 1.0 / size_px, np.float32)


def _gaussian_taps(sigma_px: float) -> Float32Array:
    reach = int(np.ceil(4.0 * sigma_px))
    taps = np.exp(-0.5 * (np.arange(reach + 1) / sigma_px) ** 2)
    return np.asarray(taps / (taps[0] + 2.0 * taps[1:].sum()), np.float32)


def smoothed(stack: Float32Array, sigma_px: float, *, threads: int = 1) -> Float32Array:
    """Smooth each channel of a stack by a Gaussian of this standard deviation."""
    taps = _gaussian_taps(sigma_px)
    return np.stack([convolve_separable(channel, taps, threads=threads) for channel in stack])


def _strips(height: int, reach: int) -> Iterator[tuple[slice, slice, slice]]:
    """Rows of the result, rows of the image that they need, and where they lie among these."""
    for start in range(0, height, STRIP_ROWS):
        stop = min(start + STRIP_ROWS, height)
        first, last = max(start - reach, 0), min(stop + reach, height)
        yield slice(start, stop), slice(first, last), slice(start - first, stop - first)


def _local_mean(
    image: Float32Array, valid: BoolArray | None, taps: Float32Array, threads: int
) -> Float32Array:
    """Mean over the valid pixels within the taps' reach; zero where there is none.

    Strip by strip, so that what is computed on the way takes little memory beside the result.
    """
    out = np.empty_like(image)
    for rows, around, inner in _strips(image.shape[0], taps.size - 1):
        known = None if valid is None else valid[around]
        out[rows] = _mean_of_strip(image[around], known, taps, threads)[inner]
    return out


def _mean_of_strip(
    image: Float32Array, valid: BoolArray | None, taps: Float32Array, threads: int
) -> Float32Array:
    if valid is None:
        return convolve_separable(image, taps, threads=threads)
    weight = convolve_separable(valid.astype(np.float32), taps, threads=threads)
    total = convolve_separable(np.where(valid, image, 0).astype(np.float32), taps, threads=threads)
    mean = np.zeros_like(total)
    np.divide(total, weight, out=mean, where=weight > 1e-6)
    return mean


def fill_invalid(
    image: Float32Array, valid: BoolArray | None, *, size_px: int = 21, threads: int = 1
) -> Float32Array:
    """Replace invalid pixels by the mean of the valid ones near them, else by that of all.

    Examples
    --------
    >>> image = np.full((30, 30), 5.0, np.float32); image[3, 4] = np.nan
    >>> float(fill_invalid(image, np.isfinite(image))[3, 4])
    5.0
    """
    if valid is None:
        return image
    if not valid.any():
        return np.zeros_like(image)
    everywhere = np.float32(np.mean(image, where=valid, dtype=np.float64))
    taps = _box_taps(size_px)
    filled = image.copy()
    for rows, around, inner in _strips(image.shape[0], taps.size - 1):
        known = valid[around]
        if not known[inner].all():
            centred = np.where(known, image[around] - everywhere, np.float32(0.0))
            near = _mean_of_strip(centred, known, taps, threads)[inner]
            np.copyto(filled[rows], near + everywhere, where=~known[inner])
    return filled


def filled_and_centred(
    image: Float32Array, valid: BoolArray | None, *, threads: int = 1
) -> Float32Array:
    """Fill invalid pixels and take the mean out, so that single precision keeps the texture.

    Parameters
    ----------
    image, valid, threads
        As for `fill_invalid`.
    """
    filled = fill_invalid(image, valid, threads=threads)
    mean = np.float32(np.mean(filled, dtype=np.float64))
    return np.subtract(filled, mean, out=None if filled is image else filled)


def intensity(
    image: Float32Array, valid: BoolArray | None = None, /, *, threads: int = 1
) -> Float32Array:
    """The image itself, less its mean.

    Parameters
    ----------
    image
        ``(y, x)``, float32.
    valid
        ``(y, x)``, True where the image may be used; ``None`` for everywhere.
    threads
        How many threads share the rows.

    Returns
    -------
    numpy.ndarray
        ``(1, y, x)``, float32.
    """
    return filled_and_centred(image, valid, threads=threads)[None]


def highpass(
    image: Float32Array,
    valid: BoolArray | None = None,
    /,
    *,
    size_px: int = 21,
    kind: str = "box",
    threads: int = 1,
) -> Float32Array:
    """The image less its local mean: shadows and brightness go, texture stays.

    Parameters
    ----------
    image, valid, threads
        As for `intensity`.
    size_px
        Side of the box, or about 2.35 times the Gaussian's standard deviation (its width at half
        height), in pixels.
    kind
        ``"box"`` or ``"gaussian"``.

    Examples
    --------
    >>> ramp = np.tile(np.arange(60, dtype=np.float32), (60, 1))
    >>> bool(np.abs(highpass(ramp)[0, 20:40, 20:40]).max() < 1e-4)
    True
    """
    if kind not in {"box", "gaussian"}:
        raise ValueError(f"kind must be 'box' or 'gaussian', not {kind!r}")
    taps = _box_taps(size_px) if kind == "box" else _gaussian_taps(size_px / 2.355)
    centred = filled_and_centred(image, valid, threads=threads)
    out = _local_mean(centred, valid, taps, threads)
    np.subtract(centred, out, out=out)
    if valid is not None:
        out[~valid] = 0.0
    return out[None]


def wallis(
    image: Float32Array,
    valid: BoolArray | None = None,
    /,
    *,
    size_px: int = 21,
    threads: int = 1,
) -> Float32Array:
    """Take local mean out and make local contrast equal (Wallis 1976): shade counts as sun.

    Parameters
    ----------
    image, valid, threads
        As for `intensity`.
    size_px
        Side of the box over which mean and contrast are measured.
    """
    taps = _box_taps(size_px)
    centred = filled_and_centred(image, valid, threads=threads)
    high = centred - _local_mean(centred, valid, taps, threads)
    if valid is not None:
        high[~valid] = 0.0
    contrast = np.sqrt(np.maximum(_local_mean(high * high, valid, taps, threads), 0.0))
    # A tenth of the typical contrast keeps noise on flat snow from being blown up to texture.
    floor = np.float32(0.1 * np.median(contrast) + np.finfo(np.float32).tiny)
    return np.asarray(high / (contrast + floor), np.float32)[None]


def laplacian(
    image: Float32Array, valid: BoolArray | None = None, /, *, threads: int = 1
) -> Float32Array:
    """Second differences along x and y, summed: edges and points, no brightness."""
    edges = ndimage.laplace(filled_and_centred(image, valid, threads=threads), mode="mirror")
    return np.asarray(edges, np.float32)[None]


def sobel(
    image: Float32Array, valid: BoolArray | None = None, /, *, threads: int = 1
) -> Float32Array:
    """Sobel gradients along x and y, kept as two channels.

    Correlating the pair is the same as correlating complex numbers whose real and imaginary parts
    are the two gradients.
    """
    centred = filled_and_centred(image, valid, threads=threads)
    return np.stack(
        [
            ndimage.sobel(centred, axis=1, mode="mirror"),
            ndimage.sobel(centred, axis=0, mode="mirror"),
        ]
    )


def orientation(
    image: Float32Array, valid: BoolArray | None = None, /, *, threads: int = 1
) -> Float32Array:
    """Unit vector of the gradient: orientation correlation (Fitch et al. 2002; Heid & Kääb 2012).

    Zero where the gradient vanishes.
    """
    gradient = sobel(image, valid, threads=threads)
    length = np.sqrt(gradient[0] ** 2 + gradient[1] ** 2)
    # On even ground single precision leaves gradients of rounding, which point anywhere.
    least = 1e-5 * float(length.max(initial=0.0))
    unit = np.zeros_like(gradient)
    np.divide(gradient, length, out=unit, where=length > least)
    return unit


def near_anomaly_offset(
    image: Float32Array, valid: BoolArray | None = None, /, *, threads: int = 1
) -> Float32Array:
    """Near-anomaly offset filter (Van Wyk de Vries & Wickert 2021, The Cryosphere 15, 2115-2132).

    Second differences along the axes give one angle, those along the diagonals another; the feature
    is the sum of the cosines and sines of both: contrast is lost, the pattern of anomalies stays.
    """
    centred = filled_and_centred(image, valid, threads=threads)
    padded = np.pad(centred, 1, mode="reflect")
    twice = 2.0 * centred

    def second_difference(down: int, across: int) -> Float32Array:
        rows, columns = centred.shape
        before = padded[1 - down : 1 - down + rows, 1 - across : 1 - across + columns]
        after = padded[1 + down : 1 + down + rows, 1 + across : 1 + across + columns]
        return np.asarray(twice - before - after, np.float32)

    def unit_sum(a: Float32Array, b: Float32Array) -> Float32Array:
        length = np.hypot(a, b)
        total = np.zeros_like(a)
        np.divide(a + b, length, out=total, where=length > 0)
        return total

    axes = unit_sum(second_difference(1, 0), second_difference(0, 1))
    diagonals = unit_sum(second_difference(1, 1), second_difference(1, -1))
    return (axes + diagonals)[None]


FEATURES: Mapping[str, Callable[..., Float32Array]] = MappingProxyType(
    {
        "intensity": intensity,
        "highpass": highpass,
        "highpass-gaussian": partial(highpass, kind="gaussian"),
        "wallis": wallis,
        "laplacian": laplacian,
        "sobel": sobel,
        "orientation": orientation,
        "near-anomaly-offset": near_anomaly_offset,
    }
)
"""The features of one image, by name."""

ENTRY_POINTS = "ogive.features"
"""Group of entry points by which an installed package names features of its own.

Each is a function ``make(*, device: str) -> Feature``, called when its name is asked for.
"""


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def feature_names() -> list[str]:
    """Names that `ogive.match` takes: those that ship here, and those of installed packages.

    Examples
    --------
    >>> feature_names()[:3]
    ['adaptive', 'intensity', 'highpass']
    """
    own = ["adaptive", *FEATURES]
    return own + sorted(_installed().keys() - set(own))


def find_feature(name: str, *, device: str = "auto") -> Feature:
    """Make the feature of a name out of those that ship here or that a package installed.

    A package names its features in its metadata; nothing of it is imported before one is asked
    for::

        [project.entry-points."ogive.features"]
        learned = "ogive.similarity.features:learned"

    Parameters
    ----------
    name
        One of `feature_names`, except ``"adaptive"``.
    device
        Where the feature may compute: ``"auto"`` or a name of PyTorch.

    Raises
    ------
    InputError
        If there is none of this name, or what it needs is not installed.

    Examples
    --------
    >>> find_feature("sobel")(np.ones((20, 20), np.float32), None).shape
    (2, 20, 20)
    """
    if name in FEATURES:
        return partial(each_band, FEATURES[name])
    installed = _installed()
    if name not in installed:
        known = ", ".join(feature_names())
        raise InputError(f"no features {name!r}: take one of {known}, or a function")
    try:
        make: Callable[..., Feature] = installed[name].load()
    except ImportError as error:
        raise InputError(
            f"the features {name!r} need a package that is not installed ({error}): "
            "pip install 'ogive[learning]' brings what learned ones need"
        ) from error
    return make(device=device)


def each_band(
    function: Callable[..., Float32Array],
    image: Float32Array,
    valid: BoolArray | None = None,
    /,
    *,
    threads: int = 1,
    **options: Any,
) -> Float32Array:
    """Apply a feature of single-band images to each band, and stack what it gives.

    Examples
    --------
    >>> each_band(sobel, np.ones((3, 20, 20), np.float32)).shape
    (6, 20, 20)
    """
    if image.ndim == 2:
        return function(image, valid, threads=threads, **options)
    return np.concatenate([function(band, valid, threads=threads, **options) for band in image])
