"""Scaled dot-product attention in NumPy: the mask and the scale are part of the softmax.

softmax(q k^T / sqrt(d)) v with a causal mask: `where=` keeps later positions out, so no array of
-inf is added, and `temperature=` divides by sqrt(d), so the scores are not touched a second time.
The result is compared with the formula written out in float64.
"""

from math import sqrt

import numpy as np

import fastsoftmax as fs

BATCH, HEADS, LENGTH, WIDTH = 2, 4, 128, 32


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What each position gathers from those that the mask lets it see."""
    scores = q @ k.swapaxes(-1, -2)
    weights = fs.softmax(scores, where=mask, temperature=sqrt(q.shape[-1]), out=scores)
    return weights @ v


def by_the_formula(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The same in float64, step by step."""
    q, k, v = (array.astype(np.float64) for array in (q, k, v))
    scores = q @ k.swapaxes(-1, -2) / sqrt(q.shape[-1])
    weights = np.where(mask, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    return weights / weights.sum(-1, keepdims=True) @ v


def main() -> None:
    """Print the error, what causality means, and what a padded position gets."""
    rng = np.random.default_rng(3)
    q, k, v = rng.normal(size=(3, BATCH, HEADS, LENGTH, WIDTH)).astype(np.float32)
    causal = np.tri(LENGTH, dtype=np.bool_)  # row: who looks; column: who is seen
    got = attention(q, k, v, causal)
    print(f"{BATCH} x {HEADS} heads, {LENGTH} positions of width {WIDTH}, float32")
    error = np.abs(got - by_the_formula(q, k, v, causal)).max()
    print(f"largest difference from the formula in float64: {error:.1e}")

    first_sees_itself = np.abs(got[:, :, 0] - v[:, :, 0]).max() == 0
    print(f"the first position gathers its own value only: {first_sees_itself}")
    changed_k, changed_v = k.copy(), v.copy()
    changed_k[:, :, LENGTH // 2 :] = 9
    changed_v[:, :, LENGTH // 2 :] = 9
    changed = attention(q, changed_k, changed_v, causal)
    unmoved = np.array_equal(changed[:, :, : LENGTH // 2], got[:, :, : LENGTH // 2])
    print(f"another second half leaves the first half as it was, bit for bit: {unmoved}")

    # The second sequence is shorter; masks of any shape that broadcasts to the scores will do. A
    # row that sees nothing at all has weights 0 rather than NaN.
    real = np.arange(LENGTH) < np.array([LENGTH, 100])[:, None]
    both = causal & real[:, None, None, :] & real[:, None, :, None]
    padded = attention(q, k, v, both)
    print(f"padding gets exactly 0: {not padded[1, :, 100:].any()}", end=", ")
    print(f"and no NaN anywhere: {np.isfinite(padded).all()}")


if __name__ == "__main__":
    main()
