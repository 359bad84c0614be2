"""The manifests as kustomize builds them: valid, and naming only what the code has."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from embedder.api.app import create_node_app
from embedder.metrics import NodeMetrics
from ingest.sharding import Shard
from m3.settings import Settings
from serving import server
from serving.application import create_app
from tests.deploy import known
from tests.processes import COMMANDS

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
STACKS = ("overlays/cpu", "overlays/gpu")
BUILDS = (*STACKS, "ingest")
IMAGES = {"m3-embedder": "m3-embedder", "m3-ingest": "m3-ingest", "m3-search": "m3-search"}
"""Image to the command it runs."""
EDGE = "haproxy"
"""The one image that is not ours."""
Manifest = dict[str, Any]


@cache
def built(name: str) -> tuple[Manifest, ...]:
    done = subprocess.run(
        [COMMANDS / "kubectl", "kustomize", FOLDER / name],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def all_built() -> tuple[Manifest, ...]:
    return tuple(manifest for name in BUILDS for manifest in built(name))


def named(stack: str, kind: str, name: str) -> Manifest:
    return next(
        each for each in built(stack) if (each["kind"], each["metadata"]["name"]) == (kind, name)
    )


def settings(stack: str) -> dict[str, str]:
    """What its nodes read from a ConfigMap."""
    pod = named(stack, "Deployment", "embedder")["spec"]["template"]["spec"]
    [given] = pod["containers"][0]["envFrom"]
    return named(stack, "ConfigMap", given["configMapRef"]["name"])["data"]


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Pod templates, by the name of what makes pods of them."""
    for each in manifests:
        spec = each.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get(
            "template"
        )
        if template:
            yield each["metadata"]["name"], template


def containers() -> Iterator[tuple[str, Manifest, Manifest]]:
    for name, pod in pods(all_built()):
        for container in pod["spec"]["containers"]:
            yield name, pod, container


@pytest.mark.parametrize("name", BUILDS)
def test_what_is_built_is_valid_and_has_no_key_that_means_nothing(name):
    for manifest in built(name):
        kubernetes_validate.validate(manifest, "1.34", strict=True)


def test_the_validator_sees_a_misspelt_key():
    manifest = yaml.safe_load((FOLDER / "base/namespace.yaml").read_text())
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**manifest, "metadat": {}}, "1.34", strict=True)


def test_everything_is_in_one_namespace():
    for manifest in all_built():
        if manifest["kind"] != "Namespace":
            assert manifest["metadata"]["namespace"] == "m3", manifest["metadata"]["name"]


def test_images_are_named_and_of_a_version():
    for name, _, container in containers():
        registry, _, tag = container["image"].partition(":")
        assert registry.rpartition("/")[2] in {*IMAGES, EDGE}, name
        assert re.match(r"\d+\.\d+" if name == "edge" else r"\d+\.\d+\.\d+", tag), name


def test_every_variable_is_a_setting():
    given = set(settings(STACKS[0]))
    for _, _, container in containers():
        given |= {each["name"] for each in container.get("env", [])}
    assert known.unknown_variables(given - {"PART"} - known.EDGE_VARIABLES) == []
    assert given >= known.EDGE_VARIABLES
    assert {"M3_API_KEYS_FILE", "M3_EMBEDDER_URL", "HF_HUB_OFFLINE"} <= given


def test_a_change_of_settings_rolls_out_whoever_reads_them():
    for name in BUILDS:
        made = {each["metadata"]["name"] for each in built(name) if each["kind"] == "ConfigMap"}
        for _, pod in pods(built(name)):
            for container in pod["spec"]["containers"]:
                for given in container.get("envFrom", []):
                    if "configMapRef" in given:
                        assert re.fullmatch(r"m3-\w{10}", given["configMapRef"]["name"])
                        assert given["configMapRef"]["name"] in made


def test_a_job_that_is_done_makes_room_for_the_next_version():
    for stack in STACKS:
        jobs = [each["spec"] for each in built(stack) if each["kind"] == "Job"]
        assert jobs
        assert all(job["ttlSecondsAfterFinished"] <= 300 for job in jobs)


def test_every_argument_is_an_option_of_its_command():
    asked = 0
    for _, _, container in containers():
        if "args" not in container or container["image"].startswith(EDGE):
            continue
        program = container["image"].rpartition("/")[2].partition(":")[0]
        command, *rest = container["args"]
        options = known.options_of(IMAGES[program], command)
        for word in rest:
            if word.startswith("--"):
                asked += 1
                assert word in options, (program, command, word)
    assert asked >= 4


def test_ports_are_those_that_programs_listen_on():
    for stack in STACKS:
        for name, port in (("embedder", known.EMBEDDER_PORT), ("search", known.SEARCH_PORT)):
            pod = named(stack, "Deployment", name)["spec"]["template"]
            [declared] = pod["spec"]["containers"][0]["ports"]
            assert declared == {"name": "http", "containerPort": port}
            [offered] = named(stack, "Service", name)["spec"]["ports"]
            assert (offered["port"], offered["targetPort"]) == (port, "http")
            selected = named(stack, "Service", name)["spec"]["selector"]
            assert selected.items() <= pod["metadata"]["labels"].items()
            assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    config = settings(STACKS[0])
    assert config["M3_EMBEDDER_URL"] == f"http://edge:{known.EDGE_PORT}"
    assert config["M3_TRACING"] == "false"
    assert config["OTEL_EXPORTER_OTLP_ENDPOINT"].endswith(f":{known.OTLP_PORT}")
    assert config["M3_MILVUS_URI"].endswith(f":{known.PORTS['milvus']}")
    allowed = {known.EMBEDDER_PORT, known.SEARCH_PORT, 19530, 53, 443, 9091}
    allowed |= {known.EDGE_PORT, known.EDGE_WATCH_PORT, known.OTLP_PORT}
    for manifest in all_built():
        if manifest["kind"] == "NetworkPolicy":
            for rule in manifest["spec"].get("ingress", []) + manifest["spec"].get("egress", []):
                assert {port["port"] for port in rule["ports"]} <= allowed


def test_probes_ask_what_programs_answer():
    answered = known.paths_of(create_app(title="any", description="", settings=Settings()))
    assert answered
    assert answered <= known.paths_of(create_node_app(Settings()))
    asked = [
        container[f"{kind}Probe"]["httpGet"]
        for name, _, container in containers()
        if name != "edge"
        for kind in ("startup", "readiness", "liveness")
        if f"{kind}Probe" in container
    ]
    assert len(asked) == 2 * 3 * len(STACKS)
    for each in asked:
        assert each["path"] in answered
        assert each["port"] == "http"


def test_the_edge_stands_between_callers_and_all_nodes():
    for stack in STACKS:
        pod = named(stack, "Deployment", "edge")["spec"]["template"]
        [container] = pod["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"http": known.EDGE_PORT, "watch": known.EDGE_WATCH_PORT}
        [offered] = named(stack, "Service", "edge")["spec"]["ports"]
        assert (offered["port"], offered["targetPort"]) == (known.EDGE_PORT, "http")
        assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(known.EDGE_WATCH_PORT)
        for kind in ("readiness", "liveness"):
            asked = container[f"{kind}Probe"]["httpGet"]
            assert asked["path"] in known.EDGE_PATHS
            assert asked["port"] == "watch"
        # A name that has every node's address, in full: HAProxy's resolver has no search domains.
        assert named(stack, "Service", "embedder")["spec"]["clusterIP"] == "None"
        [name] = container["env"]
        assert name["value"] == f"embedder.m3.svc.cluster.local:{known.EMBEDDER_PORT}"
        [volume] = pod["spec"]["volumes"]
        files = named(stack, "ConfigMap", volume["configMap"]["name"])["data"]
        for file in (*container["args"][3::2], "least_work.lua"):
            assert files[file] == (FOLDER.parent / "haproxy" / file).read_text()
        waiting = named(stack, "Deployment", "embedder")["spec"]["template"]["spec"]
        seconds = {e["name"]: e["value"] for e in waiting["containers"][0]["env"]}
        assert 2 * float(seconds["M3_MAX_QUEUE_SECONDS"]) < 25, "the edge's time-out"


def test_only_the_edge_reaches_nodes():
    """By the network's rules, whoever else may call nodes reaches the edge."""
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in built(STACKS[0])
        if each["kind"] == "NetworkPolicy"
    }
    edge = {"matchLabels": {"app.kubernetes.io/name": "edge"}}
    [nodes] = policies["embedder"]["ingress"]
    assert [each["podSelector"] for each in nodes["from"] if "podSelector" in each] == [edge]
    [calls] = policies["calls-nodes"]["egress"]
    assert calls == {"to": [{"podSelector": edge}], "ports": [{"port": known.EDGE_PORT}]}
    [on] = policies["edge"]["egress"]
    assert on["ports"] == [{"port": known.EMBEDDER_PORT}]


def test_a_pod_is_given_longer_than_its_program_takes_to_end():
    for stack in STACKS:
        for name in ("embedder", "search"):
            pod = named(stack, "Deployment", name)["spec"]["template"]["spec"]
            [container] = pod["containers"]
            drain = next(
                float(e["value"]) for e in container["env"] if e["name"] == "M3_DRAIN_SECONDS"
            )
            before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] > before + drain + server.GRACE


def test_the_autoscaler_reads_a_metric_of_the_node():
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    NodeMetrics(registry)
    names = {family.name for family in registry.collect()}
    for stack in STACKS:
        [metric] = named(stack, "HorizontalPodAutoscaler", "embedder")["spec"]["metrics"]
        assert metric["pods"]["metric"]["name"] in names
        assert "replicas" not in named(stack, "Deployment", "embedder")["spec"]
    [rule] = yaml.safe_load((FOLDER / "prometheus-adapter/values.yaml").read_text())["rules"][
        "custom"
    ]
    assert rule["seriesQuery"].partition("{")[0] == metric["pods"]["metric"]["name"]


def test_pods_can_do_little():
    for name, pod, container in containers():
        everyone, own = pod["spec"]["securityContext"], container["securityContext"]
        assert everyone["runAsNonRoot"] is True, name
        assert everyone["runAsUser"] == 10001, name
        assert everyone["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert own["allowPrivilegeEscalation"] is False, name
        assert own["readOnlyRootFilesystem"] is True, name
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert pod["spec"]["automountServiceAccountToken"] is False, name
        assert "memory" in container["resources"]["limits"], name
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["spec"]["volumes"]}, name


def test_secrets_are_only_referred_to():
    for manifest in all_built():
        assert manifest["kind"] != "Secret"
    for name, _, container in containers():
        for each in container.get("env", []):
            if re.search(r"KEY$|TOKEN|PASSWORD|SECRET", each["name"]):
                assert "secretKeyRef" in each["valueFrom"], (name, each["name"])
    values = yaml.safe_load((FOLDER / "milvus/values.yaml").read_text())
    for component in ("mixCoordinator", "proxy"):
        [root] = values[component]["extraEnv"]
        assert "secretKeyRef" in root["valueFrom"]
    milvus = yaml.safe_load(values["extraConfigFiles"]["user.yaml"])
    assert milvus["common"]["security"]["authorizationEnabled"] is True


def test_nothing_speaks_to_anything_unless_a_policy_says_so():
    policies = [each for each in built(STACKS[0]) if each["kind"] == "NetworkPolicy"]
    nothing = next(each for each in policies if each["metadata"]["name"] == "nothing")
    assert nothing["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [pod["metadata"]["labels"] for _, pod in pods(all_built())]
    for policy in policies:
        selector = policy["spec"]["podSelector"]
        wanted = selector.get("matchLabels", {})
        assert any(wanted.items() <= each.items() for each in labels), policy["metadata"]["name"]
        for either in selector.get("matchExpressions", []):
            assert set(either["values"]) <= {each[either["key"]] for each in labels}


def test_each_part_of_an_ingest_is_some_pods():
    job = named("ingest", "Job", "ingest-docs")["spec"]
    [container] = job["template"]["spec"]["containers"]
    shard = container["args"][container["args"].index("--shard") + 1]
    parts = {Shard.parsed(shard.replace("$(PART)", str(i))) for i in range(job["completions"])}
    assert {part.index for part in parts} == set(range(next(iter(parts)).count))
    assert job["completionMode"] == "Indexed"
    [part] = [each for each in container["env"] if each["name"] == "PART"]
    assert "job-completion-index" in part["valueFrom"]["fieldRef"]["fieldPath"]


def test_only_the_gpu_overlay_asks_for_a_gpu():
    for stack, gpus in zip(STACKS, (None, "1"), strict=True):
        pod = named(stack, "Deployment", "embedder")["spec"]["template"]["spec"]
        resources = pod["containers"][0]["resources"]
        assert resources["limits"].get("nvidia.com/gpu") == gpus
        assert resources["requests"].get("nvidia.com/gpu") == gpus


def test_nodes_read_the_model_and_the_pull_alone_writes_it():
    node = named(STACKS[0], "Deployment", "embedder")["spec"]["template"]["spec"]["containers"][0]
    pull = named(STACKS[0], "Job", "model-pull")["spec"]["template"]["spec"]["containers"][0]
    mounted = {
        c["name"]: m for c in (node, pull) for m in c["volumeMounts"] if "model" in m["name"]
    }
    assert mounted["embedder"]["readOnly"]
    assert "readOnly" not in mounted["pull"]
    assert {"name": "HF_HUB_OFFLINE", "value": "1"} in node["env"]
