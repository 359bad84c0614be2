"""What a process may take, and may still: of the system, and of its control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.machine import available_memory, total_memory, usable_cores

MIB = 2**20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system with 1000 MiB left."""
    write(tmp_path / "proc/meminfo", f"MemTotal: 9 kB\nMemAvailable:  {1000 * 1024} kB\nHuge: 0\n")
    return tmp_path


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


def group(folder: Path, limit: str, used: int, reclaimable: int = 0) -> None:
    write(folder / "memory.max", f"{limit}\n")
    write(folder / "memory.current", f"{used}\n")
    write(folder / "memory.stat", f"anon 5\ninactive_file {reclaimable}\n")


def test_without_groups_it_is_what_the_system_has(root):
    assert available_memory(root) == 1000 * MIB


def test_a_limit_counts_without_what_can_be_reclaimed(root):
    write(root / "proc/self/cgroup", "0::/\n")
    group(root / "sys/fs/cgroup", str(500 * MIB), 300 * MIB, reclaimable=100 * MIB)
    assert available_memory(root) == 300 * MIB


def test_no_limit_leaves_the_system_s(root):
    write(root / "proc/self/cgroup", "0::/\n")
    group(root / "sys/fs/cgroup", "max", 300 * MIB)
    assert available_memory(root) == 1000 * MIB


def test_the_tightest_of_nested_groups_counts(root):
    write(root / "proc/self/cgroup", "0::/outer/inner\n")
    group(root / "sys/fs/cgroup/outer", str(200 * MIB), 150 * MIB)
    group(root / "sys/fs/cgroup/outer/inner", str(400 * MIB), 150 * MIB)
    assert available_memory(root) == 50 * MIB


def test_a_group_over_its_limit_leaves_nothing(root):
    write(root / "proc/self/cgroup", "0::/\n")
    group(root / "sys/fs/cgroup", str(100 * MIB), 150 * MIB)
    assert available_memory(root) == 0


def test_version_1_is_read_too(root):
    write(root / "proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/a\n")
    folder = root / "sys/fs/cgroup/memory/a"
    write(folder / "memory.limit_in_bytes", str(80 * MIB))
    write(folder / "memory.usage_in_bytes", str(60 * MIB))
    write(folder / "memory.stat", "cache 1\ninactive_file 0\n")
    assert available_memory(root) == 20 * MIB


def test_what_could_be_had_is_the_tightest_limit_whatever_is_taken(root):
    write(root / "proc/self/cgroup", "0::/outer/inner\n")
    group(root / "sys/fs/cgroup/outer", str(200 * MIB), 150 * MIB)
    group(root / "sys/fs/cgroup/outer/inner", str(400 * MIB), 150 * MIB)
    assert total_memory(root) == 200 * MIB


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096)])
def test_without_a_limit_it_is_the_system_s(root, limit):
    write(root / "proc/self/cgroup", "0::/\n")
    group(root / "sys/fs/cgroup", limit, 150 * MIB)
    assert total_memory(root) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def on_64_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


@pytest.mark.usefixtures("on_64_cores")
@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 64), ("800000 100000", 8), ("250000 100000", 2), ("50000 100000", 1)],
)
def test_cores_are_those_whose_time_a_group_allows(root, quota, cores):
    write(root / "proc/self/cgroup", "0::/\n")
    write(root / "sys/fs/cgroup/cpu.max", f"{quota}\n")
    assert usable_cores(root) == cores


@pytest.mark.usefixtures("on_64_cores")
def test_cores_are_those_of_the_tightest_group_and_no_more_than_the_process_may_run_on(
    root, monkeypatch
):
    write(root / "proc/self/cgroup", "0::/outer/inner\n")
    write(root / "sys/fs/cgroup/outer/cpu.max", "400000 100000\n")
    write(root / "sys/fs/cgroup/outer/inner/cpu.max", "800000 100000\n")
    assert usable_cores(root) == 4
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5})
    assert usable_cores(root) == 2


@pytest.mark.usefixtures("on_64_cores")
@pytest.mark.parametrize(("quota", "cores"), [("-1", 64), ("300000", 3)])
def test_cores_by_groups_of_version_1(root, quota, cores):
    write(root / "proc/self/cgroup", "4:cpu,cpuacct:/a\n")
    write(root / "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", f"{quota}\n")
    write(root / "sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n")
    assert usable_cores(root) == cores


@pytest.mark.usefixtures("on_64_cores")
def test_without_groups_all_cores_may_be_used(root):
    assert usable_cores(root) == 64


def test_this_machine_has_some():
    assert MIB < available_memory() <= total_memory()
    assert usable_cores() >= 1
