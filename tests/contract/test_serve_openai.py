"""The model server as the openai library finds it."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import openai
import pytest

from tests.contract.conftest import KEY
from tests.support.serve_models import EMBEDDER_REPO, RERANKER_REPO
from tests.support.serve_prompted import PROMPTED_REPO
from tests.support.served import Served
from tests.support.vectors import alike, ids, vector

TEXTS = ["Every byte matched the lock.", "A cat sits on the mat."]
EMBEDDER = EMBEDDER_REPO.rpartition("/")[2]


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def keyed(strict: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{strict.url}/v1", api_key=KEY, max_retries=0) as made:
        yield made


def test_vectors_are_those_of_the_engine(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=EMBEDDER_REPO, input=TEXTS)  # base64 on the wire
    assert [one.index for one in answer.data] == [0, 1]
    assert answer.object == "list" and answer.model == EMBEDDER_REPO
    assert all(alike(one.embedding, vector(text), 0.999) for one, text in zip(answer.data, TEXTS, strict=True))
    (alone,) = client.embeddings.create(model=EMBEDDER_REPO, input=TEXTS[0]).data
    assert np.allclose(alone.embedding, vector(TEXTS[0]), atol=1e-6)


def test_both_encodings_give_the_same_float32(client: openai.OpenAI) -> None:
    vectors = [
        client.embeddings.create(model=EMBEDDER, input=TEXTS[0], encoding_format=encoding).data[0].embedding
        for encoding in ("float", "base64")
    ]
    # The library hands on the text of an encoding that was asked for by name.
    assert isinstance(vectors[1], str)
    packed = np.frombuffer(base64.b64decode(vectors[1]), "<f4")
    assert np.array_equal(np.asarray(vectors[0], np.float32), packed)


def test_the_asynchronous_client(served: Served) -> None:
    async def ask() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            asked = [client.embeddings.create(model=EMBEDDER, input=text) for text in TEXTS]
            return [answer.data[0].embedding for answer in await asyncio.gather(*asked)]

    assert all(alike(one, vector(text), 0.999) for one, text in zip(asyncio.run(ask()), TEXTS, strict=True))


def test_token_ids_stand_for_their_text(client: openai.OpenAI) -> None:
    (one,) = client.embeddings.create(model=EMBEDDER, input=ids(TEXTS[0])).data
    assert np.allclose(one.embedding, vector(TEXTS[0]), atol=1e-6)
    several = client.embeddings.create(model=EMBEDDER, input=[ids(text) for text in TEXTS])
    assert all(alike(one.embedding, vector(text), 0.999) for one, text in zip(several.data, TEXTS, strict=True))
    assert several.usage.prompt_tokens == sum(len(ids(text)) for text in TEXTS)


def test_usage_counts_the_tokens_that_the_model_read(client: openai.OpenAI) -> None:
    usage = client.embeddings.create(model=EMBEDDER, input=TEXTS).usage
    assert usage.prompt_tokens == usage.total_tokens == sum(len(ids(text)) for text in TEXTS)


def test_dimensions_keep_the_first_numbers_at_the_length_1(client: openai.OpenAI) -> None:
    (one,) = client.embeddings.create(model=EMBEDDER, input=TEXTS[0], dimensions=64).data
    assert len(one.embedding) == 64 and np.isclose(np.linalg.norm(one.embedding), 1)
    assert alike(one.embedding, vector(TEXTS[0])[:64])


def test_models_are_listed_and_found(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [EMBEDDER_REPO, RERANKER_REPO]
    model = client.models.retrieve(EMBEDDER_REPO)
    assert (model.id, model.object, model.owned_by) == (EMBEDDER_REPO, "model", "local") and model.created > 0
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("text-embedding-3-small")


def test_input_type_takes_the_prompt_of_the_model(keyed: openai.OpenAI) -> None:
    def embedding(text: str, **more: str) -> list[float]:
        answer = keyed.embeddings.create(model=PROMPTED_REPO, input=text, extra_body=more)
        return answer.data[0].embedding

    text = TEXTS[0]
    assert np.allclose(embedding(text, input_type="query"), vector(f"query: {text}"), atol=1e-6)
    assert np.allclose(embedding(text, input_type="passage"), vector(f"passage: {text}"), atol=1e-6)
    assert np.allclose(embedding(text), vector(f"passage: {text}"), atol=1e-6), "the model's default prompt"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 3]}, "input"),
        ({"input": [10**6]}, "input"),
        ({"input": {"secret": "words"}}, "input"),
        ({"input": "a", "dimensions": 385}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "secret"}, "encoding_format"),
    ],
)
def test_what_cannot_be_is_a_bad_request(client: openai.OpenAI, fields: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/embeddings", body={"model": EMBEDDER, **fields}, cast_to=object)
    assert refused.value.type == "invalid_request_error" and refused.value.param == param
    assert "secret" not in str(refused.value)


def test_fields_that_are_not_known_are_passed_over(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=EMBEDDER, input="a", user="me", extra_body={"truncate": "NONE"})
    assert len(answer.data[0].embedding) == 384


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.embeddings.create(model="text-embedding-3-small", input="a")
    assert refused.value.code == "model_not_found" and refused.value.type == "invalid_request_error"


def test_a_path_that_is_not_there_is_told_in_the_same_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model=EMBEDDER, messages=[])
    assert refused.value.code == "unknown_url"


def test_another_key_is_refused(strict: Served) -> None:
    with openai.OpenAI(base_url=f"{strict.url}/v1", api_key="another", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.embeddings.create(model=PROMPTED_REPO, input="a")
        assert refused.value.code == "invalid_api_key"


def test_more_than_the_server_takes_is_refused(keyed: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="There are 5 inputs"):
        keyed.embeddings.create(model=PROMPTED_REPO, input=["a"] * 5)
    with pytest.raises(openai.BadRequestError):
        keyed.embeddings.create(model=PROMPTED_REPO, input="a" * 2001)
    with pytest.raises(openai.APIStatusError) as refused:
        keyed.embeddings.create(model=PROMPTED_REPO, input="a" * 20001)
    assert refused.value.status_code == 413 and refused.value.type == "invalid_request_error"


@contextmanager
def busy(served: Served) -> Iterator[None]:
    """Somebody else asks all the time."""
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            served.ask("/embed", {"texts": ["word " * 300] * 4})

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        done.set()
        asking.join()


def test_a_full_server_is_a_rate_limit(strict: Served, keyed: openai.OpenAI) -> None:
    with busy(strict), pytest.raises(openai.RateLimitError) as refused:
        for _ in range(5000):  # until the other one is at work
            keyed.embeddings.create(model=PROMPTED_REPO, input="a")
    assert refused.value.code == "rate_limit_exceeded"
    assert int(refused.value.response.headers["Retry-After"]) >= 1
    # The library waits as it is told, and asks again.
    answer = keyed.with_options(max_retries=5).embeddings.create(model=PROMPTED_REPO, input="a")
    assert len(answer.data) == 1
