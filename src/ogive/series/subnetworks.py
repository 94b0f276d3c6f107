"""Sub-networks of a pixel: groups of nodes that its used observations link, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .combinations import Combinations
from .lanes import inner
from .rows import Rows

__all__ = ["find_subnetworks"]

I8 = NDArray[np.int64]


@inner
def find_subnetworks(links: Combinations, rows: Rows, total: int, lane: int, label: I8) -> int:
    """Label each node by a node of its sub-network, -1 where nothing is observed; count them."""
    label[:] = -1
    for r in range(total):
        if rows.factor[r, lane] <= 0.0:
            continue
        a, b = _root(label, links.start[r]), _root(label, links.end[r])
        label[max(a, b)] = min(a, b)
    count = 0
    for k in range(label.size):
        if label[k] >= 0:
            count += label[k] == k
            label[k] = label[label[k]]
    return count


@inner
def _root(label: I8, node: int) -> int:
    """Follow labels to the first node of the group, and shorten the way for the next one."""
    if label[node] < 0:
        label[node] = node
    while label[node] != node:
        label[node] = label[label[node]]
        node = label[node]
    return node
