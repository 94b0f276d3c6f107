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

    S(d) = z_{+,pr}^2(d) + \frac{4}{M + 1} \sum_{q=1}^{M} \ln \Lambda_{pqr}(d)

for :math:`M` middle images. Where nothing matches, the sum over :math:`e` is :math:`m / n^2` in the
mean and a path adds nothing; where p to q and q to r agree on :math:`d`, it adds up to
:math:`2 \ln (n^2 / 2 m)`. :math:`S` is in the units of ``snr``, and without a middle image it *is*
the ``snr``. Paths by several images all begin in p and end in r, so that half of the noise of each
is what all share, and :math:`M` of them say as much as :math:`2 M / (M + 1)` that share nothing: a
cloud in p that looks by chance like something in r looks like the same thing in every q. For the
same reason one middle image does not protect against a bad p or r; it tells which of the candidates
of a weak match is the true one. What a step shares with the direct surface by such chance is taken
off beforehand (`triplet_shared`).

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

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.stats import norm

from .evidence_kernels import (
    SEEN,
    add_paths,
    joint_peaks,
    likeliest_steps,
    path_ratios,
    probabilities,
    squared_significance,
)
from .kernels import Float32Array

__all__ = ["SEEN", "Joint", "Path", "chance_snr", "join", "unaliased_size"]

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


Legs = list[tuple[Float32Array, Float32Array]]


def join(direct: Float32Array, legs: Legs, *, own: Legs | None = None) -> Joint:
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
    own
        The same surfaces freed of what they share with the direct one (`triplet_shared`): S is of
        these, while ``paths`` tell what the middle images show. By default the legs themselves.

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
    squared_significance(direct, total)
    ratios = np.empty((len(legs), *direct.shape), np.float32)
    known = np.ones((len(legs), number), np.bool_)
    for m, leg in enumerate(legs if own is None else own):
        before, after = _both_steps(leg, size, known[m])
        spectrum = fft.rfft2(before)
        spectrum *= fft.rfft2(after)
        together = fft.irfft2(spectrum, s=(size, size), overwrite_x=True)
        path_ratios(together, ratios[m])
    add_paths(ratios, known, total)
    peaks = np.full((8, number), np.nan, np.float32)
    places = np.full((2, number), -1, np.int64)
    joint_peaks(direct, total, peaks, places)
    paths = []
    for leg in legs:
        seen = np.ones(number, np.bool_)
        before, after = _both_steps(leg, size, seen)
        path = np.full((3, number), np.nan, np.float32)
        likeliest_steps(before, after, seen, side, places, path)
        paths.append(Path(*path))
    return Joint(
        u=peaks[0], v=peaks[1], u_var=peaks[2], v_var=peaks[3], uv_cov=peaks[4],
        correlation=peaks[5], snr=peaks[6], peak_ratio=peaks[7], paths=tuple(paths),
    )  # fmt: skip


def _both_steps(
    leg: tuple[Float32Array, Float32Array], size: int, known: NDArray[np.bool_]
) -> tuple[Float32Array, Float32Array]:
    """Probabilities of both steps in the corners of larger squares; ``known`` is set."""
    first, second = leg
    before, after = (np.zeros((first.shape[0], size, size), np.float32) for _ in range(2))
    probabilities(first, before, known)
    probabilities(second, after, known)
    return before, after
