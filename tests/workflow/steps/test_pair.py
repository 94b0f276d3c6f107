"""The order of pairs: images are kept while they are needed."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from ogive.model import Scene
from ogive.scenes.network import pair_indices
from ogive.workflow.catalogue import KnownScenes
from ogive.workflow.steps.pair import TOGETHER, _place_by_place

LOOKS = 100


@pytest.fixture(scope="module")
def known():
    """Two tiles, each seen a hundred times from one orbit, every five days, in turn."""
    scenes = tuple(
        Scene(
            f"{tile} {look}", datetime(2020, 1, 1) + timedelta(days=5 * look),
            mission="sentinel-2", relative_orbit=65, tile=tile,
        )
        for look in range(LOOKS)
        for tile in ("T32TLR", "T32TLS")
    )  # fmt: skip
    ids = np.arange(len(scenes))
    return KnownScenes(ids, tuple(map(str, ids)), scenes)


@pytest.fixture(scope="module")
def ordered(known):
    return _place_by_place(known, pair_indices(known.scenes))


def windows_read(pairs, room):
    """Reads of windows through a cache that gives up what was not used for longest."""
    kept, reads = OrderedDict(), 0
    for pair in zip(pairs.earlier.tolist(), pairs.later.tolist(), strict=True):
        for scene in pair:
            reads += scene not in kept
            kept[scene] = None
            kept.move_to_end(scene)
            if len(kept) > room:
                kept.popitem(last=False)
    return reads


def test_none_is_lost_and_places_follow_each_other(known, ordered):
    chosen = pair_indices(known.scenes)
    assert set(zip(*ordered, strict=True)) == set(zip(*chosen, strict=True))
    tiles = [known.scenes[k].tile for k in ordered.earlier.tolist()]
    assert sum(one != other for one, other in pairwise(tiles)) == 1


def test_a_small_cache_reads_a_window_for_many_pairs(known, ordered):
    """Row after row, of 80 later scenes within 400 days, nothing would be kept."""
    pairs, room = ordered.earlier.size, 2 * TOGETHER + 4
    row_after_row = pair_indices(known.scenes)
    assert windows_read(row_after_row, room) > 0.9 * pairs
    # Two windows for TOGETHER pairs, and some for the corners along the diagonal and the limit.
    assert windows_read(ordered, room) < 1.5 * 2 / TOGETHER * pairs
    assert windows_read(ordered, 1000) == 2 * LOOKS
