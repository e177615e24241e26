"""The names of the large model's files; apart from `data`, whose imports the measuring process must not make."""

from __future__ import annotations

SHARDS = 4


def shard_name(index: int) -> str:
    return f"model-{index + 1:05}-of-{SHARDS:05}.safetensors"
