"""The public steps of optimizers on rows of tables: resolve, normalise, call, return."""

from __future__ import annotations

from typing import Any

from fastsoftmax import _registry, _threads
from fastsoftmax._sampling.update_arrays import Numbers, as_adam_numbers, as_numbers, update_calls

__all__ = ["adagrad_rows_", "adam_rows_", "sgd_rows_"]


def _update(
    rule: str,
    weight: Any,
    states: dict[str, Any],
    ids: Any,
    rows: Any,
    numbers: Numbers,
    strategy: str,
    backend: str | None,
    threads: int | None,
) -> None:
    chosen, count = _registry.resolve(backend), _threads.resolve(threads)
    # All of them are made, and so checked, before the first writes.
    for call in update_calls(rule, weight, states, ids, rows, numbers, strategy, count):
        chosen.update_rows(call)


def sgd_rows_(
    weight: Any,
    ids: Any,
    rows: Any,
    lr: float,
    *,
    weight_decay: float = 0.0,
    partition_strategy: str = "div",
    backend: str | None = None,
    threads: int | None = None,
) -> None:
    r"""Gradient descent on some rows of a table of weights, in place.

    .. math:: w \leftarrow w - \eta\, (g + \lambda w)

    Parameters
    ----------
    weight : ndarray, or list or tuple of ndarray
        The table, of shape (classes, columns), which is changed: float16, bfloat16, float32 or
        float64 in native byte order, of any strides, memory-mapped as well. A list holds its
        shards. A bias, of shape (classes,), is a table of one column.
    ids : array_like of int, shape (n,)
        The rows to be changed, in ascending order, each once.
    rows : array_like, shape (n, columns)
        g in the formula: the gradient of each of these rows; for a bias of shape (n,). Any type
        that `weight` may have, whatever that has; integers and bool are taken as float64.
    lr : float
        :math:`\eta` in the formula, finite and not negative.
    weight_decay : float, default 0.0
        :math:`\lambda`, finite and not negative. It acts on the rows of `ids` only, so that a row
        decays as often as it is met.
    partition_strategy : {"div", "mod"}, default "div"
        How shards divide the classes: each has neighbours, or class k is in shard k modulo their
        number.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`.

    Raises
    ------
    IndexError
        If an id is out of range; the message has its place and its value.
    TypeError
        If an argument is of the wrong kind: what is to be changed is no array, or not of such a
        dtype.
    ValueError
        If a shape or a number does not fit; if an array to be changed is read-only, shares memory
        with another argument or holds an element twice; if ids are not ascending.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    adagrad_rows_, adam_rows_

    Notes
    -----
    After any of these errors nothing has been written.

    Half types are computed on in float32, and what is new is rounded once to weight's type: a
    change below half a unit in the last place of a weight is lost there. `lr` and `weight_decay`
    are rounded to the type that is computed in, and so is `rows`.

    Operations are those of IEEE 754, each rounded, in the order of the formula and with subnormal
    numbers kept. So results are bit-identical for any number of threads and on every backend, but
    for the payload of a NaN. The NumPy and Numba backends keep subnormals if the process does.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> weight = np.ones((4, 2))
    >>> fs.sgd_rows_(weight, [1, 3], [[1.0, 2.0], [3.0, 4.0]], lr=0.25)
    >>> weight
    array([[1.  , 1.  ],
           [0.75, 0.5 ],
           [1.  , 1.  ],
           [0.25, 0.  ]])
    """
    numbers = as_numbers(lr, weight_decay)
    _update("sgd", weight, {}, ids, rows, numbers, partition_strategy, backend, threads)


def adagrad_rows_(
    weight: Any,
    state: Any,
    ids: Any,
    rows: Any,
    lr: float,
    *,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
    partition_strategy: str = "div",
    backend: str | None = None,
    threads: int | None = None,
) -> None:
    r"""Take a step of AdaGrad on some rows of a table of weights, in place.

    .. math::

        s \leftarrow s + g^2, \qquad w \leftarrow w - \eta\, \frac{g}{\sqrt{s} + \epsilon}

    Parameters
    ----------
    weight : ndarray, or list or tuple of ndarray
        The table, of shape (classes, columns), which is changed: float16, bfloat16, float32 or
        float64 in native byte order, of any strides, memory-mapped as well. A list holds its
        shards. A bias, of shape (classes,), is a table of one column.
    state : ndarray, or list or tuple of ndarray
        s in the formula, which is changed: the sums of squares so far, not negative, in weight's
        shape and as many shards. float64 for a weight of float64, else float32.
    ids : array_like of int, shape (n,)
        The rows to be changed, in ascending order, each once.
    rows : array_like, shape (n, columns)
        g in the formula: the gradient of each of these rows; for a bias of shape (n,).
    lr : float
        :math:`\eta` in the formula, finite and not negative.
    eps : float, default 1e-10
        :math:`\epsilon`, finite and not negative. With 0 an element whose gradients were all 0
        becomes NaN.
    weight_decay : float, default 0.0
        This many times w is added to g first, finite and not negative.
    partition_strategy : {"div", "mod"}, default "div"
        How shards divide the classes, as in `sgd_rows_`.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`.

    Raises
    ------
    IndexError
        If an id is out of range; the message has its place and its value.
    TypeError
        If an argument is of the wrong kind: what is to be changed is no array, or not of such a
        dtype.
    ValueError
        If a shape or a number does not fit; if an array to be changed is read-only, shares memory
        with another argument or holds an element twice; if ids are not ascending.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    sgd_rows_, adam_rows_

    Notes
    -----
    The formula is that of ``torch.optim.Adagrad`` without decay of the learning rate. Rows that no
    gradient meets have a change of 0 there too, so that nothing is lost by leaving them alone.

    As to errors, types, rounding and equal bits see the notes of `sgd_rows_`; square root and
    quotient are exact operations of IEEE 754 as well, each rounded once.

    References
    ----------
    .. [1] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and
       stochastic optimization", JMLR 12, 2011.

    Examples
    --------
    The first step is `lr` against the sign of the gradient, whatever its size:

    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> weight, state = np.ones((3, 2)), np.zeros((3, 2))
    >>> fs.adagrad_rows_(weight, state, [2], [[0.5, -40.0]], lr=0.25)
    >>> weight
    array([[1.  , 1.  ],
           [1.  , 1.  ],
           [0.75, 1.25]])
    """
    numbers = as_numbers(lr, weight_decay, eps)
    states = {"state": state}
    _update("adagrad", weight, states, ids, rows, numbers, partition_strategy, backend, threads)


def adam_rows_(
    weight: Any,
    m: Any,
    v: Any,
    ids: Any,
    rows: Any,
    lr: float,
    *,
    step: int,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    partition_strategy: str = "div",
    backend: str | None = None,
    threads: int | None = None,
) -> None:
    r"""Take a step of lazy Adam on some rows of a table of weights, in place.

    .. math::

        m &\leftarrow m + (1 - \beta_1) (g - m), \qquad
        v \leftarrow v + (1 - \beta_2) (g^2 - v), \\
        w &\leftarrow w - \eta\, \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}\,
        \frac{m}{\sqrt{v} + \epsilon}

    Parameters
    ----------
    weight : ndarray, or list or tuple of ndarray
        The table, of shape (classes, columns), which is changed: float16, bfloat16, float32 or
        float64 in native byte order, of any strides, memory-mapped as well. A list holds its
        shards. A bias, of shape (classes,), is a table of one column.
    m, v : ndarray, or list or tuple of ndarray
        The means of gradients and of their squares so far, which are changed: 0 at first, v not
        negative, in weight's shape and as many shards. float64 for a weight of float64, else
        float32.
    ids : array_like of int, shape (n,)
        The rows to be changed, in ascending order, each once.
    rows : array_like, shape (n, columns)
        g in the formula: the gradient of each of these rows; for a bias of shape (n,).
    lr : float
        :math:`\eta` in the formula, finite and not negative.
    step : int
        t in the formula: 1 for the first step, then one more for each, whatever its rows.
    betas : tuple of two floats, default (0.9, 0.999)
        :math:`\beta_1` and :math:`\beta_2`, from 0 up to, but not, 1.
    eps : float, default 1e-8
        :math:`\epsilon`, finite and not negative. With 0 an element whose gradients were all 0
        becomes NaN.
    weight_decay : float, default 0.0
        This many times w is added to g first, finite and not negative.
    partition_strategy : {"div", "mod"}, default "div"
        How shards divide the classes, as in `sgd_rows_`.
    backend : str, optional
        "auto", or one of `fastsoftmax.backends()`.
    threads : int, optional
        The most threads to use, by default `get_num_threads()`.

    Raises
    ------
    IndexError
        If an id is out of range; the message has its place and its value.
    TypeError
        If an argument is of the wrong kind: what is to be changed is no array, or not of such a
        dtype.
    ValueError
        If a shape or a number does not fit; if an array to be changed is read-only, shares memory
        with another argument or holds an element twice; if ids are not ascending.
    BackendUnavailable
        If the backend asked for cannot run here.

    See Also
    --------
    sgd_rows_, adagrad_rows_

    Notes
    -----
    The formula is that of ``torch.optim.SparseAdam``, which has no `weight_decay`: only rows of
    `ids` change, and their means as if the steps without them had not been, while the correction
    of the means' start at 0 goes by `step`. Adam as published lets all means fade at every step.

    As to errors, types, rounding and equal bits see the notes of `sgd_rows_`; square root and
    quotient are exact operations of IEEE 754 as well, each rounded once. What depends on `lr`,
    `step` and `betas` alone is computed in float64 and rounded.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> weight, m, v = np.ones((3, 2)), np.zeros((3, 2)), np.zeros((3, 2))
    >>> fs.adam_rows_(weight, m, v, [0], [[0.5, -40.0]], lr=0.25, step=1)
    >>> weight.round(4)
    array([[0.75, 1.25],
           [1.  , 1.  ],
           [1.  , 1.  ]])
    """
    numbers = as_adam_numbers(lr, weight_decay, eps, step, betas)
    states = {"m": m, "v": v}
    _update("adam", weight, states, ids, rows, numbers, partition_strategy, backend, threads)
