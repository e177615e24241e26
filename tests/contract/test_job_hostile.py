"""A pod that says what no pod of ours says: nothing of it steers a terminal, and nothing of it is a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api_cluster import claim
from tests.support.api_server import ApiServer
from tests.support.faults_process import Done
from tests.support.job_process import JOB, SUMMARY, Site, event, result, started

ESCAPE = "\x1b]0;pwned\x07\x9b2J"
LARGE = 10**400
FINDING = {"kind": ESCAPE, "path": ESCAPE, "detail": ESCAPE}
VERIFY: dict[str, Any] = {
    "store": ESCAPE,
    "release": ESCAPE,
    "evidence": "rehashed",
    "files": 1,
    "bytes": 1,
    "seconds": 1.0,
    "against": ESCAPE,
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ApiServer(tmp_path / "tls").running() as api:
        claim(api)
        found = Site(api, tmp_path)
        yield found
        found.close()


def all_of_it(site: Site, lines: list[str], summary: dict[str, Any], code: int, *words: str) -> list[Done]:
    run = site.run(*words)
    job = site.job()
    pod = job.runs(job.pod())
    site.api.say(pod, *lines)
    job.ends(pod, code, summary=summary)
    job.completes() if code == 0 else job.fails()
    first = run.done()
    assert first.code == code, first.err
    rest = [site.do(*words) for words in (("status",), ("logs",), ("logs", "--json"))]
    assert [one.code for one in rest] == [0, 0, 0], [one.err for one in rest]
    return [first, *rest]


def is_harmless(done: Done) -> bool:
    return all(c.isprintable() or c == "\n" for c in done.out + done.err) and "Traceback" not in done.err


@pytest.mark.parametrize(
    ("lines", "summary", "code"),
    [
        (result(store=ESCAPE, release=ESCAPE, before=ESCAPE, origins={ESCAPE: [1, 2]}), SUMMARY, 0),
        (result(store=ESCAPE, changed=False), SUMMARY, 0),
        (result(store=ESCAPE, shard={"index": 1, "count": 2, "files": 1, "bytes": 1}), SUMMARY, 0),
        (result(verify=VERIFY | {"findings": [FINDING]}), SUMMARY, 0),
        (result(verify=VERIFY | {"findings": []}), SUMMARY, 0),
        ([ESCAPE + "hello", json.dumps({"event": "started", "task": ESCAPE, "files": 1, "bytes": 1})], SUMMARY, 0),
        ([event("file_done", path=ESCAPE, size=1, how=ESCAPE, origin=ESCAPE)], SUMMARY, 0),
        ([], {"command": ESCAPE, ESCAPE: ESCAPE, "exit_code": 0}, 0),
        ([], {"exit_code": 3, "error": ESCAPE, "hint": ESCAPE}, 3),
        ([event("error", message=ESCAPE, hint=ESCAPE, exit_code=3)], {}, 3),
    ],
)
def test_escapes_of_a_pod_do_not_reach_the_terminal(
    site: Site, lines: list[str], summary: dict[str, Any], code: int
) -> None:
    raw = [line.replace("\\u001b", "\x1b").replace("\\u009b", "\x9b") for line in lines]  # it need not be valid JSON
    for done in all_of_it(site, [started(), *lines, *raw], summary, code):
        assert is_harmless(done), (done.out, done.err)


@pytest.mark.parametrize("as_json", [False, True])
def test_numbers_of_a_pod_that_are_none_are_unknown(site: Site, as_json: bool) -> None:
    lines = [
        event("started", task="mirror", files=3, bytes=LARGE),
        started(),
        event("file_done", path="a", size=LARGE, how="moved", origin="hub"),
        event("file_done", path="b", size=-5, how="moved", origin="hub"),
        event("retrying", path="a", attempt=1, delay=float("nan"), reason="x"),
        '{"event": "retrying", "path": "a", "attempt": 1, "delay": 1e999, "reason": "x"}',
        event("progress", bytes=-9999),
        event("progress", bytes=float("inf")),
        '{"event": {}}',
        "[" * 100_000,
        '{"a":' * 300 + "1" + "}" * 300,
        *result(seconds=float("nan"), bytes=LARGE),
    ]
    summary = SUMMARY | {"files": float("inf"), "bytes": LARGE, "seconds": float("nan")}
    first, status, *_ = all_of_it(site, lines, summary, 0, *(["--json"] if as_json else []))
    assert is_harmless(first) and is_harmless(status)
    assert JOB in status.out
    if as_json:
        (pod,) = first.json["jobs"][0]["pods"]
        assert (pod["summary"]["bytes"], pod["summary"]["seconds"], pod["summary"]["files"]) == (None, None, None)
        json.loads(first.out, parse_constant=pytest.fail)


def test_a_line_without_an_end_costs_no_memory(site: Site) -> None:
    run = site.run()
    job = site.job()
    pod = job.pod()
    site.api.say(pod, "x" * 100_000_000, event("notice", message="after it"))
    job.runs(pod)
    site.api.wait(lambda: site.api.looks("/jobs/" + JOB, 1) or "after it" in run.err.read_text())
    words = Path(f"/proc/{run.process.pid}/status").read_text().split("VmHWM:")[1].split()
    assert int(words[0]) < 200_000, "kB at its peak"
    assert run.err.stat().st_size < 3_000_000
    job.ends(pod, 0, summary=SUMMARY)
    job.completes()
    assert run.done().code == 0
