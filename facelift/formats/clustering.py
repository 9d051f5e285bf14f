"""k-means for files that store places in a table: a codebook of numbers, a palette of vectors.

By hand, since SciPy's compares every vector with every centre, of which a palette has up to 65,536, and
starts by chance: the same head must give the same file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 8  # of Lloyd's algorithm on vectors; more change little
_BLOCK = 1 << 24  # distances at once


def codebook(values: Floats, size: int = 256) -> tuple[Floats, NDArray[np.int64]]:
    """Lloyd's algorithm on numbers.

    Args:
        values: of any shape.
        size: how many numbers may stand for them all.

    Returns:
        (size,) numbers in ascending order, and the index of the nearest for each value, in its shape.
    """
    if values.size == 0:
        return np.zeros(size), np.zeros(values.shape, np.int64)
    ordered = np.sort(values, axis=None)
    sums = np.concatenate([[0.0], ordered.cumsum()])
    # Half of them begin where most values are, the others see to the ends.
    dense = np.quantile(ordered, np.linspace(0.0, 1.0, size // 2))
    even = np.linspace(ordered[0], ordered[-1], size - len(dense))
    centers = np.sort(np.concatenate([dense, even]))
    for _ in range(100):
        edges = np.concatenate([[0], np.searchsorted(ordered, _between(centers)), [len(ordered)]])
        counts = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centers)
        if np.array_equal(moved, centers):
            break
        centers = np.sort(moved)
    return centers, np.searchsorted(_between(centers), values)


def palette(vectors: NDArray[np.float32], size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors that stand for many; k-means in two levels, so that even 65,536 of them take seconds.

    Args:
        vectors: (N, D).
        size: how many may stand for them all.

    Returns:
        (K, D) with K <= size, and for each of the N the index of its own.
    """
    if len(vectors) <= size:
        return vectors, np.arange(len(vectors))
    first = _kmeans(vectors, round(size**0.5))
    order = np.argsort(first, kind="stable")
    groups = np.split(order, np.searchsorted(first[order], np.arange(1, first.max() + 1)))
    labels = np.empty(len(vectors), np.int64)
    count = 0
    for group in groups:
        inside = _kmeans(vectors[group], max(1, size * len(group) // len(vectors)))
        labels[group] = count + inside
        count += int(inside.max()) + 1
    return _means(vectors, labels, count), labels


def _kmeans(vectors: NDArray[np.float32], size: int) -> NDArray[np.int64]:
    """(N,) clusters from 0, none of them empty, of (N, D) vectors; it begins with evenly spaced ones."""
    centers = vectors[np.linspace(0, len(vectors) - 1, min(size, len(vectors))).astype(np.int64)]
    for _ in range(_STEPS):
        _, labels = np.unique(_nearest(vectors, centers), return_inverse=True)
        centers = _means(vectors, labels, int(labels.max()) + 1)
    return labels


def _nearest(vectors: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.int64]:
    half = 0.5 * (centers**2).sum(axis=-1)
    rows = max(1, _BLOCK // len(centers))
    blocks = (vectors[start : start + rows] for start in range(0, len(vectors), rows))
    return np.concatenate([(half - block @ centers.T).argmin(axis=-1) for block in blocks])


def _means(vectors: NDArray[np.float32], labels: NDArray[np.int64], count: int) -> NDArray[np.float32]:
    order = np.argsort(labels, kind="stable")
    sums = np.add.reduceat(vectors[order], np.searchsorted(labels[order], np.arange(count)))
    return (sums / np.bincount(labels, minlength=count)[:, None]).astype(np.float32)


def _between(centers: Floats) -> Floats:
    return (centers[1:] + centers[:-1]) / 2.0
