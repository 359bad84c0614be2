"""Figures that `python -m bench` measured, as its files have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from m3.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Bench:
    """What one benchmark came to.

    Attributes:
        figures: rows of values by name.
    """

    name: str
    at: str
    machine: str
    notes: Mapping[str, Any]
    figures: Sequence[Mapping[str, Any]]


def bench(folder: Path, name: str) -> Bench:
    """`folder`/`name`.json.

    Raises:
        InvalidInput: it is missing, or no benchmark wrote it.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise InvalidInput(f"{path} is missing: run `python -m bench {name}` first")
    try:
        read = orjson.loads(path.read_bytes())
        machine = f"{read['machine']['processor']}, {read['machine']['cores']} cores"
        return Bench(read["name"], read["at"], machine, read["notes"], read["figures"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is not what a benchmark writes: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of one core, for texts of one length.

    Attributes:
        engine: fp32, bf16 or int8.
    """

    mix: str
    engine: str
    rate: float


def speeds(folder: Path) -> list[Speed]:
    """Of BGE-M3's shape by our engines, by `python -m bench encode`. Raises InvalidInput."""
    found = bench(folder, "encode")
    return [
        Speed(row["mix"], row["what"], row["tokens/CPU s"])
        for row in found.figures
        if row["threads"] == 1 and row["what"] in ("fp32", "bf16", "int8")
    ]


def goodput(folder: Path) -> float:
    """The share of a node's peak that it answers in time when asked for twice as much.

    By `python -m bench overload`. Raises InvalidInput.
    """
    for row in bench(folder, "overload").figures:
        if row["what"] == "overload, goodput % of peak":
            return row["value"] / 100
    raise InvalidInput(f"{folder}/overload.json has no goodput: run `python -m bench overload`")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What an arithmetic costs in nDCG@10 on one collection, and how much faster it is.

    Attributes:
        loss: against fp32; below 0 is a gain.
        overlap: the share of fp32's ten best that it has too.
        faster: than fp32, for texts of 512 tokens on one core.
    """

    collection: str
    engine: str
    method: str
    loss: float
    overlap: float
    faster: float


def fidelities(folder: Path) -> list[Fidelity]:
    """By `python -m bench fidelity` and `encode`. Raises InvalidInput."""
    rate = {(speed.mix, speed.engine): speed.rate for speed in speeds(folder)}
    mix = "512 tokens, 8 a call"
    found: list[Fidelity] = []
    for row in bench(folder, "fidelity").figures:
        engine, _, method = row["what"].partition(", ")
        faster = rate[mix, engine] / rate[mix, "fp32"]
        found.append(
            Fidelity(row["collection"], engine, method, row["loss"], row["top-10 overlap"], faster)
        )
    return found
