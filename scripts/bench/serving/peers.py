"""Other model servers, with the same model behind them, where they are installed."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model.artifact import ONNX_FILE, read_manifest
from model.manifest import ClassifierManifest
from scripts.bench.serving.servers import PROGRAMS, Server

PEERS = ("litserve", "bentoml", "mlserver")


def peer_servers(
    names: Sequence[str], python: Path | None, model_dir: Path, folder: Path
) -> tuple[list[Server], list[str]]:
    """Return the peers that the given Python can import, and one line on each that it cannot."""
    interpreter = str(python.absolute() if python else sys.executable)
    servers, missing = [], []
    for name in names:
        if _can_import(interpreter, name):
            servers.append(_server(name, interpreter, model_dir, folder))
        else:
            missing.append(f"{name}, which {interpreter if python else 'this Python'} does not have")
    return servers, missing


def _can_import(interpreter: str, name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run([interpreter, "-c", code], check=False, capture_output=True).returncode == 0


def _server(name: str, interpreter: str, model_dir: Path, folder: Path) -> Server:
    manifest = read_manifest(model_dir)
    if not isinstance(manifest, ClassifierManifest):
        raise TypeError("the peers' programs answer with classes")
    model = {
        "PEER_MODEL": str(model_dir / ONNX_FILE),
        "PEER_FEATURES": json.dumps(manifest.feature_names),
        "PEER_CLASSES": json.dumps(manifest.class_names),
        "PYTHONPATH": str(PROGRAMS),
    }
    binary = str(Path(interpreter).parent / name)
    match name:
        case "litserve":
            command = [interpreter, str(PROGRAMS / "litserve_server.py"), "{port}"]
            return Server(name, command, "/predict", "/health", model)
        case "bentoml":
            command = [binary, "serve", "bentoml_service:Model", "--port", "{port}", "--host", "127.0.0.1"]
            home = {"BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
            return Server(name, command, "/predict", "/readyz", model | home, body=lambda row: {"row": row})
        case _:
            _write_mlserver_settings(folder / "mlserver")
            ports = {
                "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_HOST": "127.0.0.1",
                "MLSERVER_GRPC_PORT": "0",
                "MLSERVER_METRICS_PORT": "0",
                "MLSERVER_PARALLEL_WORKERS": "0",
            }
            command = [binary, "start", str(folder / "mlserver")]
            return Server(name, command, "/v2/models/iris/infer", "/v2/health/ready", model | ports, body=_v2)


def _write_mlserver_settings(folder: Path) -> None:
    folder.mkdir()
    settings = {"name": "iris", "implementation": "mlserver_model.OnnxModel"}
    (folder / "model-settings.json").write_text(json.dumps(settings), encoding="utf-8")


def _v2(row: dict[str, Any]) -> dict[str, Any]:
    values = list(row.values())
    return {"inputs": [{"name": "row", "shape": [1, len(values)], "datatype": "FP64", "data": values}]}
