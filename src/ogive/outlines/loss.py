"""What a network of outlines lowers: the focal loss with smoothed labels.

The focal loss (Lin et al. 2017, ICCV) turns down what is classified well already by (1 - p)^γ;
smoothed labels (Szegedy et al. 2016, CVPR) keep a network from being sure of what it cannot know.
Beside it, off by default, stands the overlap by which maps are judged (Rahman & Wang 2016, ISVC).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .networks import Logits
from .tiles import GLACIER, IGNORE

__all__ = ["deep_focal_loss", "focal_loss", "overlap_loss"]


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


def overlap_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One less the overlap of glaciers, found and labelled, over all pixels of a batch.

    The intersection over union with probabilities in place of a map, I = Σ p y and
    U = Σ p + y - p y (Rahman & Wang 2016, equation 3).

    Parameters: see `focal_loss`.

    Returns
    -------
    Tensor
        One number, 0 to 1; 0 where no glacier is labelled.

    Examples
    --------
    >>> logits = torch.zeros(1, 2, 1, 2)
    >>> round(overlap_loss(logits, torch.tensor([[[1, 0]]])).item(), 3)  # 1 - 0.5 / 1.5
    0.667
    """
    known, glacier = labels != IGNORE, labels == GLACIER
    p = logits.float().softmax(1)[:, GLACIER] * known
    both, either = (p * glacier).sum(), (p + glacier - p * glacier).sum()
    return (1.0 - both / either.clamp(min=1e-6)) * glacier.any()


def deep_focal_loss(
    logits: Logits,
    labels: Tensor,
    *,
    gamma: float,
    smoothing: float,
    auxiliary: float,
    overlap: float = 0.0,
) -> Tensor:
    """Loss of the main output, with that of its overlap and of the auxiliary output by weight."""
    main = focal_loss(logits.main, labels, gamma=gamma, smoothing=smoothing)
    if overlap:
        main = main + overlap * overlap_loss(logits.main, labels)
    if not auxiliary or logits.auxiliary is None:
        return main
    other = focal_loss(logits.auxiliary, labels, gamma=gamma, smoothing=smoothing)
    return main + auxiliary * other
