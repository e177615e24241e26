"""The facts of the page, as tables that need no script."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from provisioner.serve.page.document import ModelFacts, ReleaseFacts, StatusDocument
from provisioner.serve.page.markup import Html, join, tag
from provisioner.serve.settings import Role

_TASKS = {"embed": "Embeds texts", "rerank": "Reranks documents"}
_ROLES = {
    Role.INFERENCE: ("inference", "Answers queries: low latency."),
    Role.INDEXING: ("indexing", "Embeds documents in bulk: throughput before latency."),
}
_EVIDENCE = {
    "rehashed": (
        "Every byte was read again when the server started",
        "Each file has the size and the sha256 that the lock gives, and no other file is there.",
    ),
    "recorded": (
        "The record and every size were checked when the server started",
        "The release's record agrees with its lock, each file has its locked size, and no other file is there. "
        "The bytes were hashed when the release was written, and were not hashed again; VERIFY=full does that.",
    ),
}


def state(document: StatusDocument) -> Html:
    """Whether requests are answered, and why not."""
    word = "Ready" if document.ready else "Not ready"
    badge = tag("strong", tag("span", class_="lamp", aria_hidden="true"), word, class_="badge")
    return join(badge, tag("span", document.detail, class_="why") if document.detail else "")


def role(document: StatusDocument) -> Html:
    """The role, in a word and a sentence."""
    word, sentence = _ROLES[document.role]
    started = f" Started in {seconds(document.start_seconds)}." if document.ready else ""
    return join(tag("strong", word), " ", tag("span", sentence + started, class_="soft"))


def name(document: StatusDocument) -> Html:
    """Which release."""
    return join("release ", code(document.release.release)) if document.release else Html("")


def models(document: StatusDocument) -> Html:
    """A table for each model."""
    if not document.models:
        return tag("p", "No model is loaded yet.", class_="empty")
    return join(*map(_model, document.models))


def _model(model: ModelFacts) -> Html:
    rows: list[tuple[str, str]] = [
        ("Commit", code(model.commit)),
        ("Also called", _aliases(model)),
        ("Engine", model.engine),
        ("Computes", f"{model.precision} on {model.device.upper()}, {count(model.threads, 'thread')}{_at_once(model)}"),
    ]
    if model.task == "embed":
        length = "of length 1" if model.normalized else "not normalised"
        rows.append(("Vectors", f"{count(model.dimensions, 'dimension')}, {length}"))
    rows.append(("Text length", f"{model.max_length:,} tokens by default, {model.limit:,} at most"))
    if model.task == "embed":
        rows.append(("Prompts", _prompts(model)))
    rows.append(("Locked files", f"{model.files:,}"))
    rows.append(("Loaded", f"in {seconds(model.load_seconds)}, warm-up included"))
    title = join(tag("span", model.repo, class_="name"), tag("span", _TASKS.get(model.task, model.task), class_="task"))
    return table(title, rows)


def _at_once(model: ModelFacts) -> str:
    return f", {model.batches} batches at once" if model.batches > 1 else ""


def _aliases(model: ModelFacts) -> str:
    others = [name for name in model.aliases if name.lower() != model.repo.lower()]
    return ", ".join(others) or "nothing else"


def _prompts(model: ModelFacts) -> str:
    if not model.prompts:
        return "none"
    return ", ".join(f"{name} (default)" if name == model.default_prompt else name for name in model.prompts)


def release(document: StatusDocument) -> Html:
    """What was checked, when, and what that means."""
    if document.release is None:
        return tag("p", "The release is not checked yet.", class_="empty")
    facts = document.release
    headline, meaning = _EVIDENCE.get(facts.evidence, (facts.evidence, ""))
    both = join(table("How it was checked", _check_rows(facts)), table("What it holds", _content_rows(facts)))
    return join(tag("p", tag("strong", headline + "."), " ", meaning), tag("div", both, class_="pair"))


def _check_rows(facts: ReleaseFacts) -> list[tuple[str, str]]:
    return [
        ("Release", code(facts.release)),
        ("Checked", join(moment(facts.checked_at), f", in {seconds(facts.check_seconds)}")),
        ("Evidence", code(facts.evidence)),
        ("Published", moment(facts.created)),
    ]


def _content_rows(facts: ReleaseFacts) -> list[tuple[str, str]]:
    return [
        ("Tree sha256", code(facts.tree)),
        ("Lock sha256", code(facts.lock)),
        ("Files", f"{facts.files:,}"),
        ("Bytes", join(f"{facts.bytes:,}", tag("span", f" ({size(facts.bytes)})", class_="soft"))),
    ]


def why_no_embedding(document: StatusDocument) -> str:
    """One sentence, or "" where texts can be embedded."""
    if not document.ready or any(model.task == "embed" for model in document.models):
        return ""
    return "This release has no model that embeds."


def why_no_rerank(document: StatusDocument) -> str:
    """One sentence, or "" where documents can be reranked."""
    if document.role is Role.INDEXING:
        return "This is the indexing server, which does not rerank. Ask the inference server."
    if not document.ready or any(model.task == "rerank" for model in document.models):
        return ""
    return "This release has no model that reranks."


def note(sentence: str) -> Html:
    """A sentence instead of a form, or nothing."""
    return tag("p", sentence, class_="empty") if sentence else Html("")


def table(caption: str, rows: Iterable[tuple[str, str]]) -> Html:
    """Rows of a name and a value."""
    body = (tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows)
    return tag("table", tag("caption", caption), tag("tbody", *body), class_="facts")


def code(text: str) -> Html:
    """A name to compare or to copy."""
    return tag("code", text)


def moment(text: str) -> Html:
    """A time for people, with the exact one for the script; as it is where it is no time."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return tag("span", text)
    zone = "UTC" if parsed.utcoffset() is not None and not parsed.utcoffset() else parsed.strftime("%z")
    return tag("time", f"{parsed:%Y-%m-%d %H:%M:%S} {zone}".rstrip(), datetime=text)


def count(number: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def seconds(number: float) -> str:
    """Milliseconds below one second."""
    return f"{number:.2f} s" if number >= 1 else f"{number * 1000:.0f} ms"


def size(number: float) -> str:
    """Bytes in a unit that a person reads."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
