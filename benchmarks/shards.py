"""The names of the models and of the large one's files.

Apart from `data`, whose imports the measuring process must not make.
"""

from __future__ import annotations

MODELS = {"large", "small", "tiny"}
SHARDS = 4


def shard_name(index: int) -> str:
    return f"model-{index + 1:05}-of-{SHARDS:05}.safetensors"
