"""Alerts of what is beside our programs, by real faults: a disk, a certificate, a Milvus server.

Each is seen by the exporter that the shipped configuration names.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

import pytest

from tests.disks import disk_in_a_file
from tests.drills.exporters import of_certificates, of_disks, until_shown
from tests.drills.watching import Starts, Watch, free_port
from tests.edges import haproxy, nginx
from tests.processes import running

pytestmark = [
    pytest.mark.drill,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("prometheus"), reason="no prometheus: apt install it"),
]


def test_a_disk_fills(tmp_path: Path, prometheus: Starts):
    with (
        disk_in_a_file(tmp_path / "disk", "60M") as disk,
        of_disks() as exporter,
        prometheus(tmp_path / "prometheus", {"host": exporter}) as watch,
    ):
        ours = {"mountpoint": str(disk)}
        stays_quiet(watch, "DiskFull", **ours)
        size = shutil.disk_usage(disk).total
        (disk / "log").write_bytes(bytes(int(size * 0.8)))
        watch.sees("DiskFull", **ours)


def test_a_certificate_is_near_its_end(tmp_path: Path, prometheus: Starts):
    """Two edges with the shipped TLS files: one's certificate lasts 30 days, the other's 10."""
    lasting, ending = tmp_path / "lasting", tmp_path / "ending"
    lasting.mkdir()
    ending.mkdir()
    with (
        nginx(lasting, ["127.0.0.1:9"], keys="", days=30) as fresh,
        haproxy(ending, ["127.0.0.1:9"], keys="", days=10) as old,
        of_certificates(
            tmp_path, fresh.folder / "certificate.crt", old.folder / "certificate.crt"
        ) as prober,
        prometheus(
            tmp_path / "prometheus", {"certificates": [fresh.address, old.address]}, prober=prober
        ) as watch,
    ):
        watch.sees("CertificateExpires", instance=old.address)
        stays_quiet(watch, "CertificateExpires", instance=fresh.address)


def test_milvus_ends(tmp_path: Path, prometheus: Starts):
    pytest.importorskip("milvus", reason="no Milvus server: tools/environment.sh dev,drills")
    metrics = f"127.0.0.1:{free_port()}"
    port = metrics.rpartition(":")[2]
    command = [sys.executable, "-m", "tests.drills.milvus_server", tmp_path / "milvus", port]
    with running(command) as server:
        until_shown(f"http://{metrics}/metrics", server, seconds=120)
        with prometheus(tmp_path / "prometheus", {"milvus": metrics}) as watch:
            stays_quiet(watch, "MilvusDown")
            server.kill()
            watch.sees("MilvusDown", instance=metrics)


def stays_quiet(watch: Watch, alert: str, *, seconds: float = 8, **labels: str) -> None:
    """Not once does it fire, while what it is about is scraped."""
    watch.until_scraped()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert not watch.fires(alert, labels), f"{alert} fired"
        time.sleep(0.5)
