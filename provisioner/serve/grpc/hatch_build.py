"""Makes Python of `v1/serve.proto` when the project is built or installed. No part of the package: not in the wheel.

python provisioner/serve/grpc/hatch_build.py      makes it in this checkout, after the contract was changed
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Given from the top, so that the generated modules import each other by their full names.
CONTRACT = "provisioner/serve/grpc/v1/serve.proto"


class Stubs(BuildHookInterface[Any]):
    """Of the wheel, and of the wheel that an editable install is. An sdist has the contract, of which they are made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling calls this before it collects the files."""
        made = make(Path(self.root))
        # git ignores them, so hatchling would leave them out.
        build_data["artifacts"].extend(f"/{path}" for path in made)


def make(root: Path) -> list[str]:
    """Writes the modules beside the contract; their paths from the top. Raises RuntimeError where protoc fails."""
    with TemporaryDirectory() as folder:
        _protoc(root, folder)
        made = sorted(str(path.relative_to(folder)) for path in Path(folder).rglob("*.py*"))
        for path in made:
            _put(root / path, Path(folder, path).read_bytes())
    return made


def _protoc(root: Path, out: str) -> None:
    from grpc_tools import protoc

    outputs = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if code := protoc.main(["protoc", f"--proto_path={root}", *outputs, str(root / CONTRACT)]):
        raise RuntimeError(f"protoc ended with {code} for {CONTRACT}")


def _put(path: Path, data: bytes) -> None:
    """Whole or not at all: tests may import it while it is made."""
    if path.exists() and path.read_bytes() == data:
        return
    half = path.with_suffix(".half")
    half.write_bytes(data)
    half.replace(path)


if __name__ == "__main__":
    sys.stdout.writelines(f"{path}\n" for path in make(Path(__file__).resolve().parents[3]))
