"""The service that checks the password of the public pages: what passes, what is refused, and what it costs."""

import base64
import importlib.util
import os
import subprocess
import sys
from http import HTTPStatus
from pathlib import Path
from time import perf_counter
from types import ModuleType

import pytest

FILE = Path(__file__).parents[3] / "deploy/page_password.py"
RIGHT = "correct-horse"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("page_password", FILE)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def basic(password: str, user: str = "vigie", scheme: str = "Basic") -> str:
    return f"{scheme} " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "passes"),
    [
        (basic(RIGHT), True),
        (basic(RIGHT, scheme="basic"), True),
        (basic("guess"), False),
        (basic(RIGHT + "x"), False),
        (basic(RIGHT, user="admin"), False),
        (basic(RIGHT, user=""), False),
        (basic(RIGHT, scheme="Bearer"), False),
        ("", False),
        ("Basic", False),
        ("Basic é", False),
        ("Basic " + "=" * 30_000, False),
    ],
)
def test_the_user_and_the_password_pass_and_nothing_else(module: ModuleType, authorization: str, passes: bool) -> None:
    status, _ = module.PasswordCheck(RIGHT).status(authorization, "192.0.2.1")
    assert status == (HTTPStatus.NO_CONTENT if passes else HTTPStatus.UNAUTHORIZED)


def test_an_address_has_few_wrong_tries_then_one_from_time_to_time(module: ModuleType) -> None:
    time = Time()
    check = module.PasswordCheck(RIGHT, time)
    for _ in range(module.BURST):
        assert check.status(basic("guess"), "192.0.2.1") == (HTTPStatus.UNAUTHORIZED, 0)
    assert check.status(basic(RIGHT), "192.0.2.1") == (HTTPStatus.TOO_MANY_REQUESTS, 6)
    assert check.status(basic(RIGHT), "192.0.2.2")[0] == HTTPStatus.NO_CONTENT
    time.now += module.SECONDS_PER_GUESS
    assert check.status(basic("guess"), "192.0.2.1")[0] == HTTPStatus.UNAUTHORIZED
    assert check.status(basic("guess"), "192.0.2.1")[0] == HTTPStatus.TOO_MANY_REQUESTS
    time.now += module.SECONDS_PER_GUESS
    assert check.status(basic(RIGHT), "192.0.2.1")[0] == HTTPStatus.NO_CONTENT


def test_requests_without_a_password_and_right_ones_use_nothing_up(module: ModuleType) -> None:
    check = module.PasswordCheck(RIGHT, Time())
    for _ in range(1_000):
        assert check.status("", "192.0.2.1")[0] == HTTPStatus.UNAUTHORIZED
        assert check.status(basic(RIGHT), "192.0.2.1")[0] == HTTPStatus.NO_CONTENT


def test_the_addresses_of_one_subnet_count_as_one(module: ModuleType) -> None:
    check = module.PasswordCheck(RIGHT, Time())
    statuses = [check.status(basic("guess"), f"2001:db8::{number:x}")[0] for number in range(20)]
    assert statuses[-1] == HTTPStatus.TOO_MANY_REQUESTS
    assert check.status(basic(RIGHT), "2001:db8:0:1::1")[0] == HTTPStatus.NO_CONTENT


def test_many_addresses_with_wrong_passwords_cost_little(module: ModuleType) -> None:
    check = module.PasswordCheck(RIGHT)
    begun = perf_counter()
    for number in range(30_000):
        check.status(basic("guess"), f"198.{number // 65536}.{number // 256 % 256}.{number % 256}")
    assert perf_counter() - begun < 10  # a slow hash of the cost 10 would need half an hour
    assert len(check._full_at) == module.MAX_ADDRESSES


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"VIGIE_SITE": "localhost"}, "docker-compose.public.yml"), ({"VIGIE_FRONT": "only"}, "set VIGIE_SITE")],
)
def test_half_of_the_set_up_does_not_start(variables: dict[str, str], said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIGIE_")} | variables
    done = subprocess.run(
        [sys.executable, FILE], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert said in done.stderr
