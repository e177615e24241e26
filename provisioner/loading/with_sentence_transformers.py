"""sentence-transformers: by name in a Hub cache, by path in a flat folder."""

from __future__ import annotations

from typing import Any

from provisioner.loading.vectors import SENTENCE, described


def load(task: dict[str, Any]) -> str:
    """Embed one sentence, or score one pair where the model is a cross-encoder."""
    from sentence_transformers import CrossEncoder, SentenceTransformer

    trust = bool(task["allow_remote_code"])
    if "modules.json" not in task["files"]:
        scores = CrossEncoder(task["target"], trust_remote_code=trust, device="cpu").predict([(SENTENCE, SENTENCE)])
        return "scores a pair, " + described(scores.reshape(-1))
    model = SentenceTransformer(task["target"], trust_remote_code=trust, device="cpu")
    return described(model.encode(SENTENCE))
