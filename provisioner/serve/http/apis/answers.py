"""Answers as JSON bytes, made from the numbers as they are: FastAPI's own encoder takes ten times as long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
from fastapi import Response
from numpy.typing import NDArray
from pydantic import BaseModel

from provisioner.serve.engines.interface import Floats
from provisioner.serve.refusals import Refused

_ENCODER = msgspec.json.Encoder()
_AT_ONCE = 2**14  # numbers, which take 2 ms; other requests are looked at in between
_LOWEST, _HIGHEST = -45, 38  # the decimal exponents of float32
_POWERS = 10.0 ** (8 - np.arange(_LOWEST, _HIGHEST + 1, dtype=np.float64))


def answer(content: Any, status: int = 200) -> Response:
    """A JSON answer; `msgspec.Raw` in it goes out as it is."""
    return Response(_ENCODER.encode(content), status, media_type="application/json")


class Failure(BaseModel):
    """Why a request was not answered; `error_type` is one word for machines."""

    error: str
    error_type: str
    request_id: str


def declared(answers: Any, failures: type[BaseModel] = Failure, description: str = "Answered") -> dict[str, Any]:
    """For `add_api_route`: the answers that a route describes. They go out as they are, FastAPI does not check them."""
    described: dict[int | str, dict[str, Any]] = {
        200: {"model": answers, "description": description},
        "4XX": {"model": failures, "description": "Refused"},
        "5XX": {"model": failures, "description": "Not answered"},
    }
    return {"response_model": None, "responses": described}


def failure(refused: Refused, request_id: str) -> Response:
    """One sentence, one word, and the id under which the log has the request."""
    return answer({"error": str(refused), "error_type": refused.kind, "request_id": request_id}, refused.status)


async def rows(vectors: Floats) -> msgspec.Raw:
    """A list of vectors."""
    return await array(vectors, lambda part, _: part.tolist())


async def array(vectors: Floats, part: Callable[[NDArray[np.float64], int], list[Any]]) -> msgspec.Raw:
    """A list of what `part` makes of some rows and the index of the first of them."""
    step = max(1, _AT_ONCE // max(1, vectors.shape[1]))
    pieces = []
    for start in range(0, len(vectors), step):
        if start:
            await asyncio.sleep(0)
        pieces.append(_ENCODER.encode(part(rounded(vectors[start : start + step]), start))[1:-1])
    return msgspec.Raw(b"[" + b",".join(pieces) + b"]")


def rounded(numbers: Floats) -> NDArray[np.float64]:
    """float64 of 9 significant digits, which read as the same float32.

    The exact value of a float32 has 17 digits and more in JSON: a third more bytes, and Python's `json` reads them
    three times as slowly.
    """
    exponents = np.abs(numbers)
    np.maximum(exponents, np.finfo(np.float32).smallest_subnormal, out=exponents)
    np.log10(exponents, out=exponents)
    np.floor(exponents, out=exponents)
    powers = _POWERS.take(exponents.astype(np.intp) - _LOWEST, mode="clip")
    scaled: NDArray[np.float64] = numbers * powers
    np.rint(scaled, out=scaled)
    scaled /= powers
    return scaled
