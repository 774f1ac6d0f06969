"""What every test gets: the network tripwire, the components' skips, Hypothesis' profiles."""

from __future__ import annotations

import ipaddress
import os
import socket
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.contract import scenario_table
from tests.real.components import require_component
from tests.real.turns import on_the_node

# Fixtures of the real engine live beside it.
pytest_plugins = ("tests.real.docker", "tests.real.remote_engine", "tests.real.kubernetes", "tests.real.vllm")

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, derandomize=True, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("UICI_REQUIRE") else "dev"))


class NetworkUseError(AssertionError):
    """A test tried to leave this machine."""


_CLUSTER_SECONDS = 600
_violations: list[str] = []
_LOCAL_NAMES = {"", "localhost", "ip6-localhost", "testserver"}


def _is_local(host: object) -> bool:
    if host is None:
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    text = text.strip("[]").split("%")[0]
    if text.lower() in _LOCAL_NAMES or text == socket.gethostname():
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse(what: str) -> NetworkUseError:
    message = (
        f"{what}: a test may talk to loopback and unix sockets only. "
        "Start a server on 127.0.0.1 (tests.real), or give the code under test a loopback address."
    )
    # Kept as well as raised, because code under test may swallow the exception.
    _violations.append(message)
    return NetworkUseError(message)


@pytest.fixture(scope="session", autouse=True)
def _tripwire() -> Iterator[None]:
    """Let this process' sockets connect to loopback only. Child processes are not watched."""
    patch = pytest.MonkeyPatch()
    inet = {socket.AF_INET, socket.AF_INET6}

    def guarded(name: str, position: int) -> None:
        original = getattr(socket.socket, name)

        def checked(self: socket.socket, *arguments: Any) -> Any:
            address = arguments[position] if position < 0 or position < len(arguments) else None
            if self.family in inet and isinstance(address, tuple) and not _is_local(address[0]):
                raise _refuse(f"socket.{name}({address!r})")
            return original(self, *arguments)

        patch.setattr(socket.socket, name, checked)

    guarded("connect", 0)
    guarded("connect_ex", 0)
    guarded("sendto", -1)

    resolve = socket.getaddrinfo

    def checked_getaddrinfo(host: Any, *arguments: Any, **named: Any) -> Any:
        if not _is_local(host):
            raise _refuse(f"getaddrinfo({host!r})")
        return resolve(host, *arguments, **named)

    patch.setattr(socket, "getaddrinfo", checked_getaddrinfo)
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def network_tripwire(_tripwire: None) -> Iterator[list[str]]:
    """Fail a test that tried to leave this machine, even when the code under test hid the error."""
    _violations.clear()
    yield _violations
    if _violations:
        pytest.fail("\n".join(_violations), pytrace=False)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Afterwards the logs are set up as they were: a command changes that for its process, which here is all tests'."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def lone_shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A command's surroundings: an empty folder."""
    monkeypatch.chdir(tmp_path)


def pytest_configure() -> None:
    """Forget what the caller's shell says about a site or a server of its own."""
    for name in ("UICI_CONFIG_DIR", "UICI_URL", "UICI_TOKEN", "UICI_TOKEN_FILE", "UICI_INSTANCE"):
        os.environ.pop(name, None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Ours in place of `--dist loadfile`."""
    if config.getoption("dist") != "loadfile":
        return None
    from tests.spreading import scheduler  # here, because the tests run without xdist, too

    return scheduler(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Keep tests of the cluster apart from one that takes its node away; the wait is not of the test's own time."""
    if "kubernetes" not in item.nodeid:
        return (yield)
    with on_the_node(Path(tempfile.gettempdir()), alone=item.get_closest_marker("whole_node") is not None):
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests of the cluster more time: its one node starts few pods at a time, for all workers' tests together."""
    for item in items:
        if isinstance(item, pytest.Function) and "real_cluster" in item.fixturenames:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(_CLUSTER_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail when CI requires it, a test whose marked component is not here."""
    for marker in item.iter_markers("component"):
        for name in marker.args:
            require_component(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the components that were not here, with how many tests went without them; show how scenarios ended."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            text = str(report.longrepr[2]).removeprefix("Skipped: ")
            if text.startswith("component "):
                reasons[text] += 1
    if reasons:
        terminalreporter.section("components that were not here")
        for reason, count in sorted(reasons.items()):
            terminalreporter.write_line(f"{count} skipped: {reason}")
    reports = [one for outcome in ("passed", "failed") for one in terminalreporter.stats.get(outcome, [])]
    called: list[dict[str, Any]] = [
        dict(one.user_properties) for one in reports if isinstance(one, pytest.TestReport) and one.when == "call"
    ]
    rows = [one[scenario_table.PROPERTY] for one in called if scenario_table.PROPERTY in one]
    if rows:
        terminalreporter.section("verb x platform x scenario")
        for line in scenario_table.lines(rows):
            terminalreporter.write_line(line)
