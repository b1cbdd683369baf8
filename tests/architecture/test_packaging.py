"""What the containers and manifests promise, checked as text."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from cloud.bootstrap import PROCESS_MODULES
from tests.architecture.source_tree import ROOT

BASE = ROOT / "packaging" / "kustomize" / "base"
PROCESSES = [str(role) for role in PROCESS_MODULES]


@pytest.fixture(scope="module")
def rendered() -> dict[str, str]:
    """The base as kubectl renders it: each document by `Kind/name`."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl to render with")
    done = subprocess.run(
        ["kubectl", "kustomize", str(BASE)], capture_output=True, text=True, timeout=60, check=False
    )
    if "unknown command" in done.stderr:
        pytest.skip("this kubectl is too old for Kustomize")
    assert done.returncode == 0, done.stderr
    documents = {}
    for text in re.split(r"^---\n", done.stdout, flags=re.MULTILINE):
        kind = re.search(r"^kind: (\w+)", text, re.MULTILINE)
        name = re.search(r"^  name: ([\w-]+)", text, re.MULTILINE)
        assert kind and name
        documents[f"{kind[1]}/{name[1]}"] = text
    return documents


def test_every_process_has_an_image_of_its_own() -> None:
    targets = re.findall(
        r"^FROM \S+ AS (\w+)", (ROOT / "packaging" / "Containerfile").read_text(), re.MULTILINE
    )
    assert {*PROCESSES, "migrate"} <= set(targets)


def test_every_process_has_a_deployment_with_probes_and_a_disruption_budget(rendered: dict[str, str]) -> None:
    for process in PROCESSES:
        deployment = rendered[f"Deployment/{process}"]
        assert all(f"{probe}Probe:" in deployment for probe in ("startup", "liveness", "readiness"))
        assert f"process: {process}" in rendered[f"PodDisruptionBudget/{process}"]


def test_the_apis_metrics_are_on_a_port_that_its_service_does_not_have() -> None:
    api = (BASE / "api.yaml").read_text()
    deployment, _, service = api.partition("kind: Service")
    assert "- name: operations\n              containerPort: 9100" in deployment
    assert "targetPort: http" in service and "operations" not in service
    assert "9100" not in (ROOT / "packaging" / "compose.yaml").read_text()


def test_no_pod_runs_as_root_or_writes_its_root(rendered: dict[str, str]) -> None:
    pods = [text for name, text in rendered.items() if name.startswith(("Deployment/", "Job/"))]
    assert len(pods) == len(PROCESSES) + 1
    for text in pods:
        for promise in (
            "runAsNonRoot: true",
            "readOnlyRootFilesystem: true",
            "allowPrivilegeEscalation: false",
            "- ALL",
        ):
            assert promise in text


def test_private_pool_keys_are_mounted_into_classify_alone(rendered: dict[str, str]) -> None:
    holders = [name for name, text in rendered.items() if "classifier-pool-keys" in text]
    assert holders == ["Deployment/classify"]


def test_data_keys_are_mounted_where_they_are_made_or_read_and_the_api_may_only_read(
    rendered: dict[str, str],
) -> None:
    holders = {name for name, text in rendered.items() if "claimName: data-keys" in text}
    assert holders == {"Deployment/aggregate", "Deployment/api", "Deployment/lifecycle"}
    mount = "- mountPath: /var/lib/countenance-keys\n          name: data-keys\n"
    for name in holders:
        assert mount in rendered[name]
        assert ((mount + "          readOnly: true") in rendered[name]) == (name == "Deployment/api")


def test_ingest_is_given_neither_a_database_nor_a_private_key(rendered: dict[str, str]) -> None:
    ingest = rendered["Deployment/ingest"]
    assert "database-url" not in ingest
    assert not re.search(r"signing\.key|kek\.key|pool", ingest)


def test_the_stream_store_keeps_nothing_on_disk() -> None:
    compose = (ROOT / "packaging" / "compose.yaml").read_text()
    assert '"--save", "", "--appendonly", "no"' in compose
