"""Which files are taken, and what the operator is told about the others."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from provisioner.errors import InvalidInput
from provisioner.model import RelPath
from provisioner.rules import choose


def files(*paths: str, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), code: bool = False) -> set[str]:
    return set(choose(map(RelPath, paths), include, exclude, code=code).files)


MINILM = (
    *(".gitattributes", "1_Pooling/config.json", "README.md", "config.json", "config_sentence_transformers.json"),
    *("data_config.json", "model.safetensors", "modules.json", "onnx/model.onnx", "onnx/model_O1.onnx"),
    *("onnx/model_qint8_avx512.onnx", "openvino/openvino_model.bin", "openvino/openvino_model.xml"),
    *("pytorch_model.bin", "rust_model.ot", "sentence_bert_config.json", "special_tokens_map.json"),
    *("tf_model.h5", "tokenizer.json", "tokenizer_config.json", "train_script.py", "vocab.txt"),
)


def test_a_repository_with_every_format_gives_its_safetensors_and_what_belongs_to_them() -> None:
    assert files(*MINILM) == {
        *("1_Pooling/config.json", "README.md", "config.json", "config_sentence_transformers.json"),
        *("data_config.json", "model.safetensors", "modules.json", "sentence_bert_config.json"),
        *("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"),
    }


def test_every_file_is_either_taken_or_left_out_with_a_reason() -> None:
    choice = choose(map(RelPath, MINILM))
    assert {*choice.files, *(path for path, _ in choice.left_out)} == set(MINILM)
    assert all(reason for _, reason in choice.left_out)
    assert dict(choice.left_out)[RelPath("train_script.py")] == "Python that no auto_map asks for"


def test_all_shards_and_the_index_are_taken_and_the_consolidated_copy_is_not() -> None:
    shards = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
    mistral = (*shards, "model.safetensors.index.json", "consolidated.safetensors", "params.json", "tekken.json")
    assert files(*mistral) == {*shards, "model.safetensors.index.json", "params.json", "tekken.json"}


def test_a_consolidated_file_alone_is_the_model() -> None:
    assert "consolidated.safetensors" in files("consolidated.safetensors", "params.json", "tekken.json")


@pytest.mark.parametrize(
    "variant",
    [
        "model.fp16.safetensors",
        "model.fp16-00001-of-00002.safetensors",
        "model.safetensors.index.fp16.json",
        "original/model.safetensors",
        "pytorch_model.bin.index.json",
        "flax_model.msgpack",
        "coreml/text/model.mlpackage/Data/weights.bin",
        "model-Q4_K_M.gguf",
    ],
)
def test_another_copy_of_the_weights_is_left_out(variant: str) -> None:
    assert variant not in files("model.safetensors", "config.json", variant)


@pytest.mark.parametrize("only", ["model.fp16.safetensors", "tf_model.h5", "model-Q4_K_M.gguf", "model.onnx"])
def test_the_only_copy_of_the_weights_is_taken(only: str) -> None:
    assert only in files(only, "config.json")


@pytest.mark.parametrize(
    "clutter",
    [
        *("optimizer.pt", "training_args.bin", "runs/Jan01/events.out.tfevents.1.host", "checkpoint-500/config.json"),
        *("assets/figure.PNG", "trainer_state.json", "rng_state_0.pth", ".gitattributes"),
    ],
)
def test_clutter_is_left_out(clutter: str) -> None:
    assert files("model.safetensors", "README.md", "LICENSE", clutter) == {"model.safetensors", "README.md", "LICENSE"}


def test_a_part_that_only_exists_as_pytorch_stays() -> None:
    """Without it the model would load with a layer missing, or not at all; the policy then asks the operator."""
    taken = files("model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/config.json", "pytorch_model.bin")
    assert taken == {"model.safetensors", "2_Dense/pytorch_model.bin", "2_Dense/config.json"}


def test_a_pickled_head_beside_safetensors_stays() -> None:
    assert "model_head.pkl" in files("model.safetensors", "model_head.pkl")


def test_without_safetensors_pytorch_comes_before_onnx() -> None:
    assert files("pytorch_model.bin", "sparse_linear.pt", "onnx/model.onnx") == {
        "pytorch_model.bin",
        "sparse_linear.pt",
    }


def test_onnx_alone_gives_the_plain_graph_with_its_external_data() -> None:
    plain = {"onnx/model.onnx", "onnx/model.onnx_data", "onnx/model.onnx_data_1", "onnx/decoder_model.onnx"}
    quantized = (
        "onnx/model_fp16.onnx",
        "onnx/model_fp16.onnx_data",
        "onnx/model_int8.onnx",
        "onnx/model_quantized.onnx",
    )
    assert files(*plain, *quantized) == plain


def test_several_gguf_models_need_a_word_from_the_operator() -> None:
    with pytest.raises(InvalidInput, match="several GGUF") as caught:
        files("a-Q4.gguf", "a-Q8.gguf")
    assert "--include 'a-Q4.gguf'" in caught.value.hint
    assert files("a-Q4.gguf", "a-Q8.gguf", include=("a-Q8.gguf",)) == {"a-Q8.gguf"}


def test_the_shards_of_one_gguf_are_one_model() -> None:
    shards = {"a-00001-of-00002.gguf", "a-00002-of-00002.gguf"}
    assert files(*shards) == shards


def test_python_is_taken_only_when_it_is_asked_for() -> None:
    assert files("modeling.py", "model.safetensors") == {"model.safetensors"}
    assert files("modeling.py", "model.safetensors", code=True) == {"modeling.py", "model.safetensors"}
    assert files("modeling.py", "a.txt", include=("*.py",)) == {"modeling.py"}


def test_exclude_makes_room_for_the_next_format() -> None:
    assert files("model.safetensors", "pytorch_model.bin", exclude=("*.safetensors",)) == {"pytorch_model.bin"}


def test_include_takes_only_what_it_names_and_an_onnx_graph_brings_its_data() -> None:
    paths = ("a.txt", "onnx/model.onnx", "onnx/model.onnx.data", "onnx/model_q4.onnx_data", "model.safetensors")
    assert files(*paths, include=("onnx/model.onnx",)) == {"onnx/model.onnx", "onnx/model.onnx.data"}
    assert files(*paths, include=("onnx/",), exclude=("*q4*",)) == {"onnx/model.onnx", "onnx/model.onnx.data"}


def test_an_include_that_matches_nothing_is_reported() -> None:
    assert choose([RelPath("a.txt")], ("*.txt", "b.*")).unmatched == ("b.*",)


_NAMES = st.sampled_from(["a.txt", "a/b.txt", "a/c/d.json", "b/a.txt", "x[1].bin", "A.txt"])
_GLOBS = st.sampled_from(["*", "*.txt", "a/*", "a/", "?.txt", "[ab]*", "x[[]1].bin", "a/c/d.json", "A*", "**/a.txt"])


@given(st.sets(_NAMES, min_size=1), st.lists(_GLOBS, min_size=1), st.lists(_GLOBS))
def test_globs_mean_what_they_mean_to_the_hub_client(names: set[str], include: list[str], exclude: list[str]) -> None:
    theirs = set(filter_repo_objects(names, allow_patterns=include, ignore_patterns=exclude))
    assert files(*names, include=tuple(include), exclude=tuple(exclude)) == theirs
