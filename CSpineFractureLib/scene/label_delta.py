"""Vertebra labels cut to what they fill, and compressed differences between two states of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

Corner = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """Labels of a grid ``shape`` ``[k, j, i]``: ``array`` (uint8) from voxel ``first`` on, and 0 everywhere else."""

    shape: Corner
    first: Corner
    array: np.ndarray

    def whole(self) -> np.ndarray:
        """The labels on their whole grid, uint8 ``[k, j, i]``."""
        labels = np.zeros(self.shape, np.uint8)
        labels[_region(self.first, self.array.shape)] = self.array
        return labels

    def mapped(self, table: np.ndarray) -> LabelBlock:
        """Every label ``n`` replaced by ``table[n]`` (uint8, eight entries)."""
        return LabelBlock(self.shape, self.first, table[self.array])

    def within(self, first: Corner, size: Corner) -> np.ndarray:
        """A copy of the labels in a part of the grid, which must hold the whole block."""
        labels = np.zeros(size, np.uint8)
        labels[_region(tuple(np.subtract(self.first, first)), self.array.shape)] = self.array
        return labels


@dataclass(frozen=True)
class LabelDelta:
    """What turns one state of labels into another, and back: the XOR of both in the part where they differ."""

    first: Corner
    size: Corner
    packed: bytes

    def applied(self, block: LabelBlock) -> LabelBlock:
        """The other state of the labels."""
        first, size = _union(block, self.first, self.size)
        labels = block.within(first, size)
        changed = np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(self.size)
        labels[_region(tuple(np.subtract(self.first, first)), self.size)] ^= changed
        return _cut(block.shape, first, labels)


def block_of(labels: np.ndarray) -> LabelBlock:
    """The part of labels (uint8 ``[k, j, i]``) that is filled, copied."""
    return _cut(tuple(int(n) for n in labels.shape), (0, 0, 0), labels)


def delta_between(one: LabelBlock, other: LabelBlock) -> LabelDelta | None:
    """The difference of two states on one grid; ``None`` where there is none."""
    first, size = _union(one, other.first, other.array.shape)
    changed = _cut(one.shape, first, one.within(first, size) ^ other.within(first, size))
    if not changed.array.size:
        return None
    return LabelDelta(changed.first, changed.array.shape, zlib.compress(changed.array.tobytes(), 6))


def _region(first: Corner, size: Corner) -> tuple[slice, ...]:
    return tuple(slice(start, start + count) for start, count in zip(first, size, strict=True))


def _union(block: LabelBlock, first: Corner, size: Corner) -> tuple[Corner, Corner]:
    """First voxel and size of the part that holds a block and another part; an empty part counts for nothing."""
    parts = [(block.first, block.array.shape), (first, size)]
    parts = [part for part in parts if 0 not in part[1]] or parts[:1]
    low = np.min([start for start, _ in parts], axis=0)
    high = np.max([np.add(start, count) for start, count in parts], axis=0)
    return tuple(int(n) for n in low), tuple(int(n) for n in high - low)


def _cut(shape: Corner, first: Corner, labels: np.ndarray) -> LabelBlock:
    spans = []
    for axis in range(3):
        filled = np.flatnonzero(labels.any(axis=tuple(other for other in range(3) if other != axis)))
        spans.append(slice(int(filled[0]), int(filled[-1]) + 1) if len(filled) else slice(0, 0))
    start = tuple(int(n + span.start) for n, span in zip(first, spans, strict=True))
    return LabelBlock(shape, start, np.array(labels[tuple(spans)], np.uint8))
