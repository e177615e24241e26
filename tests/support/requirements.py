"""The locked requirements in requirements/."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from tests.support.readonly import REPOSITORY

_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+) \\$", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """Distribution -> version, of requirements/NAME.txt."""
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    return {canonicalize_name(name): version for name, version in _LOCKED.findall(text)}
