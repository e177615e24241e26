"""Every engine on the real fp32 weights gives what sentence-transformers gives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from provisioner.errors import InvalidInput
from provisioner.serve import engines, recipe
from provisioner.serve.engines import Engine
from provisioner.serve.recipe.activation import activation
from provisioner.serve.refusals import Invalid
from provisioner.serve.settings import EngineName, ModelSettings
from tests.support.serve_models import files_of, int8_embedder, shared
from tests.support.serve_models_fp32 import fp32_embedder, fp32_reranker, shared_fp32
from tests.support.upstream import script

pytestmark = pytest.mark.torch

ENGINES = (EngineName.ONNX, EngineName.OPENVINO, EngineName.TORCH, EngineName.FASTEMBED)
TEXTS = [
    "A short one.",
    "",
    " ",
    ".",
    "Straße 東京 🚀 naïve café \u200b\ufeff",
    "one two three " * 9,
    "word " * 700,
    "x" * 5000,
    "[SEP] and [CLS] and [PAD] in a text",
    "\x00\n\t control",
]
PROMPT = "query: "
PAIRS = [
    ("How is a model verified?", "Every byte is hashed and compared with the lock."),
    ("How is a model verified?", "Bananas are yellow."),
    ("", ""),
    ("short", "long " * 900),
    ("long " * 900, "short"),
    ("both " * 400, "long " * 300),
]

# In processes of their own, where libraries may warn.
EMBED = """
import json, sys
from sentence_transformers import SentenceTransformer

folder, length, prompt, *texts = sys.argv[1:]
model = SentenceTransformer(folder, device="cpu")
model.max_seq_length = int(length)
print(json.dumps(model.encode(json.loads(texts[0]), prompt=prompt).tolist()))
"""
RERANK = """
import json, sys
import torch
from sentence_transformers import CrossEncoder

model = CrossEncoder(sys.argv[1], device="cpu")
pairs = [tuple(pair) for pair in json.loads(sys.argv[2])]
raw = model.predict(pairs, activation_fn=torch.nn.Identity())
print(json.dumps([raw.tolist(), model.predict(pairs).tolist()]))
"""
TORCH = """
import json, sys
from provisioner.serve import engines
from provisioner.serve.settings import EngineName, ModelSettings

folder, task, files, given, length = sys.argv[1:]
inputs = [tuple(one) if isinstance(one, list) else one for one in json.loads(given)]
made = engines.load(folder, json.loads(files), task, ModelSettings(), EngineName.TORCH, 2)
items = made.tokenize(inputs, int(length))
print(json.dumps({
    "about": [made.about.engine, made.about.precision, made.about.dimensions, made.about.max_length, made.about.limit],
    "together": made.run(items).tolist(),
    "alone": [made.run([item]).tolist()[0] for item in items],
    "items": [[item.length, item.cut] for item in items],
}))
"""


@pytest.fixture(scope="module")
def embedder() -> Path:
    return shared_fp32(fp32_embedder)


@pytest.fixture(scope="module")
def reranker() -> Path:
    return shared_fp32(fp32_reranker)


def reference(folder: Path, length: int = 256, prompt: str = "") -> Any:
    return np.array(script(EMBED, folder, length, prompt, json.dumps(given(TEXTS))))


def given(texts: list[str]) -> list[str]:
    return [text.replace("\x00", "") for text in texts]  # no process takes a NUL as an argument


def computed(
    folder: Path, engine: EngineName, inputs: list[Any], task: str = "embed", length: int = 256
) -> tuple[Any, Any, list[Any]]:
    """All together, one after the other, and the items."""
    if engine is EngineName.TORCH:
        found = script(TORCH, folder, task, json.dumps(files_of(folder)), json.dumps(inputs), length)
        return np.array(found["together"]), np.array(found["alone"]), found["items"]
    made = engines.load(folder, files_of(folder), task, ModelSettings(), engine, 2)
    items = made.tokenize(inputs, length)
    alone = np.concatenate([made.run([item]) for item in items])
    return made.run(items), alone, [[item.length, item.cut] for item in items]


def cosines(one: Any, other: Any) -> Any:
    return np.einsum("ij,ij->i", one, other) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.fixture(scope="module")
def expected(embedder: Path) -> Any:
    return reference(embedder)


@pytest.mark.parametrize("engine", ENGINES)
def test_vectors_are_those_of_sentence_transformers(embedder: Path, expected: Any, engine: EngineName) -> None:
    together, alone, items = computed(embedder, engine, given(TEXTS))
    assert cosines(together, expected).min() >= 0.9999
    assert cosines(alone, expected).min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), np.linalg.norm(expected, axis=1), atol=1e-5)
    assert [cut for _, cut in items] == [text.startswith("word") for text in TEXTS]


@pytest.fixture(scope="module")
def prompted(embedder: Path) -> Any:
    return reference(embedder, 512, PROMPT)


@pytest.mark.parametrize("engine", ENGINES[:3])
def test_with_a_prompt_and_another_length(embedder: Path, prompted: Any, engine: EngineName) -> None:
    together, *_ = computed(embedder, engine, [PROMPT + text for text in given(TEXTS)], length=512)
    assert cosines(together, prompted).min() >= 0.9999


@pytest.fixture(scope="module")
def scored(reranker: Path) -> Any:
    return script(RERANK, reranker, json.dumps(PAIRS))


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_are_those_of_a_cross_encoder(reranker: Path, scored: Any, engine: EngineName) -> None:
    logits, scores = scored
    assert max(logits) - min(logits) > 0.5
    together, alone, items = computed(reranker, engine, [tuple(pair) for pair in PAIRS], "rerank", 512)
    np.testing.assert_allclose(together, logits, atol=2e-4)
    np.testing.assert_allclose(alone, logits, atol=2e-4)
    np.testing.assert_allclose(activation(reranker)(together.astype(np.float32)), scores, atol=1e-4)
    assert [cut for _, cut in items] == [False] * 3 + [True] * 3


def test_int8_is_near_fp32(embedder: Path, expected: Any) -> None:
    """Weights in int8, computed in fp32: what is lost does not depend on the other texts of the batch."""
    together, alone, _ = computed(shared(int8_embedder), EngineName.ONNX, given(TEXTS))
    assert cosines(together, expected).min() > 0.99
    np.testing.assert_allclose(together, alone, atol=1e-5)


POOLING = """
import json, sys
import torch
from sentence_transformers.sentence_transformer.modules import Pooling

hidden, mask, modes = json.loads(sys.argv[1])
features = {"token_embeddings": torch.tensor(hidden), "attention_mask": torch.tensor(mask)}
print(json.dumps(Pooling(3, modes)(features)["sentence_embedding"].tolist()))
"""


@pytest.mark.parametrize("left", [False, True])
def test_every_mode_of_pooling(left: bool) -> None:
    from provisioner.serve.engines.pooling import pool

    modes = list(recipe.Mode)
    hidden = np.random.default_rng(7).normal(size=(3, 6, 3)).astype(np.float32)
    lengths = [6, 1, 4]
    mask = [[int(at >= 6 - one if left else at < one) for at in range(6)] for one in lengths]
    expected = script(POOLING, json.dumps([hidden.tolist(), mask, modes]))
    np.testing.assert_allclose(pool(hidden, lengths, modes, left=left), expected, atol=1e-5)


WRITTEN = """
import json, sys
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

source, plain, dense, texts = sys.argv[1:]
model = SentenceTransformer(source, device="cpu", prompts={"query": "query: "}, default_prompt_name="query")
model.max_seq_length = 40
model.save_pretrained(plain)
pooling = Pooling(384, ["cls", "mean"])
longer = SentenceTransformer(modules=[model[0], pooling, Dense(768, 16), Normalize()], device="cpu")
longer.save_pretrained(dense)
texts = json.loads(texts)
print(json.dumps([model.encode(texts, prompt="").tolist(), longer.encode(texts).tolist()]))
"""


@pytest.fixture(scope="module")
def written(embedder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[Any]]:
    """What today's sentence-transformers writes, with the exported graph beside it, and its own vectors."""
    place = tmp_path_factory.mktemp("written")
    plain, dense = place / "plain", place / "dense"
    vectors = script(WRITTEN, embedder, plain, dense, json.dumps(given(TEXTS)))
    for folder in (plain, dense):
        (folder / "onnx").symlink_to(embedder / "onnx")
    return plain, dense, [np.array(one) for one in vectors]


def test_a_model_saved_by_todays_sentence_transformers(written: tuple[Path, Path, list[Any]]) -> None:
    plain, _, (expected, _) = written
    files = (*files_of(plain), "onnx/model.onnx")
    made = engines.load(plain, files, "embed", ModelSettings(), EngineName.ONNX, 2)
    assert made.about.max_length == 40 and made.about.default_prompt == "query"
    assert dict(made.about.prompts)["query"] == "query: "
    items = made.tokenize(given(TEXTS))
    assert max(item.length for item in items) == 40
    assert cosines(made.run(items), expected).min() >= 0.9999


def test_a_model_that_only_torch_computes(written: tuple[Path, Path, list[Any]]) -> None:
    _, dense, (_, expected) = written
    files = (*files_of(dense), "onnx/model.onnx")
    assert recipe.task(dense, files) == "embed"
    for engine in (EngineName.ONNX, EngineName.OPENVINO):
        with pytest.raises(InvalidInput, match="has the module Dense, which only the engine torch computes"):
            engines.load(dense, files, "embed", ModelSettings(), engine, 2)
    together, alone, _ = computed(dense, EngineName.TORCH, given(TEXTS), length=40)
    assert together.shape == (len(TEXTS), 16)
    assert cosines(together, expected).min() >= 0.9999 and cosines(alone, expected).min() >= 0.9999


IDS = """
import json, sys
from provisioner.serve import engines
from provisioner.serve.refusals import Invalid
from provisioner.serve.settings import EngineName, ModelSettings

folder, files = sys.argv[1], json.loads(sys.argv[2])
made = engines.load(folder, files, "embed", ModelSettings(), EngineName.TORCH, 1)
(text,) = made.tokenize(["A short one."])
ids = tuple(text.data["input_ids"].tolist())
same = made.run(made.tokenize([ids, "word " * 300])) - made.run(made.tokenize(["A short one.", "word " * 300]))
refused = []
for wrong in ((), (30522,), (-1,), (2**70,)):
    try:
        made.tokenize([wrong])
    except Invalid as error:
        refused.append(str(error))
print(json.dumps([float(abs(same).max()), refused]))
"""


def test_torch_takes_token_ids_too(embedder: Path) -> None:
    difference, refused = script(IDS, embedder, json.dumps(files_of(embedder)))
    assert difference < 1e-5 and len(refused) == 4


def test_openvino_and_onnx_runtime_refuse_the_same_token_ids(embedder: Path) -> None:
    made: list[Engine] = [
        engines.load(embedder, files_of(embedder), "embed", ModelSettings(), engine, 1)
        for engine in (EngineName.ONNX, EngineName.OPENVINO)
    ]
    for engine in made:
        with pytest.raises(Invalid, match="from 0 to 30521"):
            engine.tokenize([(30522,)])
