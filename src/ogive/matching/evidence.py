r"""What several correlation surfaces say together of one displacement: likelihood ratios.

**One surface.** A correlation :math:`\rho(d)` that has nothing to do with the motion scatters
about zero with a standard deviation :math:`s`, the root mean square of the surface beyond its
peak's 3 x 3 neighbourhood. With :math:`z = \rho / s`, a peak of unknown height at :math:`d`
explains the surface better than chance does by the likelihood ratio
:math:`\Lambda(d) = \exp(z_+^2(d) / 2)`: the largest over all heights above zero. At its peak
:math:`z^2` is what `peak_of` calls ``snr``.

**Three surfaces.** The middle image q shows the feature somewhere, at a displacement :math:`e`
from the first image; the step from there to the last image is :math:`d - e`. Over all :math:`e`,
and with the chance :math:`\pi` that q shows the feature at all (no cloud, shadow or snow),

.. math::

    \Lambda_{pqr}(d) = (1 - \pi) + \pi \, \frac{n^2}{m(d)}
        \sum_e P_{pq}(e)\, P_{qr}(d - e), \qquad
    P(e) = \frac{\Lambda(e)}{\sum_{e'} \Lambda(e')},

with :math:`n` candidates on each surface, of which :math:`m(d)` can be the first step of :math:`d`.
The sum is the convolution of eq. 16 of Altena & Kääb 2017 (Remote Sens. 9, 300), the product with
the direct surface their eq. 19:

.. math::

    S(d) = z_{+,pr}^2(d) + 2 \sum_q \ln \Lambda_{pqr}(d),

one term for each middle image. Where nothing matches, the sum over :math:`e` is :math:`m / n^2` in
the mean and a path adds nothing; where p to q and q to r agree on :math:`d`, it adds up to
:math:`2 \ln (n^2 / 2 m)`. :math:`S` is in the units of ``snr``, and without a middle image it *is*
the ``snr``: one threshold means the same for two images and for more.

**Why not the surfaces themselves.** Convolved as they are, equal windows lose the middle image: in
the frequency domain :math:`\overline{F_p} F_q \cdot \overline{F_q} F_r = |F_q|^2\,\overline{F_p}
F_r`, in which the phase of q, all that is known of where the feature was, cancels. (With the
conjugate as it is printed in eqs. 16 and 17 it does not cancel, but the peak is then at the
difference of the two steps, not at their sum.) Something must tell peaks from the rest before
surfaces are convolved; here it is the likelihood.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from scipy import fft
from scipy.stats import norm

from .correlate import NO_CANDIDATE, quadratic_peak
from .kernels import FASTMATH, Float32Array

__all__ = ["SEEN", "Joint", "Path", "chance_snr", "join", "unaliased_size"]

SEEN = 0.5
"""Chance that a middle image shows the feature, before it is looked at: as good as unknown."""
NEGLIGIBLE = 40.0
"""Likelihoods are below 2e-9 of the largest where z² is this much smaller."""
CHANCE = 0.02
"""Share of points without a true match whose best candidate may pass `chance_snr`."""


@dataclass(frozen=True)
class Path:
    """How one middle image supports the displacement found; arrays of one value per point.

    Parameters
    ----------
    u, v
        The likeliest displacement from the first image to the middle one, given the whole one, in
        pixels from the middle of the search.
    support
        Twice the logarithm of the path's likelihood ratio: above zero it speaks for the
        displacement, down to ``2 ln(1 - SEEN)`` against it.
    """

    u: Float32Array
    v: Float32Array
    support: Float32Array


@dataclass(frozen=True)
class Joint:
    """The best displacement of each point on all surfaces together.

    Parameters
    ----------
    u, v
        Displacement in pixels from the middle of the search, between pixels by a quadratic through
        3 x 3 values of S. NaN where the peak lies on the border of the search, or there is none.
    u_var, v_var, uv_cov
        Error covariance by the curvature of that quadratic (S / 2 is a log likelihood). Of good
        matches it is too wide, as three pixels cannot follow a sharp peak.
    correlation
        Of the direct surface, at the whole pixel.
    snr
        S at the peak.
    peak_ratio
        Square root of the peak over the highest S beyond its 3 x 3 neighbourhood: for a single
        surface, the ratio of the correlations.
    paths
        One for each middle image.
    """

    u: Float32Array
    v: Float32Array
    u_var: Float32Array
    v_var: Float32Array
    uv_cov: Float32Array
    correlation: Float32Array
    snr: Float32Array
    peak_ratio: Float32Array
    paths: tuple[Path, ...]


def chance_snr(radius: int) -> float:
    """``snr`` that the best of all candidates reaches by chance in 2 points of 100.

    Candidates count as independent and normal; those of smooth features are fewer than they look,
    which errs to the strict side.

    Parameters
    ----------
    radius
        Of the search, in pixels.

    Examples
    --------
    >>> round(chance_snr(8), 1)
    14.5
    """
    candidates = (2 * radius + 1) ** 2
    return float(norm.isf(-math.expm1(math.log1p(-CHANCE) / candidates)) ** 2)


def unaliased_size(radius: int) -> int:
    """Side of a transform in which two surfaces are convolved without wrapping into the search."""
    return int(fft.next_fast_len(3 * radius + 1, real=True))


def join(direct: Float32Array, legs: list[tuple[Float32Array, Float32Array]]) -> Joint:
    """Find the displacement that all surfaces together make likeliest.

    Parameters
    ----------
    direct
        ``(point, side, side)``: correlation surfaces from the first to the last image, the zero
        displacement in the middle; `NO_CANDIDATE` where a displacement cannot be judged.
    legs
        For each middle image the surfaces from the first image to it and from it to the last one,
        of the same shape. A middle image in which one of the two has no candidate above zero says
        nothing of that point: its support is 0, its ``u`` and ``v`` are NaN.

    Returns
    -------
    Joint

    Examples
    --------
    Two peaks of one height; the middle image knows which of them is the motion.

    >>> noise = np.random.default_rng(1).normal(0, 0.1, (3, 1, 17, 17)).astype(np.float32)
    >>> direct, first, second = noise
    >>> direct[0, 10, 12] = direct[0, 3, 4] = 0.6
    >>> first[0, 9, 10] = second[0, 9, 10] = 0.6
    >>> joint = join(direct, [(first, second)])
    >>> round(float(joint.u[0])), round(float(joint.v[0]))
    (4, 2)
    """
    number, side, _ = direct.shape
    size = unaliased_size(side // 2)
    total = np.empty(direct.shape, np.float32)
    _squared_significance(direct, total)
    prepared = []
    for first, second in legs:
        before, after = (np.zeros((number, size, size), np.float32) for _ in range(2))
        known = np.ones(number, np.bool_)
        _probabilities(first, before, known)
        _probabilities(second, after, known)
        spectrum = fft.rfft2(before)
        spectrum *= fft.rfft2(after)
        together = fft.irfft2(spectrum, s=(size, size), overwrite_x=True)
        gain = np.empty(direct.shape, np.float32)
        _path_gain(together, known, gain)
        # What cannot be judged directly stays out, whatever a path says of it.
        total += gain
        prepared.append((before, after, known, gain))
    peaks = np.full((8, number), np.nan, np.float32)
    places = np.full((2, number), -1, np.int64)
    _joint_peaks(direct, total, peaks, places)
    paths = []
    for before, after, known, gain in prepared:
        path = np.full((3, number), np.nan, np.float32)
        _likeliest_steps(before, after, known, gain, places, path)
        paths.append(Path(*path))
    return Joint(
        u=peaks[0], v=peaks[1], u_var=peaks[2], v_var=peaks[3], uv_cov=peaks[4],
        correlation=peaks[5], snr=peaks[6], peak_ratio=peaks[7], paths=tuple(paths),
    )  # fmt: skip


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _scatter(surface: Any) -> Any:
    """Highest correlation, and mean square beyond its 3 x 3 neighbourhood (0 where none)."""
    side = surface.shape[0]
    best = NO_CANDIDATE
    best_i = best_j = -9
    squares = 0.0
    number = 0
    for i in range(side):
        row = surface[i]
        for j in range(side):
            value = row[j]
            if value > NO_CANDIDATE:
                squares += value * value
                number += 1
            if value > best:
                best = value
                best_i, best_j = i, j
    for i in range(max(best_i - 1, 0), min(best_i + 2, side)):
        for j in range(max(best_j - 1, 0), min(best_j + 2, side)):
            value = surface[i, j]
            if value > NO_CANDIDATE:
                squares -= value * value
                number -= 1
    # What cancels to rounding is a surface that is zero beyond its peak.
    if number == 0 or squares <= 1e-7 * best * best:
        return best, 0.0
    return best, squares / number


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _squared_significance(surfaces: Any, out: Any) -> None:
    """z² of what is above zero, on each surface; NO_CANDIDATE stays."""
    number, side, _ = surfaces.shape
    for k in range(number):
        _, mean_square = _scatter(surfaces[k])
        scale = np.float32(1.0 / mean_square) if mean_square > 0.0 else np.float32(0.0)
        for i in range(side):
            row = surfaces[k, i]
            target = out[k, i]
            for j in range(side):
                above = max(row[j], np.float32(0.0))
                target[j] = NO_CANDIDATE if row[j] <= NO_CANDIDATE else scale * above * above


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _probabilities(surfaces: Any, out: Any, known: Any) -> None:
    """Likelihoods of each surface, of sum one, in the corner of ``out``; not known where none."""
    number, side, _ = surfaces.shape
    for k in range(number):
        best, mean_square = _scatter(surfaces[k])
        if mean_square <= 0.0 or best <= 0.0:
            known[k] = False
            continue
        scale = np.float32(0.5 / mean_square)
        most = np.float32(best * best * scale)
        total = np.float32(0.0)
        for i in range(side):
            row = surfaces[k, i]
            target = out[k, i]
            for j in range(side):
                value = row[j]
                if value <= NO_CANDIDATE:
                    continue
                above = max(value, np.float32(0.0))
                power = scale * above * above - most
                if power > -0.5 * NEGLIGIBLE:
                    target[j] = np.exp(power)
                    total += target[j]
        scale = np.float32(1.0 / total)
        for i in range(side):
            target = out[k, i]
            for j in range(side):
                target[j] *= scale


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _path_gain(together: Any, known: Any, out: Any) -> None:
    """Twice the logarithm of a path's likelihood ratio, from the convolved probabilities."""
    number, side, _ = out.shape
    radius = side // 2
    for k in range(number):
        if not known[k]:
            out[k] = np.float32(0.0)
            continue
        for i in range(side):
            target = out[k, i]
            row = together[k, radius + i]
            rows = side - abs(i - radius)
            for j in range(side):
                steps = rows * (side - abs(j - radius))
                ratio = np.float32(side) ** 4 / np.float32(steps) * row[radius + j]
                target[j] = 2.0 * np.log((1.0 - SEEN) + SEEN * max(ratio, np.float32(0.0)))


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _joint_peaks(direct: Any, total: Any, peaks: Any, places: Any) -> None:
    """Peak of each total: the numbers of `Joint`, in their order; and its row and column."""
    number, side, _ = direct.shape
    radius = side // 2
    for k in range(number):
        best = np.float32(-np.inf)
        best_i = best_j = -1
        for i in range(side):
            for j in range(side):
                if direct[k, i, j] > NO_CANDIDATE and total[k, i, j] > best:
                    best = total[k, i, j]
                    best_i, best_j = i, j
        if best_i < 0:
            continue
        second = np.float32(0.0)
        for i in range(side):
            for j in range(side):
                if (
                    (abs(i - best_i) > 1 or abs(j - best_j) > 1)
                    and direct[k, i, j] > NO_CANDIDATE
                    and total[k, i, j] > second
                ):
                    second = total[k, i, j]
        peaks[5, k] = direct[k, best_i, best_j]
        peaks[6, k] = best
        peaks[7, k] = np.sqrt(best / second) if best > 0.0 and second > 0.0 else np.nan
        if not (0 < best_i < side - 1 and 0 < best_j < side - 1) or best <= 0.0:
            continue
        whole = True
        for i in range(best_i - 1, best_i + 2):
            for j in range(best_j - 1, best_j + 2):
                whole &= direct[k, i, j] > NO_CANDIDATE
        if not whole:
            continue
        hxx, hyy, hxy = _curvature(total[k], best_i, best_j)
        determinant = hxx * hyy - hxy * hxy
        if determinant <= 0.0 or hxx >= 0.0:
            continue
        du, dv = quadratic_peak(total[k], best_i, best_j)
        peaks[0, k] = best_j - radius + du
        peaks[1, k] = best_i - radius + dv
        peaks[2, k] = -2.0 * hyy / determinant
        peaks[3, k] = -2.0 * hxx / determinant
        peaks[4, k] = 2.0 * hxy / determinant
        places[0, k] = best_i
        places[1, k] = best_j


@njit(nogil=True, cache=True)
def _curvature(surface: Any, i: int, j: int) -> Any:
    """Second derivatives xx, yy, xy of the least-squares quadratic through 3 x 3 values."""
    sxx = syy = sxy = 0.0
    for a in range(-1, 2):
        for b in range(-1, 2):
            value = np.float64(surface[i + a, j + b])
            sxx += (3 * b * b - 2) * value
            syy += (3 * a * a - 2) * value
            sxy += a * b * value
    return sxx / 3.0, syy / 3.0, sxy / 4.0


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def _likeliest_steps(
    before: Any, after: Any, known: Any, gain: Any, places: Any, path: Any
) -> None:
    """The first step of the likeliest path to each place, and how much the path supports it."""
    number, side, _ = gain.shape
    radius = side // 2
    for k in range(number):
        row, column = places[0, k], places[1, k]
        if row < 0:
            continue
        path[2, k] = gain[k, row, column]
        if not known[k]:
            continue
        best = np.float32(-1.0)
        best_i = best_j = radius
        # In corner coordinates the two steps add up to row + radius, column + radius.
        for i in range(max(row - radius, 0), min(row + radius, side - 1) + 1):
            first = before[k, i]
            second = after[k, row + radius - i]
            for j in range(max(column - radius, 0), min(column + radius, side - 1) + 1):
                value = first[j] * second[column + radius - j]
                if value > best:
                    best = value
                    best_i, best_j = i, j
        path[0, k] = best_j - radius
        path[1, k] = best_i - radius
