"""transformers: the tokenizer, and the model where there are weights."""

from __future__ import annotations

from typing import Any

from provisioner.loading.vectors import SENTENCE


def load(task: dict[str, Any]) -> str:
    """Tokenize one sentence and load every weight. Raises ValueError for weights that are not finite."""
    from transformers import AutoModel, AutoTokenizer

    trust = bool(task["allow_remote_code"])
    tokens = AutoTokenizer.from_pretrained(task["target"], trust_remote_code=trust)(SENTENCE)["input_ids"]
    detail = f"{len(tokens)} tokens"
    if not any(file.endswith((".safetensors", ".bin")) for file in task["files"]):
        return detail
    model = AutoModel.from_pretrained(task["target"], trust_remote_code=trust, dtype="auto")
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise ValueError("some weights are not finite; they are damaged")
    return f"{detail}, {sum(parameter.numel() for parameter in model.parameters()):,} parameters"
