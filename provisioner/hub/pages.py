"""The page for people at `/`. Pure; no I/O."""

from __future__ import annotations

from html import escape

from provisioner.hub.catalog import Catalog, Repo, Snapshot

_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Models in {store}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }}
table {{ border-collapse: collapse; }}
td, th {{ border-bottom: 1px solid #ccc; padding: .3em .8em; text-align: left; vertical-align: top; }}
td.n {{ text-align: right; white-space: nowrap; }}
code, pre {{ font-size: 13px; }}
pre {{ background: #f3f3f3; padding: .8em; }}
</style></head>
<body>
<h1>Models in {store}</h1>
<p>A read-only Hub endpoint over published, verified releases. Active release: <code>{active}</code>.</p>
<pre>export HF_ENDPOINT={origin}
hf download {example}</pre>
{table}
</body></html>
"""
_HEAD = "<tr><th>Model<th>Names<th>Commit<th>Licence<th>Files<th>Size<th>Releases</tr>"


def index(catalog: Catalog, store: str, origin: str) -> str:
    """What is served, and how to use it, as HTML."""
    rows = [_row(repo, snapshot) for repo in catalog.repos.values() for snapshot in repo.snapshots.values()]
    table = f"<table>{_HEAD}{''.join(rows)}</table>" if rows else "<p>No release is published yet.</p>"
    return _PAGE.format(
        store=escape(store),
        active=escape(catalog.active or "none"),
        origin=escape(origin),
        example=escape(next(iter(catalog.repos), "ORG/NAME")),
        table=table,
    )


def _row(repo: Repo, snapshot: Snapshot) -> str:
    names = ", ".join(sorted(name for name, commit in repo.refs.items() if commit == snapshot.commit))
    cells = (
        escape(repo.name),
        escape(names),
        f"<code>{snapshot.commit}</code>",
        escape(snapshot.license or ""),
    )
    releases = " ".join(f"<code>{escape(release)}</code>" for release in snapshot.releases)
    numbers = (f"{len(snapshot.blobs):,}", f"{snapshot.size:,} B")
    row = "".join(f"<td>{cell}" for cell in cells) + "".join(f'<td class="n">{cell}' for cell in numbers)
    return f"<tr>{row}<td>{releases}</tr>\n"
