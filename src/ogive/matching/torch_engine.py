r"""The search in PyTorch: the same surfaces and peaks as the compiled loops, for GPUs.

Windows and patches of many points are gathered, transformed and multiplied at once. All sums are
cross-correlations, which Fourier transforms in double precision give to some 1e-13 of the patch's
energy: so what is compared is equal to what the loops of `correlate` give, to their own single
precision. With masks, six such sums make the correlation over the pixels that both windows share
(Padfield 2012): with the masks :math:`m`, and :math:`a`, :math:`b` zero where masked,

.. math::

    n = m_1 \star m_2, \quad
    \sum_c a \star b - \frac{(a \star m_2)(m_1 \star b)}{n}, \quad
    \sum_c a^2 \star m_2 - \frac{(a \star m_2)^2}{n}, \quad
    \sum_c m_1 \star b^2 - \frac{(m_1 \star b)^2}{n}

are the number of pixels, the product, and the two squared norms.

Only this file and those of `similarity` and `learning` import PyTorch, and nothing imports this
file before a search on a device is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from scipy import fft
from torch import Tensor

from ..model import Flag, InputError
from .correlate import NO_CANDIDATE, gaussian_peak, parabola_peak, quadratic_peak
from .kernels import Float32Array
from .measure import MOST_CANDIDATES, RESULTS, SUBPIXEL
from .stacks import PreparedStacks

__all__ = ["Peaks", "correlate_windows", "find_peaks", "search_windows", "usable_device"]

NOTHING = float(NO_CANDIDATE)
PROCESSOR_BYTES = 2**28
"""Working memory of one chunk of points on the processor; on a GPU a quarter of what is free."""
MOST_BYTES = 2**33
LEAST_PIXELS = 4


def usable_device(name: str) -> str:
    """Make sure that the search can run on a device.

    Parameters
    ----------
    name
        Of PyTorch: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.

    Raises
    ------
    InputError
        If there is no such device, or it has no double precision.

    Examples
    --------
    >>> usable_device("cpu")
    'cpu'
    """
    if name.split(":")[0] == "mps":
        raise InputError(
            "the search needs double precision, which device 'mps' lacks: take engine 'numba'"
        )
    try:
        torch.empty(1, dtype=torch.float64, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device {name!r} cannot be used ({reason}): take device 'cpu' or engine 'numba'"
        ) from error
    return name


@dataclass(frozen=True)
class Peaks:
    """The highest correlations of many points.

    Parameters
    ----------
    row, column
        Place of the peak in its search; -1 where there is no candidate.
    ratio, snr
        As of `ogive.matching.correlate.peak_of`.
    around
        ``(point, 3, 3)``: the correlations round the peak; without meaning at a search's border.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    ratio: NDArray[np.float64]
    snr: NDArray[np.float64]
    around: Float32Array

    @property
    def correlation(self) -> Float32Array:
        """At the peak."""
        return self.around[:, 1, 1]


@dataclass(frozen=True)
class _Searches:
    """Many windows and the rectangles of candidates that each is compared with.

    Rows and columns ``y, x`` of the earlier windows, ``top, left`` of the first candidates, and how
    many ``rows`` and ``columns`` of candidates there are; all candidates are inside the image.
    """

    y: NDArray[np.int64]
    x: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]

    def of(self, chosen: NDArray[np.int64]) -> _Searches:
        return _Searches(
            self.y[chosen], self.x[chosen], self.top[chosen], self.left[chosen],
            self.rows[chosen], self.columns[chosen],
        )  # fmt: skip


def _searches(
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    first_u: NDArray[np.int64],
    last_u: NDArray[np.int64],
    first_v: NDArray[np.int64],
    last_v: NDArray[np.int64],
    *,
    shape: tuple[int, int],
    size: int,
) -> _Searches:
    """Candidates of these displacements, as far as they are inside the image."""
    top, left = np.maximum(y + first_v, 0), np.maximum(x + first_u, 0)
    rows = np.minimum(y + last_v, shape[0] - size) - top + 1
    columns = np.minimum(x + last_u, shape[1] - size) - left + 1
    return _Searches(y, x, top, left, rows, columns)


class _Device:
    """A block's stacks on a device, and windows of them.

    Parameters
    ----------
    stacks
        On the host.
    size, least, share
        Of the windows: their side, the sum of squares under which one is flat, and the smallest
        share of valid pixels.
    device
        Of PyTorch.
    """

    def __init__(
        self, stacks: PreparedStacks, size: int, least: float, share: float, device: str
    ) -> None:
        self.device = torch.device(device)
        self.size, self.least, self.share = size, least, share
        self.earlier, self.later = self._put(stacks.earlier), self._put(stacks.later)
        self.norms = self._put(stacks.norms)
        self.valid_earlier, self.valid_later = (self._put(mask) for mask in stacks.masks[:2])
        self.gaps = stacks.masks[2:]

    @property
    def shape(self) -> tuple[int, int]:
        return self.earlier.shape[1], self.earlier.shape[2]

    def _put(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def gather(
        self, stack: Tensor, y: NDArray[np.int64], x: NDArray[np.int64], height: int, width: int
    ) -> Tensor:
        """Pieces ``(point, channel, height, width)``, double precision; the border is repeated."""
        down = torch.arange(height, device=self.device)
        across = torch.arange(width, device=self.device)
        rows = (self._put(y)[:, None] + down).clamp(max=stack.shape[-2] - 1)
        columns = (self._put(x)[:, None] + across).clamp(max=stack.shape[-1] - 1)
        pieces = stack[..., rows[:, :, None], columns[:, None, :]]
        if stack.ndim == 2:
            return pieces.double()
        return pieces.movedim(0, 1).double()

    def flat_windows(self, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether earlier windows are flat."""
        flat = np.zeros(y.shape, bool)
        every = max(1, PROCESSOR_BYTES // (32 * self.earlier.shape[0] * self.size**2))
        for begin in range(0, y.size, every):
            some = slice(begin, begin + every)
            windows = self.gather(self.earlier, y[some], x[some], self.size, self.size)
            windows = windows - windows.mean((2, 3), keepdim=True)
            flat[some] = (windows.square().sum((1, 2, 3)) <= self.least).cpu().numpy()
        return flat

    def touches_gaps(self, searches: _Searches) -> NDArray[np.bool_]:
        """Whether a window or one of its candidates holds an invalid pixel."""
        gaps_earlier, gaps_later = self.gaps
        if not gaps_earlier.size:
            return np.zeros(searches.y.shape, bool)
        size = self.size
        number = _count(gaps_earlier, searches.y, searches.x, size, size)
        number += _count(
            gaps_later, searches.top, searches.left,
            size + searches.rows - 1, size + searches.columns - 1,
        )  # fmt: skip
        return np.asarray(number > 0)

    def chunks(self, searches: _Searches, masked: bool) -> Iterator[NDArray[np.int64]]:
        """Indices of searches that are worked on together: alike in size, and not too many."""
        order = np.lexsort((searches.columns, searches.rows))
        budget = PROCESSOR_BYTES
        if self.device.type == "cuda":
            budget = min(torch.cuda.mem_get_info(self.device)[0] // 4, MOST_BYTES)
        channels = self.earlier.shape[0]
        begin = 0
        while begin < order.size:
            # Rows ascend along the order; columns may not, so the most of all is reckoned with.
            side_y = self.size + int(searches.rows[order[begin:]].max()) - 1
            side_x = self.size + int(searches.columns[order[begin:]].max()) - 1
            values = 8 * side_y * side_x * (channels * (16 if masked else 6) + 6)
            number = max(1, budget // values)
            yield order[begin : begin + number]
            begin += number


def _count(
    table: NDArray[np.int32],
    y: NDArray[np.int64],
    x: NDArray[np.int64],
    height: int | NDArray[np.int64],
    width: int | NDArray[np.int64],
) -> NDArray[np.int64]:
    """Number of chosen pixels in rectangles, from the summed-area table."""
    total = table[y + height, x + width] - table[y, x + width] - table[y + height, x] + table[y, x]
    return np.asarray(total, np.int64)


def _spectrum(pieces: Tensor, shape: tuple[int, int]) -> Tensor:
    spectrum: Tensor = torch.fft.rfft2(pieces, s=shape)
    return spectrum


def _correlated(
    window: Tensor, patch: Tensor, shape: tuple[int, int], candidates: tuple[int, int]
) -> Tensor:
    """Cross-correlation of spectra at the candidates that do not wrap round."""
    product: Tensor = torch.fft.irfft2(window.conj() * patch, s=shape)
    return product[..., : candidates[0], : candidates[1]]


def _surface(stacks: _Device, searches: _Searches, masked: bool) -> tuple[Tensor, Tensor]:
    """Correlation at all candidates of some points, and the windows' sums of squares."""
    size = stacks.size
    candidates = int(searches.rows.max()), int(searches.columns.max())
    height, width = size + candidates[0] - 1, size + candidates[1] - 1
    shape = fft.next_fast_len(height, real=True), fft.next_fast_len(width, real=True)
    windows = stacks.gather(stacks.earlier, searches.y, searches.x, size, size)
    patches = stacks.gather(stacks.later, searches.top, searches.left, height, width)
    windows = windows - windows.mean((2, 3), keepdim=True)
    patches = patches - patches.mean((2, 3), keepdim=True)
    squares = windows.square().sum((1, 2, 3))
    if masked:
        surface = _masked_surface(stacks, searches, windows, patches, shape, candidates)
    else:
        norms = stacks.gather(stacks.norms, searches.top, searches.left, *candidates)
        # The sum over channels commutes with the inverse transform: one for all of them.
        spectra = (_spectrum(windows, shape).conj() * _spectrum(patches, shape)).sum(1)
        product = torch.fft.irfft2(spectra, s=shape)[:, : candidates[0], : candidates[1]]
        scale = torch.where(squares > 0, squares.rsqrt(), 0.0)
        surface = product * norms * scale[:, None, None]
    rows = torch.arange(candidates[0], device=stacks.device)
    columns = torch.arange(candidates[1], device=stacks.device)
    inside = (rows < stacks._put(searches.rows)[:, None])[:, :, None]
    inside = inside & (columns < stacks._put(searches.columns)[:, None])[:, None, :]
    return torch.where(inside, surface, NOTHING).float(), squares


def _masked_surface(
    stacks: _Device,
    searches: _Searches,
    windows: Tensor,
    patches: Tensor,
    shape: tuple[int, int],
    candidates: tuple[int, int],
) -> Tensor:
    """Correlation over the pixels that are valid in both windows (see the module)."""
    size = stacks.size
    m1 = stacks.gather(stacks.valid_earlier, searches.y, searches.x, size, size)[:, None]
    m2 = stacks.gather(stacks.valid_later, searches.top, searches.left, *patches.shape[2:])[:, None]
    a, b = _over_valid(windows, m1), _over_valid(patches, m2)
    f1, f2, fa, fb = (_spectrum(part, shape) for part in (m1, m2, a, b))
    number = _correlated(f1, f2, shape, candidates)[:, 0].round()
    share = number.clamp(min=1.0)
    sum_a, sum_b = _correlated(fa, f2, shape, candidates), _correlated(f1, fb, shape, candidates)
    squares_a, squares_b = (_spectrum(part.square().sum(1), shape) for part in (a, b))
    product = _correlated(fa, fb, shape, candidates).sum(1) - (sum_a * sum_b).sum(1) / share
    energy_a = _correlated(squares_a, f2[:, 0], shape, candidates)
    energy_b = _correlated(f1[:, 0], squares_b, shape, candidates)
    energy_a = energy_a - sum_a.square().sum(1) / share
    energy_b = energy_b - sum_b.square().sum(1) / share
    judged = (number >= max(stacks.share * size * size, LEAST_PIXELS)) & (
        (energy_a > stacks.least) & (energy_b > stacks.least)
    )
    return torch.where(judged, product * (energy_a * energy_b).clamp(min=1e-300).rsqrt(), NOTHING)


def _over_valid(pieces: Tensor, mask: Tensor) -> Tensor:
    """Pieces less their mean over what is valid, zero elsewhere; small numbers add up exactly."""
    number = mask.sum((2, 3), keepdim=True).clamp(min=1.0)
    # What lies under a mask may be anything, not a number too.
    known = torch.where(mask > 0, pieces, 0.0)
    return torch.where(mask > 0, known - known.sum((2, 3), keepdim=True) / number, 0.0)


def correlate_windows(
    stacks: PreparedStacks,
    y: int,
    x: int,
    top: int,
    left: int,
    rows: int,
    columns: int,
    *,
    size: int,
    least: float = 0.0,
    share: float = 0.5,
    device: str = "cpu",
) -> Float32Array:
    """Correlation surface of one window, as `surface_wide` and `surface_masked` give it.

    Parameters
    ----------
    stacks
        Features, norms and masks.
    y, x
        First row and column of the earlier window.
    top, left, rows, columns
        The first candidate's window, and how many there are.
    size, least, share
        As of `ogive.matching.measure.measure_rows`.
    device
        Of PyTorch.
    """
    there = _Device(stacks, size, least, share, device)
    one = _Searches(*(np.array([value]) for value in (y, x, top, left, rows, columns)))
    surface, _ = _surface(there, one, bool(there.touches_gaps(one)[0]))
    return np.asarray(surface[0].cpu().numpy(), np.float32)


def _peaks(surface: Tensor) -> tuple[Tensor, ...]:
    """Place of the highest correlation, its quality, and what lies round it."""
    points, rows, columns = surface.shape
    flat = surface.reshape(points, -1)
    best = flat.argmax(1)
    highest = flat.gather(1, best[:, None])[:, 0]
    row, column = best // columns, best % columns
    far_rows = (torch.arange(rows, device=surface.device) - row[:, None]).abs() > 1
    far_columns = (torch.arange(columns, device=surface.device) - column[:, None]).abs() > 1
    others = (far_rows[:, :, None] | far_columns[:, None, :]) & (surface > NOTHING)
    number = others.sum((1, 2))
    second = torch.where(others, surface, NOTHING).amax((1, 2))
    squares = torch.where(others, surface, 0.0).double().square().sum((1, 2))
    nan = torch.full_like(squares, torch.nan)
    top = highest.double()
    ratio = torch.where((number > 0) & (second > 0), top / second.double(), nan)
    snr = torch.where((number > 0) & (squares > 0), top.square() * number / squares, nan)
    near = torch.arange(-1, 2, device=surface.device)
    around_rows = (row[:, None] + near).clamp(0, rows - 1)
    around_columns = (column[:, None] + near).clamp(0, columns - 1)
    index = torch.arange(points, device=surface.device)[:, None, None]
    around = surface[index, around_rows[:, :, None], around_columns[:, None, :]]
    nowhere = highest <= NOTHING
    return (
        torch.where(nowhere, -1, row), torch.where(nowhere, -1, column), ratio, snr, around,
    )  # fmt: skip


def _search(stacks: _Device, searches: _Searches) -> tuple[Peaks, NDArray[np.float64]]:
    """Peaks of many searches, chunk by chunk, and the windows' sums of squares."""
    number = searches.y.size
    found = Peaks(
        np.full(number, -1),
        np.full(number, -1),
        np.full(number, np.nan),
        np.full(number, np.nan),
        np.full((number, 3, 3), NO_CANDIDATE, np.float32),
    )
    squares = np.zeros(number)
    touching = stacks.touches_gaps(searches)
    for masked in (False, True):
        chosen = np.flatnonzero(touching == masked)
        for chunk in stacks.chunks(searches.of(chosen), masked):
            here = chosen[chunk]
            surface, sums = _surface(stacks, searches.of(here), masked)
            parts = [part.cpu().numpy() for part in _peaks(surface)]
            found.row[here], found.column[here] = parts[0], parts[1]
            found.ratio[here], found.snr[here] = parts[2], parts[3]
            found.around[here] = parts[4]
            squares[here] = sums.cpu().numpy()
    return found, squares


@njit(nogil=True, cache=True)
def _offsets(around: Float32Array, method: int, out: NDArray[np.float64]) -> None:
    """Offsets of peaks from their whole pixels by a fit to their 3 x 3 correlations."""
    for k in range(around.shape[0]):
        if method == 1:
            out[0, k], out[1, k] = parabola_peak(around[k], 1, 1)
        elif method == 2:
            out[0, k], out[1, k] = gaussian_peak(around[k], 1, 1)
        elif method == 0:
            out[0, k], out[1, k] = 0.0, 0.0
        else:
            out[0, k], out[1, k] = quadratic_peak(around[k], 1, 1)


def _starts(
    searches: _Searches, peaks: Peaks, method: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Displacements with the fraction that a fit to the surface gives."""
    offsets = np.zeros((2, peaks.row.size))
    _offsets(peaks.around, method, offsets)
    u = searches.left + peaks.column - searches.x + offsets[0]
    v = searches.top + peaks.row - searches.y + offsets[1]
    return u, v


def _within(peaks: Peaks, searches: _Searches) -> NDArray[np.bool_]:
    """Whether peaks lie inside their searches, not at the border."""
    inside = (peaks.row > 0) & (peaks.row < searches.rows - 1)
    return np.asarray(inside & (peaks.column > 0) & (peaks.column < searches.columns - 1))


def search_windows(
    stacks: PreparedStacks,
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    size: int,
    around_u: NDArray[np.float64],
    around_v: NDArray[np.float64],
    radius: NDArray[np.int64],
    least: float,
    share: float,
    *,
    device: str,
) -> NDArray[np.float64]:
    """`ogive.matching.measure.coarse_rows` of all points of a block, on a device.

    Returns
    -------
    numpy.ndarray
        ``(5, rows, columns)``: u, v, correlation, peak ratio, snr. NaN where there is no peak.
    """
    there = _Device(stacks, size, least, share, device)
    y, x = (grid.ravel() for grid in np.meshgrid(ys, xs, indexing="ij"))
    mid_u, mid_v = (np.rint(around).astype(np.int64).ravel() for around in (around_u, around_v))
    reach = radius.ravel()
    searches = _searches(
        y, x, mid_u - reach, mid_u + reach, mid_v - reach, mid_v + reach, shape=there.shape,
        size=size,
    )  # fmt: skip
    possible = np.flatnonzero((searches.rows >= 3) & (searches.columns >= 3))
    searches = searches.of(possible)
    peaks, squares = _search(there, searches)
    out = np.full((5, y.size), np.nan)
    good = _within(peaks, searches) & (squares > least)
    u, v = _starts(searches, peaks, SUBPIXEL["quadratic"])
    planes: tuple[NDArray[Any], ...] = (u, v, peaks.correlation, peaks.ratio, peaks.snr)
    for k, values in enumerate(planes):
        out[k, possible[good]] = values[good]
    return out.reshape(5, ys.size, xs.size)


@dataclass(frozen=True)
class _Predicted:
    """The predicted displacement of many points, and its bounds on the nodes round each."""

    u: NDArray[np.float64]
    v: NDArray[np.float64]
    least_u: NDArray[np.float64]
    most_u: NDArray[np.float64]
    least_v: NDArray[np.float64]
    most_v: NDArray[np.float64]

    @classmethod
    def at(
        cls,
        nodes: NDArray[np.float64],
        node_y: NDArray[np.float64],
        node_x: NDArray[np.float64],
    ) -> _Predicted:
        """Bilinear, as `ogive.matching.measure.interpolate`."""
        i = np.minimum(node_y.astype(np.int64), max(nodes.shape[1] - 2, 0))
        j = np.minimum(node_x.astype(np.int64), max(nodes.shape[2] - 2, 0))
        below = np.minimum(i + 1, nodes.shape[1] - 1)
        right = np.minimum(j + 1, nodes.shape[2] - 1)
        fy, fx = (node_y - i)[:, None], (node_x - j)[None, :]
        weights = [wy * wx for wy in (1.0 - fy, fy) for wx in (1.0 - fx, fx)]
        parts = []
        for plane in nodes[:2]:
            corners = [plane[np.ix_(a, b)] for a in (i, below) for b in (j, right)]
            mean = np.zeros(weights[0].shape)
            for weight, corner in zip(weights, corners, strict=True):
                # A node of no weight may be one where the full search found nothing.
                mean += np.where(weight == 0.0, 0.0, weight * corner)
            parts.append((mean, np.fmin.reduce(corners), np.fmax.reduce(corners)))
        u, v = parts
        planes = [plane.ravel() for plane in (u[0], v[0], *u[1:], *v[1:])]
        return cls(*planes)

    def narrow(self, radius: int) -> tuple[NDArray[np.int64], ...]:
        """First and last u and v of the search round the prediction."""
        u, v = np.rint(self.u).astype(np.int64), np.rint(self.v).astype(np.int64)
        return u - radius, u + radius, v - radius, v + radius

    def wide(self, wider: int) -> tuple[NDArray[np.int64], ...]:
        """First and last u and v of the search round the nodes."""
        ranges: list[NDArray[np.int64]] = []
        for value, least, most in (
            (self.u, self.least_u, self.most_u),
            (self.v, self.least_v, self.most_v),
        ):
            lowest = np.trunc(value).astype(np.int64) - MOST_CANDIDATES // 2
            first = np.maximum(np.floor(least).astype(np.int64) - wider, lowest)
            last = np.minimum(np.ceil(most).astype(np.int64) + wider, first + MOST_CANDIDATES - 1)
            ranges += [first, last]
        return tuple(ranges)

    def of(self, chosen: NDArray[np.int64]) -> _Predicted:
        """Some of the points."""
        return _Predicted(
            self.u[chosen], self.v[chosen], self.least_u[chosen], self.most_u[chosen],
            self.least_v[chosen], self.most_v[chosen],
        )  # fmt: skip


def find_peaks(
    stacks: PreparedStacks,
    ys: NDArray[np.int64],
    xs: NDArray[np.int64],
    size: int,
    nodes: NDArray[np.float64],
    node_y: NDArray[np.float64],
    node_x: NDArray[np.float64],
    radius: int,
    wider: int,
    method: int,
    least: float,
    share: float,
    doubtful: float,
    chance: float,
    *,
    device: str,
) -> tuple[Float32Array, NDArray[np.int64], NDArray[np.uint8]]:
    """The search of `ogive.matching.measure.measure_rows` for all points of a block, on a device.

    Returns
    -------
    planes
        `ogive.matching.measure.RESULTS`: displacement by a fit to the surface, correlation and
        qualities; what refinement gives is NaN.
    whole_peaks
        ``(2, rows, columns)``: the whole displacement, zero where there is none.
    flag
        `ogive.model.Flag` of each point.
    """
    there = _Device(stacks, size, least, share, device)
    y, x = (grid.ravel() for grid in np.meshgrid(ys, xs, indexing="ij"))
    out = np.full((len(RESULTS), y.size), np.nan, np.float32)
    flag = np.full(y.size, Flag.NO_PEAK, np.uint8)
    whole_peaks = np.zeros((2, y.size), np.int64)
    predicted = _Predicted.at(nodes, node_y, node_x)
    alive = np.isfinite(predicted.u) & np.isfinite(predicted.v)
    if there.gaps[0].size:
        own = 1.0 - _count(there.gaps[0], y, x, size, size) / (size * size)
        masked = own < share
        flag[masked] = Flag.MASKED
        out[9, masked] = own[masked]
        alive &= ~masked
    unknown = np.flatnonzero(~alive & (flag == Flag.NO_PEAK))
    flag[unknown[there.flat_windows(y[unknown], x[unknown])]] = Flag.FLAT
    for attempt in range(2):
        todo = np.flatnonzero(alive)
        ranges = predicted.of(todo)
        ranges_px = ranges.wide(wider) if attempt else ranges.narrow(radius)
        searches = _searches(y[todo], x[todo], *ranges_px, shape=there.shape, size=size)
        first_u, last_u, first_v, last_v = ranges_px
        clipped = (searches.top > y[todo] + first_v) | (searches.left > x[todo] + first_u)
        clipped |= searches.rows < last_v - first_v + 1
        clipped |= searches.columns < last_u - first_u + 1
        possible = (searches.rows >= 3) & (searches.columns >= 3)
        flag[todo[~possible]] = Flag.OUTSIDE
        alive[todo[~possible]] = False
        todo, clipped, searches = (
            todo[possible],
            clipped[possible],
            searches.of(np.flatnonzero(possible)),
        )
        peaks, squares = _search(there, searches)
        flat = squares <= least
        judged = peaks.row >= 0
        found = _within(peaks, searches) & (peaks.around > NO_CANDIDATE).all((1, 2)) & ~flat
        state = np.where(clipped, Flag.OUTSIDE, np.where(judged, Flag.NO_PEAK, Flag.MASKED))
        state[found] = Flag.MEASURED
        state[flat] = Flag.FLAT
        low = found & (peaks.correlation < chance)
        state[low] = Flag.LOW_CORRELATION
        flag[todo] = state
        out[:9, todo] = np.nan
        out[5, todo[found]] = peaks.correlation[found]
        kept = found & ~low
        u, v = _starts(searches, peaks, method)
        whole_peaks[0, todo] = searches.left + peaks.column - searches.x
        whole_peaks[1, todo] = searches.top + peaks.row - searches.y
        planes = {"u": u, "v": v, "peak_ratio": peaks.ratio, "snr": peaks.snr}
        for name, values in planes.items():
            out[RESULTS.index(name), todo[kept]] = values[kept]
        # A second look where the first found nothing, or nothing sure.
        alive[todo] = judged & ~flat & ~(found & (peaks.correlation >= doubtful))
    shape = ys.size, xs.size
    return (
        out.reshape(len(RESULTS), *shape), whole_peaks.reshape(2, *shape), flag.reshape(shape),
    )  # fmt: skip
