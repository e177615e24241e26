"""Which library has to prove that a model loads."""

from __future__ import annotations

import pytest

from provisioner.model import Layout
from provisioner.rules.loaders import Library, library_of
from tests.support.models import model

BESIDE = ("config.json", "tokenizer.json")
MODULES = (*BESIDE, "modules.json", "1_Pooling/config.json", "model.safetensors")
CACHES = (Layout.HUB, Layout.HUGGINGFACE)


@pytest.mark.parametrize("layout", [*CACHES, Layout.FLAT])
@pytest.mark.parametrize(
    ("paths", "library"),
    [
        (MODULES, Library.SENTENCE_TRANSFORMERS),
        ((*BESIDE, "model.safetensors"), Library.TRANSFORMERS),
        ((*BESIDE, "pytorch_model.bin"), Library.TRANSFORMERS),
        ((*BESIDE, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"), Library.TRANSFORMERS),
        ((*BESIDE, "onnx/model.onnx"), Library.FASTEMBED),
        ((*BESIDE, "onnx/model.onnx", "onnx/model.onnx_data"), Library.FASTEMBED),
        ((*BESIDE, "model.onnx", "model.safetensors"), Library.TRANSFORMERS),
        (BESIDE, Library.TRANSFORMERS),
        (("vocab.txt",), Library.TRANSFORMERS),
        (("config.json", "modeling_other.py"), Library.NONE),
    ],
)
def test_by_the_files_where_the_layout_serves_all(layout: Layout, paths: tuple[str, ...], library: Library) -> None:
    assert library_of(model(*paths), layout) is library


def test_a_layout_of_one_library_is_for_that_library() -> None:
    both = model(*MODULES, "onnx/model.onnx")
    assert library_of(both, Layout.FASTEMBED) is Library.FASTEMBED
    assert library_of(both, Layout.SENTENCE_TRANSFORMERS) is Library.SENTENCE_TRANSFORMERS
    cross_encoder = model(*BESIDE, "model.safetensors")
    assert library_of(cross_encoder, Layout.SENTENCE_TRANSFORMERS) is Library.SENTENCE_TRANSFORMERS


def test_onnx_without_other_weights_is_fastembeds_even_with_modules() -> None:
    assert library_of(model(*BESIDE, "modules.json", "onnx/model.onnx"), Layout.HUB) is Library.FASTEMBED


@pytest.mark.parametrize("layout", [Layout.FASTEMBED, Layout.SENTENCE_TRANSFORMERS])
def test_without_weights_the_layouts_library_has_nothing_to_load(layout: Layout) -> None:
    """A repository of code stands in the layout of the model that asks for it."""
    assert library_of(model("config.json", "modeling_other.py"), layout) is Library.NONE
    assert library_of(model("config.json", "tokenizer.json"), layout) is Library.TRANSFORMERS
