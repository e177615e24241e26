"""Pickles and remote code are refused unless the lock says so by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from provisioner.model import RelPath
from provisioner.rules import Code, code_of, left_without_code, policy_problems
from provisioner.rules.documents import MAX_DOCUMENT
from tests.support.models import model

DOCUMENTS = {
    "config.json": b'{"auto_map": {"AutoModel": "modeling_x.Model", "AutoConfig": "o/code--conf.C"}}',
    "tokenizer_config.json": b'{"auto_map": {"AutoTokenizer": ["tok.Slow", null]}}',
    "modules.json": b'[{"type": "custom_st.Transformer"}, {"type": "sentence_transformers.models.Pooling"},'
    b' {"type": "pylate.models.Dense.Dense"}]',
    "1_Pooling/config.json": b"not json",
}


def code(**documents: bytes) -> Code:
    return code_of({RelPath(path): data for path, data in documents.items()}, "org/model")


@pytest.mark.parametrize(
    "path", ["pytorch_model.bin", "a.pt", "a.PTH", "head.pkl", "a.pickle", "a.ckpt", "model_head.joblib"]
)
def test_a_pickle_is_refused_with_model_file_and_flag(path: str) -> None:
    (problem,) = policy_problems(model(path))
    assert problem.place == f"org/model/{path}"
    assert "--allow-pickle" in problem.message
    assert policy_problems(model(path, allow_pickle=True)) == ()


def test_openvino_and_tokenizers_are_no_pickles() -> None:
    names = ("openvino/openvino_model.bin", "openvino/openvino_model.xml", "tokenizer.model", "model.safetensors")
    assert policy_problems(model(*names)) == ()


@pytest.mark.parametrize("name", ["pytorch_model", "model", "sub/my_openvino_x"])
def test_an_xml_beside_a_pickle_makes_it_no_openvino(name: str) -> None:
    (problem,) = policy_problems(model(f"{name}.bin", f"{name}.xml"))
    assert problem.place == f"org/model/{name}.bin"


@pytest.mark.parametrize("path", ["config.json", "sub/tokenizer_config.json", "modules.json"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_config_too_large_to_be_read_is_refused(path: str, allowed: bool) -> None:
    large = replace(model(path).files[0], size=MAX_DOCUMENT + 1)
    (problem,) = policy_problems(replace(model(path), files=(large,), allow_remote_code=allowed))
    assert problem.place == f"org/model/{path}"
    assert "stays unseen" in problem.message
    within = replace(large, size=MAX_DOCUMENT)
    assert policy_problems(replace(model(path), files=(within,))) == ()


def test_python_is_refused_without_looking_into_a_document() -> None:
    (problem,) = policy_problems(model("modeling.py", "config.json"))
    assert problem.place == "org/model/modeling.py"
    assert "--allow-remote-code" in problem.message
    assert policy_problems(model("modeling.py", allow_remote_code=True)) == ()


def test_the_code_that_documents_ask_for_is_found() -> None:
    found = code(**DOCUMENTS)
    assert set(found.modules) == {"modeling_x.py", "tok.py", "custom_st.py"}
    assert found.repos == ("o/code",)


def test_a_reference_to_the_repository_itself_is_its_own_code() -> None:
    found = code(**{"config.json": b'{"auto_map": {"AutoModel": "org/model--modeling.M"}}'})
    assert found == Code(("modeling.py",), ())


def test_custom_pipelines_are_code_too() -> None:
    found = code(**{"config.json": b'{"custom_pipelines": {"x": {"impl": "pipe.X", "pt": ["AutoModel"]}}}'})
    assert found.modules == ("pipe.py",)


@pytest.mark.parametrize("asked", [Code(("modeling.py",)), Code((), ("o/code",))])
def test_an_auto_map_is_refused_even_where_its_code_is_not_among_the_files(asked: Code) -> None:
    (problem,) = policy_problems(model("config.json"), asked)
    assert "--allow-remote-code" in problem.message
    assert policy_problems(model("config.json", allow_remote_code=True), asked) == ()


@pytest.mark.parametrize("asked", [Code(("modeling.py",)), Code((), ("o/code",))])
def test_leaving_the_code_out_on_purpose_is_allowed(asked: Code) -> None:
    assert policy_problems(model("config.json", exclude=("*.py",)), asked) == ()
    assert left_without_code(("*.py",), asked)
    assert not left_without_code(("other.py",), asked)


def test_without_code_nothing_was_left_out() -> None:
    assert not left_without_code(("*.py",), Code())


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"auto_map": 7}', b'{"auto_map": {"A": {"b": [["c.D"]]}}}', b"\xff"]
)
def test_hostile_documents_break_nothing(text: bytes) -> None:
    assert code(**{"config.json": text}).repos == ()
