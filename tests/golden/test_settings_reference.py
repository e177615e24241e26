"""docs/kubernetes.md has every key of the settings, as the code has it; `make manifests` writes it again."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support import settings_reference

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kubernetes.md"


def test_the_page_has_every_key() -> None:
    if os.environ.get("PROVISION_UPDATE_GOLDEN") == "1":
        PAGE.write_text(settings_reference.placed(PAGE.read_text()))
    assert PAGE.read_text() == settings_reference.placed(PAGE.read_text()), "make manifests"
