"""Vigie on a Kubernetes cluster of one node: programs built, images made, manifests applied as documented."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe
from tempfile import mkdtemp
from typing import Any

import psycopg
import pytest
import yaml

from scripts.keys import create_key
from tests.cluster.node import ADDRESS, PODS, Node
from tests.compose.conftest import awaited
from tests.postgres import MISSING, PostgresServer, postgres_programs

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
PLACE = ROOT / "data" / "cluster"
REGISTRY = "registry.example.org"
TARGETS = {"vigie-api": "api", "vigie-evidently-ui": "evidently-ui"}
COMMANDS = (
    "etcd",
    "containerd",
    "ctr",
    "runc",
    "unshare",
    "nsenter",
    "ip",
    "iptables",
    "ipset",
    "conntrack",
    "openssl",
)
PACKAGES = "etcd-server containerd runc containernetworking-plugins iproute2 iptables ipset conntrack openssl"
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
OPERATOR_KINDS = ("servicemonitors", "prometheusrules")
SECONDS = 10
"""The length of a window."""


def go_program() -> str:
    """Return where Go is."""
    found = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(found).exists():
        pytest.skip("no Go on this machine, with which the programs of Kubernetes are built")
    return found


def run(*command: str, seconds: float = 5000, **options: Any) -> str:
    """Run a command on the machine and return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def is_ready(pod: dict[str, Any]) -> bool:
    """Return whether a pod takes requests, and is to go on doing so."""
    conditions = {condition["type"]: condition["status"] for condition in pod["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod["metadata"]


class Installation:
    """The manifests in a copy of their own, with an overlay for the node over the documented one."""

    def __init__(self, node: Node, folder: Path, postgres: Path) -> None:
        self.node = node
        self._postgres = postgres
        shutil.copytree(ROOT / "deploy/kubernetes", folder)
        self._production = folder / "overlays/production"
        self._overlay = folder / "overlays/one-node"
        self._make_secrets(postgres)
        self.set_images("0.1.0")

    def set_images(self, tag: str) -> None:
        """Write the overlay with a tag of the images, as someone does who deploys."""
        # two cores are requested twice over: what one node can promise is less than what a cluster can
        small = [{"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "100m"}]
        overlay = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "namespace": "vigie",
            "resources": ["../production"],
            "images": [{"name": f"{REGISTRY}/{name}", "newTag": tag} for name in TARGETS],
            "configMapGenerator": [
                {
                    "name": "api",
                    "behavior": "merge",
                    "literals": [f"VIGIE_SNAPSHOT_INTERVAL_SECONDS={SECONDS}"],
                }
            ],
            "patches": [
                {"target": {"kind": kind, "name": name}, "patch": yaml.safe_dump(small)}
                for kind, name in (("Deployment", "api"), ("Deployment", "evidently-ui"), ("Job", "model"))
            ],
        }
        self._overlay.mkdir(exist_ok=True)
        (self._overlay / "kustomization.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")

    def apply(self, *options: str) -> str:
        """Apply every object."""
        return self.node.kubectl("apply", "--warnings-as-errors", "-k", str(self._overlay), *options)

    def objects(self) -> list[dict[str, Any]]:
        """Every object that is applied; kustomize breaks the lines of a secret, the API server does not."""
        found: list[dict[str, Any]] = list(yaml.safe_load_all(self.node.kubectl("kustomize", str(self._overlay))))
        for secret in (one for one in found if one["kind"] == "Secret"):
            secret["data"] = {name: "".join(value.split()) for name, value in secret["data"].items()}
        return found

    def stored(self) -> list[dict[str, Any]]:
        """Every object as the API server has it."""
        found: list[dict[str, Any]] = self.node.read("-k", str(self._overlay))["items"]
        return found

    def call(self, method: str, path: str, body: Any = None, *, host: str = "api.vigie") -> Any:
        """Call the API, through its service or at a pod, from where an ingress would be; return the answer's body."""
        words = ["call", method, f"http://{host}:8000{path}", self.key, *([json.dumps(body)] if body else [])]
        status, text = self.inside("ingress-nginx", "caller", *words)
        assert status < 300, (status, text)
        return text if text.lstrip().startswith("<") else json.loads(text)

    def load(self, seconds: int, callers: int, connections: str) -> dict[str, Any]:
        """Predict without a pause from several callers, who ``keep`` or ``close`` connections; count what came back."""
        words = ["load", "api.vigie:8000", self.key, str(seconds), str(callers), connections]
        counted: dict[str, Any] = self.inside("ingress-nginx", "caller", *words, seconds=seconds + 120)
        return counted

    def addresses(self, name: str = "api") -> list[str]:
        """Return the addresses of the pods of a workload."""
        return [pod["status"]["podIP"] for pod in self.pods(name).values()]

    def inside(self, namespace: str, pod: str, *words: str, seconds: float = 120) -> Any:
        """Run calls.py in a pod."""
        exec_ = ["exec", "-n", namespace, pod, "--", "python", "/calls/calls.py", *words]
        return json.loads(self.node.kubectl(*exec_, seconds=seconds))

    def pods(self, name: str = "api") -> dict[str, dict[str, Any]]:
        """Return the pods of a workload by name, those that end too."""
        found = self.node.read("pods", "-n", "vigie", "-l", f"app.kubernetes.io/name={name}")["items"]
        return {pod["metadata"]["name"]: pod for pod in found}

    def ready(self, name: str = "api") -> list[str]:
        """Return the names of the pods that are ready and do not end."""
        return [
            pod
            for pod, state in self.pods(name).items()
            if "deletionTimestamp" not in state["metadata"] and is_ready(state)
        ]

    def metric(self, pod: str, name: str) -> float:
        """Read one metric of one pod, as Prometheus does."""
        address = self.pods()[pod]["status"]["podIP"]
        _, text = self.inside("monitoring", "prometheus", "call", "GET", f"http://{address}:8000/metrics", "")
        found = re.search(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        assert found, f"{pod} has no metric {name}"
        return float(found[1])

    def lease_holder(self) -> str:
        """Return the process that takes the snapshots, whose name begins with its pod's."""
        with psycopg.connect(host=str(self._postgres), user="vigie", dbname="vigie") as connection:
            (row,) = connection.execute("SELECT holder FROM lease WHERE name = 'snapshots'").fetchall()
        return str(row[0])

    def _make_secrets(self, postgres: Path) -> None:
        """Do what the manual says about PostgreSQL and about secrets."""
        secrets = self._production / "secrets"
        secrets.mkdir(mode=0o700)
        manual = (ROOT / "deploy/kubernetes/README.md").read_text(encoding="utf-8")
        (statements,) = re.findall(r"```\n(CREATE ROLE.*?)```", manual, re.DOTALL)
        with psycopg.connect(host=str(postgres), user="vigie", dbname="postgres", autocommit=True) as connection:
            for statement in statements.strip().splitlines():
                connection.execute(statement)
        for file, name in (("log_url", "vigie_log:PASSWORD"), ("workspace_url", "vigie_workspace:PASSWORD")):
            database = "vigie" if file == "log_url" else "evidently"
            (secrets / file).write_text(f"postgresql://{name}@{ADDRESS}/{database}", encoding="utf-8")
        (secrets / "evidently_secret").write_text(token_urlsafe(32), encoding="utf-8")
        (secrets / "notify_urls").write_text("", encoding="utf-8")
        self.key = create_key(secrets / "keys.jsonl", "shop", ["predict", "feedback", "read", "admin"])


@pytest.fixture(scope="session")
def programs() -> Path:
    """Build the programs of Kubernetes, which takes minutes the first time and seconds after that."""
    if os.geteuid():
        pytest.skip("a node needs root")
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing or not Path("/usr/lib/cni/ptp").exists():
        pytest.skip(f"no {', '.join(missing) or 'CNI plug-ins'} on this machine (Debian: apt-get install {PACKAGES})")
    PLACE.mkdir(parents=True, exist_ok=True)
    go = ["nice", "-n", "10", go_program(), "build", "-p", "2", "-ldflags", "-s -w", "-o", f"{PLACE}/"]
    for program in ("./kubernetes", "./addons", "./pause"):
        run(*go, program, cwd=HERE / "programs", env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"})
    return PLACE


@pytest.fixture(scope="session")
def node(programs: Path) -> Iterator[Node]:
    """A node whose API server takes objects; its workers start with ``vigie``."""
    node = Node(Path(mkdtemp(prefix="vigie-cluster-", dir="/var/tmp")), programs)
    try:
        node.start_api_server()
        downloaded = json.loads(run(go_program(), "mod", "download", "-json", OPERATOR))
        for kind in OPERATOR_KINDS:
            name = f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
            node.kubectl("create", "-f", str(Path(downloaded["Dir"]) / name))
            node.kubectl("wait", "--for=condition=Established", f"crd/{kind}.monitoring.coreos.com", "--timeout=60s")
        yield node
    finally:
        node.keep_logs(ROOT / "test-artefacts" / "cluster")
        node.stop()


@pytest.fixture(scope="session")
def postgres(node: Node) -> Path:
    """PostgreSQL outside the manifests, at the node's address; the folder of its socket, which needs no network."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip(MISSING)
    folder = node.folder / "postgres"
    folder.mkdir()
    node.folder.chmod(0o711)  # the server runs as a user of its own
    PostgresServer(folder)
    with (folder / "data/pg_hba.conf").open("a", encoding="utf-8") as rules:
        rules.write(f"host all all {PODS} scram-sha-256\n")
    command = [f"{programs}/postgres", "-D", f"{folder}/data", "-k", str(folder), "-h", ADDRESS, "-c", "fsync=off"]
    node.start("postgres", *command, user="postgres")
    awaited((folder / ".s.PGSQL.5432").exists, 60, "PostgreSQL")
    return folder


@pytest.fixture(scope="session")
def installation(node: Node, postgres: Path) -> Installation:
    """The manifests, ready to be applied."""
    return Installation(node, node.folder / "manifests", postgres)


@pytest.fixture(scope="session")
def images(programs: Path) -> list[str]:
    """Build both images as the manual says, twice tagged, and what the node itself needs."""
    for name, target in TARGETS.items():
        run("docker", "build", "--target", target, "-t", f"{REGISTRY}/{name}:0.1.0", ".", cwd=ROOT)
        run("docker", "tag", f"{REGISTRY}/{name}:0.1.0", f"{REGISTRY}/{name}:0.1.1")
    for name in ("pause", "addons"):
        dockerfile = f'FROM scratch\nCOPY {name} /\nENTRYPOINT ["/{name}"]\n'
        run("docker", "build", "-t", f"vigie.example/{name}:test", "-f", "-", str(programs), input=dockerfile)
    own = [f"{REGISTRY}/{name}:{tag}" for name in TARGETS for tag in ("0.1.0", "0.1.1")]
    return [*own, "vigie.example/pause:test", "vigie.example/addons:test"]


@pytest.fixture(scope="session")
def vigie(installation: Installation, images: list[str]) -> Installation:
    """Vigie applied to a cluster that has what the manual asks for, with two replicas ready."""
    node = installation.node
    for volume in ("one", "two"):
        (node.folder / "volumes" / volume).mkdir(parents=True)
    for namespace in ("ingress-nginx", "monitoring", "default"):
        if namespace != "default":
            node.kubectl("create", "namespace", namespace)
        node.kubectl("create", "configmap", "calls", "-n", namespace, f"--from-file={HERE}/calls.py")
    objects = (HERE / "objects.yaml").read_text(encoding="utf-8").replace("FOLDER", str(node.folder))
    node.start_workers(images)
    awaited(lambda: node.kubectl("get", "serviceaccount", "default"), 60, "an account for pods")
    node.kubectl("apply", "-f", "-", stdin=objects)
    installation.apply()
    awaited(lambda: len(installation.ready()) >= 2, 600, "two replicas of the API")
    awaited(lambda: installation.ready("evidently-ui"), 300, "Evidently UI")
    return installation
