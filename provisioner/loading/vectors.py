"""What a vector says about the weights that made it."""

from __future__ import annotations

import math
from collections.abc import Iterable

SENTENCE = "Every byte of this model matched the lock."


def described(vector: Iterable[float]) -> str:
    """Dimensions and length of a vector.

    Raises ValueError when it is not finite: damaged weights load without a word and give NaN.
    """
    values = [float(value) for value in vector]
    if not values or not all(map(math.isfinite, values)):
        raise ValueError("the model gives numbers that are not finite; its weights are damaged")
    return f"{len(values)} dimensions, length {math.sqrt(sum(value * value for value in values)):.4f}"
