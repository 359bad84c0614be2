"""schemathesis against a running server, over all that its OpenAPI document says."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.processes import COMMANDS

SECONDS = 900
"""A thousand requests, one after the other: whoever runs them allows a busy machine as much."""


def assert_keeps_its_word(url: str, hooks: Path, folder: Path, *flags: str) -> None:
    """Every operation answers right and wrong requests as the document says.

    Args:
        hooks: what no schema can say.
        folder: where it may leave notes.
        flags: of schemathesis.
    """
    command = [COMMANDS / "schemathesis", "run", f"{url}/openapi.json", "--no-color"]
    command += ["--workers", "1", "--max-examples", "10", "--generation-deterministic", *flags]
    # How long examples and answers take is the machine's affair.
    command += ["--request-timeout", "60", "--suppress-health-check", "too_slow"]
    env = {"SCHEMATHESIS_HOOKS": str(hooks), "NO_PROXY": "127.0.0.1"}
    run = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS - 60,
        check=False,
    )
    assert run.returncode == 0, run.stdout
