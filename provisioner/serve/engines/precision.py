"""The precision of an ONNX file's weights, from its own bytes.

A session says nothing of it, and the package `onnx` is none of ours at run time; so the few fields of the protobuf that
tell are walked over, and the weights between them are skipped. https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from math import prod

_GRAPH, _NODE, _INITIALIZER = 7, 1, 5  # fields of ModelProto and GraphProto
_OP_TYPE, _DIMS, _DATA_TYPE = 4, 1, 2  # of NodeProto and TensorProto
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto: TensorProto.DataType
_NAMES = {1: "fp32", 11: "fp64", 10: "fp16", 16: "bf16", 2: "int8", 3: "int8", 21: "int4", 22: "int4"} | dict.fromkeys(
    range(17, 21), "fp8"
)


def precision(path: str) -> str:
    """The type of most of its weights, as `fp32` or `int8`; "unknown" for a file that is none."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        view = memoryview(data)
        try:
            return _most(view)
        except (IndexError, ValueError):
            return "unknown"
        finally:
            view.release()


def _most(data: memoryview) -> str:
    weights: Counter[str] = Counter()
    packed = False
    for field, start, stop in _fields(data, 0, len(data)):
        if field != _GRAPH:
            continue
        for inner, first, last in _fields(data, start, stop):
            if inner == _INITIALIZER:
                kind, count = _tensor(data, first, last)
                weights[_NAMES.get(kind, "")] += count
            elif inner == _NODE:
                packed = packed or _op_type(data, first, last) == b"MatMulNBits"
    del weights[""]
    found = weights.most_common(1)[0][0] if weights else "unknown"
    return "int4" if packed and found == "int8" else found


def _tensor(data: memoryview, start: int, stop: int) -> tuple[int, int]:
    """Its type and how many numbers it has."""
    kind, dims = 0, []
    for field, first, last in _fields(data, start, stop):
        if field == _DATA_TYPE:
            kind = _varint(data, first)[0]
        elif field == _DIMS:
            while first < last:  # packed, or one alone
                size, first = _varint(data, first)
                dims.append(size)
    return kind, prod(dims)


def _op_type(data: memoryview, start: int, stop: int) -> bytes:
    return next(
        (bytes(data[first:last]) for field, first, last in _fields(data, start, stop) if field == _OP_TYPE), b""
    )


def _fields(data: memoryview, at: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message, each with where its value starts and stops. Raises ValueError, IndexError."""
    while at < stop:
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        start = at
        if wire == _VARINT:
            _, at = _varint(data, at)
        elif wire == _BYTES:
            size, start = _varint(data, at)
            at = start + size
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("no protobuf")
        if at > stop:
            raise ValueError("cut off")
        yield field, start, at


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no protobuf")
