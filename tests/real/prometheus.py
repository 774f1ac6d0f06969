"""A real Prometheus on a free port of loopback, with one-second scrapes and evaluations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.real.components import PROMETHEUS_BINARIES, binary, free_port, require_component
from tests.real.process import running
from tests.real.web import web


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str
    pid: int
    log: Path

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result vector of an instant query."""
        return list(self._get("query", query=expression)["result"])

    def alerts(self) -> list[dict[str, Any]]:
        """Pending and firing alerts, as /api/v1/alerts gives them."""
        return list(self._get("alerts")["alerts"])

    def _get(self, path: str, **parameters: str) -> dict[str, Any]:
        answer = web.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=10.0)
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data


def static_job(name: str, *addresses: str, **more: Any) -> dict[str, Any]:
    """A scrape config of fixed `host:port` addresses; `more` is merged in (`metrics_path=…`, `relabel_configs=…`)."""
    return {"job_name": name, "static_configs": [{"targets": list(addresses)}], **more}


@contextmanager
def prometheus(
    directory: Path,
    *,
    rules: str = "",
    scrape: Sequence[dict[str, Any]] = (),
    alertmanagers: Sequence[str] = (),
    resend_delay: str = "1s",
) -> Iterator[Prometheus]:
    """Run Prometheus in `directory` (made when missing; configuration, data and log) until the block ends.

    `rules` is the text of a rules file, `scrape` the scrape configs, `alertmanagers` addresses as `host:port`.
    Skips (or fails, see `components`) when Prometheus is not installed. Raises ServerStartError.
    """
    require_component("prometheus")
    program = binary(PROMETHEUS_BINARIES)
    assert program is not None
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "scrape_configs": list(scrape),
    }
    if rules:
        (directory / "rules.yml").write_text(rules)
        config["rule_files"] = ["rules.yml"]
    if alertmanagers:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": list(alertmanagers)}]}]}
    config_file = directory / "prometheus.yml"
    config_file.write_text(yaml.safe_dump(config, sort_keys=False))
    url = f"http://127.0.0.1:{port}"
    argv = [
        program,
        f"--config.file={config_file}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        # A firing alert is otherwise sent again after a minute at the earliest, too late for a restarted Alertmanager.
        f"--rules.alert.resend-delay={resend_delay}",
    ]
    log = directory / "prometheus.log"
    with running(argv, ready_url=f"{url}/-/ready", log=log) as process:
        yield Prometheus(url=url, pid=process.pid, log=log)
