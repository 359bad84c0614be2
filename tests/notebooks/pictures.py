"""Pictures of docs/notebooks.md, taken anew: `python -m tests.notebooks.pictures`.

They come from the notebooks as they stand, run with this machine's settings: a node that runs, and
the sample in the collection xquad-en.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs/images"
TAKEN: Mapping[str, Mapping[int, str]] = {
    "2-query": {0: "notebooks-ranks", 3: "notebooks-alignment"},
    "3-quality": {2: "notebooks-weights"},
    "4-capacity": {3: "notebooks-nodes"},
}
"""Of each notebook, the numbers of its pictures and their names."""
_IMAGE = re.compile(r'class="m3-(light|dark)"[^>]*base64,([^"]+)"')


def main() -> None:
    for notebook, names in TAKEN.items():
        found = _pictures(_run(notebook))
        for number, name in names.items():
            for kind, png in _IMAGE.findall(found[number]):
                suffix = "-dark" if kind == "dark" else ""
                (IMAGES / f"{name}{suffix}.png").write_bytes(b64decode(png))


def _run(name: str) -> Any:
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", nbformat.NO_CONVERT)
    resources = {"metadata": {"path": str(ROOT / "notebooks")}}
    return NotebookClient(notebook, kernel_name="python3", resources=resources).execute()


def _pictures(notebook: Any) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.get("data", {}).get("text/html", "") for output in outputs]
    return [html for html in shown if "<img" in html]


if __name__ == "__main__":
    main()
