r"""Sub-pixel displacement by inverse-compositional Gauss-Newton on the window itself.

The window :math:`T` of the earlier image stays where it is; the later image is sampled by a cubic
B-spline at :math:`W(x; p)` and the parameters are improved by

.. math::

    \Delta p = A^{-1} \sum_x \left(\nabla T \frac{\partial W}{\partial p}\right)^T
               \left(\hat I(W(x; p)) - T(x)\right), \qquad
    A = \sum_x \left(\nabla T \frac{\partial W}{\partial p}\right)^T
               \left(\nabla T \frac{\partial W}{\partial p}\right), \qquad
    W \leftarrow W \circ W(\Delta p)^{-1},

both windows with zero mean and norm one (Baker & Matthews 2004, Int. J. Comput. Vis. 56, 221-255;
Pan et al. 2013, Exp. Mech. 53, 1277-1289). :math:`A` depends on the earlier window only. Two
models of motion: a *translation* under a known, fixed deformation (the gradient of the predicted
displacement), and an *affine* one, which measures the deformation too.

Windows lie in memory as lines of ``size`` pixels and `PAD` zeros, the layout of the patch of spline
coefficients that they are sampled from: one loop without a break runs over a window, and each of
the 25 taps is the same loop a little farther on. Five taps a side serve positions that stay within
one pixel of the patch's own place; stronger deformations go row by row, cut where they enter
another pixel.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .kernels import FASTMATH, PAD

__all__ = ["FARTHEST_PX", "refine_window", "refinement_scratch"]

FARTHEST_PX = 2.0
"""A solution farther than this from its start belongs to another peak."""

LEAST_CORRELATION = 0.3
SLOW = 0.3
"""Steps that shrink by less than this factor are extrapolated."""

SIXTH = np.float32(1.0 / 6.0)
ONE = np.float32(1.0)
THREE = np.float32(3.0)
FOUR = np.float32(4.0)
SIX = np.float32(6.0)


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def sample_piece(coefficients, y, x, number, left_x, left_y, x_step, y_step, level, out):
    """Sample a cubic B-spline less ``level``, from pixel to pixel at the same four rows of taps.

    Sample ``i`` is at ``(x + i + left_x + i x_step, y + left_y + i y_step)``; ``left + i step``
    stays within one pixel.
    """
    r0 = coefficients[y - 1, x - 1 : x + number + 2]
    r1 = coefficients[y, x - 1 : x + number + 2]
    r2 = coefficients[y + 1, x - 1 : x + number + 2]
    r3 = coefficients[y + 2, x - 1 : x + number + 2]
    for i in range(number):
        step = np.float32(i)
        f = left_x + x_step * step
        g = ONE - f
        a0 = g * g * g * SIXTH
        a3 = f * f * f * SIXTH
        a1 = (THREE * f * f * f - SIX * f * f + FOUR) * SIXTH
        a2 = (THREE * g * g * g - SIX * g * g + FOUR) * SIXTH
        f = left_y + y_step * step
        g = ONE - f
        b0 = g * g * g * SIXTH
        b3 = f * f * f * SIXTH
        b1 = (THREE * f * f * f - SIX * f * f + FOUR) * SIXTH
        b2 = (THREE * g * g * g - SIX * g * g + FOUR) * SIXTH
        out[i] = (
            b0 * (a0 * r0[i] + a1 * r0[i + 1] + a2 * r0[i + 2] + a3 * r0[i + 3])
            + b1 * (a0 * r1[i] + a1 * r1[i + 1] + a2 * r1[i + 2] + a3 * r1[i + 3])
            + b2 * (a0 * r2[i] + a1 * r2[i + 1] + a2 * r2[i + 2] + a3 * r2[i + 3])
            + b3 * (a0 * r3[i] + a1 * r3[i + 1] + a2 * r3[i + 2] + a3 * r3[i + 3])
        ) - level


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def sample_row(coefficients, x, y, x_step, y_step, count, level, out):
    """Sample a cubic B-spline less ``level`` at ``(x + k + k x_step, y + k y_step)``, k < count.

    The caller has made sure that all taps are inside the image.
    """
    k = 0
    while k < count:
        at_x = x + k * x_step
        at_y = y + k * y_step
        whole_x = int(np.floor(at_x))
        whole_y = int(np.floor(at_y))
        left_x = at_x - whole_x
        left_y = at_y - whole_y
        stop = count
        end_x = left_x + (count - 1 - k) * x_step
        end_y = left_y + (count - 1 - k) * y_step
        if end_x >= 1.0:
            stop = min(stop, k + int(np.ceil((1.0 - left_x) / x_step)))
        elif end_x < 0.0:
            stop = min(stop, k + int(np.floor(left_x / -x_step)) + 1)
        if end_y >= 1.0:
            stop = min(stop, k + int(np.ceil((1.0 - left_y) / y_step)))
        elif end_y < 0.0:
            stop = min(stop, k + int(np.floor(left_y / -y_step)) + 1)
        stop = max(stop, k + 1)
        sample_piece(
            coefficients, whole_y, whole_x + k, stop - k, np.float32(left_x), np.float32(left_y),
            np.float32(x_step), np.float32(y_step), level, out[k:stop],
        )  # fmt: skip
        k = stop


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def window_gradients(coefficients, y, x, size, scale, gradient_x, gradient_y):
    """Spline derivatives of the earlier window, times ``scale``; edges mirrored by one pixel."""
    height, width = coefficients.shape[1:]
    side = np.float32(1.0 / 6.0)
    centre = np.float32(4.0 / 6.0)
    half = np.float32(0.5 * scale)
    for c in range(coefficients.shape[0]):
        for i in range(size):
            yy = y + i
            up = coefficients[c, yy - 1 if yy > 0 else 1]
            mid = coefficients[c, yy]
            down = coefficients[c, yy + 1 if yy < height - 1 else height - 2]
            first = 1 if x == 0 else 0
            last = size - 1 if x + size == width else size
            begin = i * (size + PAD)
            gradient_x[c, begin] = gradient_y[c, begin] = np.float32(0.0)
            gradient_x[c, begin + size - 1] = gradient_y[c, begin + size - 1] = np.float32(0.0)
            u = up[x + first - 1 : x + last + 1]
            m = mid[x + first - 1 : x + last + 1]
            d = down[x + first - 1 : x + last + 1]
            into_x = gradient_x[c, begin + first : begin + last]
            into_y = gradient_y[c, begin + first : begin + last]
            for k in range(last - first):
                into_x[k] = half * (
                    side * (u[k + 2] - u[k]) + centre * (m[k + 2] - m[k]) + side * (d[k + 2] - d[k])
                )
                into_y[k] = half * (
                    side * (d[k] - u[k])
                    + centre * (d[k + 1] - u[k + 1])
                    + side * (d[k + 2] - u[k + 2])
                )


@njit(nogil=True, cache=True)
def solve_symmetric(matrix, right, number):
    """Solve by Cholesky in place; False if singular.

    ``matrix`` becomes its factor and ``right`` the solution.
    """
    for i in range(number):
        for j in range(i + 1):
            value = matrix[i, j]
            for k in range(j):
                value -= matrix[i, k] * matrix[j, k]
            if i == j:
                if value <= 1e-12:
                    return False
                matrix[i, i] = np.sqrt(value)
            else:
                matrix[i, j] = value / matrix[j, j]
    substitute(matrix, right, number)
    return True


@njit(nogil=True, cache=True)
def substitute(factor, right, number):
    """Solve with a Cholesky factor, in place."""
    for i in range(number):
        value = right[i]
        for k in range(i):
            value -= factor[i, k] * right[k]
        right[i] = value / factor[i, i]
    for i in range(number - 1, -1, -1):
        value = right[i]
        for k in range(i + 1, number):
            value -= factor[k, i] * right[k]
        right[i] = value / factor[i, i]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def normal_matrix(window, gradient_x, gradient_y, across, down, affine, matrix, own, sides):
    """Normal matrix for (u, v), or for (u, v, u_x, u_y, v_x, v_y); the lower triangle is filled.

    ``own`` receives, for each channel, the sums of the window times the steepest-descent images,
    and ``sides`` the sums of those images alone. Windows are lines, ``(channel, size (size +
    PAD))``.
    """
    matrix[:] = 0.0
    number = across.size
    for c in range(window.shape[0]):
        gx = gradient_x[c]
        gy = gradient_y[c]
        own_line = window[c]
        xx = xy = yy = tx = ty = sx = sy = np.float32(0.0)
        for k in range(number):
            a = gx[k]
            b = gy[k]
            t = own_line[k]
            xx += a * a
            xy += a * b
            yy += b * b
            tx += a * t
            ty += b * t
            sx += a
            sy += b
        matrix[0, 0] += xx
        matrix[1, 0] += xy
        matrix[1, 1] += yy
        own[c, 0], own[c, 1] = tx, ty
        sides[c, 0], sides[c, 1] = sx, sy
        if affine:
            for part in range(3):
                left = gx if part < 2 else gy
                right = gx if part < 1 else gy
                m1x = m1y = mxx = mxy = myy = np.float32(0.0)
                for k in range(number):
                    product = left[k] * right[k]
                    by_x = product * across[k]
                    by_y = product * down[k]
                    m1x += by_x
                    m1y += by_y
                    mxx += by_x * across[k]
                    mxy += by_x * down[k]
                    myy += by_y * down[k]
                row = 4 if part else 2
                column = 0 if part < 2 else 1
                matrix[row, column] += m1x
                matrix[row + 1, column] += m1y
                column = 2 if part < 2 else 4
                matrix[row, column] += mxx
                matrix[row + 1, column] += mxy
                matrix[row + 1, column + 1] += myy
            for part in range(2):
                gradient = gy if part else gx
                t1 = t2 = s1 = s2 = np.float32(0.0)
                for k in range(number):
                    by_x = gradient[k] * across[k]
                    by_y = gradient[k] * down[k]
                    s1 += by_x
                    s2 += by_y
                    t1 += by_x * own_line[k]
                    t2 += by_y * own_line[k]
                own[c, 2 + 2 * part], own[c, 3 + 2 * part] = t1, t2
                sides[c, 2 + 2 * part], sides[c, 3 + 2 * part] = s1, s2
    if affine:
        matrix[2, 1] = matrix[4, 0]
        matrix[3, 1] = matrix[5, 0]
        matrix[4, 3] = matrix[5, 2]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def steepest_descent_sums(
    window, gradient_x, gradient_y, sampled, weights, across, down, affine, c, sums
):
    """Sums of a sampled window's channel ``c``, in one loop without a break.

    ``sums[c]`` receives: values, their squares, values x window, values x steepest-descent images.
    """
    number = weights.size
    values = sampled[c]
    own_line = window[c]
    gx = gradient_x[c]
    gy = gradient_y[c]
    s0 = s1 = s2 = s3 = s4 = np.float32(0.0)
    for k in range(number):
        value = values[k] * weights[k]
        s0 += value
        s1 += value * value
        s2 += value * own_line[k]
        s3 += value * gx[k]
        s4 += value * gy[k]
    sums[c, 0], sums[c, 1], sums[c, 2], sums[c, 3], sums[c, 4] = s0, s1, s2, s3, s4
    if affine:
        s5 = s6 = s7 = s8 = np.float32(0.0)
        for k in range(number):
            a = values[k] * gx[k]
            b = values[k] * gy[k]
            s5 += a * across[k]
            s6 += a * down[k]
            s7 += b * across[k]
            s8 += b * down[k]
        sums[c, 5], sums[c, 6], sums[c, 7], sums[c, 8] = s5, s6, s7, s8


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def take_coefficients(later, y, x, size, patch):
    """Copy the spline coefficients two pixels round a window; edges of the image are repeated."""
    height, width = later.shape[1:]
    side = size + PAD
    for c in range(later.shape[0]):
        for i in range(side):
            target = patch[c, i * side : (i + 1) * side]
            if x >= 2 and x + size + 2 <= width and y >= 2 and y + size + 2 <= height:
                row = later[c, y - 2 + i, x - 2 : x - 2 + side]
                for k in range(side):
                    target[k] = row[k]
            else:
                row = later[c, min(max(y - 2 + i, 0), height - 1)]
                for k in range(side):
                    target[k] = row[min(max(x - 2 + k, 0), width - 1)]


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def sample_patch(patches, c, size, moves, across, down, level, sampled):
    """Sample a patch of spline coefficients less ``level``, all of a window in one loop.

    ``moves`` = (u, v, u_x, u_y, v_x, v_y) from the patch's own place, nowhere more than a pixel.
    """
    patch = patches[c]
    out = sampled[c]
    one = np.uint64(1)
    side = np.uint64(size + PAD)
    u, v = np.float32(moves[0]), np.float32(moves[1])
    ux, uy = np.float32(moves[2]), np.float32(moves[3])
    vx, vy = np.float32(moves[4]), np.float32(moves[5])
    zero = np.float32(0.0)
    for k in range(np.uint64(size * (size + PAD))):
        t = u + ux * across[k] + uy * down[k]
        q = max(zero, -t)
        r = max(zero, t)
        q = q * q * q
        r = r * r * r
        a = ONE - t
        b = ONE + t
        a0 = SIXTH * q
        a4 = SIXTH * r
        a1 = SIXTH * (a * a * a - FOUR * q)
        a3 = SIXTH * (b * b * b - FOUR * r)
        a2 = ONE - (a0 + a1 + a3 + a4)
        t = v + vx * across[k] + vy * down[k]
        q = max(zero, -t)
        r = max(zero, t)
        q = q * q * q
        r = r * r * r
        a = ONE - t
        b = ONE + t
        b0 = SIXTH * q
        b4 = SIXTH * r
        b1 = SIXTH * (a * a * a - FOUR * q)
        b3 = SIXTH * (b * b * b - FOUR * r)
        b2 = ONE - (b0 + b1 + b3 + b4)
        i = k
        total = b0 * (
            a0 * patch[i]
            + a1 * patch[i + one]
            + a2 * patch[i + one + one]
            + a3 * patch[i + one + one + one]
            + a4 * patch[i + one + one + one + one]
        )
        i = i + side
        total += b1 * (
            a0 * patch[i]
            + a1 * patch[i + one]
            + a2 * patch[i + one + one]
            + a3 * patch[i + one + one + one]
            + a4 * patch[i + one + one + one + one]
        )
        i = i + side
        total += b2 * (
            a0 * patch[i]
            + a1 * patch[i + one]
            + a2 * patch[i + one + one]
            + a3 * patch[i + one + one + one]
            + a4 * patch[i + one + one + one + one]
        )
        i = i + side
        total += b3 * (
            a0 * patch[i]
            + a1 * patch[i + one]
            + a2 * patch[i + one + one]
            + a3 * patch[i + one + one + one]
            + a4 * patch[i + one + one + one + one]
        )
        i = i + side
        total += b4 * (
            a0 * patch[i]
            + a1 * patch[i + one]
            + a2 * patch[i + one + one]
            + a3 * patch[i + one + one + one]
            + a4 * patch[i + one + one + one + one]
        )
        out[k] = total - level


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def sample_window(later, y, x, size, motion, level, place, patch, across, down, moves, sampled):
    """Sample the moved and deformed window less ``level``; False where it leaves the image.

    ``place`` remembers which patch of coefficients was copied last.
    """
    height, width = later.shape[1:]
    u, v, ux, uy, vx, vy = motion[0], motion[1], motion[2], motion[3], motion[4], motion[5]
    centre = 0.5 * (size - 1)
    bend_x = centre * (abs(ux) + abs(uy))
    bend_y = centre * (abs(vy) + abs(vx))
    middle_x = x + centre + u
    middle_y = y + centre + v
    if not (
        middle_x - centre - bend_x >= 1.0
        and middle_y - centre - bend_y >= 1.0
        and middle_x + centre + bend_x < width - 2.0
        and middle_y + centre + bend_y < height - 2.0
    ):
        return False
    if place[0] < 0 or abs(x + u - place[1]) + bend_x > 1.0 or abs(y + v - place[0]) + bend_y > 1.0:
        place[0] = int(np.rint(y + v))
        place[1] = int(np.rint(x + u))
        take_coefficients(later, place[0], place[1], size, patch)
    if abs(x + u - place[1]) + bend_x <= 1.0 and abs(y + v - place[0]) + bend_y <= 1.0:
        moves[:] = motion
        moves[0] = x + u - place[1]
        moves[1] = y + v - place[0]
        for c in range(later.shape[0]):
            sample_patch(patch, c, size, moves, across, down, np.float32(level[c]), sampled)
        return True
    for c in range(later.shape[0]):
        for i in range(size):
            below = i - centre
            sample_row(
                later[c],
                x + u - centre * ux + below * uy,
                y + i + v - centre * vx + below * vy,
                ux,
                vx,
                size,
                np.float32(level[c]),
                sampled[c, i * (size + PAD) : i * (size + PAD) + size],
            )
    return True


@njit(nogil=True, cache=True)
def compose_inverse(motion, step, affine):
    """W(x; p) <- W(W^-1(x; step); p): the inverse-compositional update, in place."""
    p, q, r, s = 1.0 + motion[2], motion[3], motion[4], 1.0 + motion[5]
    back_u, back_v = -step[0], -step[1]
    if affine:
        a, b, d, e = 1.0 + step[2], step[3], step[4], 1.0 + step[5]
        determinant = a * e - b * d
        ia, ib, ic, ie = e / determinant, -b / determinant, -d / determinant, a / determinant
        back_u, back_v = ia * back_u + ib * back_v, ic * back_u + ie * back_v
        motion[2] = p * ia + q * ic - 1.0
        motion[3] = p * ib + q * ie
        motion[4] = r * ia + s * ic
        motion[5] = r * ib + s * ie - 1.0
    motion[0] += p * back_u + q * back_v
    motion[1] += r * back_u + s * back_v


@njit(nogil=True, cache=True, fastmath=FASTMATH)
def refine_window(
    window, norm, earlier, later, y, x, size, affine, iterations, tolerance, weights, weighted,
    scratch, motion, covariance,
):  # fmt: skip
    """Improve ``motion`` = (u, v, u_x, u_y, v_x, v_y) of one window, in place.

    Parameters
    ----------
    window, norm
        The earlier window with zero mean and norm one, and the norm that it had.
    earlier, later
        Spline coefficients of both feature stacks.
    y, x, size
        Where the window starts, and its size.
    affine
        Whether the deformation is measured (or kept as given).
    iterations, tolerance
        At most so many steps; they end when what is left is shorter than ``tolerance`` pixels.
    weights, weighted
        One for each pixel that takes part and zero for the others, in the window's layout; whether
        any of the window's pixels has no part.
    scratch
        From `refinement_scratch`.
    motion
        Start and result, in pixels.
    covariance
        Filled with the (var u, var v, cov u v) of a residual of variance one: the inverse of the
        normal matrix.

    Returns
    -------
    tuple of float
        Correlation at the last position (-2 where the window left the image, -3 where the normal
        matrix is singular) and the pixels that the next steps would still move.
    """
    gradient_x, gradient_y, sampled, across, down, patch, place, moves, matrix, step, sums, own, \
        sides, level = scratch  # fmt: skip
    channels = window.shape[0]
    count = size * size
    place[0] = -1
    window_gradients(earlier, y, x, size, 1.0 / norm, gradient_x, gradient_y)
    if weighted:
        count = int(np.sum(weights))
        for c in range(channels):
            gradient_x[c] *= weights
            gradient_y[c] *= weights
    number = 6 if affine else 2
    normal_matrix(window, gradient_x, gradient_y, across, down, affine, matrix, own, sides)
    step[:] = 0.0
    if not solve_symmetric(matrix, step, number):
        return -3.0, np.inf
    # A level near the window's mean is taken off while sampling, for the sake of single precision.
    near_y = min(max(int(y + motion[1] + size // 2), 0), later.shape[1] - 1)
    near_x = min(max(int(x + motion[0] + size // 2), 0), later.shape[2] - 1)
    for c in range(channels):
        level[c] = later[c, near_y, near_x]
    correlation = -2.0
    before = np.inf
    left = np.inf
    last_u = last_v = 0.0
    start_u, start_v = motion[0], motion[1]
    for _ in range(iterations):
        if not sample_window(
            later, y, x, size, motion, level, place, patch, across, down, moves, sampled
        ):
            return -2.0, left
        squares = 0.0
        product = 0.0
        for c in range(channels):
            steepest_descent_sums(
                window, gradient_x, gradient_y, sampled, weights, across, down, affine, c, sums
            )
            squares += sums[c, 1] - sums[c, 0] * sums[c, 0] / count
            product += sums[c, 2]
        if squares <= 0.0:
            return -3.0, left
        scale = 1.0 / np.sqrt(squares)
        correlation = product * scale
        step[:] = 0.0
        for c in range(channels):
            mean = sums[c, 0] / count
            for i in range(number):
                step[i] += scale * (sums[c, 3 + i] - mean * sides[c, i]) - own[c, i]
            level[c] += mean
        substitute(matrix, step, number)
        # Noise is in the normal matrix too: the step that it gives is short by the correlation.
        step /= max(correlation, LEAST_CORRELATION)
        length = np.hypot(step[0], step[1])
        previous = before
        rate = length / before
        along = step[0] * last_u + step[1] * last_v
        before = length
        last_u, last_v = step[0], step[1]
        left = length * min(rate, 0.9) / (1.0 - min(rate, 0.9))
        if SLOW < rate < 0.95 and along > 0.9 * length * previous:
            # Steps that shrink slowly along one line: go where they lead (Aitken).
            step /= 1.0 - rate
            left = length
            before = np.inf
        elif rate == 0.0:
            left = length
        compose_inverse(motion, step, affine)
        if left < tolerance or abs(motion[0] - start_u) + abs(motion[1] - start_v) > FARTHEST_PX:
            break
    for i in range(2):
        step[:] = 0.0
        step[i] = 1.0
        substitute(matrix, step, number)
        covariance[i] = step[i]
        covariance[2] = step[1 - i]
    return correlation, left


@njit(nogil=True, cache=True)
def refinement_scratch(channels, size):
    """Working space of `refine_window`, made once for many windows."""
    side = size + PAD
    across = np.empty((size, side), np.float32)
    down = np.empty((size, side), np.float32)
    for k in range(side):
        across[:, k] = k - 0.5 * (size - 1)
    for i in range(size):
        down[i] = i - 0.5 * (size - 1)
    return (
        np.zeros((channels, size * side), np.float32),
        np.zeros((channels, size * side), np.float32),
        np.zeros((channels, size * side), np.float32),
        across.reshape(size * side),
        down.reshape(size * side),
        np.zeros((channels, side * side + side), np.float32),
        np.empty(2, np.int64),
        np.empty(6),
        np.empty((6, 6)),
        np.empty(6),
        np.empty((channels, 9)),
        np.empty((channels, 6)),
        np.empty((channels, 6)),
        np.empty(channels),
    )


@njit(nogil=True, cache=True)
def full_weights(size):
    """Weights of a window whose pixels all take part, with the zeros behind each line."""
    weights = np.zeros((size, size + PAD), np.float32)
    weights[:, :size] = 1.0
    return weights.reshape(size * (size + PAD))
