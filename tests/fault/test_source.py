"""Sources that misbehave: the error, and what is on disk afterwards."""

from __future__ import annotations

import email.utils
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import AccessDenied, NotFound, ProvisionError, Unavailable, Unusable, VerificationFailed
from provisioner.ports.events import Event, Notice, Retrying
from provisioner.sources.hub import HubSource
from tests.support.faults import FaultyHub, Request
from tests.support.hub_fixture import make
from tests.support.locks import MemorySource, document, small, snapshot, tree
from tests.support.stores import QUICK, DirectoryBackend, bytes_anywhere, files_below, findings, transfer

MARK = b"-- weights --"
MADE = make("org/faulty", {"config.json": b"{}", "model.safetensors": MARK * 60_000, "tokenizer.json": b"[]"})
WEIGHTS = MADE.content["model.safetensors"]
MODEL = r"model\.safetensors"
TOKEN = "hf_secretsecretsecretsecretsecret"


@pytest.fixture
def backend(tmp_path: Path) -> DirectoryBackend:
    return DirectoryBackend(tmp_path / "store")


def fetch(hub: FaultyHub, backend: DirectoryBackend, events: list[Event] | None = None, jobs: int = 1) -> object:
    return transfer(document(MADE), backend.open(), HubSource(hub.url), events=events, jobs=jobs)


def assert_whole(backend: DirectoryBackend) -> None:
    assert findings(backend.open(), tree(MADE).release_id) == {}
    assert backend.unfinished() == []


def assert_unpublished(backend: DirectoryBackend) -> None:
    """No release, no `current`, and in staging nothing but what can be resumed."""
    assert list((backend.root / "releases").iterdir()) == []
    assert not (backend.root / "current").exists()
    for path in files_below(backend.root / "staging"):
        inside = path.partition("/")[2]
        assert inside.startswith(("tree/", "partial/")) or inside in ("owner.json", "expected.json"), path


def flipped(request: Request) -> None:
    assert request.data is not None
    wrong = bytearray(request.data)
    wrong[len(wrong) // 2] ^= 1
    request.answer(200, bytes(wrong))


def zeros(request: Request) -> None:
    assert request.data is not None
    request.answer(200, bytes(len(request.data)))


@pytest.mark.parametrize("fault", [flipped, zeros])
def test_wrong_bytes_are_refused_and_none_of_them_stays(
    backend: DirectoryBackend, fault: Callable[[Request], None]
) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, fault)
        with pytest.raises(VerificationFailed, match=r"model\.safetensors are not the locked ones") as caught:
            fetch(hub, backend)
        assert caught.value.exit_code == 3
        assert len(hub.asked("model.safetensors")) == 1  # wrong bytes are not asked for twice
    assert_unpublished(backend)
    assert bytes_anywhere(backend.root, MARK) == []
    assert not any(size > 1000 and "partial/" in path for path, size in files_below(backend.root).items())


def test_wrong_bytes_once_cost_only_that_file(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, flipped, times=1)
        with pytest.raises(VerificationFailed):
            fetch(hub, backend, jobs=1)
        fetch(hub, backend)
        assert hub.sent("model.safetensors") == 2 * len(WEIGHTS)
        assert hub.sent("config.json") == len(MADE.content["config.json"])
    assert_whole(backend)


def test_a_connection_that_closes_early_is_continued_where_it_stopped(backend: DirectoryBackend) -> None:
    events: list[Event] = []
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.cut(300_000), times=2)
        fetch(hub, backend, events)
        first, second, third = hub.asked("model.safetensors")
        assert (first.ranged, second.start, third.start) == (False, 300_000, 600_000)
        assert hub.sent("model.safetensors") == len(WEIGHTS)
    assert len([event for event in events if isinstance(event, Retrying)]) == 2
    assert_whole(backend)


def test_a_reset_connection_is_continued(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.reset(200_000), times=1)
        fetch(hub, backend)
        assert len(hub.asked("model.safetensors")) == 2
    assert_whole(backend)


def test_a_source_that_always_breaks_off_is_given_up_and_its_bytes_are_kept(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.cut(1_000))
        with pytest.raises(Unavailable) as caught:
            fetch(hub, backend)
        assert caught.value.exit_code == 5
        assert_unpublished(backend)
        partial = backend.open().observe(tree(MADE)).partial
        assert list(partial.values()) == [4_000]  # four attempts of 1,000 bytes
        hub.fault(MODEL, Request.honest)
    with FaultyHub(MADE) as hub:
        fetch(hub, backend)
        assert hub.sent("model.safetensors") == len(WEIGHTS) - 4_000
    assert_whole(backend)


def test_an_answer_that_announces_another_size_is_refused_before_a_byte(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(200, WEIGHTS + b"more"))
        with pytest.raises(VerificationFailed, match=rf"{len(WEIGHTS) + 4} bytes at the source, {len(WEIGHTS)} in the"):
            fetch(hub, backend)
    assert_unpublished(backend)
    assert bytes_anywhere(backend.root, MARK) == []


def test_a_longer_answer_without_a_length_gives_the_locked_bytes_or_nothing(backend: DirectoryBackend) -> None:
    def chunked(request: Request) -> None:
        handler = request.handler
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        body = WEIGHTS + b"and more that nobody locked"
        handler.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, chunked)
        fetch(hub, backend)
    assert_whole(backend)
    assert bytes_anywhere(backend.root, b"nobody locked") == []


def test_the_whole_file_instead_of_a_range_starts_it_anew(backend: DirectoryBackend) -> None:
    def whole(request: Request) -> None:
        request.answer(200, WEIGHTS)

    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.cut(300_000), times=1)
        hub.fault(MODEL, whole)
        fetch(hub, backend)
        assert [request.start for request in hub.asked("model.safetensors")] == [0, 300_000, 0]
    assert_whole(backend)


@pytest.mark.parametrize(
    "content_range", ["bytes 0-99/{size}", "bytes 300001-{last}/{size}", "bytes 300000-{last}/7", "items 1-2/3", ""]
)
def test_a_range_that_was_not_asked_for_is_not_taken(backend: DirectoryBackend, content_range: str) -> None:
    def strange(request: Request) -> None:
        text = content_range.format(size=len(WEIGHTS), last=len(WEIGHTS) - 1)
        headers = {"content_range": text} if text else {}
        request.answer(206, WEIGHTS[request.start : request.stop], **headers)

    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.cut(300_000), times=1)
        hub.fault(MODEL, strange, times=1)
        if content_range.endswith("/7"):
            with pytest.raises(VerificationFailed, match="7 bytes at the source"):
                fetch(hub, backend)
            assert_unpublished(backend)
            return
        fetch(hub, backend)
    assert_whole(backend)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_status_that_passes_is_waited_for(backend: DirectoryBackend, status: int) -> None:
    events: list[Event] = []
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(status), times=2)
        fetch(hub, backend, events)
    assert [f"answers {status}" in event.reason for event in events if isinstance(event, Retrying)] == [True, True]
    assert_whole(backend)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_status_that_does_not_pass_ends_it(backend: DirectoryBackend, status: int) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(status))
        with pytest.raises(Unavailable, match=f"answers {status} for org/faulty: {MODEL}") as caught:
            fetch(hub, backend)
        assert len(hub.asked("model.safetensors")) == 4
    assert (caught.value.exit_code, caught.value.retryable) == (5, True)
    assert_unpublished(backend)


def test_retry_after_in_seconds_is_waited(backend: DirectoryBackend) -> None:
    events: list[Event] = []
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(429, retry_after="1"), times=1)
        begin = time.monotonic()
        fetch(hub, backend, events)
        assert time.monotonic() - begin >= 1.0
    (retry,) = (event for event in events if isinstance(event, Retrying))
    assert 1.0 <= retry.delay <= 1.1
    assert_whole(backend)


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_retry_after_as_a_date_is_waited(backend: DirectoryBackend, zone: str) -> None:
    """As long as patience allows; the source asks for hours, of which no busy machine takes a tenth."""
    events: list[Event] = []
    with FaultyHub(MADE) as hub:
        date = email.utils.formatdate(time.time() + 7200, usegmt=True).replace("GMT", zone)
        hub.fault(MODEL, lambda request: request.answer(503, retry_after=date), times=2)
        (file,) = (one.origin for one in tree(MADE).entries if one.origin and one.origin.file.size == len(WEIGHTS))
        with pytest.raises(Unavailable) as caught, HubSource(hub.url).open(file, 0, len(WEIGHTS)):
            pass
        fetch(hub, backend, events)
    assert 6600 <= (caught.value.retry_after or 0) <= 7200
    (retry,) = (event for event in events if isinstance(event, Retrying))
    assert 2.0 <= retry.delay <= 2.1
    assert_whole(backend)


def test_retry_after_may_not_ask_for_too_much(backend: DirectoryBackend) -> None:
    events: list[Event] = []
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(429, retry_after="86400"), times=1)
        fetch(hub, backend, events)
    (retry,) = (event for event in events if isinstance(event, Retrying))
    assert retry.delay <= 2.1


@pytest.mark.parametrize("value", ["soon", "-1", "²", "Wed, 99 Foo 2026", "1e400"])
def test_a_retry_after_that_means_nothing_is_ignored(backend: DirectoryBackend, value: str) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(503, retry_after=value), times=1)
        fetch(hub, backend)
    assert_whole(backend)


def test_a_trickle_is_noticed_and_asked_again(backend: DirectoryBackend) -> None:
    """A machine that stands still may make an honest answer look like one."""
    events, soon = list[Event](), replace(QUICK, attempts=100, stall_seconds=1.0)
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, Request.trickle, times=1)
        transfer(document(MADE), backend.open(), HubSource(hub.url), events=events, jobs=1, patience=soon)
        assert hub.asked("model.safetensors")[0].sent < soon.stall_bytes < len(WEIGHTS)
    retries = [event for event in events if isinstance(event, Retrying)]
    assert retries and all("almost nothing" in retry.reason for retry in retries)
    assert_whole(backend)


@pytest.mark.parametrize(
    ("status", "code", "kind", "sentence"),
    [
        (401, "", AccessDenied, "refuses org/faulty"),
        (403, "", AccessDenied, "refuses org/faulty"),
        (403, "GatedRepo", AccessDenied, "org/faulty is gated"),
        (401, "RepoNotFound", NotFound, "does not have org/faulty"),
        (404, "EntryNotFound", NotFound, "at the locked commit"),
        (404, "", NotFound, "at the locked commit"),
        (410, "", NotFound, "at the locked commit"),
        (418, "", Unusable, "answers 418"),
        (501, "", Unusable, "answers 501"),
    ],
)
def test_a_status_that_no_retry_changes_ends_it_at_once(
    backend: DirectoryBackend, status: int, code: str, kind: type[ProvisionError], sentence: str
) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(status, b"body", **({"x_error_code": code} if code else {})))
        with pytest.raises(kind, match=sentence) as caught:
            fetch(hub, backend)
        assert len(hub.asked("model.safetensors")) == 1
    assert caught.value.hint
    assert not caught.value.retryable
    assert_unpublished(backend)


def test_a_port_where_nobody_listens_is_unavailable(backend: DirectoryBackend) -> None:
    with socket.socket() as taken, pytest.raises(Unavailable, match="refuses connections") as caught:
        taken.bind(("127.0.0.1", 0))  # and no listen
        transfer(document(MADE), backend.open(), HubSource(f"http://127.0.0.1:{taken.getsockname()[1]}"))
    assert caught.value.exit_code == 5
    assert_unpublished(backend)


def test_redirects_that_do_not_end_are_left(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(".*", lambda request: request.answer(302, location=request.handler.path))
        with pytest.raises(Unusable, match="redirects without an end"):
            fetch(hub, backend)
        assert len(hub.requests) <= 10 * 4
    assert_unpublished(backend)


def test_a_redirect_to_something_that_is_no_web_address_is_left(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(".*", lambda request: request.answer(302, location="file:///etc/passwd"))
        with pytest.raises(Unusable, match="neither http nor https"):
            fetch(hub, backend)
    assert_unpublished(backend)


def test_the_token_goes_to_its_own_origin_only(
    backend: DirectoryBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    caplog.set_level("DEBUG")
    with FaultyHub(MADE) as hub, FaultyHub(MADE) as elsewhere:

        def away(request: Request) -> None:
            request.answer(302, location=elsewhere.url + request.handler.path + "?X-Amz-Signature=secretsignature")

        hub.fault(MODEL, away)
        events: list[Event] = []
        fetch(hub, backend, events)
        assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}
        assert elsewhere.sent("model.safetensors") == len(WEIGHTS)
        assert all("authorization" not in request.headers for request in elsewhere.requests)
        assert not any(TOKEN in str(request.headers) for request in elsewhere.requests)
    assert_whole(backend)
    assert TOKEN not in repr(events) + caplog.text
    assert bytes_anywhere(backend.root, TOKEN.encode()) == []


def test_the_token_is_in_no_error_and_in_nothing_left_behind(
    backend: DirectoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with FaultyHub(MADE) as hub, FaultyHub() as elsewhere:
        signed = f"{elsewhere.url}/signed?token=secretsignature"
        hub.fault(MODEL, lambda request: request.answer(302, location=signed))
        with pytest.raises(NotFound) as caught:
            fetch(hub, backend)
    assert TOKEN not in repr(caught.value) + caught.value.hint
    assert "secretsignature" not in str(caught.value) + caught.value.hint
    assert bytes_anywhere(backend.root, TOKEN.encode()) == []
    assert_unpublished(backend)


def test_credentials_in_the_endpoint_are_not_shown(backend: DirectoryBackend) -> None:
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.answer(403))
        url = hub.url.replace("http://", "http://someone:hunter2@")
        with pytest.raises(ProvisionError) as caught:
            transfer(document(MADE), backend.open(), HubSource(url))
    assert "hunter2" not in str(caught.value) + caught.value.hint
    assert bytes_anywhere(backend.root, b"hunter2") == []


# Chains of sources


def good_and_bad(tmp_path: Path) -> tuple[DirectoryBackend, DirectoryBackend]:
    """A store whose weights are damaged and one that is whole."""
    made = []
    for name in ("bad", "good"):
        made.append(DirectoryBackend(tmp_path / name))
        transfer(document(MADE), made[-1].open(), MemorySource(MADE))
    return made[0], made[1]


@pytest.mark.parametrize("damage", ["flipped", "short", "missing", "link", "folder"])
def test_a_file_damaged_in_one_source_comes_from_the_next(
    tmp_path: Path, backend: DirectoryBackend, damage: str
) -> None:
    bad, good = good_and_bad(tmp_path)
    release, path = tree(MADE).release_id, snapshot(MADE, "model.safetensors")
    match damage:
        case "flipped":
            bad.overwrite(release, path, WEIGHTS[:-1] + b"\0")
        case "short":
            bad.overwrite(release, path, WEIGHTS[:100_000])
        case "missing":
            bad.delete(release, path)
        case "link":
            bad.delete(release, path)
            bad.path(release, path).symlink_to(good.path(release, path))
        case "folder":
            bad.delete(release, path)
            bad.path(release, path).mkdir()
    run = transfer(document(MADE), backend.open(), bad.open().as_source(), good.open().as_source())
    assert_whole(backend)
    assert set(run.report.origins) == {str(bad.root), str(good.root)}
    files, _ = run.report.origins[str(good.root)]
    assert files == 1
    (notice,) = (event for event in run.events if isinstance(event, Notice))
    assert "The next source is asked" in notice.message


def test_a_hub_that_refuses_is_followed_by_the_next_source(tmp_path: Path, backend: DirectoryBackend) -> None:
    _, good = good_and_bad(tmp_path)
    with FaultyHub(MADE) as hub:
        hub.fault(MODEL, lambda request: request.cut(5_000))  # some bytes, then nothing, every time
        run = transfer(document(MADE), backend.open(), HubSource(hub.url), good.open().as_source())
        assert set(run.report.origins) == {hub.url, str(good.root)}
    assert_whole(backend)


def test_wrong_bytes_followed_by_silence_do_not_spoil_the_next_source(
    tmp_path: Path, backend: DirectoryBackend
) -> None:
    _, good = good_and_bad(tmp_path)
    with FaultyHub(MADE) as hub:

        def garbage(request: Request) -> None:
            part = bytes(5_000)
            extent = {"content_range": f"bytes {request.start}-{request.stop - 1}/{len(WEIGHTS)}"}
            request.answer(206 if request.ranged else 200, part, length=request.stop - request.start, **extent)

        hub.fault(MODEL, garbage)
        run = transfer(document(MADE), backend.open(), HubSource(hub.url), good.open().as_source())
        # Continued after the wrong bytes first, then from the beginning.
        assert run.report.origins[str(good.root)] == (1, 2 * len(WEIGHTS) - 4 * 5_000)
    assert_whole(backend)


def test_when_no_source_has_it_the_last_answer_counts(tmp_path: Path, backend: DirectoryBackend) -> None:
    bad, good = good_and_bad(tmp_path)
    for store in (bad, good):
        store.overwrite(tree(MADE).release_id, snapshot(MADE, "model.safetensors"), bytes(len(WEIGHTS)))
    with pytest.raises(VerificationFailed):
        transfer(document(MADE), backend.open(), bad.open().as_source(), good.open().as_source())
    assert_unpublished(backend)


def test_without_a_source_that_has_it_nothing_is_published(backend: DirectoryBackend) -> None:
    with pytest.raises(NotFound, match="No source holds") as caught:
        transfer(document(MADE), backend.open(), MemorySource(small("org/other", tokenizer=b"else")))
    assert caught.value.exit_code == 7
    assert_unpublished(backend)
