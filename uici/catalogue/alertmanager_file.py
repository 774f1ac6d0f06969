"""A user's own Alertmanager configuration: what UICI needs in it, and what is wrong there, with places.

`amtool check-config` judges whether the file is valid; here is judged whether it and UICI fit together.
Routing is followed as Alertmanager does: https://prometheus.io/docs/alerting/latest/configuration/#route
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from uici.catalogue.diagnostics import Position, Report
from uici.catalogue.reading import Node, read_file
from uici.model.matching import Matcher

WEBHOOK = "/webhooks/alertmanager"

_SEVERITIES = ("page", "critical", "warning", "info", "")
_OWN = (
    {"alertname": "UiciDown", "uici_target": "uici"},
    {"alertname": "UiciNotReady", "uici_target": "uici", "job": "uici"},
)
_SHORTEST_INTERVAL, _LONGEST_INTERVAL = 5.0, 600.0
"""Seconds. Below it every flap is a notification; above it the end of an alert comes after nobody waits for it."""
_DEFAULT_INTERVAL, _DEFAULT_REPEAT = 300.0, 14_400.0
_NOTHING = Node(Position(""), None)
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d|w|y)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
_ONE_MATCHER = re.compile(r"""\s*([a-zA-Z_][\w]*\s*(?:=~|!~|!=|=)\s*(?:"(?:[^"\\]|\\.)*"|[^\s"',{}]+))\s*(?:,|$)""")


def wanted_text(url: str, token_file: str, people: str) -> str:
    """The routes and the receiver that UICI needs, as YAML to be put into a file of one's own."""
    return f"""\
# Put the routes before your own, in this order, and the receiver among your receivers.
# The token: uici token create --role alertmanager > {token_file}
route:
  routes:
    # UICI's own alerts go to people, never to UICI. Without `continue`, so nothing below sees them.
    - matchers: ['uici_target="uici"']
      receiver: {people}
    - matchers: ['alertname=~"Uici.*"']
      receiver: {people}
    # The heartbeat: its absence tells that Prometheus, Alertmanager or the way to UICI is broken.
    - matchers: ['alertname="Watchdog"']
      receiver: uici
      group_wait: 0s
      group_interval: 1m
      repeat_interval: 1m
    # Services: UICI hears of them first; `continue` lets your own routes tell whom they tell now.
    - matchers: ['severity=~"warning|critical|page"']
      receiver: uici
      group_wait: 10s
      group_interval: 1m
      continue: true
receivers:
  - name: uici
    webhook_configs:
      - url: {url.rstrip("/")}{WEBHOOK}
        send_resolved: true
        max_alerts: 500
        http_config:
          authorization:
            type: Bearer
            credentials_file: {token_file}
"""


def check_alertmanager(path: Path, heartbeat_within: float | None) -> Report:
    """What does not fit UICI in the file; empty when all does. `heartbeat_within` is the strategy's, in seconds."""
    report = Report()
    document = read_file(path, report)
    if document is None or report:
        return report
    webhooks = dict(_webhooks(document))
    if not webhooks:
        report.add(
            document.at("receivers").position,
            "no_receiver",
            f"no receiver has a webhook to UICI, which is a URL that ends in {WEBHOOK}; `uici alertmanager config` "
            "prints one",
        )
        return report
    for name, webhook in webhooks.items():
        _webhook(report, name, webhook)
    root = document.mapping.get("route")
    if root is None:
        report.add(document.position, "no_route", "there is no route, so nobody is told of anything")
        return report
    routes = list(_routes(report, root, _Settings(None, _DEFAULT_INTERVAL, _DEFAULT_REPEAT)))
    _intervals(report, routes, webhooks)
    _own_alerts(report, routes[0], webhooks)
    _heartbeat(report, routes[0], webhooks, heartbeat_within)
    return report


@dataclass(frozen=True)
class _Settings:
    """What a route hands down to those below it."""

    receiver: str | None
    group_interval: float
    repeat_interval: float


@dataclass(frozen=True)
class _Route:
    node: Node
    settings: _Settings
    matchers: tuple[Matcher, ...]
    goes_on: bool
    below: tuple[_Route, ...]

    def told(self, labels: Mapping[str, str]) -> Iterator[_Route]:
        """The routes whose receivers are told of an alert with these labels."""
        if not all(matcher.matches(labels) for matcher in self.matchers):
            return
        found = False
        for route in self.below:
            hit = list(route.told(labels))
            yield from hit
            found = found or bool(hit)
            if hit and not route.goes_on:
                break
        if not found:
            yield self


def _webhooks(document: Node) -> Iterator[tuple[str, Node]]:
    for receiver in document.at("receivers").items:
        for webhook in receiver.mapping.get("webhook_configs", _NOTHING).items:
            url = webhook.mapping.get("url")
            if url is not None and isinstance(url.value, str) and urlsplit(url.value).path.endswith(WEBHOOK):
                yield str(receiver.at("name").value), webhook


def _webhook(report: Report, name: str, webhook: Node) -> None:
    resolved = webhook.mapping.get("send_resolved")
    if resolved is not None and resolved.value is False:
        report.add(
            resolved.position,
            "no_send_resolved",
            f"receiver {name!r}: send_resolved must be true: the end of an alert confirms a healing",
        )
    http = webhook.mapping.get("http_config")
    if http is None:
        report.add(
            webhook.position,
            "no_credentials",
            f"receiver {name!r} has no http_config: UICI takes alerts only with a token, as authorization: "
            "{type: Bearer, credentials_file: /etc/alertmanager/uici.token}",
        )
        return
    for path in (("authorization", "credentials"), ("basic_auth", "password"), ("bearer_token",)):
        place = http
        for key in path:
            place = place.mapping.get(key, _NOTHING)
        if place is not _NOTHING:
            report.add(
                place.position,
                "inline_credentials",
                f"receiver {name!r}: the secret stands in the file; write it into a file of its own and name that in "
                f"{path[-1]}_file, which is read again when it changes",
            )


def _routes(report: Report, node: Node, inherited: _Settings) -> Iterator[_Route]:
    """The route and all below it, the route itself first."""
    settings = _Settings(
        receiver=str(node.at("receiver").value) if "receiver" in node.mapping else inherited.receiver,
        group_interval=_seconds(node, "group_interval", inherited.group_interval),
        repeat_interval=_seconds(node, "repeat_interval", inherited.repeat_interval),
    )
    below = [list(_routes(report, child, settings)) for child in node.mapping.get("routes", _NOTHING).items]
    goes_on = node.mapping.get("continue")
    yield _Route(
        node=node,
        settings=settings,
        matchers=tuple(_matchers(report, node)),
        goes_on=goes_on is not None and goes_on.value is True,
        below=tuple(routes[0] for routes in below),
    )
    for routes in below:
        yield from routes


def _matchers(report: Report, node: Node) -> Iterator[Matcher]:
    for key, sign in (("match", "="), ("match_re", "=~")):
        for label, value in node.mapping.get(key, _NOTHING).mapping.items():
            yield Matcher(f"{label}{sign}{_quoted(str(value.value))}")
    for item in node.mapping.get("matchers", _NOTHING).items:
        text = str(item.value).strip().removeprefix("{").removesuffix("}")
        for found in _ONE_MATCHER.finditer(text):
            try:
                yield Matcher(found[1])
            except ValueError as error:
                report.add(item.position, "bad_matcher", str(error))


def _intervals(report: Report, routes: list[_Route], webhooks: Mapping[str, Node]) -> None:
    leading = [route for route in routes if route.settings.receiver in webhooks]
    if not leading:
        report.add(
            routes[0].node.position,
            "not_routed",
            f"no route leads to the receiver {' or '.join(webhooks)}; `uici alertmanager config` prints some",
        )
    for route in leading:
        seconds = route.settings.group_interval
        where = route.node.at("group_interval").position if "group_interval" in route.node.mapping else None
        if not _SHORTEST_INTERVAL <= seconds <= _LONGEST_INTERVAL:
            too = (
                "short: every flap is told" if seconds < _SHORTEST_INTERVAL else "long: UICI waits for the alert's end"
            )
            report.add(
                where or route.node.position,
                "group_interval",
                f"the group_interval of this route to UICI, {seconds:g} s, is too {too}; give 1m "
                f"({_SHORTEST_INTERVAL:g} s to {_LONGEST_INTERVAL:g} s)",
            )


def _own_alerts(report: Report, root: _Route, webhooks: Mapping[str, Node]) -> None:
    """Every route by which an alert about UICI itself would come back to it, once."""
    reached = {
        (route.node.position, route.settings.receiver)
        for own in _OWN
        for severity in _SEVERITIES
        for route in root.told(own | ({"severity": severity} if severity else {}))
        if route.settings.receiver in webhooks
    }
    for position, receiver in sorted(reached, key=str):
        report.add(
            position,
            "own_alerts",
            f"this route brings UICI's own alerts back to {receiver!r}, and UICI never heals itself; put a route "
            "before it: matchers: ['uici_target=\"uici\"'], receiver: your people, without continue",
        )


def _heartbeat(report: Report, root: _Route, webhooks: Mapping[str, Node], within: float | None) -> None:
    for route in root.told({"alertname": "Watchdog", "severity": "none"}):
        repeat = max(route.settings.repeat_interval, route.settings.group_interval)
        if route.settings.receiver in webhooks and within is not None and repeat * 2 > within:
            report.add(
                route.node.position,
                "slow_heartbeat",
                f"Watchdog is repeated every {repeat:g} s, but UICI expects it within {within:g} s, twice; give it a "
                "route of its own with repeat_interval: 1m and group_interval: 1m",
            )


def _seconds(node: Node, key: str, default: float) -> float:
    written = node.mapping.get(key)
    if written is None:
        return default
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(str(written.value)))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
