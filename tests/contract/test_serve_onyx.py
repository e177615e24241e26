"""The model server as Onyx's API server calls it, with all the fields that its request models have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.serve_models import EMBEDDER_REPO, RERANKER_REPO
from tests.support.serve_prompted import PROMPTED_REPO
from tests.support.served import Served
from tests.support.vectors import alike, vector

EMBED, RERANK = "/encoder/bi-encoder-embed", "/encoder/cross-encoder-scores"
TEXT = "What is our vacation policy?"


def embedding(**fields: Any) -> dict[str, Any]:
    """All fields of the request, as `model_dump` of the version of 2026 gives them."""
    return {
        "texts": [TEXT],
        "model_name": EMBEDDER_REPO,
        "deployment_name": None,
        "max_context_length": 512,
        "normalize_embeddings": True,
        "api_key": None,
        "provider_type": None,
        "text_type": "query",
        "manual_query_prefix": None,
        "manual_passage_prefix": None,
        "api_url": None,
        "api_version": None,
        "reduced_dimension": None,
        **fields,
    }


def reranking(**fields: Any) -> dict[str, Any]:
    none = {"provider_type": None, "api_key": None, "api_url": None}
    return {"query": "cat", "documents": ["dog", "a cat"], "model_name": RERANKER_REPO, **none, **fields}


def vectors(served: Served, **fields: Any) -> Any:
    status, answer = served.ask(EMBED, embedding(**fields))
    assert status == 200, answer
    assert set(answer) == {"embeddings"}
    return np.asarray(answer["embeddings"], np.float32)


def test_the_prefix_is_that_of_the_text_type(served: Served) -> None:
    prefixes = {"manual_query_prefix": "search_query: ", "manual_passage_prefix": "search_document: "}
    assert np.allclose(vectors(served, **prefixes), [vector(f"search_query: {TEXT}")], atol=1e-6)
    passage = vectors(served, **prefixes, text_type="passage")
    assert np.allclose(passage, [vector(f"search_document: {TEXT}")], atol=1e-6)
    assert np.allclose(vectors(served, manual_passage_prefix="x: "), [vector(TEXT)], atol=1e-6)


def test_the_prompt_of_the_model_stays_in_front_as_sentence_transformers_has_it(strict: Served) -> None:
    given = vectors(strict, model_name=PROMPTED_REPO, manual_query_prefix="mine: ")
    assert np.allclose(given, [vector(f"passage: mine: {TEXT}")], atol=1e-6)
    assert np.allclose(vectors(strict, model_name=None), [vector(f"passage: {TEXT}")], atol=1e-6)


def test_the_context_may_be_longer_than_the_model_has_it(served: Served) -> None:
    long = " ".join(f"word{number}" for number in range(300))
    assert not alike(vector(long, 256), vector(long, 512), 0.9999)
    for length in (256, 512):
        given = vectors(served, texts=[long], max_context_length=length)
        assert alike(given[0], vector(long, length), 0.9999)


def test_several_texts_keep_their_order(served: Served) -> None:
    texts = [f"text {number} " * (number % 7 + 1) for number in range(20)]
    given = vectors(served, texts=texts, text_type="passage", normalize_embeddings=False)
    assert all(alike(one, vector(text), 0.995) for one, text in zip(given, texts, strict=True))
    assert np.allclose(np.linalg.norm(given, axis=1), 1, atol=1e-5), "the model's own modules normalise"


def test_the_request_of_2024_has_fewer_fields(served: Served) -> None:
    newer = ("deployment_name", "api_version", "reduced_dimension")
    body = {name: value for name, value in embedding().items() if name not in newer}
    assert served.ask(EMBED, body)[0] == 200


def test_scores_are_in_the_order_of_the_documents(served: Served) -> None:
    status, answer = served.ask(RERANK, reranking(documents=["dog", "cat", "a car"]))
    assert status == 200 and set(answer) == {"scores"}
    assert len(answer["scores"]) == 3 and int(np.argmax(answer["scores"])) == 1


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (EMBED, embedding(texts=[]), 400),
        (EMBED, embedding(texts=["a", ""]), 400),
        (EMBED, embedding(provider_type="openai", api_key="secret"), 422),
        (EMBED, embedding(text_type="secret"), 422),
        (EMBED, embedding(model_name="other/secret"), 404),
        (RERANK, reranking(documents=[]), 400),
        (RERANK, reranking(documents=["", "a"]), 400),
        (RERANK, reranking(query=""), 400),
        (RERANK, reranking(provider_type="cohere"), 422),
        ("/custom/content-classification", ["secret"], 404),
        ("/custom/connector-classification", {"available_connectors": [], "query": "secret"}, 404),
    ],
)
def test_refusals_have_a_detail(served: Served, path: str, body: Any, status: int) -> None:
    given, answer = served.ask(path, body)
    assert given == status and list(answer) == ["detail"]
    assert isinstance(answer["detail"], str) and "secret" not in answer["detail"]


def test_the_indexing_server_does_not_rerank(strict: Served) -> None:
    status, answer = strict.ask(RERANK, reranking(model_name=PROMPTED_REPO))
    assert status == 400 and "indexing server" in answer["detail"]


def test_what_is_asked_at_the_start_and_in_every_search(served: Served) -> None:
    assert served.ask("/api/health") == (200, "")
    assert served.ask("/api/gpu-status") == (200, {"gpu_available": False, "type": "none"})
    body = {"query": TEXT, "semantic_percent_threshold": 0.4, "keyword_percent_threshold": 0.1}
    assert served.ask("/custom/query-analysis", body) == (200, {"is_keyword": False, "keywords": []})
