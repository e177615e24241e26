"""What the YAML writer writes is what every reader reads, be it of YAML 1.1 or 1.2."""

from __future__ import annotations

import io
from typing import Any

import yaml as pyyaml
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from provisioner.emit.yaml import dump, text

TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(["on", "y", "No", "NULL", "~", "1e3", "12e456789012", "0x1f", "0o17", "017", "12:30", "1_0", ".5"]),
    st.sampled_from(["2026-11-21", "=", "<<", "- a", "a: b", "a #b", "!x", "&a", "*a", "{}", "[]", ""]),
    st.sampled_from([" a", "a\n", "a\nb\n", "a\n\nb\n", " a\nb\n", "a \nb\n", "\n\n\n", "#\n#\n"]),
    st.from_regex(r"[0-9a-f]{12}", fullmatch=True),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-(2**40), 2**40), st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def readings(written: str) -> list[Any]:
    newer = list(YAML(typ="safe", pure=True).load_all(io.StringIO(written)))
    older = YAML(typ="safe", pure=True)
    older.version = (1, 1)
    return [newer, list(older.load_all(io.StringIO(written))), list(pyyaml.safe_load_all(written))]


@given(VALUES)
@example("123456789012")
@example("#\n#\n")
@example("%\n0\n")
@example({"on": "y", "models.lock": "# Pinned\nversion = 1\n\n[[models]]\n"})
def test_every_reader_reads_what_was_written(value: Any) -> None:
    assert readings(text(value)) == [[value]] * 3


@given(st.lists(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3), min_size=1, max_size=3))
def test_documents_stay_apart(values: list[Any]) -> None:
    assert readings(dump(values, "a comment\nof two lines")) == [values] * 3
