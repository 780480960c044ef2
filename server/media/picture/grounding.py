"""A labelled rectangle on a picture."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled rectangle: left, top, right, bottom; a point if both corners are equal."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = ""
    # Confidence of the model, 0 to 1; None if the model reports none
    confidence: float | None = None

    @property
    def width(self) -> float:
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        return self.width * self.height

    @property
    def middle(self) -> tuple[float, float]:
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    def encloses(self, x: float, y: float) -> bool:
        return self.x1 <= x <= self.x2 and self.y1 <= y <= self.y2

    def moved(self, x: float, y: float) -> Box:
        return replace(self, x1=self.x1 + x, x2=self.x2 + x, y1=self.y1 + y, y2=self.y2 + y)

    def transposed(self) -> Box:
        """Return the box with x and y exchanged."""
        return replace(self, x1=self.y1, y1=self.x1, x2=self.y2, y2=self.x2)

    def scaled(self, across: float, down: float) -> Box:
        return replace(
            self, x1=self.x1 * across, y1=self.y1 * down, x2=self.x2 * across, y2=self.y2 * down
        )

    def shares(self, width: int, height: int) -> Box:
        """Return the box in fractions of a picture's sides, clipped at its edges."""
        return replace(
            self,
            x1=_share(self.x1 / width),
            y1=_share(self.y1 / height),
            x2=_share(self.x2 / width),
            y2=_share(self.y2 / height),
        )

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        return self.x1, self.y1, self.x2, self.y2

    def intersection(self, other: Box) -> float:
        """Return the area of the intersection of both boxes, in square pixels."""
        wide = min(self.x2, other.x2) - max(self.x1, other.x1)
        high = min(self.y2, other.y2) - max(self.y1, other.y1)
        return max(0.0, wide) * max(0.0, high)

    def overlap(self, other: Box) -> float:
        """Return the intersection over union of both boxes, 0 to 1."""
        both = self.intersection(other)
        return both / (self.area + other.area - both + 1e-9)


def _share(edge: float) -> float:
    return round(min(1.0, max(0.0, edge)), 4)
