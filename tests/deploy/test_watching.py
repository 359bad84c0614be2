"""Rules, alerts and dashboards: valid, tested, and about series that our programs show."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest
import yaml

from bench.measure import RESULTS
from tests.deploy import dashboards, known, live

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy/prometheus"
CONFIGS = ("prometheus.yml", "compose.yml", "kubernetes.yml")
PAGES = (ROOT / "docs/incidents.md").read_text()
FOREIGN: live.Series = {
    "up": frozenset(),
    "probe_ssl_earliest_cert_expiry": frozenset(),
    "node_filesystem_avail_bytes": frozenset({"fstype", "mountpoint"}),
    "node_filesystem_size_bytes": frozenset({"fstype", "mountpoint"}),
}
"""Of Prometheus itself, blackbox_exporter and node_exporter."""
SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""
_INSIDE_A_NODE = "m3-nodes: Workers replaced, batches interrupted, texts shared"
NOT_SEEN_TO_MOVE = {f"{_INSIDE_A_NODE} B", f"{_INSIDE_A_NODE} C"}
"""Lines beside others of their panel, which no drill of alerts brings about."""
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
WORDS = GROUPING | {"and", "or", "unless", "bool", "offset", "sum", "avg", "max", "min", "count"}
TOKEN = re.compile(r'"[^"]*"|[a-zA-Z_:][\w:]*|\[[^\]]*\]|\d[\w.]*|[^\s\w]')
promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="no promtool: apt install prometheus"
)


def rules(name: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "rules" / name).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules("alerts.yml")}
RECORDED = {rule["record"]: rule for rule in rules("recording.yml")}


EXPRESSIONS = {
    **{name: rule["expr"] for name, rule in (ALERTS | RECORDED).items()},
    **dashboards.expressions(),
}


@pytest.fixture(scope="module")
def shown(node: str) -> Mapping[str, frozenset[str]]:
    """Every series there is, with its labels."""
    found: dict[str, frozenset[str]] = dict(FOREIGN)
    for series in (live.of_a_node(node), anyio.run(live.of_the_search_api), live.of_the_checks()):
        for name, labels in series.items():
            found[name] = found.get(name, frozenset()) | labels
    found |= {name: labels_left(rule["expr"]) for name, rule in RECORDED.items()}
    return found


def labels_left(expression: str) -> frozenset[str]:
    """Labels that a recorded series keeps."""
    grouped = re.match(r"(?:sum|avg|max) by \(([\w, ]+)\)", expression)
    return frozenset(re.split(r",\s*", grouped[1])) if grouped else frozenset()


def uses(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Series that an expression reads, each with the labels it is chosen by."""
    tokens = iter([*TOKEN.findall(expression), ""])
    token = next(tokens)
    while token:
        name, token = token, next(tokens, "")
        if name in GROUPING and token == "(":
            while token != ")":
                token = next(tokens)
        elif re.match(r"[a-zA-Z_:]", name) and token != "(" and name not in WORDS:
            labels: set[str] = set()
            if token == "{":
                while (token := next(tokens)) != "}":
                    if re.match(r"[a-zA-Z_]", token):
                        labels.add(token)
            yield name, labels


def test_a_series_is_found_in_an_expression():
    found = dict(uses('sum by (le) (rate(a_total{b="c|d", e!~"f"}[5m])) / on (g) h_count > 3'))
    assert found == {"a_total": {"b", "e"}, "h_count": set()}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_series_is_one_that_a_program_shows(name, shown):
    found = list(uses(EXPRESSIONS[name]))
    assert found, EXPRESSIONS[name]
    for series, labels in found:
        assert series in shown, f"nothing shows {series}"
        assert labels <= shown[series] | SCRAPED | {"le"}, (series, labels)


@promtool
def test_rules_are_valid_and_alerts_fire_when_they_should():
    files = sorted((PROMETHEUS / "rules").glob("*.yml"))
    run("check", "rules", *files)
    run("test", "rules", PROMETHEUS / "tests/alerts.yml")


@promtool
@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_are_valid(name, tmp_path):
    """Debian's promtool knows no Kubernetes: what finds targets there is put aside."""
    config = yaml.safe_load((PROMETHEUS / name).read_text())
    for job in config["scrape_configs"]:
        for found in job.pop("kubernetes_sd_configs", ()):
            assert found["role"] == "pod"
            assert found["namespaces"]["names"] in (["m3"], ["milvus"])
    (tmp_path / "rules").symlink_to(PROMETHEUS / "rules")
    (tmp_path / name).write_text(yaml.safe_dump(config))
    run("check", "config", tmp_path / name)
    jobs = {job["job_name"] for job in config["scrape_configs"]}
    assert jobs & {"m3", "m3-embedder"}
    # One host serves the embedded Milvus, which Prometheus would always miss.
    assert ("milvus" in jobs) == (name != "prometheus.yml")


@promtool
def test_every_panel_is_an_expression_that_prometheus_reads(tmp_path):
    written = [
        {"record": f"panel:{i}", "expr": expression}
        for i, expression in enumerate(EXPRESSIONS.values())
    ]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": written}]}))
    run("check", "rules", file)


def run(*arguments: object) -> None:
    done = subprocess.run(
        ["promtool", *map(str, arguments)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_quiet_and_firing():
    tests = yaml.safe_load((PROMETHEUS / "tests/alerts.yml").read_text())["tests"]
    assert {test["name"] for test in tests} == set(ALERTS)
    for test in tests:
        fired = [bool(each.get("exp_alerts")) for each in test["alert_rule_test"]]
        assert fired == [False, True], test["name"]


def test_each_alert_has_its_page_and_each_page_its_alert():
    titles = re.findall(r"^## (\w+)$", PAGES, re.MULTILINE)
    assert set(titles) == set(ALERTS)
    assert len(titles) == len(set(titles))
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/incidents.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_dashboards_are_of_the_provisioned_source():
    source = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text()
    )["datasources"][0]
    assert source["url"] == f"http://prometheus:{known.PORTS['prometheus']}"
    boards = [orjson.loads(file.read_bytes()) for file in dashboards.DASHBOARDS]
    assert len({board["uid"] for board in boards}) == len(boards) == 3
    for name, panel in dashboards.panels():
        assert panel["datasource"]["uid"] == source["uid"], name
        assert panel["fieldConfig"]["defaults"]["unit"], name
    for board in boards:
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_panel_moved_in_a_drill():
    """Drills write which lines took two values; one that is changed has to be seen there anew."""
    lines = dashboards.expressions()
    rows = orjson.loads((RESULTS / "panels.json").read_bytes())["figures"]
    moved = {row["what"] for row in rows if lines.get(row["what"]) == row["shows"]}
    still = lines.keys() - moved
    assert still <= NOT_SEEN_TO_MOVE
    assert {line[:-2] for line in moved} == {name for name, _ in dashboards.panels()}


def test_targets_are_where_programs_listen():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"][0].rpartition(":")[2]
        for job in config["scrape_configs"]
    }
    assert targets["m3-embedder"] == str(known.EMBEDDER_PORT)
    assert targets["m3-search"] == str(known.SEARCH_PORT)
    compose = {
        job["job_name"]: job
        for job in yaml.safe_load((PROMETHEUS / "compose.yml").read_text())["scrape_configs"]
    }
    [nodes] = compose["m3-embedder"]["dns_sd_configs"]
    assert (nodes["names"], nodes["port"]) == (["embedder"], known.EMBEDDER_PORT)
    for job, port in (
        ("m3-edge", known.EDGE_WATCH_PORT),
        ("milvus", known.PORTS["milvus metrics"]),
    ):
        [static] = compose[job]["static_configs"]
        assert static["targets"] == [f"{job.removeprefix('m3-')}:{port}"]
