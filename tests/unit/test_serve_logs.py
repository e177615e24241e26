"""Lines of the model server's log."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from typing import Any

import onnxruntime
import pytest

from provisioner.errors import NotFound
from provisioner.serve import logs
from tests.support.patience import PATIENCE

MARK = "heliotrope-marginalia"


def record(message: str, *args: object, name: str = "here", error: BaseException | None = None, **facts: Any) -> Any:
    found = logging.LogRecord(name, logging.INFO, __file__, 1, message, args, None)
    if error:
        found.exc_info = (type(error), error, error.__traceback__)
    found.__dict__ |= logs.fields(**facts)
    return found


def json_line(*args: Any, **facts: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(logs.JsonLines().format(record(*args, **facts)))
    return found


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as found:
        return found


def test_a_line_is_one_json_object_with_its_fields() -> None:
    line = json_line("it is %s", "so", status=200, ms=1.5)
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "here", "message": "it is so", "status": 200, "ms": 1.5}


def test_a_line_has_the_id_of_its_request() -> None:
    token = logs.request_id.set("abc")
    try:
        assert json_line("a")["request_id"] == "abc"
    finally:
        logs.request_id.reset(token)
    assert "request_id" not in json_line("a")


def test_a_text_line_stays_one_line() -> None:
    text = logs.TextLines().format(record("one\ntwo\rthree", status=200))
    assert "\n" not in text
    assert "\r" not in text
    assert text.endswith("info here one\\ntwo\\rthree status=200")


@pytest.mark.parametrize("form", [logs.JsonLines(), logs.TextLines()])
def test_what_cannot_be_encoded_is_escaped(form: logging.Formatter) -> None:
    assert "udcff" in form.format(record("a file %s", "\udcff"))


@pytest.mark.parametrize("form", [logs.JsonLines(), logs.TextLines()])
def test_errors_keep_type_and_place_but_no_message(form: logging.Formatter) -> None:
    try:
        try:
            raise KeyError(MARK)
        except KeyError as cause:
            raise ValueError(f"cannot read {MARK}") from cause
    except ValueError as error:
        text = form.format(record("it failed", error=error))
    assert MARK not in text
    assert "ValueError" in text
    assert "KeyError" in text
    assert "test_serve_logs.py" in text


def test_messages_that_hold_no_text_are_kept() -> None:
    assert logs.trace(NotFound("No such release."))[0] == "provisioner.errors.NotFound: No such release."
    assert logs.trace(OSError(28, "No space left on device", MARK))[0] == "OSError: No space left on device"
    with pytest.raises(Exception) as caught:
        onnxruntime.InferenceSession(b"no graph")
    assert "protobuf" in logs.trace(caught.value)[0].lower()


def test_a_circle_of_causes_ends() -> None:
    first, second = raised(ValueError("a")), raised(ValueError("b"))
    first.__cause__, second.__cause__ = second, first
    assert logs.trace(first).count("ValueError") == 2


def test_a_deep_recursion_is_cut() -> None:
    def deeper() -> None:
        deeper()

    with pytest.raises(RecursionError) as caught:
        deeper()
    assert len(logs.trace(caught.value)) <= logs.FRAMES + 1


def test_tasks_that_nobody_awaited_are_not_quoted() -> None:
    stream, log = io.StringIO(), logging.getLogger("asyncio")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines())
    log.addHandler(handler)

    async def fail() -> None:
        raise RuntimeError(MARK)

    async def leave() -> None:
        asyncio.ensure_future(fail())  # noqa: RUF006
        await asyncio.sleep(0.01)

    try:
        asyncio.run(leave())
    finally:
        log.removeHandler(handler)
    assert "never retrieved" in stream.getvalue()
    assert "RuntimeError" in stream.getvalue()
    assert MARK not in stream.getvalue()


SCRIPT = """
import logging, warnings
from provisioner.serve import logs
logs.configure(json={json})
logs.configure(json={json})
logging.getLogger("uvicorn.error").info("one")
logging.getLogger("uvicorn.access").info("never")
warnings.warn("two")
logging.getLogger("x").debug("never")
"""


@pytest.mark.parametrize("json", [True, False])
def test_everything_goes_to_stderr_once(json: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(json=json)], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2
    assert "one" in done.stderr
    assert "UserWarning: two" in done.stderr
    assert "never" not in done.stderr
