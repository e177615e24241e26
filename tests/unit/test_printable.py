"""What others wrote cannot steer a terminal."""

from __future__ import annotations

import json

import pytest

from provisioner.render.printable import printable, printable_json


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


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x9bb", "\u00a0", "\U000e0001", "\x7f", "plain"])
def test_json_means_the_same_with_what_is_not_printable_escaped(text: str) -> None:
    line = json.dumps({"message": text}, ensure_ascii=False)
    shown = printable_json(line)
    assert shown.isprintable()
    assert json.loads(shown) == {"message": text}
    assert printable_json(text).isprintable()
