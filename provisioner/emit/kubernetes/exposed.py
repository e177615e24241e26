"""What looks like a secret, and would stand in the open in what is emitted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from provisioner.emit.kubernetes.names import EnvName, LabelKey
from provisioner.errors import Problem

SECRET = re.compile(
    r"MC_HOST_.*|.*(?:TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|CONNECTION_STRING|"
    r"(?:ACCESS|SECRET|STORAGE|ACCOUNT|API|PRIVATE)_?KEY)"
)
SWITCHES = ("", "0", "1", "true", "false", "yes", "no", "on", "off")  # HF_HUB_DISABLE_IMPLICIT_TOKEN is one
_LOGIN = re.compile(
    r"//[^/\s]*@|[?&;](?:sig|Signature|X-Amz-Signature|AccountKey)=|"
    r"authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic|token)\s+(?![\s$\"'])\S",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(  # --api-key=X, PASSWORD = X, "token": "X"
    r"""(?<![\w.-])([\w.-]+)(?:["']?\s*=\s*|["']\s*:\s*)["']?([^\s"',;&]+)"""
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def in_variables(env: Mapping[EnvName, str]) -> Iterator[Problem]:
    """What may not stand in a table `env`: values that look like secrets, and what no variable can hold."""
    for name, text in env.items():
        if _is_secret(name, text) or reveals(text):
            yield Problem(f"env.{name}", "is a secret, which belongs into a Secret")
        elif _CONTROL.search(text):
            yield Problem(f"env.{name}", "has a control character")


def in_annotations(annotations: Mapping[LabelKey, str], place: str) -> Iterator[Problem]:
    """Annotations that hold secrets; one called `...-secret` most often names one instead."""
    for key, text in annotations.items():
        name = key.rpartition("/")[2]
        if reveals(text) or (_is_secret(name, text) and not name.lower().endswith("secret")):
            yield Problem(f"{place}.{key}", "is a secret, which belongs into a Secret")


def in_words(place: str, words: Sequence[str]) -> Iterator[Problem]:
    """Words of a command line that hold secrets: `--api-key=X`, or X after `--api-key`."""
    for index, word in enumerate(words):
        option = words[index - 1] if index else ""
        follows = option.startswith("-") and "=" not in option and not word.startswith("-")
        if reveals(word) or (follows and _is_given(option, word)):
            yield Problem(f"{place}[{index}]", "is a secret: name it in secrets.NAME, and write $(NAME) here")


def reveals(text: str) -> bool:
    """Whether a text has a login in it, or assigns something to what a secret is called."""
    return bool(_LOGIN.search(text)) or any(_is_given(*found) for found in _ASSIGNED.findall(text))


def _is_given(name: str, value: str) -> bool:
    """As `_is_secret`, but for references to a variable that has it."""
    return _is_secret(name, value) and not value.startswith("$")


def _is_secret(name: str, value: str) -> bool:
    """By the name, unless it is a switch."""
    plain = name.strip("-.").upper().replace("-", "_").replace(".", "_")
    return bool(SECRET.fullmatch(plain)) and value.lower() not in SWITCHES
