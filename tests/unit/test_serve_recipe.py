"""What a model's own files say, in every form that sentence-transformers writes and reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provisioner.errors import InvalidDocument, InvalidInput, NotFound
from provisioner.serve import recipe
from provisioner.serve.recipe import Lengths, Mode, Recipe
from provisioner.serve.recipe.activation import activation

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.sentence_transformer.modules."
BASE = "sentence_transformers.base.modules."
BERT = {"architectures": ["BertModel"], "model_type": "bert", "max_position_embeddings": 512, "vocab_size": 100}
CLASSIFIER = BERT | {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
MEAN = {"word_embedding_dimension": 4, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
LENGTH = {"model_max_length": 128}


def module(kind: str, path: str = "", prefix: str = OLD) -> dict[str, Any]:
    return {"idx": 0, "name": "0", "path": path, "type": f"{prefix}{kind}"}


PIPELINE = [module("Transformer"), module("Pooling", "1_Pooling"), module("Normalize", "2_Normalize")]
FILES: dict[str, Any] = {
    "config.json": BERT,
    "tokenizer_config.json": LENGTH,
    "modules.json": PIPELINE,
    "1_Pooling/config.json": MEAN,
    "onnx/model.onnx": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, content: Mapping[str, Any]) -> tuple[str, ...]:
    for name, value in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return tuple(content)


def read(folder: Path, task: str = "embed", max_length: int | None = None, **changed: Any) -> Recipe:
    """The recipe of the files above, some of them changed; keywords name them by their start."""
    content = {name: value for name, value in FILES.items() if changed.get(_key(name), value) is not None}
    content |= {name: changed[_key(name)] for name in content if _key(name) in changed}
    content |= {name: value for name, value in changed.items() if "." in name}
    return recipe.read(folder, write(folder, content), task, max_length)


def _key(name: str) -> str:
    return {"1_Pooling/config.json": "pooling"}.get(name, name.partition(".")[0])


def test_mean_and_normalize(folder: Path) -> None:
    found = read(folder)
    assert (found.pooling, found.normalize, found.only_torch) == ((Mode.MEAN,), True, ())
    assert found.lengths == Lengths(128, 512) and found.vocabulary == 100


@pytest.mark.parametrize(
    ("config", "modes"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, (Mode.CLS,)),
        ({"pooling_mode_lasttoken": True}, (Mode.LAST,)),
        ({"pooling_mode_weightedmean_tokens": True}, (Mode.WEIGHTED,)),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, (Mode.MEAN_SQRT,)),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, (Mode.CLS, Mode.MEAN)),
        ({"pooling_mode_mean_tokens": False}, (Mode.MEAN,)),  # as sentence-transformers has it
        ({}, (Mode.MEAN,)),
        ({"embedding_dimension": 4, "pooling_mode": "cls", "include_prompt": True}, (Mode.CLS,)),
        ({"pooling_mode": ["mean", "max"]}, (Mode.MEAN, Mode.MAX)),
        ({"pooling_mode": "mean_sqrt_len_tokens", "pooling_mode_cls_token": True}, (Mode.MEAN_SQRT,)),
    ],
)
def test_pooling_in_every_form(folder: Path, config: dict[str, Any], modes: tuple[Mode, ...]) -> None:
    assert read(folder, pooling=config).pooling == modes


def test_the_class_paths_of_today(folder: Path) -> None:
    steps = [module("transformer.Transformer", prefix=BASE), module("pooling.Pooling", "1_Pooling", NEW)]
    found = read(folder, modules=[*steps, module("normalize.Normalize", "2_Normalize", BASE)])
    assert found.normalize and found.pooling == (Mode.MEAN,) and not found.only_torch


@pytest.mark.parametrize(
    ("steps", "named"),
    [
        ([*PIPELINE[:2], module("Dense", "2_Dense"), PIPELINE[2]], "the module Dense"),
        ([*PIPELINE, module("LayerNorm", "3_LayerNorm")], "the module LayerNorm"),
        ([module("StaticEmbedding")], "the module StaticEmbedding"),
        ([PIPELINE[0]], "no module Pooling"),
        ([{"path": "", "type": "custom_st.Transformer"}, *PIPELINE[1:]], "the module custom_st.Transformer"),
        ([module("Transformer", "0_Transformer"), *PIPELINE[1:]], "a transformer in a folder of its own"),
    ],
)
def test_what_only_torch_computes_is_named(folder: Path, steps: list[dict[str, Any]], named: str) -> None:
    assert named in read(folder, modules=steps).only_torch


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"modality_config": {"message": {"method": "forward"}}}, "a chat template"),
        ({"transformer_task": "fill-mask"}, "another transformer task than feature-extraction"),
        ({"module_output_name": "causal_logits"}, "another output of the transformer than its last hidden state"),
    ],
)
def test_settings_of_the_transformer_that_only_torch_knows(folder: Path, config: dict[str, Any], named: str) -> None:
    assert named in read(folder, **{"sentence_bert_config.json": config}).only_torch


def test_what_todays_sentence_transformers_writes_for_a_plain_model(folder: Path) -> None:
    text = {"method": "forward", "method_output_name": "last_hidden_state"}
    config = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": text},
        "module_output_name": "token_embeddings",
    }
    assert read(folder, **{"sentence_bert_config.json": config}).only_torch == ()


def test_a_prompt_that_is_not_pooled_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="leaves the prompt out of its pooling"):
        read(folder, pooling=MEAN | {"include_prompt": False})


def test_prompts(folder: Path) -> None:
    about = {"prompts": {"query": "query: ", "document": None}, "default_prompt_name": "query", "truncate_dim": 2}
    found = read(folder, **{"config_sentence_transformers.json": about})
    assert found.prompts == (("query", "query: "), ("document", ""))
    assert (found.default_prompt, found.dimensions) == ("query", 2)


ROBERTA = BERT | {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("config", "tokenizer", "transformer", "lengths"),
    [
        (BERT, LENGTH, {"max_seq_length": 256}, Lengths(256, 512)),
        (BERT, LENGTH, {"max_seq_length": None}, Lengths(128, 512)),
        (BERT, LENGTH, {"max_seq_length": 4096}, Lengths(512, 512)),
        (BERT, {"model_max_length": 10**30}, {}, Lengths(512, 512)),
        (BERT, {"model_max_length": 1e30}, {}, Lengths(512, 512)),
        (ROBERTA, {"model_max_length": 10**30}, {}, Lengths(512, 512)),
        (ROBERTA, {"model_max_length": 8192}, {"max_seq_length": 514}, Lengths(512, 512)),
        ({"n_positions": 8192}, {"model_max_length": 512}, {}, Lengths(512, 8192)),
        ({"max_position_embeddings": -1}, {"model_max_length": 512}, {}, Lengths(512, 512)),
        ({}, {}, {"max_seq_length": 77}, Lengths(77, 77)),
        (BERT, LENGTH, {"processor_kwargs": {"model_max_length": 64}}, Lengths(64, 512)),
        (BERT, LENGTH, {"tokenizer_args": {"model_max_length": 64}, "max_seq_length": 32}, Lengths(64, 512)),
        (BERT, LENGTH, {"processing_kwargs": {"text": {"max_length": 99}}}, Lengths(99, 512)),
        (BERT, LENGTH | {"truncation_side": "left"}, {}, Lengths(128, 512, cut_left=True)),
    ],
)
def test_lengths(
    folder: Path, config: dict[str, Any], tokenizer: dict[str, Any], transformer: dict[str, Any], lengths: Lengths
) -> None:
    more = {"sentence_bert_config.json": transformer}
    assert read(folder, config=config, tokenizer_config=tokenizer, **more).lengths == lengths


def test_the_operator_may_want_another_length(folder: Path) -> None:
    assert read(folder, max_length=300).lengths == Lengths(300, 512)
    with pytest.raises(InvalidInput, match="EMBEDDER_MAX_LENGTH is 513, and the model takes 512 tokens at most"):
        read(folder, max_length=513)


def test_a_length_that_no_file_names_is_not_guessed(folder: Path) -> None:
    with pytest.raises(InvalidInput, match="do not say how many tokens") as caught:
        read(folder, config={}, tokenizer_config={})
    assert "EMBEDDER_MAX_LENGTH" in caught.value.hint


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"pooling": b"{"}, "1_Pooling/config.json has 1 problem: is not JSON"),
        ({"pooling": b"\xff\xfe"}, "1_Pooling/config.json has 1 problem: is not JSON"),
        ({"pooling": b"[" * 100_000}, "1_Pooling/config.json has 1 problem: is not JSON: nested too deeply"),
        ({"pooling": []}, "1_Pooling/config.json has 1 problem: is not a JSON object"),
        ({"pooling": {"pooling_mode": "median"}}, "pooling_mode: 'median' is none of"),
        ({"pooling": {"pooling_mode": []}}, "pooling_mode: names no mode"),
        ({"pooling": {"pooling_mode": [1]}}, "pooling_mode: is not a list of texts"),
        ({"pooling": {"pooling_mode_mean_tokens": "yes"}}, "pooling_mode_mean_tokens: is neither true nor false"),
        ({"modules": {}}, "modules.json has 1 problem: is not a list of modules"),
        ({"modules": []}, "modules.json has 1 problem: is not a list of modules"),
        ({"modules": [PIPELINE[0], 7]}, r"modules.json has 1 problem: \[1\]: is not a module with a path and a type"),
        ({"modules": [PIPELINE[0], module("Pooling", "../../etc")]}, r"modules.json has 1 problem: \[1\].path: "),
        ({"config": BERT | {"max_position_embeddings": -5}}, "max_position_embeddings: is not a whole number of 1"),
        ({"config": BERT | {"max_position_embeddings": "512"}}, "max_position_embeddings: is not a whole number"),
        ({"config": BERT | {"max_position_embeddings": True}}, "max_position_embeddings: is not a whole number"),
        ({"config": b'{"max_position_embeddings": NaN}'}, "max_position_embeddings: is not a whole number"),
        ({"config": ROBERTA | {"max_position_embeddings": 2}}, "max_position_embeddings: leaves no position"),
        ({"config": BERT | {"vocab_size": 0}}, "vocab_size: is not a whole number of 1 or more"),
        ({"tokenizer_config": LENGTH | {"padding_side": "up"}}, "padding_side: is neither left nor right"),
        ({"tokenizer_config": {"model_max_length": 0}}, "model_max_length: is not a whole number of 1 or more"),
        (
            {"config_sentence_transformers.json": {"prompts": {"query": 7}}},
            "config_sentence_transformers.json has 1 problem: prompts.query: is not a text",
        ),
        (
            {"config_sentence_transformers.json": {"prompts": {}, "default_prompt_name": "query"}},
            "default_prompt_name: names none of the prompts",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_place(folder: Path, changed: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidDocument, match=place):
        read(folder, **changed)


def test_without_modules_nothing_is_guessed(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has no modules\.json, so nothing says how its vectors are pooled"):
        read(folder, modules=None)


def test_pooling_whose_file_is_not_locked_is_not_guessed(folder: Path) -> None:
    """The file may well be there: what a lock's --include left out is not the model that somebody reviewed."""
    write(folder, FILES)
    locked = tuple(name for name in FILES if name != "1_Pooling/config.json")
    with pytest.raises(InvalidInput, match=r"1_Pooling/config\.json is not locked"):
        recipe.read(folder, locked, "embed")


def test_only_locked_files_are_read(folder: Path) -> None:
    write(folder, {"sentence_bert_config.json": {"max_seq_length": 7}})
    assert read(folder).lengths.default == 128


def test_a_locked_file_that_is_not_there(folder: Path) -> None:
    with pytest.raises(NotFound, match=r"modules\.json of .* cannot be read: No such file"):
        recipe.read(folder, ["modules.json"], "embed")


def test_padding(folder: Path) -> None:
    tokenizer = LENGTH | {"padding_side": "left", "pad_token_type_id": 3}
    assert read(folder, config=BERT | {"pad_token_id": 1}, tokenizer_config=tokenizer).padding == recipe.Padding(
        1, 3, True
    )


@pytest.mark.parametrize(
    ("content", "task"),
    [
        (FILES, "embed"),
        ({**FILES, "config_sentence_transformers.json": {"model_type": "SentenceTransformer"}}, "embed"),
        ({**FILES, "config_sentence_transformers.json": {"model_type": "CrossEncoder"}}, "rerank"),
        ({**FILES, "config_sentence_transformers.json": {"model_type": "SparseEncoder"}}, None),
        ({**FILES, "config_sentence_transformers.json": {"model_type": "MultiVectorEncoder"}}, None),
        ({"config.json": BERT, "model.onnx": ""}, "embed"),
        ({"config.json": BERT}, None),
        ({"config.json": CLASSIFIER, "model.safetensors": ""}, "rerank"),
        ({"config.json": {**CLASSIFIER, "id2label": {"0": "a", "1": "b"}}, "model.onnx": ""}, None),
        ({"config.json": {"architectures": ["BertForSequenceClassification"]}, "model.onnx": ""}, None),
        ({"config.json": {**CLASSIFIER, "id2label": None, "num_labels": 1}, "model.onnx": ""}, "rerank"),
        ({"config.json": {"architectures": ["LlamaForCausalLM"]}, "model.safetensors": ""}, None),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}, "model.onnx": ""}, None),
        ({"config.json": {}, "model.onnx": ""}, None),
        ({"model.onnx": ""}, None),
        ({"tokenizer.json": {}}, None),
    ],
)
def test_what_a_model_is_for(folder: Path, content: dict[str, Any], task: str | None) -> None:
    assert recipe.task(folder, write(folder, content)) == task


def test_a_reranker(folder: Path) -> None:
    found = read(folder, "rerank", config=CLASSIFIER, modules=None)
    assert (found.task, found.pooling, found.lengths, found.only_torch) == ("rerank", (), Lengths(128, 512), ())
    llm = [module("Transformer"), module("LogitScore", "1_LogitScore", "sentence_transformers.cross_encoder.modules.")]
    assert read(folder, "rerank", modules=llm).only_torch == ("the module LogitScore",)


LOGITS = np.array([-200.0, -1.0, 0.0, 2.0, 200.0], np.float32)
SIGMOID = [0.0, 0.26894143, 0.5, 0.880797, 1.0]
TORCH = "torch.nn.modules."


@pytest.mark.parametrize(
    ("content", "scores"),
    [
        ({"config.json": CLASSIFIER}, SIGMOID),
        ({}, SIGMOID),
        ({"config.json": {"sentence_transformers": {"activation_fn": f"{TORCH}activation.Sigmoid"}}}, SIGMOID),
        ({"config.json": {"sentence_transformers": {"activation_fn": f"{TORCH}linear.Identity"}}}, LOGITS),
        ({"config.json": {"sbert_ce_default_activation_function": f"{TORCH}linear.Identity"}}, LOGITS),
        ({"config.json": {"sentence_transformers": {"activation_fn": f"{TORCH}activation.Tanh"}}}, np.tanh(LOGITS)),
        # sentence-transformers does not run a function from elsewhere; nor does it look at the older key then
        ({"config.json": {"sentence_transformers": {"activation_fn": "evil.Function"}}}, SIGMOID),
        (
            {
                "config.json": {
                    "sentence_transformers": {"activation_fn": f"{TORCH}activation.Sigmoid"},
                    "sbert_ce_default_activation_function": f"{TORCH}linear.Identity",
                }
            },
            SIGMOID,
        ),
        (
            {
                "config.json": CLASSIFIER,
                "modules.json": PIPELINE[:1],
                "config_sentence_transformers.json": {"activation_fn": f"{TORCH}linear.Identity"},
            },
            LOGITS,
        ),
        ({"config_sentence_transformers.json": {"activation_fn": f"{TORCH}linear.Identity"}}, SIGMOID),
    ],
)
def test_activation(folder: Path, content: dict[str, Any], scores: Any) -> None:
    write(folder, content)
    found = activation(folder)(LOGITS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, scores, atol=1e-6)


def test_an_activation_that_is_not_known_is_refused(folder: Path) -> None:
    write(folder, {"config.json": {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.GELU"}}})
    with pytest.raises(InvalidInput, match=r"wants 'torch\.nn\.modules\.activation\.GELU' applied"):
        activation(folder)
