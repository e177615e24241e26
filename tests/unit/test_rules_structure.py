"""A model that would not load, or load wrongly, is refused with what is missing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from provisioner.model import Layout, RelPath
from provisioner.rules import structure_problems
from tests.support.models import model

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
PLAIN = ("config.json", "model.safetensors", *TOKENIZER)
POOLING = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
TRANSFORMER = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}
NORMALIZE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
DENSE = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def problems(
    *paths: str,
    repository: tuple[str, ...] | None = (),
    layouts: tuple[Layout, ...] = (Layout.HUB,),
    include: tuple[str, ...] = (),
    **documents: Any,
) -> list[str]:
    """The problems of a model; `repository` lists what else the repository has, None that it is unknown."""
    contents = {
        RelPath(path): data if isinstance(data, bytes) else json.dumps(data).encode()
        for path, data in documents.items()
    }
    known = None if repository is None else frozenset({*paths, *repository})
    return [str(p) for p in structure_problems(model(*paths, layouts=layouts, include=include), contents, known)]


def test_a_plain_model_is_in_order_by_contents_and_by_names() -> None:
    assert problems(*PLAIN, **{"config.json": {}}) == []
    assert problems(*PLAIN, repository=None) == []


def test_weights_need_a_config() -> None:
    found = problems("model.safetensors", "tokenizer.json", repository=("config.json",))
    assert found == ["org/model/config.json: missing: the weights need it; include it"]
    assert problems("model.safetensors", repository=None) == ["org/model/config.json: missing: the weights need it"]


def test_the_config_above_serves_weights_in_a_folder() -> None:
    assert problems("onnx/model.onnx", "config.json", "tokenizer.json") == []


def test_only_what_was_named_is_enough_for_a_server_that_wants_no_more() -> None:
    repository = ("config.json", "tokenizer.json", "modules.json")
    assert problems("model.onnx", repository=repository, layouts=(Layout.FLAT,), include=("model.onnx",)) == []


@pytest.mark.parametrize("paths", [TOKENIZER, ("modeling.py", "config.json"), ("README.md",)])
def test_tokenizers_code_and_texts_alone_are_fine(paths: tuple[str, ...]) -> None:
    assert problems(*paths, repository=("model.safetensors", "modules.json")) == []


@pytest.mark.parametrize(
    ("text", "word"), [(b"{", "not JSON"), (b"[]", "not a JSON object"), (b"\xff\xfe", "not JSON")]
)
def test_a_config_that_does_not_parse(text: bytes, word: str) -> None:
    (found,) = problems(*PLAIN, **{"config.json": text})
    assert found.startswith(f"org/model/config.json: {word}")


def test_an_empty_config_beside_words_is_fine() -> None:
    """Qdrant/bm25 has that."""
    assert problems("config.json", "english.txt", layouts=(Layout.FASTEMBED,), **{"config.json": b""}) == []


def test_every_shard_by_name() -> None:
    shards = [f"model-0000{n}-of-00005.safetensors" for n in (1, 2, 4)]
    found = problems("config.json", *shards, repository=None)
    assert [text.partition(":")[0] for text in found] == [
        "org/model/model-00003-of-00005.safetensors",
        "org/model/model-00005-of-00005.safetensors",
    ]


def test_every_shard_that_the_index_names() -> None:
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors", "c": "../three.safetensors"}}
    found = problems(
        *("config.json", "unet/one.safetensors", "unet/model.safetensors.index.json"),
        repository=("unet/two.safetensors",),
        **{"unet/model.safetensors.index.json": index},
    )
    assert len(found) == 2
    assert "org/model/unet/two.safetensors: missing: a shard that unet/model.safetensors.index.json names" in found[1]
    assert found[1].endswith("include it")


@pytest.mark.parametrize("index", [{}, [], {"weight_map": []}, {"weight_map": {"a": 1}}])
def test_an_index_without_a_map(index: Any) -> None:
    (found,) = problems(*PLAIN, "model.safetensors.index.json", **{"model.safetensors.index.json": index})
    assert "without a weight_map" in found


def test_a_hostile_index_gives_a_short_list() -> None:
    index = {"weight_map": {str(n): f"{n}.safetensors" for n in range(5000)}}
    found = problems(*PLAIN, "model.safetensors.index.json", **{"model.safetensors.index.json": index})
    assert 0 < len(found) <= 20
    assert len(problems("config.json", "model-00001-of-99999.safetensors")) <= 20


def test_onnx_needs_its_external_data_and_the_data_its_graph() -> None:
    onnx = ("config.json", "tokenizer.json", "model.onnx")
    (found,) = problems(*onnx, repository=("model.onnx_data",))
    assert found == "org/model/model.onnx_data: missing: weights of model.onnx; include it"
    (found,) = problems("config.json", "tokenizer.json", "model.onnx_data", repository=None)
    assert found.startswith("org/model/model.onnx: missing")


def test_modules_json_must_come_along() -> None:
    (found,) = problems(*PLAIN, repository=("modules.json",))
    assert found.startswith("org/model/modules.json: missing")
    (found,) = problems(*PLAIN, "config_sentence_transformers.json", repository=None)
    assert found.startswith("org/model/modules.json: missing")


def test_an_onnx_selection_of_such_a_repository_does_not_need_it() -> None:
    assert problems("onnx/model.onnx", "config.json", *TOKENIZER, repository=("modules.json",)) == []


def test_what_modules_json_names_must_be_there() -> None:
    modules = [TRANSFORMER, POOLING, NORMALIZE]
    (found,) = problems(*PLAIN, "modules.json", repository=("1_Pooling/config.json",), **{"modules.json": modules})
    assert found == ("org/model/1_Pooling/config.json: missing: the module Pooling that modules.json names; include it")
    assert problems(*PLAIN, "modules.json", "1_Pooling/config.json", **{"modules.json": modules}) == []


def test_a_dense_module_needs_its_weights() -> None:
    modules = [TRANSFORMER, DENSE]
    paths = (*PLAIN, "modules.json", "2_Dense/config.json")
    (found,) = problems(*paths, repository=("2_Dense/pytorch_model.bin",), **{"modules.json": modules})
    assert found.startswith("org/model/2_Dense/pytorch_model.bin: missing")
    assert problems(*paths, "2_Dense/model.safetensors", **{"modules.json": modules}) == []


def test_a_static_embedding_needs_no_config() -> None:
    static = [{"path": "", "type": "sentence_transformers.models.StaticEmbedding"}]
    assert problems("model.safetensors", "tokenizer.json", "modules.json", **{"modules.json": static}) == []
    paths = ("0_StaticEmbedding/model.safetensors", "0_StaticEmbedding/tokenizer.json", "modules.json")
    assert problems(*paths, repository=None) == []


@pytest.mark.parametrize("modules", [{}, ["x"], [{"path": "../x", "type": "a.B"}], [{"path": 1, "type": "a.B"}]])
def test_hostile_modules(modules: Any) -> None:
    (found,) = problems(*PLAIN, "modules.json", **{"modules.json": modules})
    assert found.startswith("org/model/modules.json")


def test_code_that_is_allowed_must_be_there() -> None:
    asks = b'{"auto_map": {"AutoModel": "modeling.M"}}'
    allowed = model(*PLAIN, allow_remote_code=True)
    (found,) = structure_problems(allowed, {RelPath("config.json"): asks}, frozenset(PLAIN))
    assert found.place == "org/model/modeling.py"


def test_a_tokenizer_of_the_repository_must_come_along() -> None:
    (found,) = problems("config.json", "model.safetensors", repository=("vocab.txt",))
    assert found.startswith("org/model/vocab.txt: missing")
    assert (
        problems("config.json", "model.safetensors", "vocab.json", "merges.txt", repository=("tokenizer.json",)) == []
    )
    assert problems("config.json", "model.safetensors") == []


def test_sentence_transformers_layout() -> None:
    st = (Layout.SENTENCE_TRANSFORMERS,)
    (found,) = problems(*PLAIN, layouts=st, **{"config.json": {"architectures": ["BertModel"]}})
    assert found.startswith("org/model/modules.json: missing")
    cross_encoder = {"architectures": ["BertForSequenceClassification"]}
    assert problems(*PLAIN, layouts=st, **{"config.json": cross_encoder}) == []


@pytest.mark.parametrize("gone", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_fastembed_layout_names_what_it_lacks(gone: str) -> None:
    paths = tuple(path for path in ("model.onnx", "config.json", *TOKENIZER) if path != gone)
    assert any(text.startswith(f"org/model/{gone}: missing") for text in problems(*paths, layouts=(Layout.FASTEMBED,)))


def test_fastembed_layout_needs_onnx_but_not_for_static_and_image_models() -> None:
    fastembed = (Layout.FASTEMBED,)
    (found,) = problems(*PLAIN, layouts=fastembed, **{"config.json": {"model_type": "bert"}})
    assert found.startswith("org/model/model.onnx: missing")
    assert problems(*PLAIN, layouts=fastembed, **{"config.json": {"model_type": "model2vec"}}) == []
    assert problems("model.onnx", "config.json", "preprocessor_config.json", layouts=fastembed) == []
