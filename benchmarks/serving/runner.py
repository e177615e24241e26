"""One side: `runner.py SIDE FOLDER_OR_URL THREADS`, jobs as JSON lines on stdin, answers on stdout.

Sides: onnxruntime, openvino, fastembed, sentence-transformers (in this process); ours, infinity (over HTTP).
A job is {"kind": "32" | "256" | "mixed", "batch": N, "seconds": S, "seed": R}. Its answer: texts, the seconds that they
took, and the milliseconds of every call.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.serving.texts import batches

Embed = Callable[[list[str]], Any]


def onnxruntime(folder: Path, threads: int) -> Embed:
    import numpy as np
    import onnxruntime as ort
    from tokenizers import Tokenizer

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(str(folder / "onnx/model.onnx"), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    names = [given.name for given in session.get_inputs()]

    def embed(texts: list[str]) -> Any:
        found = tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in found], dtype=np.int64)
        mask = np.array([one.attention_mask for one in found], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, {name: feed[name] for name in names})[0]
        return _pooled(hidden, mask)

    return embed


def openvino(folder: Path, threads: int) -> Embed:
    import numpy as np
    import openvino as ov
    from tokenizers import Tokenizer

    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = ov.Core().compile_model(str(folder / "onnx/model.onnx"), "CPU", config)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding()
    names = [given.get_any_name() for given in compiled.inputs]

    def embed(texts: list[str]) -> Any:
        found = tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in found], dtype=np.int64)
        mask = np.array([one.attention_mask for one in found], dtype=np.int64)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return _pooled(compiled({name: feed[name] for name in names})[0], mask)

    return embed


def _pooled(hidden: Any, mask: Any) -> Any:
    import numpy as np

    summed = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    return summed / np.linalg.norm(summed, axis=1, keepdims=True)


def fastembed(folder: Path, threads: int) -> Embed:
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="bench/minilm",
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="bench/minilm"),
        dim=384,
        model_file="onnx/model.onnx",
    )
    model = TextEmbedding("bench/minilm", specific_model_path=str(folder), threads=threads)
    return lambda texts: list(model.embed(texts, batch_size=max(len(texts), 1)))


def sentence_transformers(folder: Path, threads: int) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(texts, batch_size=32)


def over_http(url: str, path: str, body: Callable[[list[str]], Any]) -> Embed:
    parts = urlsplit(url)
    assert parts.hostname
    connection = http.client.HTTPConnection(parts.hostname, parts.port)

    def asked(texts: list[str]) -> http.client.HTTPResponse:
        connection.request("POST", path, json.dumps(body(texts)), {"Content-Type": "application/json"})
        return connection.getresponse()

    def embed(texts: list[str]) -> Any:
        try:
            answer = asked(texts)
        except (http.client.RemoteDisconnected, ConnectionError):  # closed while the others had their turns
            connection.close()
            answer = asked(texts)
        data = answer.read()
        assert answer.status == 200, data[:300]
        return json.loads(data)

    return embed


def side(name: str, place: str, threads: int) -> Embed:
    if name == "ours":
        return over_http(place, "/embed", lambda texts: {"texts": texts})
    if name == "infinity":
        return over_http(place, "/embeddings", lambda texts: {"model": "minilm", "input": texts})
    libraries = {
        "onnxruntime": onnxruntime,
        "openvino": openvino,
        "fastembed": fastembed,
        "sentence-transformers": sentence_transformers,
    }
    return libraries[name](Path(place), threads)


def measured(embed: Embed, job: dict[str, Any]) -> dict[str, Any]:
    source = batches(job["kind"], job["batch"], job["seed"])
    calls: list[float] = []
    count, until = 0, time.perf_counter() + job["seconds"]
    while (begin := time.perf_counter()) < until:
        embed(next(source))
        calls.append((time.perf_counter() - begin) * 1000)
        count += job["batch"]
    return {"texts": count, "seconds": sum(calls) / 1000, "ms": calls}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    embed = side(sys.argv[1], sys.argv[2], int(sys.argv[3]))
    for tokens in ("32", "256", "mixed"):
        embed(next(batches(tokens, 8, 0)))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(measured(embed, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
