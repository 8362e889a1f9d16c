"""From what a caller hands in to the normal form of `_typing.Call`, with every refusal on the way.

The only Python file that knows dtypes, axes, strides and overlap. No arithmetic on the data.
What is most often handed in leaves each check first: a microsecond shows beside a thousand classes.
"""

from __future__ import annotations

import sys
from operator import index
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from fastsoftmax._memory import empty
from fastsoftmax._typing import UNSET, Array, AxisLike, Call, Mask, Unset

_A = TypeVar("_A", Array, Mask)

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
_NATIVE = frozenset("efd")
_TEMPERATURES = {_FLOAT32: (1e-24, 1e24), _FLOAT64: (1e-270, 1e270)}
"""log2(e) / temperature is used as a sum of two numbers, which must both be normal."""


def _is_bfloat16(dtype: np.dtype[Any]) -> bool:
    # Known by name, so that ml_dtypes need not be imported (nor be there).
    return dtype.kind == "V" and dtype.itemsize == 2 and dtype.name == "bfloat16"


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether the dtype is one that the backends compute on: half types, float32, float64."""
    return dtype.char in _NATIVE or _is_bfloat16(dtype)


def compute_dtype(out: np.dtype[Any]) -> np.dtype[Any]:
    """The type that arithmetic runs in for a result of type `out`."""
    return _FLOAT64 if out.char == "d" else _FLOAT32


def _no_dtype(name: str, dtype: np.dtype[Any]) -> TypeError:
    later = dtype.kind == "c" or dtype.char == "g"
    why = "is not supported yet" if later else "is not a type of numbers to take exponentials of"
    return TypeError(
        f"{name} has dtype {dtype}, which {why}; float16, bfloat16, float32, float64, integers "
        "and bool are accepted"
    )


def _from_torch(x: Any) -> Array:
    torch = sys.modules["torch"]
    if x.requires_grad:
        raise TypeError(
            "it is a torch tensor that requires grad; NumPy functions cannot follow gradients: "
            "pass its detach()"
        )
    if x.device.type != "cpu":
        raise TypeError(f"it is a torch tensor on device {x.device}; move it with cpu()")
    if x.dtype is torch.bfloat16:
        import ml_dtypes

        return cast(Array, x.view(torch.int16).numpy().view(ml_dtypes.bfloat16))
    return cast(Array, x.resolve_conj().resolve_neg().numpy())


def _check_interface(x: Any) -> None:
    """Refuse a buffer shorter than its `__array_interface__` says: NumPy reads past its end."""
    said = getattr(x, "__array_interface__", None)
    if not isinstance(said, dict) or isinstance(said.get("data"), tuple):
        return
    buffer = x if said.get("data") is None else said["data"]
    np.ndarray(said["shape"], said["typestr"], buffer, said.get("offset", 0), said.get("strides"))


def _converted(x: Any) -> Array:
    if "torch" in sys.modules and isinstance(x, sys.modules["torch"].Tensor):
        return _from_torch(x)
    if hasattr(x, "__dlpack__") and not hasattr(x, "__array__") and not isinstance(x, np.ndarray):
        return np.from_dlpack(x)
    _check_interface(x)
    return np.asarray(x)


_REFUSALS = (ValueError, TypeError, BufferError, RuntimeError)
"""What array-likes raise, or classes of their own that may not take a message: JAX's tracers."""


def as_array(x: Any, name: str) -> Array:
    """A plain ndarray of whatever array-like was handed in, without a copy where possible."""
    if type(x) is np.ndarray:
        return x
    try:
        return _converted(x)
    except _REFUSALS as error:
        kind = next(known for known in _REFUSALS if isinstance(error, known))
        raise kind(f"{name} cannot be made an array: {error}") from error


def as_floats(x: Any, name: str) -> Array:
    """An array of a type that backends compute on, in native byte order."""
    array = as_array(x, name)
    dtype = array.dtype
    if dtype is _FLOAT32 or dtype is _FLOAT64:
        return array
    if is_float(dtype):
        return array if dtype.isnative else array.astype(dtype.newbyteorder("="))
    if dtype.kind in "iub":
        return array.astype(np.float64)
    raise _no_dtype(name, dtype)


def unmasked_floats(x: Any, name: str) -> Array:
    """The same of what cannot do without some of its elements, as a softmax can."""
    refuse_mask(x, name)
    return as_floats(x, name)


def refuse_mask(x: Any, name: str) -> None:
    """An error for masked elements, whose values would be taken otherwise."""
    if isinstance(x, np.ma.MaskedArray) and np.ma.is_masked(x):
        raise TypeError(f"{name} has masked elements, which mean nothing here; pass its filled()")


def _result_dtype(x: Array, dtype: Any) -> np.dtype[Any]:
    if dtype is None:
        return x.dtype
    try:
        wanted = np.dtype(dtype)
    except TypeError as error:
        if dtype != "bfloat16":
            raise TypeError(f"dtype {dtype!r} is not a NumPy dtype: {error}") from None
        import ml_dtypes

        wanted = np.dtype(ml_dtypes.bfloat16)
    if not is_float(wanted):
        raise TypeError(f"dtype must be float16, bfloat16, float32 or float64, not {wanted}")
    native: np.dtype[Any] = wanted if wanted.isnative else wanted.newbyteorder("=")
    return native


def normalize_axes(
    axis: AxisLike | Unset, dim: AxisLike | Unset, default: AxisLike, ndim: int
) -> tuple[int, ...]:
    """Sorted, unique, non-negative axes from `axis=` or its alias `dim=`; None means all."""
    if type(axis) is int and dim is UNSET and -ndim <= axis < ndim:
        return (axis % ndim,)
    if isinstance(axis, Unset):
        axis = default if isinstance(dim, Unset) else dim
    elif not isinstance(dim, Unset):
        raise TypeError(f"axis={axis!r} and dim={dim!r} are the same argument; give one of them")
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = []
    for one in given:
        try:
            position = index(one)
        except TypeError:
            raise TypeError(f"axis must be an int, a tuple of ints or None, not {axis!r}") from None
        if isinstance(one, bool):
            raise TypeError(f"axis must be an int, a tuple of ints or None, not {axis!r}")
        if not -ndim <= position < ndim:
            raise np.exceptions.AxisError(
                f"axis {position} is out of bounds for an array of dimension {ndim}"
            )
        axes.append(position % ndim)
    if len(set(axes)) != len(axes):
        raise ValueError(f"axis {axis!r} names an axis twice")
    return tuple(sorted(axes))


def as_mask(x: Any, where: Any, shape: tuple[int, ...], name: str = "x") -> Mask | None:
    """The elements that take part, by `where` and by x's own mask; None for all of them."""
    hidden = x.mask if isinstance(x, np.ma.MaskedArray) else np.ma.nomask
    if where is None and hidden is np.ma.nomask:
        return None
    mask = np.ones((), np.bool_) if where is None else as_array(where, "where")
    if mask.dtype != np.bool_:
        raise TypeError(f"where must be of bool, not {mask.dtype}")
    if mask.shape != shape:  # np.broadcast_to takes 2.4 us to return what fits already
        try:
            mask = np.broadcast_to(mask, shape)
        except ValueError:
            raise ValueError(
                f"where has shape {mask.shape}, which does not broadcast to {name}'s shape {shape}"
            ) from None
    if hidden is not np.ma.nomask:
        mask = mask & ~np.broadcast_to(hidden, shape)
    return mask


def kept_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with the class axes at length 1."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def reduced_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the class axes."""
    return tuple(n for i, n in enumerate(shape) if i not in axes)


def suits(temperature: float, dtype: np.dtype[Any]) -> bool:
    """Whether a result of that type can be computed at this temperature."""
    lowest, highest = _TEMPERATURES[compute_dtype(dtype)]
    return lowest <= temperature <= highest


def as_temperature(
    temperature: Any, shape: tuple[int, ...], axes: tuple[int, ...], dtype: np.dtype[Any]
) -> float | Array:
    if type(temperature) is float and suits(temperature, dtype):
        return temperature
    given = as_array(temperature, "temperature")
    if given.dtype.kind not in "fiu" and not is_float(given.dtype):
        raise TypeError(
            f"temperature must be a real number or an array of them, not of dtype {given.dtype}"
        )
    values = given.astype(np.float64)
    lowest, highest = _TEMPERATURES[compute_dtype(dtype)]
    bad = ~((values >= lowest) & (values <= highest))
    if bad.any():
        first = float(values[bad].flat[0])
        raise ValueError(
            f"temperature must be finite and positive, from {lowest:g} to {highest:g} for "
            f"{compute_dtype(dtype)}, not {first!r}"
        )
    if values.ndim == 0:
        return float(values)
    kept, reduced = kept_shape(shape, axes), reduced_shape(shape, axes)
    if values.shape not in (kept, reduced):
        raise ValueError(
            f"temperature has shape {values.shape}; it must be a scalar or one number per row: "
            f"shape {reduced} or {kept} for x of shape {shape} and class axes {axes}"
        )
    return values.reshape(kept)


def result_array(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], like: Array | None, name: str = "out"
) -> Array:
    """The array handed in for a result, if it suits, else a new one."""
    if out is None:
        return empty(shape, dtype, like)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"{name} must be a NumPy array, not {type(out).__name__}")
    if out.shape != shape:
        raise ValueError(f"{name} has shape {out.shape}, but the result has shape {shape}")
    if out.dtype != dtype:
        raise ValueError(f"{name} has dtype {out.dtype}, but the result has dtype {dtype}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    return out


def same_memory(a: Array, b: Array) -> bool:
    """Whether the two are the very same elements in the same order."""
    return a is b or (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.dtype == b.dtype
    )


def apart(a: _A, out: Array) -> _A:
    """`a`, or its copy if writing to `out` would change it before it is read."""
    return a.copy() if np.may_share_memory(a, out) else a


def apart_or_same(a: Array, out: Array) -> Array:
    """`a`, or its copy if it overlaps `out` without being the very same memory."""
    return a if same_memory(a, out) else apart(a, out)


def _disjoint(x: Array, where: Mask | None, out: Array) -> tuple[Array, Mask | None]:
    """The inputs, each copied that `out` overlaps, but for x as the very same memory."""
    return apart_or_same(x, out), None if where is None else apart(where, out)


def _shaped(
    x: Any,
    axis: AxisLike | Unset,
    dim: AxisLike | Unset,
    default: AxisLike,
    where: Any,
    dtype: Any,
) -> tuple[Array, bool, tuple[int, ...], Mask | None, np.dtype[Any]]:
    """x of one dimension or more, whether it had none, its axes and mask, the result's dtype."""
    array = as_floats(x, "x")
    mask = as_mask(x, where, array.shape)
    scalar = array.ndim == 0
    if scalar:  # a single number is a row of one class
        array = array.reshape(1)
        mask = None if mask is None else mask.reshape(1)
    axes = normalize_axes(axis, dim, default, array.ndim)
    return array, scalar, axes, mask, _result_dtype(array, dtype)


def elementwise(
    x: Any,
    axis: AxisLike | Unset,
    dim: AxisLike | Unset,
    out: Any,
    dtype: Any,
    where: Any,
    temperature: Any,
    threads: int,
) -> tuple[Call, Array]:
    """The call of an operation whose result has x's shape, and that result."""
    array, scalar, axes, mask, kind = _shaped(x, axis, dim, -1, where, dtype)
    shape = () if scalar else array.shape
    scale = as_temperature(temperature, array.shape, axes, kind)
    result = result_array(out, shape, kind, None if scalar else array)
    plain = result if type(result) is np.ndarray else result.view(np.ndarray)
    if out is not None:
        array, mask = _disjoint(array, mask, plain)
    return Call(array, plain.reshape(1) if scalar else plain, axes, mask, scale, threads), result


class Reduction(NamedTuple):
    """The call of an operation that takes the class axes away, and its results."""

    call: Call
    weights: Array | None
    sign_kept: Array | None
    result: Array
    sign: Array | None


def reduction(
    x: Any,
    axis: AxisLike | Unset,
    dim: AxisLike | Unset,
    keepdims: bool,
    weights: Any,
    return_sign: bool,
    where: Any,
    dtype: Any,
    out: Any,
    threads: int,
) -> Reduction:
    """Normal form of `logsumexp`: `out` of the call has x's dimensions, the class axes at 1."""
    array, scalar, axes, mask, kind = _shaped(x, axis, dim, None, where, dtype)
    kept = kept_shape(array.shape, axes)
    shape = () if scalar else kept if keepdims else reduced_shape(array.shape, axes)
    factors = None if weights is None else _weights(weights, array.shape, compute_dtype(kind))
    if factors is not None:  # a weight of 0 takes its class out, even where x is inf or NaN
        mask = factors != 0 if mask is None else mask & (factors != 0)
    result = result_array(out, shape, kind, None)
    sign = empty(shape, kind) if return_sign else None
    plain = result.view(np.ndarray).reshape(kept)
    if out is not None:
        array, mask = _disjoint(array, mask, plain)
    call = Call(array, plain, axes, mask, 1.0, threads)
    return Reduction(call, factors, None if sign is None else sign.reshape(kept), result, sign)


def _weights(weights: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    factors = as_floats(weights, "b").astype(dtype, copy=True)
    try:
        return np.broadcast_to(factors, shape)
    except ValueError:
        raise ValueError(
            f"b has shape {factors.shape}, which does not broadcast to x's shape {shape}"
        ) from None
