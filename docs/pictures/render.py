"""Draws demo.svg from a real run: `python docs/pictures/render.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich.console import Console

from provisioner.demo.steps import Demo
from provisioner.ports.events import silent
from provisioner.render.tables import steps_table


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        demo = Demo(folder, silent)
        demo.run()
    with open("/dev/null", "w") as nowhere:
        console = Console(record=True, width=150, file=nowhere)
        console.print("[bold]$ provision demo[/]")
        console.print(steps_table(demo.steps))
        Path(__file__).with_name("demo.svg").write_text(console.export_svg(title="provision demo"))


if __name__ == "__main__":
    main()
