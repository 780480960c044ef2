"""Parse Prometheus text, and compute sums over labels and quantiles of histograms."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Histogram:
    """Upper bounds in ascending order, the last one infinite, and the cumulative count at each."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]

    @property
    def count(self) -> float:
        return self.counts[-1] if self.counts else 0.0

    def since(self, earlier: Histogram | None) -> Histogram:
        """Return the values after `earlier`; after a restart, when a count has fallen, all values."""
        if earlier is None or earlier.bounds != self.bounds:
            return self
        counts = tuple(b - a for a, b in zip(earlier.counts, self.counts, strict=True))
        return self if any(n < 0 for n in counts) else Histogram(self.bounds, counts)

    def quantile(self, q: float) -> float:
        """Compute a quantile like PromQL's histogram_quantile, linear within a bucket.

        NaN without values, infinite beyond the last finite bound.
        """
        if not self.count:
            return math.nan
        rank = q * self.count
        below, low = 0.0, 0.0
        for bound, count in zip(self.bounds, self.counts, strict=True):
            if count >= rank and count > below:
                if math.isinf(bound):
                    return math.inf
                return low + (bound - low) * (rank - below) / (count - below)
            below, low = count, bound
        return math.inf

    @property
    def largest(self) -> float:
        """The last finite bound."""
        return self.bounds[-2] if len(self.bounds) > 1 else 0.0


class Samples:
    """The samples of one /metrics page."""

    def __init__(self, values: Mapping[str, list[tuple[dict[str, str], float]]]) -> None:
        self._values = values

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse Prometheus text. Raises ValueError when it is malformed."""
        values: dict[str, list[tuple[dict[str, str], float]]] = defaultdict(list)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                values[sample.name].append((sample.labels, sample.value))
        return cls(values)

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self._values)

    def _of(self, name: str, labels: Mapping[str, str]) -> list[tuple[dict[str, str], float]]:
        return [
            (found, value)
            for found, value in self._values.get(name, ())
            if all(found.get(key) == wanted for key, wanted in labels.items())
        ]

    def total(self, *names: str, **labels: str) -> float | None:
        """Return the sum of the first of these metrics that exists; None when none does."""
        for name in names:
            if found := self._of(name, labels):
                return sum(value for _, value in found)
        return None

    def largest(self, *names: str) -> float | None:
        """Return the maximum of the first of these metrics that exists; None when none does."""
        for name in names:
            if found := self._of(name, {}):
                return max(value for _, value in found)
        return None

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Return the sums by the values of one label."""
        sums: dict[str, float] = defaultdict(float)
        for found, value in self._of(name, labels):
            sums[found.get(label, "")] += value
        return dict(sums)

    def histogram(self, *names: str, **labels: str) -> Histogram | None:
        """Return the first of these histograms that exists, summed over all other labels."""
        for name in names:
            sums: dict[float, float] = defaultdict(float)
            for found, value in self._of(f"{name}_bucket", labels):
                sums[float(found["le"])] += value
            if sums:
                bounds = tuple(sorted(sums))
                return Histogram(bounds, tuple(sums[bound] for bound in bounds))
        return None
