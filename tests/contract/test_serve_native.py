"""The model server's own API, beside Text Embeddings Inference on the same paths."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import numpy as np
import pytest

from tests.support.serve_models import EMBEDDER_REPO, RERANKER_REPO
from tests.support.served import PATIENCE_S, Served
from tests.support.vectors import alike, ids, vector

TEXTS = ["Every byte matched the lock.", "A cat sits on the mat."]
DOCUMENTS = ["The lock names every byte.", "The cat sits on the mat.", "A cat and a dog."]

ONYX = {
    "model_name": EMBEDDER_REPO,
    "max_context_length": 512,
    "normalize_embeddings": True,
    "text_type": "query",
    "manual_query_prefix": None,
    "manual_passage_prefix": None,
}


def raw(served: Served, path: str, body: bytes) -> tuple[int, Any]:
    """Bytes that `json` would not write."""
    request = urllib.request.Request(served.url + path, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_embed(served: Served) -> None:
    status, answer = served.ask("/embed", {"texts": TEXTS})
    assert status == 200 and set(answer) == {"embeddings", "model", "tokens"}
    assert all(alike(one, vector(text), 0.999) for one, text in zip(answer["embeddings"], TEXTS, strict=True))
    assert answer["model"] == EMBEDDER_REPO and answer["tokens"] == sum(len(ids(text)) for text in TEXTS)


def test_one_text_gives_the_float32_of_the_engine_and_of_every_api(served: Served) -> None:
    bodies = (
        ("/embed", {"texts": TEXTS[:1]}, lambda answer: answer["embeddings"][0]),
        ("/embed", {"inputs": TEXTS[0]}, lambda answer: answer[0]),
        ("/v1/embeddings", {"input": TEXTS[0]}, lambda answer: answer["data"][0]["embedding"]),
    )
    given = [np.asarray(read(served.ask(path, body)[1]), np.float32) for path, body, read in bodies]
    assert np.allclose(given[0], vector(TEXTS[0]), atol=1e-6)
    assert all(np.array_equal(one, given[0]) for one in given[1:])


def test_dimensions_length_and_another_name(served: Served) -> None:
    body = {"texts": TEXTS[:1], "dimensions": 32, "max_length": 4, "model": EMBEDDER_REPO.upper(), "normalize": True}
    status, answer = served.ask("/embed", body)
    assert status == 200 and answer["tokens"] == 4
    assert alike(answer["embeddings"][0], vector(TEXTS[0], 4)[:32])
    assert np.isclose(np.linalg.norm(answer["embeddings"][0]), 1)


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({}, "passage: "),
        ({"input_type": "query"}, "query: "),
        ({"input_type": "document"}, "passage: "),
        ({"prompt_name": "query"}, "query: "),
        ({"prompt_name": ""}, ""),
    ],
)
def test_prompts(strict: Served, fields: dict[str, str], prompt: str) -> None:
    status, answer = strict.ask("/embed", {"texts": TEXTS[:1], **fields})
    assert status == 200
    assert np.allclose(answer["embeddings"], [vector(prompt + TEXTS[0])], atol=1e-6)


def test_rerank(served: Served) -> None:
    body = {"query": "Where does the cat sit?", "documents": DOCUMENTS}
    status, answer = served.ask("/rerank", body)
    results = answer["results"]
    assert status == 200 and answer["model"] == RERANKER_REPO and answer["tokens"] > 0
    assert results[0]["index"] == 1 and sorted(one["index"] for one in results) == [0, 1, 2]
    assert [one["score"] for one in results] == sorted((one["score"] for one in results), reverse=True)
    assert all(set(one) == {"index", "score"} for one in results)
    assert served.ask("/rerank", {**body, "top_n": 2})[1]["results"] == results[:2]
    assert len(served.ask("/rerank", {**body, "top_n": 9})[1]["results"]) == 3


def test_equal_documents_keep_their_order(served: Served) -> None:
    body = {"query": "cat", "documents": ["a cat", "a dog", "a cat", "a cat"]}
    indexes = [one["index"] for one in served.ask("/rerank", body)[1]["results"]]
    assert indexes == [0, 2, 3, 1]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embed", {"texts": ["secret"], "inputs": "secret"}),
        ("/embed", {"secret": 1}),
        ("/embed", {"texts": "secret"}),
        ("/embed", {"texts": ["a", 5, "secret"]}),
        ("/embed", {"texts": []}),
        ("/embed", {"texts": ["a"], "normalize": "secret"}),
        ("/embed", {"texts": ["a"], "dimensions": 385}),
        ("/embed", {"texts": ["a"], "dimensions": True}),
        ("/embed", {"texts": ["a"], "max_length": 1.5}),
        ("/embed", {"texts": ["a"], "input_type": "secret"}),
        ("/embed", {"texts": ["a"], "prompt_name": "secret"}),
        ("/embed", {"texts": ["a"], "prompt_name": "", "input_type": "query"}),
        ("/rerank", {"query": "a", "documents": ["b"], "texts": ["secret"]}),
        ("/rerank", {"query": "a"}),
        ("/rerank", {"documents": ["secret"]}),
        ("/rerank", {"query": "a", "documents": ["b"], "top_n": 0}),
    ],
)
def test_what_cannot_be_is_a_422_that_quotes_nothing(served: Served, path: str, body: dict[str, Any]) -> None:
    status, answer = served.ask(path, body)
    assert status == 422 and set(answer) == {"error", "error_type", "request_id"}
    assert answer["error_type"] == "validation" and "secret" not in answer["error"]


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/embed", {"texts": ["a"], "dimension": 8}, "`dimension`; there are dimensions, "),
        ("/rerank", {"query": "a", "documents": ["b"], "topn": 1}, "`topn`; "),
        ("/embed", {"texts": ["a"], "a secret": "secret"}, "There is no such field; "),
        ("/embed", {"texts": ["a"], "a `secret` b": 1}, "There is no such field; "),
        ("/embed", {"texts": ["a"], "`" * 200_000: 1}, "There is no such field; "),
    ],
)
def test_a_field_that_there_is_not_is_named(served: Served, path: str, body: dict[str, Any], named: str) -> None:
    status, answer = served.ask(path, body)
    assert status == 422 and named in answer["error"] and "secret" not in answer["error"]


def test_fields_of_other_clients_are_passed_over(served: Served) -> None:
    for path, body in (
        ("/embed", {"inputs": "a", "parameters": {}}),
        ("/rerank", {"query": "a", "texts": ["b"], "new_in_tei": 1}),
        ("/v1/embeddings", {"input": "a", "new_in_openai": 1}),
        ("/encoder/bi-encoder-embed", {**ONYX, "texts": ["a"], "new_in_onyx": 1}),
    ):
        assert served.ask(path, body)[0] == 200, path


@pytest.mark.parametrize(
    "path", ["/embed", "/rerank", "/v1/embeddings", "/encoder/bi-encoder-embed", "/similarity", "/"]
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"texts": ["\\ud800"]}',
        b'{"input": ["\xed\xa0\x80"]}',
        b'{"texts": ["\xff"]}',
        b'{"inputs": NaN}',
        b'{"inputs": ' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"\\udc00": 1}',
        b'{"texts": ["a"], "\xff": 1}',
        b'{"query": "a", "documents": ["a"], "\xed\xa0\x80": 1}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_json_object_of_text_is_refused(served: Served, path: str, body: bytes) -> None:
    status, answer = raw(served, path, body)
    assert status == (400 if path.startswith("/v1") else 422), answer


def test_control_characters_and_other_scripts_are_texts(served: Served) -> None:
    texts = ["a\x00b", "\x07", "", "日本語", "😀" * 50, "e\u0301", "\u202e", "\uffff"]
    status, answer = served.ask("/embed", {"texts": texts})
    assert status == 200 and np.isfinite(answer["embeddings"]).all() and len(answer["embeddings"]) == len(texts)


def test_whole_numbers_may_be_written_with_a_point(served: Served) -> None:
    status, answer = raw(served, "/embed", b'{"texts": ["a"], "dimensions": 8.0}')
    assert status == 200 and len(answer["embeddings"][0]) == 8
    assert raw(served, "/embed", b'{"inputs": [101.0, 1e2, 102]}')[0] == 200


def test_a_large_request_is_answered_whole_and_in_order(served: Served) -> None:
    texts = [f"number {number}" for number in range(300)]
    status, answer = served.ask("/embed", {"texts": texts})
    assert status == 200
    assert all(alike(answer["embeddings"][index], vector(texts[index]), 0.99) for index in (0, 41, 42, 43, 299))


def test_no_text_and_no_error_is_in_the_log(served: Served) -> None:
    served.ask("/embed", {"texts": ["a very particular text"]})
    served.ask("/embed", {"texts": ["a very particular text"], "normalize": "a very particular value"})
    assert "very particular" not in served.log.read_text()
    assert "Traceback" not in served.log.read_text()
