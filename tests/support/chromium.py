"""Headless Chromium on a page, and everything it asks for or complains about."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

_PATIENCE_S = 60
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
"""


def cannot_browse() -> str:
    """Why there is no browser, or ""."""
    if find_spec("playwright") is None:
        return "playwright is not installed: make test installs it"
    if not _executable():
        return "no Chromium: apt-get install chromium, or make test-packages"
    return ""


def _executable() -> str:
    return next((found for name in _NAMES if (found := shutil.which(name))), "")


@contextmanager
def browser(home: Path) -> Iterator[Browser]:
    """A browser with an empty profile; what it keeps is below `home`."""
    from playwright.sync_api import sync_playwright

    variables = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=_executable(), args=[*_OPTIONS], env=variables)
        try:
            yield opened
        finally:
            opened.close()


@dataclass
class Visit:
    """A page that is open.

    Attributes:
        requests: every address that was asked for.
        complaints: of the console, and errors of the script.
    """

    page: Page
    context: BrowserContext
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def go(self, url: str) -> Page:
        """Open an address and wait until the script took over."""
        self.page.goto(url)
        until(self.page, "document.documentElement.classList.contains('scripts')")
        until(self.page, "!document.getElementById('latency-note').textContent.startsWith('Waiting')")
        return self.page

    def text(self, selector: str) -> str:
        """What a person reads there."""
        return " ".join(self.page.inner_text(selector).split())

    def strangers(self, url: str) -> list[str]:
        """Requests that left the server's origin."""
        home = urlsplit(url)[:2]
        return [one for one in self.requests if urlsplit(one)[:2] != home]


def until(page: Page, expression: str) -> None:
    """Wait for a true value. playwright's own wait evaluates text in the page, which the page's policy forbids."""
    end = time.monotonic() + _PATIENCE_S
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never true: {expression}"
        page.wait_for_timeout(20)


@contextmanager
def visiting(opened: Browser, *, allowed: tuple[str, ...] = (), script: bool = True, **options: Any) -> Iterator[Visit]:
    """A fresh context. At the end nothing may have been complained about, but for what contains an `allowed` text."""
    context = opened.new_context(java_script_enabled=script, **options)
    visit = Visit(context.new_page(), context)
    context.add_init_script(_VIOLATIONS)
    context.on("request", lambda request: visit.requests.append(request.url))
    visit.page.on("console", lambda line: visit.complaints.append(f"{line.type}: {line.text}"))
    visit.page.on("pageerror", lambda error: visit.complaints.append(f"error: {error}"))
    try:
        yield visit
        if script:
            assert visit.page.evaluate("window.violations") == []
        assert [one for one in visit.complaints if not any(text in one for text in allowed)] == []
    finally:
        context.close()
