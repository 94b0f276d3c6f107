"""What a network of outlines lowers: the focal loss with smoothed labels.

The focal loss (Lin et al. 2017, ICCV) turns down what is classified well already by (1 - p)^γ;
smoothed labels (Szegedy et al. 2016, CVPR) keep a network from being sure of what it cannot know.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .networks import Logits
from .tiles import IGNORE

__all__ = ["deep_focal_loss", "focal_loss"]


def focal_loss(
    logits: Tensor, labels: Tensor, *, gamma: float = 2.0, smoothing: float = 0.1
) -> Tensor:
    """Mean focal loss over the pixels that are labelled.

    Parameters
    ----------
    logits
        ``(batch, class, y, x)``.
    labels
        ``(batch, y, x)``: numbers of classes, and 255 for pixels that do not count.
    gamma
        How much what is classified well is turned down; 0 gives the cross-entropy.
    smoothing
        Share of each label that is spread evenly over the classes.

    Returns
    -------
    Tensor
        One number: the sum over classes of -y (1 - p)^γ log p; 0 where nothing is labelled.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 1, 2)
    >>> focal_loss(logits, torch.tensor([[[1, 255]]]), smoothing=0.0).item()  # 0.5**2 * log 2
    0.1732867956161499
    """
    known = labels != IGNORE
    target = functional.one_hot(torch.where(known, labels, 0).long(), logits.shape[1])
    smoothed = target * (1.0 - smoothing) + smoothing / logits.shape[1]
    log_p = functional.log_softmax(logits.float(), 1)
    terms = -smoothed.movedim(-1, 1) * (1.0 - log_p.exp()) ** gamma * log_p
    return (terms.sum(1) * known).sum() / known.sum().clamp(min=1)


def deep_focal_loss(
    logits: Logits, labels: Tensor, *, gamma: float, smoothing: float, auxiliary: float
) -> Tensor:
    """Loss of the main output, and of the auxiliary one by its weight."""
    main = focal_loss(logits.main, labels, gamma=gamma, smoothing=smoothing)
    if not auxiliary or logits.auxiliary is None:
        return main
    other = focal_loss(logits.auxiliary, labels, gamma=gamma, smoothing=smoothing)
    return main + auxiliary * other
