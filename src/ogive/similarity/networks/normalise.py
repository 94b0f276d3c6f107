r"""What enters a network: images of any scale made alike, and what is masked set to zero.

Local normalisation takes each band's mean out and divides by its contrast, both of the valid pixels
of a box:

.. math:: n = \frac{x - \bar x}{s + \epsilon\,|\bar x|}, \qquad s^2 = \overline{(x - \bar x)^2}.

So a shaded slope counts as a lit one, and neither gain nor brightness matters. The floor
:math:`\epsilon` is the step of one digital number in 10 000: contrast below it is the rounding of
the image, which must not be blown up to texture. All is local, so that a tile gives what the whole
image gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional

from ogive.model import InputError

__all__ = [
    "NORMALISATIONS",
    "local_normalise",
    "maps_per_band",
    "normalisation_halo_px",
    "published_normalise",
    "two_scale_normalise",
]

PUBLISHED_MEAN = 0.434583236
PUBLISHED_DEVIATION = 0.1948717255
LEAST_CONTRAST = 1e-4
FINE_BOX_PX = 9
TINY = 1e-20


def _box_sum(image: Tensor, box_px: int) -> Tensor:
    """Sums over a square box, zero beyond the border, one axis after the other."""
    reach = box_px // 2
    rows = functional.avg_pool2d(image, (box_px, 1), 1, (reach, 0), divisor_override=1)
    return functional.avg_pool2d(rows, (1, box_px), 1, (0, reach), divisor_override=1)


def local_normalise(image: Tensor, valid: Tensor, *, box_px: int) -> Tensor:
    """Take the local mean out and divide by the local contrast.

    Parameters
    ----------
    image
        ``(batch, band, y, x)``, float32, any scale; what lies under the mask may be NaN.
    valid
        ``(batch, 1, y, x)``, True where the image may be used.
    box_px
        Side of the box, odd.

    Returns
    -------
    torch.Tensor
        As ``image``; zero where it is not valid.

    Raises
    ------
    InputError
        For a box that is even or smaller than 3 pixels.

    Examples
    --------
    >>> image = torch.randn(1, 1, 40, 40)
    >>> valid = torch.ones(1, 1, 40, 40, dtype=torch.bool)
    >>> dark = local_normalise(image, valid, box_px=15)
    >>> bright = local_normalise(7 * image, valid, box_px=15)
    >>> torch.allclose(dark, bright, atol=1e-5)
    True
    """
    check_box(box_px)
    number = _box_sum(valid.to(image.dtype), box_px).clamp(min=1.0)
    mean = _box_sum(torch.where(valid, image, 0.0), box_px) / number
    high = torch.where(valid, image - mean, 0.0)
    contrast = (_box_sum(high * high, box_px) / number).sqrt()
    return high / (contrast + LEAST_CONTRAST * mean.abs() + TINY)


def two_scale_normalise(image: Tensor, valid: Tensor, *, box_px: int) -> Tensor:
    """Normalise in a wide box and in one of 9 pixels: shading as well as the finest texture.

    Parameters
    ----------
    image, valid, box_px
        As for `local_normalise`.

    Returns
    -------
    torch.Tensor
        ``(batch, 2 band, y, x)``: the wide box's bands, then the fine one's.
    """
    parts = [local_normalise(image, valid, box_px=box) for box in (box_px, FINE_BOX_PX)]
    return torch.cat(parts, 1)


def published_normalise(image: Tensor, valid: Tensor, *, box_px: int) -> Tensor:
    """Scale 8-bit grey values as for the published weights: ``(x / 255 - 0.4346) / 0.1949``.

    Parameters
    ----------
    image, valid
        As for `local_normalise`; values from 0 to 255.
    box_px
        Not used: this normalisation looks at no neighbours.
    """
    scaled = (image / 255.0 - PUBLISHED_MEAN) / PUBLISHED_DEVIATION
    return torch.where(valid, scaled, 0.0)


NORMALISATIONS: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {
        "local": local_normalise,
        "two-scale": two_scale_normalise,
        "published": published_normalise,
    }
)
"""How an image is normalised, by name."""


def normalisation_halo_px(name: str, *, box_px: int) -> int:
    """How far a pixel reaches through a normalisation: two boxes, or not at all."""
    return 0 if name == "published" else 2 * (max(box_px, FINE_BOX_PX) // 2)


def maps_per_band(name: str) -> int:
    """How many maps a normalisation makes of a band."""
    return 2 if name == "two-scale" else 1


def check_box(box_px: int) -> None:
    """Refuse boxes that have no middle pixel."""
    if box_px < 3 or box_px % 2 == 0:
        raise InputError(f"box_px is {box_px}: the box needs an odd size of at least 3 pixels")
