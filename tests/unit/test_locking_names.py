"""Library names, presets, and what becomes of them."""

from __future__ import annotations

from typing import Any

import pytest
from fastembed import ImageEmbedding, LateInteractionTextEmbedding, SparseTextEmbedding, TextEmbedding
from fastembed.rerank.cross_encoder import TextCrossEncoder

from provisioner import presets
from provisioner.errors import InvalidDocument, InvalidInput, NotFound, UsageError
from provisioner.model import Layout
from provisioner.ops import naming
from provisioner.ops.wanted import requests

LISTED = [
    entry
    for kind in (TextEmbedding, SparseTextEmbedding, LateInteractionTextEmbedding, TextCrossEncoder, ImageEmbedding)
    for entry in kind.list_supported_models()
]


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: str(entry["model"]))
def test_every_model_of_fastembed_resolves_to_its_repository_and_files(entry: dict[str, object]) -> None:
    request = naming.fastembed(str(entry["model"]).upper())
    assert request.repo == entry["sources"]["hf"]  # type: ignore[index]
    assert {entry["model_file"], *entry["additional_files"], "tokenizer.json"} <= set(request.include)  # type: ignore[misc]
    assert request.exclude == ("*.py",)


def test_a_model_in_two_lists_is_one_request_for_both() -> None:
    assert {"onnx/text_model.onnx", "onnx/vision_model.onnx"} <= set(naming.fastembed("jinaai/jina-clip-v1").include)


def test_an_unknown_fastembed_name_is_answered_with_close_ones() -> None:
    with pytest.raises(NotFound) as caught:
        naming.fastembed("baai/bge-large-en")
    assert "BAAI/bge-large-en-v1.5" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "repo", "revision"),
    [
        ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2", "main"),
        ("distilbert-base-nli-mean-tokens", "sentence-transformers/distilbert-base-nli-mean-tokens", "main"),
        ("BAAI/bge-small-en-v1.5@v1", "BAAI/bge-small-en-v1.5", "v1"),
        ("Bert-base-uncased", "Bert-base-uncased", "main"),
    ],
)
def test_names_of_sentence_transformers(name: str, repo: str, revision: str) -> None:
    request = naming.sentence_transformers(name)
    assert (request.repo, request.revision) == (repo, revision)


@pytest.mark.torch
def test_the_names_it_leaves_alone_are_the_librarys() -> None:
    from sentence_transformers.util.misc import ORIGINAL_TRANSFORMER_MODELS

    assert frozenset(ORIGINAL_TRANSFORMER_MODELS) == naming.ORIGINAL_NAMES


@pytest.mark.parametrize("name", ["a/b/c", "../x", "a/b@", "a/b@../../x", "a--b", "@main", ""])
def test_a_name_that_is_no_repository(name: str) -> None:
    with pytest.raises(InvalidInput, match="not a re"):
        naming.repository(name)


def test_options_go_to_every_model_and_presets_keep_their_own() -> None:
    found = requests(
        ("org/a", "org/b@v2"),
        sentence_transformers=("all-MiniLM-L6-v2",),
        layouts=("hub", "flat"),
        exclude=("*.md",),
        allow_pickle=True,
    )
    assert [(r.repo, r.revision) for r in found] == [
        ("org/a", "main"),
        ("org/b", "v2"),
        ("sentence-transformers/all-MiniLM-L6-v2", "main"),
    ]
    assert all(r.layouts == (Layout.HUB, Layout.FLAT) and r.exclude == ("*.md",) and r.allow_pickle for r in found[:3])
    mixed = requests(("org/a",), presets=("mistral",))
    assert [(r.repo, r.layouts) for r in mixed] == [
        ("org/a", (Layout.HUB,)),
        ("mistralai/Mistral-Small-24B-Instruct-2501", (Layout.FLAT,)),
    ]


@pytest.mark.parametrize(
    ("option", "flag"),
    [
        ({"layouts": ("hub",)}, "--layout"),
        ({"include": ("*",)}, "--include"),
        ({"exclude": ("*.md",)}, "--exclude"),
        ({"allow_pickle": True}, "--allow-pickle"),
        ({"allow_remote_code": True}, "--allow-remote-code"),
    ],
)
def test_what_a_preset_would_ignore_is_refused(option: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError, match=flag + " "):
        requests(presets=("mistral",), **option)


def test_no_model_named() -> None:
    with pytest.raises(UsageError):
        requests()


def test_the_presets_name_their_models() -> None:
    named = {name: [str(request.repo) for request in requests(presets=(name,))] for name in presets.names()}
    assert named == {
        "mistral": ["mistralai/Mistral-Small-24B-Instruct-2501"],
        "onyx": [
            "nomic-ai/nomic-embed-text-v1",
            "mixedbread-ai/mxbai-rerank-xsmall-v1",
            "onyx-dot-app/hybrid-intent-token-classifier",
            "onyx-dot-app/information-content-model",
            "distilbert-base-uncased",
        ],
        "onyx-provision": ["nomic-ai/nomic-embed-text-v1", "mixedbread-ai/mxbai-rerank-xsmall-v1"],
        "qwiser": ["Qdrant/bge-large-en-v1.5-onnx", "sentence-transformers/all-MiniLM-L6-v2"],
        "rag8s": ["Alibaba-NLP/gte-modernbert-base", "Alibaba-NLP/gte-reranker-modernbert-base"],
    }


def test_an_unknown_preset() -> None:
    with pytest.raises(NotFound) as caught:
        presets.preset("onix")
    assert "onyx" in caught.value.hint


def test_a_preset_is_parsed_strictly_with_every_problem() -> None:
    text = b"""
        description = "x"
        colour = "red"
        [[models]]
        repo = "org/a"
        revision = "main"
        layout = ["hub"]
        [[models]]
        repo = "../a"
        layouts = ["shelf"]
    """
    with pytest.raises(InvalidDocument) as caught:
        presets.parse(text, "mine")
    places = [problem.place for problem in caught.value.problems]
    assert set(places) == {"colour", "models[0].layout", "models[1].repo", "models[1].revision", "models[1].layouts[0]"}
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("names", ["", 'repo = "a/b"\nfastembed = "c"'])
def test_a_preset_model_has_exactly_one_name(names: str) -> None:
    text = f'description = "x"\n[[models]]\nrevision = "main"\n{names}\n'
    with pytest.raises(InvalidDocument, match="exactly one of"):
        presets.parse(text.encode(), "mine")
