"""A Kubernetes cluster of one node, made of real programs in namespaces of their own."""

import json
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.compose.conftest import awaited
from tests.servers import Server

HERE = Path(__file__).parent
ADDRESS = "10.245.0.1"
"""The node's own, on its loopback."""
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
KUBERNETES, DNS = "10.96.0.1", "10.96.0.10"
SERVER = f"https://{ADDRESS}:6443"
USERS = {
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": ("system:node:node", "system:nodes"),
}
"""Names and groups, to which Kubernetes itself gives their rights."""


class Node:
    """One machine of its own, with etcd, containerd and every program of Kubernetes; ``stop`` ends all of them."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self._programs = programs
        self._inside: list[str] = []
        self._servers: list[Server] = []
        self._log = folder / "logs"

    def start_api_server(self) -> None:
        """Start what stores and checks objects: etcd and the API server."""
        self._log.mkdir()
        self._start_machine()
        self._make_certificates()
        self._make_users()
        etcd = ["etcd", "--data-dir", f"{self.folder}/etcd", "--unsafe-no-fsync", "--logger", "zap"]
        self.start("etcd", *etcd)
        self.start("kube-apiserver", *self._program("kubernetes", "kube-apiserver"), *self._api_server_options())
        awaited(lambda: self._try("get", "--raw", "/readyz") == "ok", 120, "the API server")

    def start_workers(self, images: list[str]) -> None:
        """Start what makes objects come true: containers of these images, controllers, scheduler and network."""
        self._start_containerd()
        self._load_images(images)
        self._start_kubernetes(
            "kube-controller-manager",
            "controllers",
            "--leader-elect=false",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.folder}/accounts.key",
            f"--root-ca-file={self.folder}/ca.crt",
            # a pod's load counts at once: five minutes are for clusters whose programs take that long to start
            "--horizontal-pod-autoscaler-cpu-initialization-period=20s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=10s",
        )
        self._start_kubernetes("kube-scheduler", "scheduler", "--leader-elect=false")
        self._write("kubelet.yaml", yaml.safe_dump(self._kubelet_options()))
        self._start_kubernetes(
            "kubelet",
            "kubelet",
            f"--config={self.folder}/kubelet.yaml",
            f"--root-dir={self.folder}/kubelet",
            f"--cert-dir={self.folder}/kubelet-certificates",
            "--hostname-override=node",
            f"--node-ip={ADDRESS}",
        )
        conntrack = [f"--conntrack-{limit}=0" for limit in ("max-per-core", "tcp-timeout-established")]
        conntrack.append("--conntrack-tcp-timeout-close-wait=0")  # as the machine has them
        self._start_kubernetes("kube-proxy", "proxy", "--hostname-override=node", "--proxy-mode=iptables", *conntrack)
        awaited(lambda: "True" in self._try("get", "node", "node", "-o", READY), 120, "the node")
        self._start_addons()

    def start(self, name: str, *command: str, user: str | None = None) -> None:
        """Start a program inside the node's namespaces; its output goes to the log of that name."""
        account = pwd.getpwnam(user) if user else None
        become = ["--setuid", str(account.pw_uid), "--setgid", str(account.pw_gid)] if account else []
        self._servers.append(Server([*self._inside, *become, *command], self._log / name, cwd=self.folder))

    def stop(self) -> None:
        """End every process of the node, and remove what it stored."""
        for server in self._servers[:1]:
            server.kill()  # the namespace of processes ends with its first one, and all that is in it
        for server in self._servers:
            server.wait()
        awaited(groups_removed, 60, "the end of the pods' control groups")
        shutil.rmtree(self.folder)

    def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 120) -> str:
        """Run kubectl as the administrator and return what it printed; its own words are in the error."""
        done = self._kubectl(words, stdin, seconds)
        assert done.returncode == 0, f"kubectl {' '.join(words)[:300]}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def refused(self, *words: str, stdin: str | None = None) -> str:
        """Run a kubectl that must fail, and return its error."""
        done = self._kubectl(words, stdin, 60)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def read(self, *words: str) -> Any:
        """Return objects as kubectl reads them."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    def kill_container(self, name: str) -> None:
        """Kill a container as the kernel does when memory runs out: without a word to it or to Kubernetes."""
        self.run("ctr", "-a", self._socket, "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", name)

    def run(self, *command: str, seconds: float = 60) -> str:
        """Run a command inside the node's namespaces."""
        done = subprocess.run([*self._inside, *command], capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def keep_logs(self, place: Path) -> None:
        """Copy the logs of the programs and of the pods."""
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self._log, place)
        pods = self.folder / "log" / "pods"
        if pods.is_dir():
            shutil.copytree(pods, place / "pods")

    @property
    def _socket(self) -> str:
        return f"{self.folder}/containerd.sock"

    def _try(self, *words: str) -> str:
        return self._kubectl(words, None, 30).stdout.strip()

    def _kubectl(self, words: tuple[str, ...], stdin: str | None, seconds: float) -> "subprocess.CompletedProcess[str]":
        command = [*self._inside, *self._program("kubernetes", "kubectl")]
        command += ["--kubeconfig", f"{self.folder}/admin.kubeconfig", *words]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False)

    def _program(self, binary: str, name: str) -> list[str]:
        return [str(self._programs / binary), name]

    def _start_machine(self) -> None:
        unshare = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        self.start("machine", *unshare, str(HERE / "machine.sh"), str(self.folder), ADDRESS)
        machine = self._servers[0]
        awaited((self.folder / "ready").exists, 20, "the namespaces")
        children = Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text(encoding="ascii").split()
        self._inside = ["nsenter", "--target", children[0], "--net", "--mount", "--pid", "--ipc"]

    def _start_kubernetes(self, name: str, user: str, *options: str) -> None:
        self.start(name, *self._program("kubernetes", name), f"--kubeconfig={self.folder}/{user}.kubeconfig", *options)

    def _start_addons(self) -> None:
        """Start what enforces network policies, and what measures the pods for the autoscaler."""
        admin = f"{self.folder}/admin.kubeconfig"
        self.start(
            "kube-router",
            *self._program("addons", "kube-router"),
            f"--kubeconfig={admin}",
            "--run-router=false",
            "--run-service-proxy=false",
            "--run-loadbalancer=false",
            "--run-firewall=true",
            "--hostname-override=node",
            f"--service-cluster-ip-range={SERVICES}",
        )
        self.start(
            "metrics-server",
            *self._program("addons", "metrics-server"),
            f"--kubeconfig={admin}",
            f"--authentication-kubeconfig={admin}",
            f"--authorization-kubeconfig={admin}",
            f"--cert-dir={self.folder}/metrics-certificates",
            f"--bind-address={ADDRESS}",
            "--secure-port=4443",
            "--kubelet-insecure-tls",
            "--kubelet-preferred-address-types=InternalIP",
            "--metric-resolution=15s",
        )

    def _start_containerd(self) -> None:
        network = {
            "cniVersion": "0.4.0",
            "name": "pods",
            "plugins": [
                {
                    "type": "ptp",
                    "ipam": {
                        "type": "host-local",
                        "subnet": PODS,
                        "dataDir": f"{self.folder}/addresses",
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }
        self._write("cni/10-pods.conflist", json.dumps(network))
        self._write("containerd.toml", CONTAINERD.format(folder=self.folder, socket=self._socket))
        self.start("containerd", "containerd", "--config", f"{self.folder}/containerd.toml")
        awaited(Path(self._socket).exists, 30, "containerd")

    def _load_images(self, names: list[str]) -> None:
        """Copy images of the Docker engine into the node's containerd."""
        saved = self.folder / "images.tar"
        subprocess.run(["docker", "save", "-o", str(saved), *names], check=True, capture_output=True, timeout=600)
        self.run("ctr", "-a", self._socket, "-n", "k8s.io", "images", "import", str(saved), seconds=900)
        saved.unlink()

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def _make_certificates(self) -> None:
        names = f"IP:{ADDRESS},IP:{KUBERNETES},DNS:kubernetes,DNS:kubernetes.default.svc"
        self._certificate("ca", "/CN=vigie-cluster")
        self._certificate("server", "/CN=kube-apiserver", names)
        self._certificate("client", "/O=system:masters/CN=kube-apiserver", "DNS:client")
        self._certificate("front", "/CN=front-proxy", "DNS:front-proxy")
        self._openssl("genrsa", "-out", "accounts.key", "2048")

    def _certificate(self, name: str, subject: str, names: str | None = None) -> None:
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-addext", f"subjectAltName={names}"] if names else []
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
        self._openssl("req", "-x509", *key, "-out", f"{name}.crt", "-subj", subject, "-days", "2", *signed)

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def _make_users(self) -> None:
        tokens = []
        for user, (name, group) in USERS.items():
            token = secrets.token_hex(16)
            tokens.append(f'{token},{name},{user},"{group}"')
            cluster = {"server": SERVER, "certificate-authority": f"{self.folder}/ca.crt"}
            config = {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "cluster", "cluster": cluster}],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": "node", "context": {"cluster": "cluster", "user": user}}],
                "current-context": "node",
            }
            self._write(f"{user}.kubeconfig", json.dumps(config))
        self._write("tokens.csv", "\n".join(tokens))

    def _api_server_options(self) -> list[str]:
        of = self.folder
        return [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--bind-address={ADDRESS}",
            f"--advertise-address={ADDRESS}",
            f"--service-cluster-ip-range={SERVICES}",
            f"--tls-cert-file={of}/server.crt",
            f"--tls-private-key-file={of}/server.key",
            f"--client-ca-file={of}/ca.crt",
            f"--token-auth-file={of}/tokens.csv",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={of}/accounts.key",
            f"--service-account-signing-key-file={of}/accounts.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--kubelet-client-certificate={of}/client.crt",
            f"--kubelet-client-key={of}/client.key",
            f"--requestheader-client-ca-file={of}/ca.crt",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={of}/front.crt",
            f"--proxy-client-key-file={of}/front.key",
            "--enable-aggregator-routing=true",
        ]

    def _kubelet_options(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": ADDRESS,
            "authentication": {"x509": {"clientCAFile": f"{self.folder}/ca.crt"}, "anonymous": {"enabled": False}},
            "cgroupDriver": "cgroupfs",
            "clusterDNS": [DNS],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": f"unix://{self._socket}",
            "evictionHard": {"memory.available": "100Mi"},  # whatever the disk of this machine holds already
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "imageMaximumGCAge": "0s",
            "resolvConf": "",
            "volumePluginDir": f"{self.folder}/volume-plugins",
        }


READY = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'
CONTAINERD = """
version = 2
root = "{folder}/containerd"
state = "/run/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "vigie.example/pause:test"
  netns_mounts_under_state_dir = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
"""


def groups_removed() -> bool:
    """Remove the kubelet's control groups, which belong to the machine; False while processes in them still end."""
    groups = list(Path("/sys/fs/cgroup").glob("*/kubepods"))
    for group in (one for top in groups for one in [*sorted(top.rglob("*/"), reverse=True), top]):
        try:
            if group.is_dir():
                group.rmdir()
        except OSError:
            return False
    return True
