"""The model server as clients of Text Embeddings Inference find it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tests.contract.conftest import KEY
from tests.support.serve_models import EMBEDDER_REPO
from tests.support.serve_prompted import PROMPTED_REPO
from tests.support.served import Served
from tests.support.vectors import alike, ids, vector

TEXT = "Every byte matched the lock."
LONG = "word " * 400
QUERY = "Where does the cat sit?"
TEXTS = ["The lock names every byte.", "The cat sits on the mat.", "A cat and a dog."]


@pytest.mark.parametrize("path", ["", "/", "/embed"])
def test_feature_extraction(served: Served, path: str) -> None:
    client = InferenceClient(model=served.url + path)
    assert np.allclose(client.feature_extraction(TEXT), [vector(TEXT)], atol=1e-6)
    cut = client.feature_extraction(TEXT, normalize=True, truncate=True, truncation_direction="Right", dimensions=32)
    assert cut.shape == (1, 32) and alike(cut[0], vector(TEXT)[:32])


def test_feature_extraction_with_a_prompt_and_a_key(strict: Served) -> None:
    client = InferenceClient(model=strict.url, api_key=KEY)
    assert np.allclose(client.feature_extraction(TEXT, prompt_name="query"), [vector(f"query: {TEXT}")], atol=1e-6)
    assert np.allclose(client.feature_extraction(TEXT), [vector(TEXT)], atol=1e-6), "none unless asked for"
    with pytest.raises(HfHubHTTPError) as refused:
        client.feature_extraction(TEXT, prompt_name="other")
    assert refused.value.response.status_code == 422
    with pytest.raises(HfHubHTTPError) as refused:
        InferenceClient(model=strict.url, api_key="another").feature_extraction(TEXT)
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("path", ["", "/similarity"])
def test_sentence_similarity(served: Served, path: str) -> None:
    given = InferenceClient(model=served.url + path).sentence_similarity(QUERY, other_sentences=TEXTS)
    assert np.allclose(given, [vector(QUERY) @ vector(text) for text in TEXTS], atol=0.02)
    assert int(np.argmax(given)) == 1


def test_inputs_are_a_text_texts_or_token_ids(served: Served) -> None:
    def embed(inputs: Any) -> np.ndarray[Any, Any]:
        status, answer = served.ask("/embed", {"inputs": inputs})
        assert status == 200, answer
        return np.asarray(answer, np.float32)

    assert np.allclose(embed(TEXT), [vector(TEXT)], atol=1e-6)
    assert np.allclose(embed(ids(TEXT)), [vector(TEXT)], atol=1e-6)
    mixed = embed([TEXT, ids(QUERY)])
    assert alike(mixed[0], vector(TEXT), 0.999) and alike(mixed[1], vector(QUERY), 0.999)


def test_a_long_text_is_cut_unless_that_is_forbidden(served: Served) -> None:
    assert served.ask("/embed", {"inputs": LONG})[0] == 200
    assert served.ask("/embed", {"inputs": LONG, "truncate": True})[0] == 200
    for path, body in (("/embed", {"inputs": LONG}), ("/rerank", {"query": QUERY, "texts": [LONG * 3]})):
        status, answer = served.ask(path, {**body, "truncate": False})
        assert (status, answer["error_type"]) == (413, "validation")
    assert served.ask("/embed", {"inputs": TEXT, "truncate": False})[0] == 200


def test_rerank(served: Served) -> None:
    body = {"query": QUERY, "texts": TEXTS}
    status, ranks = served.ask("/rerank", body)
    assert status == 200 and ranks[0]["index"] == 1 and sorted(rank["index"] for rank in ranks) == [0, 1, 2]
    assert [rank["score"] for rank in ranks] == sorted((rank["score"] for rank in ranks), reverse=True)
    assert not any("text" in rank for rank in ranks)
    _, raw = served.ask("/rerank", {**body, "raw_scores": True, "return_text": True})
    assert [rank["text"] for rank in raw] == [TEXTS[rank["index"]] for rank in raw]
    logits = np.array([rank["score"] for rank in raw])
    assert np.allclose(1 / (1 + np.exp(-logits)), [rank["score"] for rank in ranks], atol=1e-3)
    assert served.ask("/", body)[1] == ranks


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        ("/embed", {"inputs": []}, 400, "empty"),
        ("/embed", {"inputs": {"secret": 1}}, 422, "validation"),
        ("/embed", {"inputs": [["secret"]]}, 422, "validation"),
        ("/embed", {"inputs": [10**6]}, 422, "validation"),
        ("/embed", {"inputs": "a", "dimensions": 385}, 422, "validation"),
        ("/embed", {"inputs": "a", "truncation_direction": "left"}, 422, "validation"),
        ("/rerank", {"query": "a", "texts": []}, 400, "empty"),
        ("/rerank", {"texts": ["secret"]}, 422, "validation"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "empty"),
        ("/similarity", {"inputs": "secret"}, 422, "validation"),
        ("/", {"secret": "a"}, 422, "validation"),
        ("/", [], 422, "validation"),
    ],
)
def test_refusals(served: Served, path: str, body: Any, status: int, kind: str) -> None:
    given, answer = served.ask(path, body)
    assert (given, answer["error_type"]) == (status, kind)
    assert answer["error"] and "secret" not in answer["error"]


def test_an_indexing_server_is_no_reranker(strict: Served) -> None:
    status, answer = strict.ask("/rerank", {"query": "a", "texts": ["b"]})
    assert (status, answer["error_type"]) == (424, "backend")


def test_info(served: Served, strict: Served) -> None:
    status, info = served.ask("/info")
    assert status == 200 and info["model_id"] == EMBEDDER_REPO and len(info["model_sha"]) == 40
    assert info["max_input_length"] == 256 and info["max_client_batch_size"] == 1024
    assert info["model_type"] == {"embedding": {}} and info["auto_truncate"] is True
    info = strict.ask("/info")[1]
    assert info["model_id"] == PROMPTED_REPO and info["max_client_batch_size"] == 4
