"""LocalBackend: which model, which inputs, which vectors, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest

from provisioner.errors import VerificationFailed
from provisioner.serve.backend import EmbedAsk, Embedded, RerankAsk, Served
from provisioner.serve.engines.interface import Floats, Item
from provisioner.serve.local import LocalBackend, warm
from provisioner.serve.recipe.activation import sigmoid
from provisioner.serve.refusals import (
    Busy,
    Failed,
    Invalid,
    NotReady,
    NotServed,
    Refused,
    TimedOut,
    TooLarge,
    WrongRole,
)
from provisioner.serve.settings import Limits, ModelSettings, Role
from tests.support.serve_engines import PATIENCE_S, Gated, Plain, value

EMBEDDER, RERANKER = "Org/Embedder-v1", "org/reranker"
Answer = TypeVar("Answer")


def served(engine: Plain) -> Served:
    task, repo = ("embed", EMBEDDER) if engine.about.dimensions else ("rerank", RERANKER)
    return Served(task, repo, "a" * 40, ("nick", "other/Name"), 3, 0.5, engine.about)


def backend(*engines: Plain, role: Role = Role.INFERENCE, limits: Limits | None = None) -> LocalBackend:
    made = LocalBackend(role, limits or Limits(), 0.0)
    for engine in engines:
        made.add(served(engine), engine, ModelSettings(), halved if not engine.about.dimensions else None)
    made.ready(1.5)
    return made


def halved(logits: Floats) -> Floats:
    return (logits / 2).astype(np.float32)


def asked(made: LocalBackend, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    async def once() -> Answer:
        try:
            return await ask()
        finally:
            await made.close(PATIENCE_S)

    return asyncio.run(once())


def embed(made: LocalBackend, *inputs: str | tuple[int, ...], **more: Any) -> Embedded:
    return asked(made, lambda: made.embed(EmbedAsk(inputs, **more)))


def scores(made: LocalBackend, ask: RerankAsk) -> list[float]:
    return [float(one) for one in asked(made, lambda: made.rerank(ask)).scores]


@pytest.mark.parametrize("name", [None, "", EMBEDDER, "org/embedder-V1", "Embedder-v1", "NICK", "other/name"])
def test_a_model_is_found_by_its_names(name: str | None) -> None:
    assert embed(backend(Plain()), "text", model=name).model == EMBEDDER


@pytest.mark.parametrize("name", ["embedder", "wrong/Embedder-v1", RERANKER, "name"])
def test_another_model_is_refused_naming_what_is_served(name: str) -> None:
    with pytest.raises(NotServed, match=EMBEDDER) as refused:
        embed(backend(Plain(), Plain(scores=True)), "text", model=name)
    assert refused.value.param == "model"


def test_without_a_model_for_the_task_nothing_is_served() -> None:
    with pytest.raises(NotServed, match="No reranker"):
        scores(backend(Plain()), RerankAsk("query", ("document",)))
    with pytest.raises(NotServed, match="No embedder"):
        embed(backend(Plain(scores=True)), "text")


def test_the_indexing_server_does_not_rerank() -> None:
    with pytest.raises(WrongRole, match="inference server"):
        scores(backend(Plain(), role=Role.INDEXING), RerankAsk("query", ("document",)))


def test_before_the_models_are_loaded_and_after_the_end_nobody_is_answered() -> None:
    made = LocalBackend(Role.INFERENCE, Limits(), 0.0)
    assert not made.status().ready
    with pytest.raises(NotReady, match="loaded"):
        embed(made, "text")
    made.ready(1.0)  # the models were loaded although the server is ending
    assert (made.status().ready, made.status().detail) == (False, "The server is ending.")


def test_the_status_says_what_is_served() -> None:
    made = backend(Plain(), Plain(scores=True))
    status = made.status()
    assert (status.ready, status.detail, status.role, status.start_seconds) == (True, "", Role.INFERENCE, 1.5)
    assert [one.repo for one in status.models] == [EMBEDDER, RERANKER]
    made.failed("It broke.")
    assert (made.status().ready, made.status().detail) == (False, "It broke.")
    asyncio.run(made.close())


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "passage: text"),
        ({"prompt_name": "query"}, "query: text"),
        ({"prompt_name": ""}, "text"),
        ({"prompt": "mine: "}, "mine: text"),
        ({"prompt": "", "prompt_name": "query"}, "text"),
    ],
)
def test_prompts_are_put_before_texts(more: dict[str, str], text: str) -> None:
    engine = Plain(prompts=(("query", "query: "), ("passage", "passage: ")), default_prompt="passage")
    answer = embed(backend(engine), "text", **more)
    assert engine.batches == [[text]]
    assert answer.tokens == len(text)


def test_a_default_prompt_leaves_token_ids_as_they_are() -> None:
    engine = Plain(prompts=(("passage", "passage: "),), default_prompt="passage")
    embed(backend(engine), (1, 2, 3))
    assert engine.batches == [[(1, 2, 3)]]


def test_longer_texts_are_cut_or_refused() -> None:
    assert embed(backend(Plain(max_length=8)), "a" * 20, "bb").tokens == 10
    assert embed(backend(Plain(max_length=8)), "a" * 20, max_length=12).tokens == 12
    with pytest.raises(TooLarge, match="1 of inputs has more than 8 tokens") as refused:
        embed(backend(Plain(max_length=8)), "bb", "a" * 20, truncate=False)
    assert refused.value.param == "inputs"
    with pytest.raises(TooLarge, match="0 of documents"):
        scores(backend(Plain(scores=True, max_length=8)), RerankAsk("query", ("document",), truncate=False))


def lengths(answer: Embedded) -> list[float]:
    return [round(float(one), 5) for one in np.linalg.norm(answer.vectors, axis=1)]


@pytest.mark.parametrize("normalize", [None, False, True])
def test_what_the_model_normalises_stays_so(normalize: bool | None) -> None:
    assert lengths(embed(backend(Plain(normalized=True)), "a", "bb", normalize=normalize)) == [1.0, 1.0]


def test_vectors_are_as_long_as_the_model_makes_them_unless_asked_otherwise() -> None:
    texts = "some text", "another"
    raw = embed(backend(Plain()), *texts)
    assert [float(one) for one in raw.vectors[:, 0]] == [value(text) for text in texts]
    assert np.array_equal(raw.vectors, embed(backend(Plain()), *texts, normalize=False).vectors)
    unit = embed(backend(Plain()), *texts, normalize=True)
    assert lengths(unit) == [1.0, 1.0]
    assert np.allclose(unit.vectors * np.linalg.norm(raw.vectors, axis=1, keepdims=True), raw.vectors)


def test_dimensions_cut_vectors_and_those_of_length_one_stay_so() -> None:
    for more in ({"normalized": True}, {}):
        answer = embed(backend(Plain(**more)), "a", "bb", dimensions=1)
        assert answer.vectors.shape == (2, 1)
        assert lengths(answer) == ([1.0, 1.0] if more else [value("a"), value("bb")])
        assert answer.vectors.dtype == np.float32
    assert embed(backend(Plain()), "a", dimensions=4).vectors.shape == (1, 4)


LIMITS = Limits(texts=3, characters=10, body=40)


@pytest.mark.parametrize(
    ("inputs", "more", "kind", "param"),
    [
        ((), {}, Invalid, "inputs"),
        (("a",) * 4, {}, Invalid, "inputs"),
        (("a", "b" * 11), {}, Invalid, "inputs"),
        (((1,) * 11,), {}, Invalid, "inputs"),
        (((),), {}, Invalid, "inputs"),
        (("a",), {"max_length": 1}, Invalid, "max_length"),
        (("a",), {"dimensions": 0}, Invalid, "dimensions"),
        (("a",), {"dimensions": 5}, Invalid, "dimensions"),
        (("a",), {"prompt_name": "other"}, Invalid, "prompt_name"),
        (("a",), {"prompt": "p" * 11}, Invalid, "prompt"),
        (("a", (1, 2)), {"prompt": "p"}, Invalid, "prompt"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    inputs: Sequence[Any], more: dict[str, Any], kind: type[Refused], param: str
) -> None:
    engine = Plain()
    with pytest.raises(kind) as refused:
        embed(backend(engine, limits=LIMITS), *inputs, **more)
    assert refused.value.param == param
    assert not engine.batches


@pytest.mark.parametrize(
    ("query", "documents", "kind", "param"),
    [
        ("q", (), Invalid, "documents"),
        ("q", ("d",) * 4, Invalid, "documents"),
        ("q", ("d", "d" * 11), Invalid, "documents"),
        ("q" * 11, ("d",), Invalid, "query"),
        ("q" * 9, ("d",) * 3, TooLarge, "query"),
    ],
)
def test_what_cannot_be_reranked_is_refused(
    query: str, documents: tuple[str, ...], kind: type[Refused], param: str
) -> None:
    with pytest.raises(kind) as refused:
        scores(backend(Plain(scores=True), limits=Limits(texts=3, characters=10, body=20)), RerankAsk(query, documents))
    assert refused.value.param == param


def test_more_texts_than_the_queue_takes_are_not_worth_another_try() -> None:
    with pytest.raises(Invalid, match="the most that a request may have is 2"):
        embed(backend(Plain(), limits=Limits(queue=2)), "a", "b", "c")


def test_scores_are_what_the_activation_makes_of_logits() -> None:
    documents = "one", "another", "a third"
    logits = [value(("query", one)) for one in documents]
    for ask, right in (
        (RerankAsk("query", documents, raw=True), logits),
        (RerankAsk("query", documents), [one / 2 for one in logits]),
        (RerankAsk("query", documents, sigmoid=True), [1.0] * 3),
    ):
        assert scores(backend(Plain(scores=True)), ask) == right


def test_the_sigmoid_does_not_overflow() -> None:
    found = sigmoid(np.array([-1e30, -1.0, 0.0, 1.0, 1e30], dtype=np.float32))
    assert np.allclose(found, [0.0, 1 / (1 + np.e), 0.5, 1 / (1 + 1 / np.e), 1.0])


def test_an_answer_that_takes_too_long_is_given_up_and_its_texts_leave_the_queue() -> None:
    engine = Gated()
    made = backend(engine, role=Role.INDEXING, limits=Limits(seconds=0.05, queue=9))

    async def test() -> None:
        late = asyncio.create_task(made.embed(EmbedAsk(("running",))))
        await asyncio.to_thread(engine.begun)
        waiting = [asyncio.create_task(made.embed(EmbedAsk((f"text {one}",) * 3))) for one in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await made.embed(EmbedAsk(("one more",)))
        for task in (late, *waiting):
            with pytest.raises(TimedOut, match=r"0\.05 seconds"):
                await task
        engine.free()
        made._limits = Limits(queue=9)  # this one has the time that it takes
        await made.embed(EmbedAsk(("again",) * 8))

    asked(made, test)
    assert [len(batch) for batch in engine.batches] == [1, 8]


class Damaged(Plain):
    """Weights that make NaN of everything, or of batches only."""

    def __init__(self, least: int, **more: Any) -> None:
        super().__init__(**more)
        self._least = least

    def run(self, items: Sequence[Item]) -> Floats:
        rows = super().run(items)
        return np.full_like(rows, np.nan) if len(items) >= self._least else rows


def test_numbers_that_are_not_finite_are_no_answer() -> None:
    with pytest.raises(Failed):
        embed(backend(Damaged(1)), "text")


@pytest.mark.parametrize("pairs", [False, True])
def test_warming_up_computes_a_query_and_a_batch_and_finds_damaged_weights(pairs: bool) -> None:
    engine = Plain(scores=pairs)
    warm(engine, 5)
    assert {1, 5} == {len(batch) for batch in engine.batches}
    for least in (1, 5):
        with pytest.raises(VerificationFailed, match="finite") as damaged:
            warm(Damaged(least, scores=pairs), 5)
        assert damaged.value.exit_code == 3
