"""SIMD vectors for Numba: a type of 64 bytes of float32 or float64, and the operations on it.

The only place that writes LLVM IR. LLVM turns 64 bytes into the registers that there are: one of
AVX-512, two of AVX, four of SSE or NEON. No arithmetic of softmax here.
"""

# Explicit vectors, because the loop vectoriser decides anew for every loop: it kept to 256 bits,
# ran scalar loops where arrays may overlap, and could not put sums beside an exact exp.
# Numba's cache of the kernels looks at the date of their own file only: after a change here, touch
# that one.

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numba.extending
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.extending import overload, register_model

ROOM = 256
"""Numbers that `room` makes room for."""

_LANES = {types.float32: 16, types.float64: 8}
_FLOATS = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
_INDEX = ir.IntType(32)


class Vector(types.Type):
    """The Numba type of a vector; arrays hold its elements unaligned."""

    def __init__(self, real: Any) -> None:
        self.real = real
        super().__init__(f"Vector({real})")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Vector) -> None:
        registers = ir.VectorType(_FLOATS[kind.real], _LANES[kind.real])
        super().__init__(manager, kind, registers)  # type: ignore[no-untyped-call]


def _intrinsic(typed: Callable[..., Any]) -> Any:
    # Any: what is called from kernels has no typing context as its first argument any more.
    return numba.extending.intrinsic(typed)


def _literal(typed: Callable[..., Any]) -> Any:
    """An intrinsic that gets integers at compile time."""
    return numba.extending.intrinsic(prefer_literal=True)(typed)


def _operation(emit: Callable[..., Any]) -> Callable[..., Any]:
    """How to lower an operation that needs its builder and its operands only."""
    return lambda context, builder, signature, args: emit(builder, *args)


def _integers(vector: ir.VectorType) -> ir.VectorType:
    width = {ir.FloatType(): 32, ir.DoubleType(): 64}[vector.element]
    return ir.VectorType(ir.IntType(width), vector.count)


def _shuffled(builder: Any, v: Any, lanes: list[int]) -> Any:
    return builder.shuffle_vector(v, v, ir.Constant(ir.VectorType(_INDEX, len(lanes)), lanes))


def _filled(builder: Any, scalar: Any, kind: ir.VectorType) -> Any:
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _INDEX(0))
    return _shuffled(builder, first, [0] * kind.count)


def _call(builder: Any, name: str, kind: ir.VectorType, result: Any, arguments: list[Any]) -> Any:
    """Call LLVM's intrinsic for vectors of this kind."""
    # LLVM corrects the suffix to what the version at hand expects.
    suffix = f"v{kind.count}f{_integers(kind).element.width}"
    declared = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, declared, f"{name}.{suffix}")
    return builder.call(function, arguments)


# Arithmetic ---------------------------------------------------------------------------------------


@_intrinsic
def _sum(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _operation(lambda builder, a, b: builder.fadd(a, b))


@_intrinsic
def _difference(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _operation(lambda builder, a, b: builder.fsub(a, b))


@_intrinsic
def _product(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _operation(lambda builder, a, b: builder.fmul(a, b))


@_intrinsic
def _quotient(typing: Any, a: Any, b: Any) -> Any:
    return a(a, b), _operation(lambda builder, a, b: builder.fdiv(a, b))


def _define(operation: Callable[..., Any], compute: Any) -> None:
    def implementation(a: Any, b: Any) -> Any:
        return compute(a, b)

    def typed(a: Any, b: Any) -> Any:
        return implementation if isinstance(a, Vector) and isinstance(b, Vector) else None

    overload(operation)(typed)


_define(operator.add, _sum)
_define(operator.sub, _difference)
_define(operator.mul, _product)
_define(operator.truediv, _quotient)


def _emit_fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    if isinstance(a.type, ir.VectorType):
        return _call(builder, "llvm.fma", a.type, a.type, [a, b, c])
    return builder.fma(a, b, c)


@_intrinsic
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once, of vectors or scalars."""
    return a(a, a, a), _operation(_emit_fma)


@_intrinsic
def maximum(typing: Any, a: Any, b: Any) -> Any:
    """The larger in every lane: a where b is NaN, b where a is. One instruction on x86."""

    def emit(builder: Any, a: Any, b: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", b, a), b, a)

    return a(a, a), _operation(emit)


@_intrinsic
def exponent(typing: Any, z: Any) -> Any:
    """The numbers whose signs and exponents are the lowest bits of z, and their mantissas 0."""

    def emit(builder: Any, z: Any) -> Any:
        bits = _integers(z.type)
        mantissa = {32: 23, 64: 52}[bits.element.width]
        by = ir.Constant(bits, [mantissa] * bits.count)
        return builder.bitcast(builder.shl(builder.bitcast(z, bits), by), z.type)

    return z(z), _operation(emit)


# Choices between lanes ----------------------------------------------------------------------------


@_intrinsic
def where_less(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` where a < b, else `no`."""

    def emit(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", a, b), yes, no)

    return yes(a, a, yes, yes), _operation(emit)


@_intrinsic
def where_equal(typing: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
    """`yes` where a == b, else `no`."""

    def emit(builder: Any, a: Any, b: Any, yes: Any, no: Any) -> Any:
        return builder.select(builder.fcmp_ordered("==", a, b), yes, no)

    return yes(a, a, yes, yes), _operation(emit)


# Lanes --------------------------------------------------------------------------------------------


@_intrinsic
def splat(typing: Any, scalar: Any) -> Any:
    """A scalar in every lane."""
    vector = Vector(scalar)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _filled(builder, args[0], context.get_value_type(vector))

    return vector(scalar), lower


@_intrinsic
def zeros(typing: Any, v: Any) -> Any:
    """As many zeros as v has lanes."""
    return v(v), _operation(lambda builder, v: ir.Constant(v.type, [0.0] * v.type.count))


@_intrinsic
def first(typing: Any, v: Any) -> Any:
    """The first lane."""
    return v.real(v), _operation(lambda builder, v: builder.extract_element(v, _INDEX(0)))


@_intrinsic
def without(typing: Any, v: Any, lane: Any) -> Any:
    """V with 0 in one lane; v itself if it has no lane of that number."""

    def emit(builder: Any, v: Any, lane: Any) -> Any:
        places = ir.VectorType(lane.type, v.type.count)
        numbers = ir.Constant(places, list(range(v.type.count)))
        chosen = builder.icmp_signed("==", numbers, _filled(builder, lane, places))
        return builder.select(chosen, ir.Constant(v.type, [0.0] * v.type.count), v)

    return v(v, types.intp), _operation(emit)


@_intrinsic
def first_lanes(typing: Any, v: Any, count: Any) -> Any:
    """V with 0 in the lanes from `count` on."""

    def emit(builder: Any, v: Any, count: Any) -> Any:
        places = ir.VectorType(count.type, v.type.count)
        numbers = ir.Constant(places, list(range(v.type.count)))
        chosen = builder.icmp_signed("<", numbers, _filled(builder, count, places))
        return builder.select(chosen, v, ir.Constant(v.type, [0.0] * v.type.count))

    return v(v, types.intp), _operation(emit)


@_literal
def exchanged(typing: Any, v: Any, distance: Any) -> Any:
    """Every lane in the place of the one `distance` (a power of two) away, as in a butterfly.

    Of a distance beyond the vector there is none: the lanes stay.
    """
    if not isinstance(distance, types.IntegerLiteral):
        return None
    step = distance.literal_value

    def emit(builder: Any, v: Any, distance: Any) -> Any:
        return _shuffled(builder, v, [(i ^ step) % v.type.count for i in range(v.type.count)])

    return v(v, distance), _operation(emit)


@_intrinsic
def halves_in_double(typing: Any, v: Any) -> Any:
    """Two float64 vectors of the lanes of one of float32."""
    double = Vector(types.float64)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(double)
        n = kind.count
        halves = [_shuffled(builder, args[0], list(range(k, k + n))) for k in (0, n)]
        return context.make_tuple(
            builder, signature.return_type, [builder.fpext(half, kind) for half in halves]
        )

    return types.UniTuple(double, 2)(v), lower


# Memory -------------------------------------------------------------------------------------------

# Pointers, because Numba counts references to an array that is handed on: calls in every row, and
# each of them writes the vector registers to memory and reads them back.


@_intrinsic
def pointer(typing: Any, x: Any, at: Any) -> Any:
    """Where the element of flat index `at` of a C-contiguous array lies.

    An array made in the kernel dies after its last use there, which has to be `alive`.
    """

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        return builder.gep(array.data, [args[1]])

    return types.CPointer(x.dtype)(x, types.intp), lower


@_intrinsic
def alive(typing: Any, x: Any) -> Any:
    """Nothing; but the array has a use here, so that pointers into it have held until now."""
    return types.none(x), lambda context, *_: context.get_dummy_value()


@_intrinsic
def room(typing: Any, like: Any) -> Any:
    """Uninitialised memory for ROOM numbers like this one, on the stack while the function runs."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return cgutils.alloca_once(builder, args[0].type, size=ROOM)

    return types.CPointer(like)(like), lower


@_intrinsic
def moved(typing: Any, p: Any, count: Any) -> Any:
    """The place `count` elements further on."""
    return p(p, types.intp), _operation(lambda builder, p, count: builder.gep(p, [count]))


@_intrinsic
def read(typing: Any, p: Any) -> Any:
    """The element there."""
    return p.dtype(p), _operation(lambda builder, p: builder.load(p))


@_intrinsic
def write(typing: Any, p: Any, element: Any) -> Any:
    """Put an element there."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[1], args[0])
        return context.get_dummy_value()

    return types.none(p, p.dtype), lower


@_intrinsic
def lanes(typing: Any, p: Any) -> Any:
    """How many elements make a vector, at compile time."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_constant(types.intp, _LANES[p.dtype])

    return types.intp(p), lower


@_intrinsic
def load(typing: Any, p: Any) -> Any:
    """The elements from there on."""
    vector = Vector(p.dtype)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = builder.bitcast(args[0], context.get_value_type(vector).as_pointer())
        return builder.load(at, align=p.dtype.bitwidth // 8)

    return vector(p), lower


@_intrinsic
def store(typing: Any, p: Any, v: Any) -> Any:
    """Write a vector."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        at = builder.bitcast(args[0], args[1].type.as_pointer())
        builder.store(args[1], at, align=p.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(p, v), lower


def _masked(builder: Any, p: Any, count: Any, kind: Any) -> tuple[Any, Any, Any]:
    """Where, how aligned and which lanes: those before `count`."""
    places = ir.VectorType(_INDEX, kind.count)
    limit = _filled(builder, builder.trunc(count, _INDEX), places)
    mask = builder.icmp_signed("<", ir.Constant(places, list(range(kind.count))), limit)
    at = builder.bitcast(p, kind.as_pointer())
    return at, _INDEX(_integers(kind).element.width // 8), mask


def _some(p: Any, otherwise: float) -> Any:
    """How to load as many elements as said, and that number in the lanes behind them."""
    vector = Vector(p.dtype)

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(vector)
        absent = ir.Constant(kind, [otherwise] * kind.count)
        at, size, mask = _masked(builder, args[0], args[1], kind)
        return _call(builder, "llvm.masked.load", kind, kind, [at, size, mask, absent])

    return vector(p, types.intp), lower


@_intrinsic
def load_some(typing: Any, p: Any, count: Any) -> Any:
    """`count` elements, and -inf in the lanes behind them."""
    return _some(p, float("-inf"))


@_intrinsic
def load_or_zeros(typing: Any, p: Any, count: Any) -> Any:
    """`count` elements, and zeros in the lanes behind them."""
    return _some(p, 0.0)


@_intrinsic
def store_some(typing: Any, p: Any, v: Any, count: Any) -> Any:
    """Write the first `count` lanes."""

    def lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = args[1].type
        at, size, mask = _masked(builder, args[0], args[2], kind)
        _call(builder, "llvm.masked.store", kind, ir.VoidType(), [args[1], at, size, mask])
        return context.get_dummy_value()

    return types.none(p, v, types.intp), lower
