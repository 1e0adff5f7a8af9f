"""How the sample makes its choices, and how it writes them as text.

Every random choice is one 64-bit hash of seed, purpose and row number, and all arithmetic on it is on integers: the
data does not depend on the size of a chunk, on the order of work, on numpy's generators (whose streams may change
between versions) or on the processor's exp and log (whose last bit does).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Draws:
    """Choices that depend on nothing but their arguments.

    Attributes:
        seed: another seed, other choices.
    """

    seed: int

    def pick(self, stream: str, index: Ints, weights: Ints) -> Ints:
        """One of len(weights) things; `weights` are running totals."""
        point = (self.hash(stream, index) % np.uint64(weights[-1])).astype(np.int64)
        return np.searchsorted(weights, point, side="right").astype(np.int64)

    def draw(self, stream: str, index: Ints, bound: int) -> Ints:
        """A number from 0 to bound - 1 for each index; bound below 2**32."""
        return ((self.hash(stream, index) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(np.int64)

    def hash(self, stream: str, index: Ints) -> NDArray[np.uint64]:
        """splitmix64's finaliser over the index, keyed by seed and stream. https://prng.di.unimi.it/splitmix64.c"""
        key = int.from_bytes(hashlib.blake2b(f"{self.seed}/{stream}".encode(), digest_size=8).digest(), "little")
        x = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
        for _ in range(2):
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
        return x


def order_id(order: pl.Expr) -> pl.Expr:
    return pl.format("SO-{}", order.cast(pl.String).str.zfill(9))


def customer_id(customer: pl.Expr) -> pl.Expr:
    return pl.format("CU-{}", customer.cast(pl.String).str.zfill(8))


def zeros(column: str, width: int) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.zfill(width)


def choose(values: Sequence[str | None], index: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(list(values), dtype=pl.String)).gather(index)


def date(day: pl.Expr) -> pl.Expr:
    return day.cast(pl.Int32).cast(pl.Date)


def timestamp(seconds: pl.Expr, micros: pl.Expr) -> pl.Expr:
    return (seconds * 1_000_000 + micros).cast(pl.Datetime("us")).dt.to_string("%Y-%m-%d %H:%M:%S%.6f") + "+00"


def decimal(scaled: pl.Expr, digits: int, padded: pl.Expr) -> pl.Expr:
    """An integer number of 10**-digits, with all its digits or, where not padded, without closing zeros."""
    unit = 10**digits
    sign = pl.when(scaled < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    whole = (scaled.abs() // unit).cast(pl.String)
    rest = (scaled.abs() % unit).cast(pl.String).str.zfill(digits)
    long = pl.concat_str(sign, whole, pl.lit("."), rest)
    return pl.when(padded).then(long).otherwise(long.str.strip_chars_end("0").str.strip_chars_end("."))
