"""The requirements of this project's extras, one a line: what an image installs before the project.

    python requirements.py PYPROJECT_TOML EXTRA…

So that a change of code leaves an image's layer of packages as it was. Needs Python 3.11 alone.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_OURS = re.compile(r"m3-retrieval\[([\w,-]+)\]")


def requirements(project: dict[str, Any], extras: Iterable[str]) -> list[str]:
    """Those of the project and of its extras; extras of ours within extras are followed.

    Raises:
        KeyError: an extra that the project does not have.
    """
    named: dict[str, list[str]] = project["optional-dependencies"]
    found = set[str](project["dependencies"])
    waiting = list(extras)
    while waiting:
        for line in named[waiting.pop()]:
            ours = _OURS.fullmatch(line)
            if ours:
                waiting += ours[1].split(",")
            else:
                found.add(line)
    return sorted(found)


def main() -> None:
    project = tomllib.loads(Path(sys.argv[1]).read_text("utf-8"))["project"]
    sys.stdout.writelines(f"{line}\n" for line in requirements(project, sys.argv[2:]))


if __name__ == "__main__":
    main()
