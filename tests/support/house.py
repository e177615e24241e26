"""House rules that no linter knows: `python tests/support/house.py FOLDER` exits with 1 and names what breaks them."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 300
FUNCTION_LINES = 40


def problems(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if "_pb2" in path.name:  # generated
            continue
        text = path.read_text()
        if (lines := text.count("\n")) > MODULE_LINES:
            yield f"{path}: {lines} lines, at most {MODULE_LINES}"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = [n for n in node.body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))]
                length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if length > FUNCTION_LINES:
                    yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {FUNCTION_LINES}"


if __name__ == "__main__":
    found = list(problems(Path(sys.argv[1])))
    print("\n".join(found) or f"{sys.argv[1]}: no module over {MODULE_LINES} lines")
    sys.exit(bool(found))
