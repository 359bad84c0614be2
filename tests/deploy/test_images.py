"""The Dockerfile by its linter, and each image's packages: all that its program needs, no more."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.processes import COMMANDS

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
SCRIPT = ROOT / "deploy/docker/requirements.py"
OURS = "m3-retrieval"
_NODE = ["commands.embedder", "embedder.api.app", "embedder.encoders.loading", "serving.spans"]
_INGEST = ["commands.ingest", "commands.ingest.running", "ingest.sources.pdf"]
TARGETS = {
    "embedder-cpu": _NODE,
    "embedder-cuda": _NODE,
    "ingest": [*_INGEST, "obstore", "serving.spans"],
    "search": [
        "commands.search.serving",
        "search.app",
        "serving.server",
        "obstore",
        "serving.spans",
    ],
}
"""By image, modules that its program loads."""


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return DOCKERFILE.read_text()


@cache
def extras_of(target: str) -> tuple[str, ...]:
    """The extras that an image is made from, as its stage says."""
    stage = re.search(
        rf"FROM packages AS packages-{target}\n(.*?)\n\n", DOCKERFILE.read_text(), re.DOTALL
    )
    assert stage, target
    named = re.search(r"requirements\.py pyproject\.toml ([\w ]+) >", stage[1])
    assert named, stage[1]
    return tuple(named[1].split())


@cache
def packages_of(target: str) -> frozenset[str]:
    """The packages of an image, with all that they need in turn."""
    seen: set[tuple[str, str]] = set()
    waiting = [(OURS, extra) for extra in ("", *extras_of(target))]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for needed in map(Requirement, requirements_of(name)):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(needed.name), e) for e in ("", *needed.extras)]
    return frozenset(name for name, _ in seen)


def requirements_of(name: str) -> list[str]:
    if name == OURS:
        # Of the file, not of an installation that may be older.
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        named = project["optional-dependencies"]
        of_extras = [
            f"{line}{' and' if ';' in line else ' ;'} extra == '{extra}'"
            for extra, lines in named.items()
            for line in lines
        ]
        return project["dependencies"] + of_extras
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []


def test_hadolint_finds_nothing():
    done = subprocess.run(
        [COMMANDS / "hadolint", DOCKERFILE], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_every_image_runs_as_nobody_in_particular_and_says_how_it_is(dockerfile):
    stages = re.split(r"^FROM ", dockerfile, flags=re.MULTILINE)[1:]
    by_name = {re.match(r"(\S+) AS (\S+)", stage).group(2): stage for stage in stages}
    for target in TARGETS:
        base = re.match(r"(\S+) AS", by_name[target]).group(1)
        whole = by_name[base] + by_name[target]
        assert re.findall(r"^USER (.*)$", by_name[target], re.MULTILINE) == ["10001:10001"], target
        assert len(re.findall(r"^HEALTHCHECK ", whole, re.MULTILINE)) == 1, target
        assert f"COPY --from=packages-{target} /opt/m3 /opt/m3" in by_name[target]
        assert "gcc" not in whole, "a compiler stays in the stage that needs it"


def test_the_layer_of_packages_holds_what_pyproject_says():
    """The script of the image against a walk of its own over the same file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for target in TARGETS:
        done = subprocess.run(
            [sys.executable, SCRIPT, ROOT / "pyproject.toml", *extras_of(target)],
            check=True,
            capture_output=True,
            text=True,
        )
        lines = done.stdout.splitlines()
        assert set(project["dependencies"]) < set(lines)
        names = {canonicalize_name(Requirement(line).name) for line in lines}
        assert OURS not in names
        assert names < packages_of(target)


@pytest.mark.parametrize("target", ["ingest", "search"])
def test_what_computes_stays_in_the_embedders_images(target):
    assert "pymilvus" in packages_of(target)
    assert "torch" in packages_of("embedder-cpu")
    heavy = {"torch", "transformers", "flagembedding", "gradio", "sentence-transformers"}
    assert not heavy & packages_of(target)
    assert not [name for name in packages_of(target) if name.startswith(("nvidia", "cuda"))]


_LOADER = r"""
import re
import sys
from importlib.metadata import packages_distributions

allowed = set(sys.argv[1].split(","))
owners = packages_distributions()

class Others:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        found = {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners.get(top, ())}
        if found and not allowed & found:
            raise ModuleNotFoundError(f"the image has no {name}", name=name)

sys.meta_path.insert(0, Others())
for module in sys.argv[2:]:
    __import__(module)
"""


@pytest.mark.parametrize("target", ["embedder-cpu", "ingest", "search"])
def test_an_images_packages_are_all_that_its_program_loads(target):
    allowed = ",".join(packages_of(target) | {OURS})
    done = subprocess.run(
        [sys.executable, "-c", _LOADER, allowed, *TARGETS[target]],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert packages_distributions(), "nothing would be held back"


def test_the_images_versions_are_those_that_are_tested(dockerfile):
    assert dockerfile.count("--constraint constraints.txt") == len(TARGETS)
    assert "python:3.11-" in dockerfile
    assert "Python 3.11" in (ROOT / "constraints.txt").read_text().splitlines()[0]


def test_the_context_holds_what_the_dockerfile_copies(dockerfile):
    let_in = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE)
        for source in line.split()
    ]
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in let_in), source
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {p.rstrip("*") for p in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert rooms <= set(copied)
