"""The API behind a real nginx that serves it below a path."""

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from urllib.parse import urljoin

import httpx
import pytest

from tests.integration.api.conftest import ApiProcess
from tests.servers import Server, await_answer, free_port

CONFIG = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream api {{ server 127.0.0.1:{api}; keepalive 4; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    location /vigie/ {{ proxy_pass http://api{stripped}; }}
    location / {{ return 404; }}
  }}
}}
"""
SETOSA = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
UVICORNS_SECONDS = 5.0
"""After which uvicorn closes an idle connection by default."""


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def api(
    iris_artifact: Path, tmp_path_factory: pytest.TempPathFactory, ui_port: int, ports: tuple[int, int]
) -> Iterator[ApiProcess]:
    folder = tmp_path_factory.mktemp("proxied")
    process = ApiProcess(
        folder, iris_artifact, ui_port, VIGIE_PUBLIC_URL=f"http://127.0.0.1:{ports[0]}/vigie", VIGIE_SNAPSHOTS="false"
    )
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module", params=["path taken off", "path left on"])
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, api: ApiProcess, ports: tuple[int, int]
) -> Iterator[str]:
    """The address of the API through nginx, which may or may not pass the path on."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if nginx is None:
        pytest.skip("no nginx on this machine (Debian: apt-get install nginx-light)")
    folder = tmp_path_factory.mktemp("nginx")
    stripped = "/" if request.param == "path taken off" else ""
    config = CONFIG.format(folder=folder, api=api.port, port=ports[0], stripped=stripped)
    (folder / "nginx.conf").write_text(config)
    server = Server([nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "nginx.log")
    url = f"http://127.0.0.1:{ports[0]}/vigie/"
    await_answer(f"{url}health/live", server)
    yield url
    server.stop()


def test_every_file_of_the_pages_is_found_below_the_path(front: str) -> None:
    found = 0
    for page in ("", "docs"):
        text = httpx.get(front + page).raise_for_status().text
        for link in re.findall(r"""(?:src|href|url): ?["']([^"']+)|(?:src|href)=["']([^"']+)["']""", text):
            address = urljoin(front + page, "".join(link))
            if address.startswith(front):
                assert httpx.get(address).status_code == 200, address
                found += 1
    assert found >= 7


def test_calls_and_their_links_work_below_the_path(front: str) -> None:
    servers = httpx.get(f"{front}openapi.json").json()["servers"]
    assert urljoin(front, servers[0]["url"]) + "/" == front
    assert httpx.post(f"{front}predict", json=SETOSA).status_code == 200
    window = httpx.post(f"{front}snapshots?force=true").raise_for_status().json()
    assert httpx.get(f"{front}snapshots").json()["windows"][0] == window
    redirected = httpx.post(f"{front}predict/", json=SETOSA)
    assert (redirected.status_code, "location" in redirected.headers) == (404, False)


def test_an_idle_connection_outlives_what_proxies_keep(api: ApiProcess) -> None:
    with socket.create_connection(("127.0.0.1", api.port), timeout=10) as connection:
        for idle_seconds in (UVICORNS_SECONDS + 0.5, 0):
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while b"alive" not in got:
                part = connection.recv(65_536)
                assert part, "the API has closed the connection"
                got += part
            sleep(idle_seconds)  # nothing tells that a connection stays open but time
