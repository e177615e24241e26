"""Takes page.png, the model server's page with real models and some load: `python docs/pictures/page.py`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from tests.support.chromium import browser, visiting
from tests.support.served import Served, int8_release, serving

OUT = Path(__file__).with_name("page.png")
SENTENCES = ("Tomato soup with basil is the dish of the day.", "My delivery was delayed by 48 hours.")
LOAD_S = 90


def load(served: Served) -> None:
    """Requests of several lengths, so that the charts have something to show."""
    until, turn = time.monotonic() + LOAD_S, 0
    while time.monotonic() < until:
        served.ask("/embed", {"texts": ["A query of a person."] * (1 + turn % 4)})
        if turn % 5 == 0:
            served.ask("/rerank", {"query": "late parcels", "documents": ["The parcel is late.", "A soup."] * 3})
        turn += 1
        time.sleep(0.05)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(int8_release(folder / "store"), folder, VERIFY="full") as served, browser(folder) as chromium:
            load(served)
            with visiting(chromium, viewport={"width": 1200, "height": 900}) as visit:
                page = visit.go(served.url)
                for sentence in SENTENCES:
                    page.fill("#two", sentence)
                    page.click("#compare-form button")
                    page.wait_for_timeout(1000)
                page.click("#rerank-form button")
                page.wait_for_selector("#ranks .score")
                page.wait_for_timeout(1000)
                page.evaluate("document.activeElement.blur()")
                height = page.evaluate(
                    "document.querySelector('[aria-labelledby=use-title]').getBoundingClientRect().top + scrollY"
                )
                clip = {"x": 0, "y": 0, "width": 1200, "height": height}
                page.screenshot(path=OUT, full_page=True, clip=clip)
    with Image.open(OUT) as picture:
        picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE).save(OUT, optimize=True)


if __name__ == "__main__":
    main()
