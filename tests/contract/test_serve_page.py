"""The page for a person in headless Chromium: facts, forms, charts, keyboard, screen readers, what it may not do."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from provisioner.serve.settings import Role
from tests.support import chromium as browsers
from tests.support.chromium import Visit, browser, cannot_browse, until
from tests.support.serve_page import ABOUT, EMBEDDER, LOADING, READY, RELEASE, RERANKER, States, application, listening
from tests.support.served import PATIENCE_S, Served, int8_release, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.skipif(bool(cannot_browse()), reason=cannot_browse())

CHECKS = (Path(__file__).parents[1] / "support" / "page_checks.js").read_text()
HOSTILE = '"><img src=x onerror="alert(1)"><script>alert(2)</script>&amp;'
# How a browser may find that a server has ended: before it asks, or while it does.
GONE = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
PAIRS = (
    ("The parcel arrived two days late.", "My delivery was delayed by 48 hours."),
    ("The parcel arrived two days late.", "Tomato soup with basil."),
    ("Zürich 🏔 — “quotes” & <b>tags</b>", "Zürich 🏔 — “quotes” & <b>tags</b>"),
)


@contextmanager
def visiting(opened: Browser, **options: Any) -> Iterator[Visit]:
    """A fresh context, in which everything may take its time."""
    with browsers.visiting(opened, **options) as visit:
        visit.context.set_default_timeout(PATIENCE_S * 1000)
        yield visit


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("real")
    with serving(int8_release(folder / "store"), folder, VERIFY="full") as served:
        yield served


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture
def url(states: States) -> Iterator[str]:
    with listening(application(states)) as url:
        yield url


def compare(page: Page, one: str, two: str) -> None:
    """Fill in, press the button, wait for the result."""
    page.fill("#one", one)
    page.fill("#two", two)
    page.click("#compare-form button")
    until(page, "document.querySelector('#compare-form button').ariaDisabled !== 'true'")


def cosine(one: list[float], two: list[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*two)
    return sum(a * b for a, b in zip(one, two, strict=True)) / lengths


def shown_number(text: str) -> float:
    return float(text.replace("−", "-").replace(",", ""))


def facts(page: Page, selector: str) -> list[dict[str, str]]:
    """Each table of facts: its rows, and its caption under ""."""
    read: list[dict[str, str]] = page.evaluate(
        """(selector) => [...document.querySelectorAll(`${selector} table.facts`)].map((table) => Object.fromEntries([
          ["", table.caption.innerText],
          ...[...table.rows].map((row) => [row.cells[0].innerText.trim(), row.cells[1].innerText.trim()])]))""",
        selector,
    )
    return read


@pytest.mark.parametrize("script", [True, False])
def test_the_facts_are_those_of_the_status(chromium: Browser, real: Served, script: bool) -> None:
    _, status = real.ask("/status.json")
    with visiting(chromium, script=script) as visit:
        visit.page.goto(real.url)
        if script:
            visit.go(real.url)
        how, what = facts(visit.page, "#release")
        release, models = how | what, facts(visit.page, "#models")
        assert [model[""].splitlines()[0] for model in models] == [model["repo"] for model in status["models"]]
        for shown, model in zip(models, status["models"], strict=True):
            _same_model(shown, model)
        assert release["Release"] == status["release"]["release"]
        assert release["Tree sha256"] == status["release"]["tree"]
        assert release["Lock sha256"] == status["release"]["lock"]
        assert release["Evidence"] == status["release"]["evidence"] == "rehashed"
        assert release["Checked"].startswith(status["release"]["checked_at"][:19].replace("T", " ") + " UTC")
        assert release["Bytes"].startswith(f"{status['release']['bytes']:,} (")
        assert release["Files"] == f"{status['release']['files']:,}"
        assert "Every byte was read again" in visit.text("#release")
        assert visit.text("#state") == "Ready"
        assert "inference" in visit.text("#role")


def _same_model(shown: dict[str, str], model: dict[str, Any]) -> None:
    assert shown["Commit"] == model["commit"]
    assert shown["Engine"] == model["engine"]
    assert shown["Computes"].startswith(f"{model['precision']} on {model['device'].upper()}, {model['threads']} thread")
    assert shown["Text length"] == f"{model['max_length']:,} tokens by default, {model['limit']:,} at most"
    assert shown["Locked files"] == str(model["files"])
    assert ("Vectors" in shown) == (model["task"] == "embed")
    if model["task"] == "embed":
        assert shown["Vectors"].startswith(f"{model['dimensions']} dimensions")
        assert shown["Prompts"] == (", ".join(model["prompts"]) or "none")


@pytest.mark.parametrize("pair", PAIRS)
def test_the_cosine_is_that_of_the_vectors(chromium: Browser, real: Served, pair: tuple[str, str]) -> None:
    _, answer = real.ask("/embed", {"texts": list(pair)})
    with visiting(chromium) as visit:
        page = visit.go(real.url)
        compare(page, *pair)
        assert shown_number(page.inner_text("#cosine")) == pytest.approx(cosine(*answer["embeddings"]), abs=2e-4)
        result = visit.text("#compare-result")
        assert f"{answer['tokens']} tokens" in result and "384 dimensions" in result and "ms round trip" in result
        assert "degrees apart" in (page.text_content("#dial title") or "")
        assert visit.strangers(real.url) == []


def test_the_ranks_are_those_of_the_server(chromium: Browser, real: Served) -> None:
    query, documents = (
        "late parcels",
        ["Soup of the day.", "The parcel came late.", "Strikes hold back parcels.", "Moon."],
    )
    _, answer = real.ask("/rerank", {"query": query, "documents": documents})
    with visiting(chromium) as visit:
        page = visit.go(real.url)
        page.fill("#query", query)
        page.fill("#documents", "\n\n".join(documents) + "\n")
        page.click("#rerank-form button")
        page.wait_for_selector("#ranks .score")
        order = [documents[result["index"]] for result in answer["results"]]
        assert page.locator("#ranks .text").all_inner_texts() == order
        scores = [shown_number(text) for text in page.locator("#ranks .score").all_inner_texts()]
        assert scores == pytest.approx([result["score"] for result in answer["results"]], abs=6e-5)
        widths = [float(bar.get_attribute("width").rstrip("%")) for bar in page.locator("#ranks .fill").all()]
        assert widths == sorted(widths, reverse=True) and widths[0] > widths[-1]
        assert visit.strangers(real.url) == []


def test_the_charts_count_what_was_asked(chromium: Browser, url: str) -> None:
    with visiting(chromium) as visit:
        page = visit.go(url)
        assert visit.text("#latency-note") == "No request in the last 5 minutes."
        for _ in range(3):
            compare(page, "one", "two")
        page.wait_for_selector("#charts figure")
        until(page, "document.querySelector('#charts figcaption').innerText.includes('3 requests')")
        assert page.locator("#charts .route").all_inner_texts() == ["/embed"]
        assert "median" in (page.get_attribute("#charts svg", "aria-label") or "")
        page.click("#charts summary")
        rows = page.locator("#charts tbody tr").count()
        assert rows >= 1 and page.locator("#charts .median").count() >= 1


def test_a_key_is_asked_for_and_kept_nowhere(chromium: Browser, states: States) -> None:
    with (
        listening(application(states, api_key="k3y")) as url,
        visiting(chromium, allowed=("status of 401",)) as visit,
    ):
        page = visit.go(url)
        assert page.is_visible("#key")
        compare(page, "one", "two")
        assert page.is_visible("#key") and page.evaluate("document.activeElement.id") == "key-value"
        assert "asks for an API key" in visit.text("#compare-error")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        until(page, "document.getElementById('key-error').textContent.includes('does not take')")
        page.fill("#key-value", "k3y")
        page.keyboard.press("Enter")
        page.wait_for_selector("#cosine")
        assert not page.is_visible("#key") and visit.text("#compare-error") == ""
        kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
        assert "k3y" not in kept and visit.context.cookies() == []
        visit.go(url)
        compare(page, "one", "two")
        assert page.is_visible("#key") and page.input_value("#key-value") == ""


def test_a_key_can_be_given_before_anything_is_asked(chromium: Browser, states: States) -> None:
    with listening(application(states, api_key="k3y")) as url, visiting(chromium) as visit:
        page = visit.go(url)
        assert '"Authorization: Bearer $API_KEY"' in page.inner_text("#curl-embed")
        page.fill("#key-value", "k3y")
        page.keyboard.press("Enter")
        assert not page.is_visible("#key") and page.evaluate("document.activeElement.id") == "main"
        compare(page, "one", "two")
        page.wait_for_selector("#cosine")


def test_a_key_that_a_proxy_wants_is_asked_for_when_it_says_so(chromium: Browser, states: States) -> None:
    with listening(application(states)) as url, visiting(chromium, allowed=("status of 401",)) as visit:
        page = visit.go(url)
        assert not page.is_visible("#key") and "Authorization" not in page.inner_text("#curl-embed")
        page.route("**/embed", lambda route: route.fulfill(status=401, json={"error": "no"}))
        compare(page, "one", "two")
        assert page.is_visible("#key") and "Authorization" in page.inner_text("#curl-embed")


def test_it_follows_the_server_from_loading_to_its_end(chromium: Browser, states: States) -> None:
    states.now = LOADING
    app = application(states)
    with visiting(chromium, allowed=("status of 503", *GONE)) as visit:
        with listening(app) as url:
            page = visit.go(url)
            assert visit.text("#state") == "Not ready The models are being loaded."
            assert visit.text("#models") == "No model is loaded yet."
            compare(page, "kept", "while it starts")
            assert visit.text("#compare-error") == "The models are being loaded."
            states.now = READY
            page.wait_for_selector("#models table")
            assert visit.text("#state") == "Ready" and page.input_value("#one") == "kept"
            assert "org/embedder" in visit.text("#openai-embed")
            app.gate.drain()
            until(page, "document.getElementById('state').innerText.includes('ending')")
        until(page, "document.documentElement.dataset.state === 'lost'")
        assert "does not answer" in visit.text("#contact")
        compare(page, "one", "two")
        assert visit.text("#compare-error") == "The server does not answer."


def test_hostile_names_are_text(chromium: Browser, states: States, url: str) -> None:
    about = replace(ABOUT, prompts=((HOSTILE, "x"), ("__proto__", "y")), default_prompt=HOSTILE, engine=HOSTILE)
    model = replace(EMBEDDER, repo=HOSTILE, aliases=(HOSTILE + "2",), about=about)
    release = replace(RELEASE, release=HOSTILE, created=HOSTILE)
    states.now = replace(READY, models=(model, RERANKER), release=release)
    with visiting(chromium) as visit:
        page = visit.go(url)
        until(page, "document.querySelectorAll('#one-prompt option').length === 4")
        assert page.locator("img, main script").count() == 0
        shown = facts(page, "#models")[0]
        assert shown[""].splitlines()[0] == HOSTILE and shown["Engine"] == HOSTILE
        assert HOSTILE in page.inner_text("#name") and json.dumps(HOSTILE) in page.inner_text("#openai-embed")
        compare(page, HOSTILE, HOSTILE + "!")
        compare(page, HOSTILE, HOSTILE + "?")
        assert HOSTILE in page.inner_text("#earlier")
        page.fill("#documents", HOSTILE)
        page.click("#rerank-form button")
        page.wait_for_selector("#ranks .score")
        assert page.inner_text("#ranks .text") == HOSTILE
        assert page.locator("img, main script").count() == 0
        assert visit.strangers(url) == []


def test_prompts_are_those_of_the_model(chromium: Browser, states: States, url: str) -> None:
    about = replace(ABOUT, prompts=(("query", "query: "), ("passage", "passage: ")), default_prompt="query")
    states.now = replace(READY, models=(replace(EMBEDDER, about=about),))
    with visiting(chromium) as visit:
        page = visit.go(url)
        page.wait_for_selector("#one-prompt")
        compare(page, "same", "same")
        assert page.inner_text("#cosine") == "1.0000"
        page.select_option("#one-prompt", label="none")
        page.select_option("#two-prompt", label="passage")
        compare(page, "same", "same")
        assert page.inner_text("#cosine") != "1.0000"
    assert [(ask.inputs, ask.prompt_name) for ask in states.asks[:1]] == [(("same", "same"), None)]
    assert sorted((ask.inputs, ask.prompt_name) for ask in states.asks[1:]) == [(("same",), ""), (("same",), "passage")]


def test_the_indexing_server_has_no_rerank_form(chromium: Browser, states: States, url: str) -> None:
    states.now = replace(READY, role=Role.INDEXING, models=(EMBEDDER,))
    with visiting(chromium) as visit:
        page = visit.go(url)
        assert not page.is_visible("#rerank") and page.is_visible("#compare")
        assert "does not rerank" in visit.text("#rerank-note")
        assert page.locator("#curl-rerank").count() == 0


def test_the_keyboard_is_enough(chromium: Browser, url: str) -> None:
    with visiting(chromium) as visit:
        page = visit.go(url)
        reached: list[str] = []
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # the link that skips to the content
        assert page.evaluate("document.activeElement.id") == "main"
        for _ in range(40):
            page.keyboard.press("Tab")
            found = page.evaluate(
                """() => {
                  const node = document.activeElement, style = getComputedStyle(node);
                  const name = node.id || node.textContent.trim();
                  return node === document.body ? null : [name, style.outlineStyle, style.outlineWidth];
                }"""
            )
            if found is None:
                break
            assert found[1:] == ["solid", "2px"], found
            reached.append(found[0])
            if found[0] == "two":
                page.keyboard.press("ControlOrMeta+a")
                page.keyboard.type("typed")
            elif found[0] in ("Compare", "Rerank"):
                page.keyboard.press("Enter")
                page.wait_for_selector({"Compare": "#cosine", "Rerank": "#ranks .score"}[found[0]])
        assert [one for one in reached if one in ("one", "two", "Compare", "query", "documents", "Rerank")] == [
            *("one", "two", "Compare", "query", "documents", "Rerank")
        ]
        assert reached[-4:] == ["API reference", "Metrics", "Readiness", "Status as JSON"]
        page.focus("#two")
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("#earlier:not([hidden])")
        assert "typed" in visit.text("#earlier")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("status", [READY, LOADING], ids=["ready", "loading"])
def test_everybody_can_read_it(chromium: Browser, states: States, url: str, scheme: Any, status: Any) -> None:
    states.now = status
    with visiting(chromium, allowed=("status of 503",), color_scheme=scheme) as visit:
        page = visit.go(url)
        compare(page, "one", "two")
        if status.ready:
            compare(page, "one", "three")
            page.click("#rerank-form button")
            page.wait_for_selector("#ranks .score")
            page.wait_for_selector("#charts figure")
            page.click("#charts summary")
        page.evaluate("document.getElementById('key').hidden = false")
        assert page.evaluate(CHECKS) == []
        assert (
            page.locator("#compare-result[role=status], #compare-error[role=alert], #contact[role=status]").count() == 3
        )


@pytest.mark.parametrize(("width", "zoom"), [(1280, 1), (640, 1), (320, 1), (1280, 2)])
def test_it_fits(chromium: Browser, url: str, width: int, zoom: int) -> None:
    with visiting(chromium, viewport={"width": width, "height": 800}) as visit:
        page = visit.go(url)
        page.evaluate(f"document.documentElement.style.fontSize = '{zoom * 100}%'")
        compare(page, "a" * 300, "b" * 300)
        compare(page, "c" * 300, "d" * 300)
        page.fill("#documents", "x" * 300 + "\ny")
        page.click("#rerank-form button")
        page.wait_for_selector("#ranks .score")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_it_works_below_a_path(chromium: Browser, states: States) -> None:
    outer = Starlette(routes=[Mount("/deep/models", app=application(states))])
    with listening(outer) as origin, visiting(chromium) as visit:
        url = f"{origin}/deep/models/"
        page = visit.go(url)
        compare(page, "one", "two")
        assert page.is_visible("#cosine")
        assert all(request.startswith(url) for request in visit.requests)
        assert page.inner_text("#curl-embed").startswith(f"curl {url}embed")
        for link in page.locator("footer a").all():
            assert visit.context.request.get(link.evaluate("node => node.href")).status == 200


def test_a_copied_example_works(chromium: Browser, real: Served, tmp_path: Path) -> None:
    with visiting(chromium, permissions=["clipboard-read", "clipboard-write"]) as visit:
        page = visit.go(real.url)
        copied = {}
        for button in page.locator("[data-copy]").all():
            button.click()
            until(page, "document.getElementById('copied').textContent === 'Copied.'")
            copied[button.get_attribute("data-copy")] = page.evaluate("navigator.clipboard.readText()")
            page.evaluate("document.getElementById('copied').textContent = ''")
    assert copied.keys() == {"curl-embed", "curl-rerank", "openai-embed"}
    embedded, reranked = (json.loads(_run("bash", "-c", copied[name])) for name in ("curl-embed", "curl-rerank"))
    assert len(embedded["embeddings"][0]) == 384 and len(reranked["results"]) == 1
    assert _run(sys.executable, "-c", copied["openai-embed"]).split()[0] == "384"


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout
