"""What others wrote cannot steer a terminal."""

from __future__ import annotations

import pytest

from provisioner.render.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("naïve 日本語", "naïve 日本語"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x1b]0;owned\x07", "\\x1b[2J\\x1b]0;owned\\x07"),
        ("back\rspace\x08", "back\\rspace\\x08"),
        ("broken \udcff", "broken \\udcff"),
        ("right\u202eleft", "right\\u202eleft"),
        ("c1 \x9b2J", "c1 \\x9b2J"),
    ],
)
def test_only_what_can_be_seen_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
