"""The int8 embedder with prompts of its own, as models have them that tell queries from passages."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.serve_models import int8_embedder, shared

PROMPTED_REPO = "local/MiniLM-with-prompts"
PROMPTS = {"query": "query: ", "passage": "passage: ", "plain": ""}


def prompted_embedder(folder: Path) -> Path:
    """The embedder, in `folder`; the default prompt is that of passages."""
    int8_embedder(folder)
    config = folder / "config_sentence_transformers.json"
    told = json.loads(config.read_text()) | {"prompts": PROMPTS, "default_prompt_name": "passage"}
    config.write_text(json.dumps(told, indent=2))
    return folder


def prompted() -> Path:
    """Made once for all tests on this machine."""
    return shared(prompted_embedder, Path(__file__))
