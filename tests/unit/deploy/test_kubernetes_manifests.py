"""The manifests of `deploy/kubernetes`: they fit the schemas, and fit one another."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dashboard.cli import command_line_parser
from metaserver.cli import serve
from tests.support.metaserver_process import ROOT

DIRECTORY = ROOT / "deploy" / "kubernetes"
FILES = sorted(DIRECTORY.glob("*.yaml"))
Manifest = Mapping[str, Any]


def manifests(*files: Path) -> Iterator[Manifest]:
    """Yield every object of the files; by default of all that are applied."""
    for file in files or FILES:
        if files or file.name != "secrets.example.yaml":
            yield from filter(None, yaml.safe_load_all(file.read_text(encoding="utf-8")))


def kinds(*wanted: str) -> list[Manifest]:
    """Return the objects of these kinds."""
    return [each for each in manifests() if each["kind"] in wanted]


WORKLOADS = kinds("StatefulSet", "Deployment")


def pod(workload: Manifest) -> Mapping[str, Any]:
    """Return the specification of a workload's pods."""
    return dict(workload["spec"]["template"]["spec"])


def container(workload: Manifest) -> Mapping[str, Any]:
    """Return the container of a workload's pods."""
    (only,) = pod(workload)["containers"]
    return dict(only)


def name_of(manifest: Manifest) -> str:
    """Return the name of an object."""
    return str(manifest["metadata"]["name"])


@pytest.mark.parametrize("version", ["1.27", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_manifests_fit_the_schema(file: Path, version: str) -> None:
    found = list(manifests(file))
    assert found
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_an_unknown_field_would_be_found() -> None:
    wrong = {**kinds("PodDisruptionBudget")[0], "sepc": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.27", strict=True)


@pytest.mark.parametrize("workload", WORKLOADS, ids=name_of)
def test_pods_are_restricted_and_bounded(workload: Manifest) -> None:
    context = pod(workload)["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(workload)["automountServiceAccountToken"] is False
    assert container(workload)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in container(workload)["resources"]["limits"]
    assert {"readinessProbe", "livenessProbe"} <= container(workload).keys()


def test_each_pod_with_an_address_has_a_service_of_its_name() -> None:
    services = {name_of(each): each["spec"] for each in kinds("Service")}
    for workload in kinds("StatefulSet"):
        assert workload["spec"]["serviceName"] in services
        if name_of(workload) == "metaserver":
            continue
        for number in range(workload["spec"]["replicas"]):
            spec = services[f"{name_of(workload)}-{number}"]
            selector = {"statefulset.kubernetes.io/pod-name": f"{name_of(workload)}-{number}"}
            assert spec["selector"] == selector
            assert spec["publishNotReadyAddresses"] is True
            assert "clusterIP" not in spec, "it has an address of its own"


def test_services_and_policies_lead_to_pods_and_ports() -> None:
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in WORKLOADS]
    ports = {port["name"] for each in WORKLOADS for port in container(each)["ports"]}
    for service in kinds("Service"):
        selector = dict(service["spec"]["selector"])
        if "statefulset.kubernetes.io/pod-name" not in selector:
            assert any(selector.items() <= each.items() for each in labels), name_of(service)
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for policy in kinds("NetworkPolicy"):
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        assert any(selector.items() <= each.items() for each in labels), name_of(policy)
        for rule in policy["spec"].get("ingress", ()):
            assert {port["port"] for port in rule["ports"]} <= ports


def test_every_component_has_a_policy_and_the_rest_is_denied() -> None:
    policies = kinds("NetworkPolicy")
    chosen = [each["spec"]["podSelector"].get("matchLabels", {}) for each in policies]
    components = {
        each["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in WORKLOADS
    }
    assert {each["app.kubernetes.io/component"] for each in chosen if each} == components
    (default,) = [each["spec"] for each in policies if not each["spec"]["podSelector"]]
    assert default["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in default


def test_disruption_budgets_let_one_pod_go_at_a_time() -> None:
    budgets = {
        each["spec"]["selector"]["matchLabels"]["app.kubernetes.io/instance"]: each["spec"]
        for each in kinds("PodDisruptionBudget")
    }
    wanted = {name_of(each) for each in WORKLOADS if each["spec"]["replicas"] > 1}
    assert budgets.keys() == wanted
    assert all(spec["maxUnavailable"] == 1 for spec in budgets.values())


def test_secrets_of_the_manifests_are_in_the_example_which_has_no_value() -> None:
    example = {
        name_of(each): each["stringData"] for each in manifests(DIRECTORY / "secrets.example.yaml")
    }
    assert not any(value for secret in example.values() for value in secret.values())
    assert not kinds("Secret"), "no manifest that is applied has a secret"
    for workload in WORKLOADS:
        for volume in pod(workload)["volumes"]:
            if (secret := volume.get("secret")) is not None:
                named = {item["key"] for item in secret.get("items", ())}
                assert named <= example[secret["secretName"]].keys(), name_of(workload)


def test_the_script_is_that_of_compose() -> None:
    (script,) = [each for each in kinds("ConfigMap") if name_of(each) == "run-redis"]
    text = (ROOT / "deploy" / "compose" / "run-redis").read_text(encoding="utf-8")
    assert script["data"]["run-redis"] == text


def test_programs_know_every_option() -> None:
    commands = {name_of(each): container(each).get("command", []) for each in WORKLOADS}
    metaserver, dashboard = commands["metaserver"], commands["dashboard"]
    assert (metaserver[0], dashboard[0]) == ("cachemesh-metaserver", "cachemesh-dashboard")
    serve.make_context(metaserver[0], metaserver[1:]).close()
    command_line_parser().parse_args(dashboard[1:])


def test_images_are_those_of_the_playground() -> None:
    playground = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    theirs = {service["image"] for service in playground["services"].values()}
    assert {container(each)["image"] for each in WORKLOADS} == theirs


def test_redis_and_sentinel_start_by_the_script() -> None:
    for workload in WORKLOADS:
        command = shlex.join(container(workload)["command"])
        if name_of(workload) not in ("metaserver", "dashboard"):
            assert command == "/bin/sh /opt/run/run-redis", name_of(workload)
