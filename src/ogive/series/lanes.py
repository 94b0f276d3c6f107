"""Eight pixels side by side: a compiled number type that is one vector register.

Pixels of one network go through the same operations, so eight of them share one instruction. Loops
over slices of eight are too short for a compiler to see that; here a `load`ed value simply *is*
eight numbers, and ``+ - * /`` act on each of them. Operations are rounded as those of single
numbers are, so what a pixel gets does not depend on its neighbours in the register; only `fused`
may round once instead of twice, in every lane alike.

Arrays hold the eight values of one place next to each other, as their last axis. A place is counted
over all other axes: ``load(array, k)`` takes ``array.reshape(-1, 8)[k]``. Nothing checks bounds.
"""

# The interface of the compiler has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model
from numpy.typing import NDArray

__all__ = [
    "LANES",
    "aligned",
    "fused",
    "inner",
    "load",
    "root",
    "spread",
    "store",
    "where_positive",
]

_WITHOUT_WRAPPERS: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
inner: Any = njit(nogil=True, cache=True, **_WITHOUT_WRAPPERS)
"""Compile a function that only compiled ones call."""

LANES = 8
"""Double precision numbers of one AVX-512 register; two or four registers elsewhere."""

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)


class Lanes(types.Type):
    """Eight double precision numbers."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


def _define(functions: tuple[Any, Any], instruction: str) -> None:
    """Let an operator and its in-place form act lane by lane."""

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)

    for function in functions:
        template = type(
            f"Lanes_{instruction}",
            (ConcreteTemplate,),
            {"key": function, "cases": [signature(lanes, lanes, lanes)]},
        )
        infer_global(function)(template)
        lower_builtin(function, lanes, lanes)(lower)


_define((operator.add, operator.iadd), "fadd")
_define((operator.sub, operator.isub), "fsub")
_define((operator.mul, operator.imul), "fmul")
_define((operator.truediv, operator.itruediv), "fdiv")


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    offset = builder.mul(place, ir.Constant(place.type, LANES))
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


def _load(typing: Any, array: Any, place: Any) -> Any:
    """Take the eight numbers at a place of a float64 array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], *args)
        return builder.load(pointer, align=8)

    return lanes(array, types.int64), generate


def _store(typing: Any, array: Any, place: Any, value: Any) -> Any:
    """Put eight numbers to a place of a float64 array."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _pointer(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, lanes), generate


def _spread(typing: Any, number: Any) -> Any:
    """Put one number into all lanes."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = ir.Constant(_VECTOR, ir.Undefined)
        for k in range(LANES):
            vector = builder.insert_element(vector, args[0], ir.Constant(ir.IntType(32), k))
        return vector

    return lanes(types.float64), generate


def _fused(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """Compute a b + c, rounded once where the processor can."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = f"llvm.fmuladd.v{LANES}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return lanes(lanes, lanes, lanes), generate


def _root(typing: Any, a: Any) -> Any:
    """Square root; NaN of a negative number."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        name = f"llvm.sqrt.v{LANES}f64"
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return lanes(lanes), generate


def _where_positive(typing: Any, condition: Any, a: Any, b: Any) -> Any:
    """Take a where the condition is above zero, else b (also where it is NaN)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", args[0], ir.Constant(_VECTOR, [0.0] * LANES))
        return builder.select(above, args[1], args[2])

    return lanes(lanes, lanes, lanes), generate


load: Any = intrinsic(_load)
store: Any = intrinsic(_store)
spread: Any = intrinsic(_spread)
fused: Any = intrinsic(_fused)
root: Any = intrinsic(_root)
where_positive: Any = intrinsic(_where_positive)


@njit(nogil=True, cache=True)
def aligned(places: int) -> NDArray[np.float64]:
    """Zeros for so many places; a register's worth never lies across two cache lines."""
    raw = np.zeros((places + 1) * LANES)
    shift = (-(raw.ctypes.data // 8)) % LANES
    return raw[shift : shift + places * LANES]
