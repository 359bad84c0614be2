"""A command of any name, as tests of m3-search call it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from tests.inside import inside


def run(
    environment: Mapping[str, str], *arguments: object, command: str = "m3-search"
) -> subprocess.CompletedProcess[str]:
    """A command in this process, under this environment and `environment`."""
    return inside(command, *arguments, environment={**os.environ, **environment})
