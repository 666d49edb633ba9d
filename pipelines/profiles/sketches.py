"""Mergeable summaries of values: distinct hashes, a ladder of rungs, counts by name, moments.

Each but the moments is a function of the set of values alone, so that any order of merging gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.profiles.specs import Floats, Ints

Hashes = npt.NDArray[np.uint64]  # ascending, of 48 bits each
Ladder = tuple[Ints, Ints, int]  # rungs, one count per rung, bits dropped
Moments = tuple[int, float, float]  # values, their mean, their sum of squared deviations

RUNGS = 1024
HASHES = 1024  # smallest hashes kept; standard error of the distinct estimate: 1/sqrt(1022), 3.1 %
_SIGN_OFF = np.int64(2**63 - 1)
_SPARE = np.uint64(16)  # bits of a hash that are dropped
_RARE = np.uint64(2**44)  # one hash in sixteen is below
_MANY = 8 * HASHES
_GOLDEN, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)


def ladder(floats: Floats, shift: int) -> Ladder:
    """Values in ascending order as a ladder of at most 1024 rungs, with ``shift`` bits dropped or as few more as that
    takes."""
    places = _ordered(floats) >> shift
    starts = _starts(places)
    if (drop := _bits_to_drop(places[starts])) > 0:
        places = places >> drop
        starts = _starts(places)
    return places[starts], np.diff(starts, append=len(places)), shift + drop


def merged_ladder(a: Ladder, b: Ladder) -> Ladder:
    """Two ladders as one of at most 1024 rungs, dropping as few bits as that takes."""
    shift = max(a[2], b[2])
    places = np.concatenate([a[0] >> (shift - a[2]), b[0] >> (shift - b[2])])
    order = np.argsort(places, kind="stable")
    places, tallies = places[order], np.concatenate([a[1], b[1]])[order]
    if not len(places):
        return places, tallies, shift
    drop = _bits_to_drop(places[_starts(places)])
    starts = _starts(places := places >> drop)
    return places[starts], np.add.reduceat(tallies, starts), shift + drop


def _starts(places: Ints) -> Ints:
    """Where a new rung begins."""
    return np.flatnonzero(np.diff(places, prepend=places[:1] - 1))


def _bits_to_drop(rungs: Ints) -> int:
    """The fewest low bits without which ascending, different ``rungs`` are at most 1024.

    Two neighbours become one where all bits in which they differ are dropped.
    """
    if len(rungs) <= RUNGS:
        return 0
    apart = (rungs[1:] ^ rungs[:-1]).view(np.uint64)
    apart &= ~(apart >> np.uint64(1))  # the highest bit stays, and a double of it is not rounded up
    lengths = np.bincount(np.frexp(apart.astype(np.float64))[1], minlength=65)
    left = len(rungs) - np.cumsum(lengths)  # rungs where so many bits are dropped
    return int(np.argmax(left <= RUNGS))


def _ordered(floats: Floats) -> Ints:
    """The bits of doubles as integers in the same order."""
    bits = floats.view(np.int64)
    return bits ^ ((bits >> 63) & _SIGN_OFF)


def tops(rungs: Ints, shift: int) -> Floats:
    """The largest double of each rung (never -0.0 nor beyond the largest finite one)."""
    bits = (rungs << shift) | ((1 << shift) - 1)
    bits = np.where(bits == -1, -2, np.minimum(bits, _ordered(np.array([np.finfo(np.float64).max]))[0]))
    return (bits ^ ((bits >> 63) & _SIGN_OFF)).view(np.float64)


def with_values(hashes: Hashes, values: npt.NDArray[Any]) -> Hashes:
    """``hashes`` with those of sorted int64 or float64 values."""
    bits, full = values.view(np.uint64), len(hashes) == HASHES
    if not full or hashes[-1] > _RARE:  # else so few values are wanted that equal ones cost nothing
        bits = _apart(bits)
    fresh = _scrambled(bits)
    if full:
        fresh = fresh[fresh < hashes[-1] << _SPARE]
    elif len(fresh) > _MANY:  # of so many different ones, the wanted are most likely among the lowest few
        low = smallest(hashes, fresh[fresh < np.uint64(4 * HASHES * 2**64 // len(fresh))] >> _SPARE)
        if len(low) == HASHES:
            return low
    return smallest(hashes, fresh >> _SPARE) if len(fresh) else hashes


def smallest(a: Hashes, b: Hashes) -> Hashes:
    """The smallest hashes of both."""
    both = np.concatenate([a, b])
    both.sort()
    return _apart(both)[:HASHES]


def _apart(grouped: Hashes) -> Hashes:
    """One of each run of equal numbers."""
    new = np.ones(len(grouped), bool)
    np.not_equal(grouped[1:], grouped[:-1], out=new[1:])
    return grouped[new]


def _scrambled(bits: Hashes) -> Hashes:
    """A 64-bit hash whose high bits depend on all bits (multiply and xor-shift, twice)."""
    mixed = bits * _GOLDEN
    mixed ^= mixed >> np.uint64(32)
    mixed *= _MIX
    return mixed


def text_hashes(texts: pa.Array) -> Hashes:
    """Hashes of the UTF-8 bytes of large_string values (multilinear over positions, then mixed)."""
    _, offset_buffer, data_buffer = texts.buffers()
    ends = np.frombuffer(offset_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)[ends[0] : ends[-1]]
    ends = ends - ends[0]
    lengths = np.diff(ends)
    place = np.arange(len(data)) - np.repeat(ends[:-1], lengths)
    weights = _scrambled(np.arange(1, int(lengths.max(initial=0)) + 1).astype(np.uint64))
    sums = np.concatenate(
        [np.zeros(1, np.uint64), np.cumsum((data + np.uint64(1)) * weights[place], dtype=np.uint64)]
    )
    return _scrambled(sums[ends[1:]] - sums[ends[:-1]] + lengths.astype(np.uint64)) >> _SPARE


def added(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    """Counts by name of both."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


def heaviest(named: dict[str, int], room: int) -> tuple[dict[str, int], int]:
    """The names that keep a count when only ``room`` of them fit, and what every count was lowered by."""
    if len(named) <= room:
        return named, 0
    cut = sorted(named.values(), reverse=True)[room]
    return {name: n - cut for name, n in named.items() if n > cut}, cut


def packed(hashes: Hashes) -> str:
    """Hashes as text: the low six bytes of their differences in hexadecimal, like bytes side by side."""
    gaps = np.diff(hashes, prepend=np.uint64(0)).astype("<u8")
    return gaps.view(np.uint8).reshape(-1, 8)[:, 5::-1].T.tobytes().hex()


def unpacked(text: str) -> Hashes:
    """The inverse of :func:`packed`."""
    columns = np.frombuffer(bytes.fromhex(text), np.uint8).reshape(6, -1).T
    gaps = np.zeros((len(columns), 8), np.uint8)
    gaps[:, 5::-1] = columns
    return np.cumsum(gaps.reshape(-1).view("<u8"), dtype=np.uint64)


def moments(floats: Floats) -> Moments:
    """Count, mean and sum of squared deviations of at least one finite value; not finite where they overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(np.add.reduce(floats)) / len(floats)
        deviations = floats - mean
        # not a BLAS product, which would start threads of its own beside Spark's
        return len(floats), mean, float(np.einsum("i,i->", deviations, deviations))


def merged_moments(a: Moments, b: Moments) -> Moments:
    """Those of both groups: Chan, Golub & LeVeque 1979."""
    n = a[0] + b[0]
    if not a[0] or not b[0]:
        return a if a[0] else b
    delta = b[1] - a[1]
    return n, a[1] + delta * b[0] / n, a[2] + b[2] + delta * delta * a[0] * b[0] / n
