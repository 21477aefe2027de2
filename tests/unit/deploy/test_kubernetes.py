"""The Kubernetes manifests fit Kubernetes' schemas, each other, and the program that they run."""

import importlib.util
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import ValidationError

from api.app import create_app
from api.settings import SECRETS, Settings
from evidently_workspace.ui.options import DATABASE_VARIABLE, SECRET_VARIABLE, build_parser
from model.train import build_parser as build_train_parser

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy/kubernetes"
OVERLAY = FOLDER / "overlays/production"
OLDEST, NEWEST = "1.30", "1.37"
SECRET_FILES = {
    "api": {"log_url", "evidently_secret", "keys.jsonl", "notify_urls"},
    "evidently-ui": {"workspace_url", "evidently_secret"},
}
ALLOWED_KINDS = {"Kustomization", "Component", "ServiceMonitor"}  # which Kubernetes itself does not know

Manifest = dict[str, Any]


@cache
def manifests() -> tuple[tuple[str, Manifest], ...]:
    """Every document under deploy/kubernetes, with the file that it is in."""
    files = sorted(FOLDER.rglob("*.yaml"))
    return tuple(
        (str(file.relative_to(FOLDER)), document)
        for file in files
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))
    )


def of_kind(*kinds: str) -> list[Manifest]:
    return [document for _, document in manifests() if document["kind"] in kinds]


def one(kind: str, name: str) -> Manifest:
    found = [document for document in of_kind(kind) if document["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name}"
    return found[0]


def pod(name: str) -> Manifest:
    kind = "Job" if name == "model" else "Deployment"
    template: Manifest = one(kind, name)["spec"]["template"]
    return template


def containers() -> list[tuple[Manifest, Manifest]]:
    """Every container with the spec of its pod."""
    specs = [workload["spec"]["template"]["spec"] for workload in of_kind("Deployment", "Job")]
    return [(spec, container) for spec in specs for container in spec.get("initContainers", []) + spec["containers"]]


def container(name: str) -> Manifest:
    first: Manifest = pod(name)["spec"]["containers"][0]
    return first


def kustomizations(kind: str = "Kustomization") -> list[tuple[Path, Manifest]]:
    return [(FOLDER / file, document) for file, document in manifests() if document["kind"] == kind]


def literals() -> dict[str, str]:
    """The API's environment: what the base gives, with what the component and the overlay lay over it."""
    found: dict[str, str] = {}
    for _, document in kustomizations() + kustomizations("Component"):
        for generator in document.get("configMapGenerator", []):
            assert generator["name"] == "api"
            found |= dict(literal.split("=", 1) for literal in generator["literals"])
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_manifest_fits_the_strict_schema_of_kubernetes(version: str) -> None:
    checked = 0
    for file, document in manifests():
        if document["kind"] in ALLOWED_KINDS:
            continue
        try:
            assert kubernetes_validate.validate(document, version, strict=True) == version
        except ValidationError as error:
            pytest.fail(f"{file}: {document['kind']} {document['metadata']['name']}: {error.message}")
        checked += 1
    assert checked > 10


def test_the_schema_check_sees_a_misspelt_field() -> None:
    wrong = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "api"}, "spec": {"selektor": {}}}
    with pytest.raises(ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_every_file_is_listed_and_every_listed_file_exists() -> None:
    for file, document in kustomizations() + kustomizations("Component"):
        for listed in document["resources"] + document.get("components", []):
            assert (file.parent / listed).exists(), f"{file}: {listed}"
        beside = {other.name for other in file.parent.glob("*.yaml")} - {file.name}
        assert beside == {name for name in document["resources"] if name.endswith(".yaml")}


def test_an_object_appears_once() -> None:
    names = [
        (d["kind"], d["metadata"]["name"]) for _, d in manifests() if d["kind"] not in ("Kustomization", "Component")
    ]
    assert len(names) == len(set(names))


def test_every_image_is_tagged_by_the_overlay() -> None:
    (overlay,) = (document for file, document in kustomizations() if file.parent == OVERLAY)
    tags = {image["name"]: image["newTag"] for image in overlay["images"]}
    assert set(tags) == {container["image"] for _, container in containers()} == {"vigie-api", "vigie-evidently-ui"}
    assert "latest" not in tags.values()


def test_every_variable_is_a_setting_that_takes_its_value(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = literals()
    known = {f"VIGIE_{name.upper()}" for name in Settings.model_fields}
    secret_files = {f"VIGIE_{name.upper()}_FILE" for name in SECRETS}
    assert set(environment) <= known | secret_files | {"FORWARDED_ALLOW_IPS"}  # uvicorn's own
    for name, value in environment.items():
        if name in secret_files:
            file = tmp_path / Path(value).name
            file.write_text("postgresql://user@host/name", encoding="utf-8")
            value = str(file)  # noqa: PLW2901 - a file that this machine has
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.port == container("api")["ports"][0]["containerPort"]
    assert settings.host == "0.0.0.0"  # noqa: S104 - the pod's own address


def test_the_evidently_ui_knows_its_variables_and_arguments() -> None:
    ui = container("evidently-ui")
    assert {entry["name"] for entry in ui["env"]} == {f"{DATABASE_VARIABLE}_FILE", f"{SECRET_VARIABLE}_FILE"}
    options = build_parser().parse_args(ui["args"][3:])
    assert options.port == ui["ports"][0]["containerPort"]
    assert options.database is None


def test_no_secret_has_a_value_and_every_secret_file_is_generated() -> None:
    assert of_kind("Secret") == []
    (overlay,) = (document for file, document in kustomizations() if file.parent == OVERLAY)
    generated = {entry["name"]: {Path(file).name for file in entry["files"]} for entry in overlay["secretGenerator"]}
    assert generated == SECRET_FILES
    assert (OVERLAY / ".gitignore").read_text(encoding="utf-8").split() == ["/secrets/"]


@pytest.mark.parametrize("name", ["api", "evidently-ui"])
def test_every_secret_file_is_mounted_where_its_variable_points(name: str) -> None:
    mounts = {mount["name"]: mount["mountPath"] for mount in container(name)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(name)["spec"]["volumes"]}
    assert volumes["secrets"]["secret"]["secretName"] == name
    own = {entry["name"]: entry["value"] for entry in container(name).get("env", [])} or literals()
    files = {value for variable, value in own.items() if variable.endswith("_FILE")}
    assert files == {f"{mounts['secrets']}/{file}" for file in SECRET_FILES[name]}


def test_every_command_is_a_module_of_ours() -> None:
    modules = [one["args"][2] for _, one in containers() if one["args"][:2] == ["python", "-m"]]
    assert modules == ["api", "evidently_workspace.ui", "model.train"]
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_the_training_job_writes_the_folder_that_the_api_reads() -> None:
    options = build_train_parser().parse_args(container("model")["args"][3:])
    assert options.if_missing
    assert str(options.out) == literals()["VIGIE_MODEL_DIR"]
    waiting = pod("api")["spec"]["initContainers"][0]
    assert f"{options.out}/manifest.json" in waiting["args"][2]


def test_every_probe_asks_for_a_path_that_the_program_answers(iris_artifact: Path) -> None:
    app = create_app(Settings(model_dir=iris_artifact))
    answered = {"api": set(app.openapi()["paths"]), "evidently-ui": {"/api/version"}}
    for name, paths in answered.items():
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container(name)[kind]["httpGet"]
            assert probe["path"] in paths
            assert probe["port"] == container(name)["ports"][0]["name"]
    assert container("api")["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert container("api")["readinessProbe"]["httpGet"]["path"] == "/health/ready"


def test_the_api_finds_evidently_ui_by_its_service() -> None:
    address = urlsplit(literals()["VIGIE_EVIDENTLY_URL"])
    service = one("Service", "evidently-ui")
    assert (address.hostname, address.port) == ("evidently-ui", service["spec"]["ports"][0]["port"])


@pytest.mark.parametrize("kind", ["Service", "NetworkPolicy", "PodDisruptionBudget"])
def test_every_selector_finds_a_pod(kind: str) -> None:
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in of_kind("Deployment", "Job")]
    for document in of_kind(kind):
        spec = document["spec"]
        selector = spec.get("podSelector", spec.get("selector"))
        wanted = selector if kind == "Service" else selector.get("matchLabels", {})
        assert any(wanted.items() <= found.items() for found in labels), document["metadata"]["name"]


def test_every_container_runs_with_the_least_rights() -> None:
    for spec, one_container in containers():
        own = one_container["securityContext"]
        assert own["readOnlyRootFilesystem"] is True
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert set(one_container["resources"]) == {"requests", "limits"}


def test_every_mount_has_its_volume_and_every_claim_can_be_shared() -> None:
    for spec, one_container in containers():
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in one_container["volumeMounts"]} <= volumes
        for volume in spec["volumes"]:
            if claim := volume.get("persistentVolumeClaim"):
                assert one("PersistentVolumeClaim", claim["claimName"])["spec"]["accessModes"] == ["ReadWriteMany"]


def test_the_api_reads_its_model_and_writes_its_reports() -> None:
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container("api")["volumeMounts"]}
    assert mounts[str(Path(literals()["VIGIE_MODEL_DIR"]).parent)] is True
    assert mounts[literals()["VIGIE_REPORTS_DIR"]] is False
    assert mounts["/tmp"] is False  # noqa: S108 - a volume of the pod


def test_the_autoscaler_alone_sets_the_number_of_replicas() -> None:
    assert "replicas" not in one("Deployment", "api")["spec"]
    autoscaler = one("HorizontalPodAutoscaler", "api")["spec"]
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    assert autoscaler["minReplicas"] == 2
    # 15 connections a process, one more replica during a roll-out, Evidently UI, and three that PostgreSQL reserves
    assert 15 * (autoscaler["maxReplicas"] + 2) + 3 <= 100
    ui = one("Deployment", "evidently-ui")["spec"]
    assert (ui["replicas"], ui["strategy"]) == (1, {"type": "Recreate"})


def test_a_pod_has_the_time_that_the_api_takes_to_stop() -> None:
    spec = pod("api")["spec"]
    # the wait before the signal; then requests (10 s), the beat and the alerts (5 s), the window under way (5 s)
    wait = int(container("api")["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= wait + 10 + 5 + 5


def test_traffic_is_denied_unless_a_policy_allows_it() -> None:
    deny = one("NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"]
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule["ports"]
    ui = one("NetworkPolicy", "evidently-ui")["spec"]
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "api"}}} in ui["ingress"][0]["from"]


def test_the_service_monitor_names_a_port_and_path_of_the_service(iris_artifact: Path) -> None:
    monitor, service = one("ServiceMonitor", "api"), one("Service", "api")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert set(monitor["spec"]) == {"namespaceSelector", "selector", "endpoints"}
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["vigie"]}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert set(endpoint) == {"port", "path", "interval", "scrapeTimeout"}
    assert endpoint["port"] == service["spec"]["ports"][0]["name"]
    assert all(re.fullmatch(r"\d+s", endpoint[field]) for field in ("interval", "scrapeTimeout"))
    assert int(endpoint["scrapeTimeout"][:-1]) <= int(endpoint["interval"][:-1])
    paths = {getattr(route, "path", "") for route in create_app(Settings(model_dir=iris_artifact)).routes}
    assert endpoint["path"] in paths


def test_the_rules_of_prometheus_ask_for_the_job_that_the_service_gives() -> None:
    rules = "".join(
        file.read_text(encoding="utf-8") for file in (ROOT / "observability/prometheus/rules").glob("*.yml")
    )
    assert f'job="{one("Service", "api")["metadata"]["name"]}"' in rules


def test_the_overlay_holds_together(tmp_path: Path) -> None:
    """Where kustomize is installed, it builds the overlay; else its patches are followed by hand."""
    policy = one("NetworkPolicy", "dns-and-postgresql")["spec"]
    assert policy["egress"][1] == {"ports": [{"protocol": "TCP", "port": 5432}]}  # what the overlay's patch expects
    program = shutil.which("kustomize")
    if program is None:
        return
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/overlays/production"
    (overlay / "secrets").mkdir(exist_ok=True)
    for file in set().union(*SECRET_FILES.values()):
        (overlay / "secrets" / file).write_text("value", encoding="utf-8")
    done = subprocess.run([program, "build", str(overlay)], capture_output=True, text=True, check=True, timeout=60)
    built = list(yaml.safe_load_all(done.stdout))
    for document in built:
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "vigie"
        if document["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(document, NEWEST, strict=True)
    expected = [document for _, document in manifests() if document["kind"] not in ("Kustomization", "Component")]
    assert len(built) == len(expected) + 3  # one ConfigMap, two Secrets
    (settings,) = (document["data"] for document in built if document["kind"] == "ConfigMap")
    assert settings == literals()


def test_the_docs_name_settings_alerts_and_files_that_exist() -> None:
    known = {f"VIGIE_{name.upper()}" for name in Settings.model_fields} | {DATABASE_VARIABLE, "VIGIE_DATABASE"}
    known |= {f"{name}_FILE" for name in known}
    rules = yaml.safe_load((ROOT / "observability/prometheus/rules/api.yml").read_text(encoding="utf-8"))
    alerts = {rule.get("alert") for group in rules["groups"] for rule in group["rules"]}
    for page in (ROOT / "docs/scaling.md", FOLDER / "README.md"):
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"VIGIE_[A-Z_]+[A-Z]", text)) <= known
        assert set(re.findall(r"`((?:Api|Snapshots)[A-Za-z]+)`", text)) <= alerts
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (page.parent / link).exists(), link
