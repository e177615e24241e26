"""Commands that a person can copy. Names are quoted for the language they are put into."""

from __future__ import annotations

import json
import shlex

from provisioner.serve.page.document import StatusDocument
from provisioner.serve.page.markup import Html, join, tag

_KEY = ' \\\n  -H "Authorization: Bearer $API_KEY"'


def examples(document: StatusDocument, origin: str, keyed: bool) -> Html:
    """Commands for what this server does. `origin` ends with a slash; the script puts in the browser's own.

    A key that only a proxy in front wants shows itself in a 401: then the script shows that line of theirs.
    """
    found = {model.task: model.repo for model in reversed(document.models)}
    key = tag("span", _KEY, data_key=True, hidden=not keyed)
    parts = [_embed(origin, key)]
    if "rerank" in found and document.role != "indexing":
        parts.append(_rerank(origin, key))
    parts.append(_openai(origin, found.get("embed", "ORG/NAME")))
    return join(*parts)


def _embed(origin: str, key: Html) -> Html:
    return _example("curl-embed", "Embed with curl", _curl(origin, "embed", key, {"texts": ["The parcel is late."]}))


def _rerank(origin: str, key: Html) -> Html:
    body = {"query": "late delivery", "documents": ["The parcel is late.", "The soup is hot."], "top_n": 1}
    return _example("curl-rerank", "Rerank with curl", _curl(origin, "rerank", key, body))


def _curl(origin: str, path: str, key: Html, body: object) -> Html:
    data = shlex.quote(json.dumps(body))
    return join("curl ", _origin(origin), path, key, " \\\n  -H 'Content-Type: application/json' \\\n  -d ", data)


def _openai(origin: str, model: str) -> Html:
    code = join(
        'import os\n\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="',
        _origin(origin),
        'v1", api_key=os.environ.get("API_KEY", "none"))\nanswer = client.embeddings.create(\n    model=',
        json.dumps(model),
        ',\n    input=["The parcel is late."],\n)\nprint(len(answer.data[0].embedding), answer.usage.total_tokens)',
    )
    return _example("openai-embed", "Embed with the openai client", code)


def _origin(origin: str) -> Html:
    return tag("span", origin, data_origin=True)


def _example(name: str, title: str, code: Html) -> Html:
    button = tag("button", "Copy", tag("span", f": {title}", class_="unseen"), type="button", data_copy=name)
    head = tag("div", tag("h3", title), button, class_="bar")
    region = tag("pre", tag("code", code, id=name), tabindex="0", role="region", aria_label=title)
    return tag("div", head, region, class_="example")
