"""The server does what its OpenAPI document says, whatever it is sent: schemathesis, with all of its checks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults_process import REPOSITORY
from tests.support.served import PATIENCE_S, Served, int8_release, serving

TEXTS, CHARACTERS = 8, 100  # so that bodies at the limits are small
CONFIG = """
[generation]
no-shrink = true

[[operations]]
include-path = "/"
checks.unsupported_method.enabled = false  # GET is the page, which is no part of the document
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("small")
    limits = {"MAX_TEXTS": str(TEXTS), "MAX_CHARACTERS": str(CHARACTERS), "MAX_BODY_BYTES": "65536"}
    with serving(int8_release(folder / "store"), folder, **limits) as running:
        yield running


@pytest.fixture(scope="module")
def document(small: Served) -> Any:
    status, found = small.ask("/openapi.json")
    assert status == 200
    return found


def body(document: Any, path: str) -> Any:
    return document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def test_limits_of_the_settings_are_in_the_document(document: Any) -> None:
    texts = body(document, "/encoder/bi-encoder-embed")["properties"]["texts"]
    assert (texts["maxItems"], texts["items"]["maxLength"]) == (TEXTS, CHARACTERS)


def test_paths_that_are_shared_show_both_forms(document: Any) -> None:
    for path, keys in (("/embed", ("texts", "inputs")), ("/rerank", ("documents", "texts"))):
        forms = body(document, path)["oneOf"]
        assert len(forms) == 2
        assert all(key in form["required"] for form, key in zip(forms, keys, strict=True))


def test_the_document_refers_only_to_what_it_has(document: Any) -> None:
    text = json.dumps(document)
    names = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    assert all(name.removeprefix("#/components/schemas/") in document["components"]["schemas"] for name in names)
    assert "x-limit" not in text


@pytest.mark.at_most(1500)
def test_every_answer_is_one_of_the_document(small: Served, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    options = ["--phases", "examples,coverage,fuzzing", "--seed", "5", "--max-examples", "6"]
    # A path's parameter is any text, of which most cannot be in an address.
    options += ["--suppress-health-check", "all", "--no-color", "--generation-database", "none"]
    options += ["--request-timeout", str(PATIENCE_S)]
    run = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", f"{small.url}/openapi.json", *options],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.support.schema_hooks", "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert run.returncode == 0, run.stdout[-8000:] + run.stderr[-2000:]
    assert re.search(r"Selected: (\d+)/\1\s+Tested: \1\s", run.stdout), run.stdout[-2000:]
    assert "Traceback" not in small.log.read_text()
