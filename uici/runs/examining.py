"""A check-up of an environment: the way to its platform, its monitoring, its targets. It looks and changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from uici.model.call import CallError
from uici.model.checkup import Check, CheckState, fail, ok, skip, warn
from uici.model.errors import Problem
from uici.model.masking import mask
from uici.model.site import Environment
from uici.monitoring.alertmanager import AlertmanagerClient
from uici.monitoring.prometheus import PrometheusClient
from uici.planning.council.asking import models
from uici.runs.services import Services

_WEBHOOK = "/webhooks/alertmanager"
_EFFECTS = {
    "platform": "start times and logs of services are read with its clock",
    "prometheus": "alerts are asked for at its time, so silence is confirmed too early or too late",
    "alertmanager": "the times of alerts and silences are its own, so they begin and end too early or too late",
}


def examine(services: Services, environment: str) -> list[Check]:
    """All checks of one environment."""
    return [
        check.model_copy(update={"seen": mask(check.seen), "advice": mask(check.advice)})
        for check in (
            *_platform(services, environment),
            *_prometheus(services, environment),
            *_alertmanager(services, environment),
            *_targets(services, environment),
        )
    ]


def examine_council(services: Services) -> Check:
    """Whether the model that is asked for plans can be asked."""
    settings = services.site().platform.council
    if settings is None:
        return skip("council", "platform.yml names none: what no strategy covers is left to people")
    try:
        known = models(settings)
    except CallError as error:
        return fail("council", mask(str(error)), "start it, or correct council: in platform.yml")
    if settings.model not in known:
        return fail(
            "council", f"{settings.url} has no model {settings.model!r}", f"set council.model to {', '.join(known)}"
        )
    return ok("council", f"{settings.url} answers and has {settings.model}")


def _platform(services: Services, environment: str) -> list[Check]:
    try:
        report = services.platforms.executor(environment).check()
    except (Problem, CallError) as error:
        return [fail("connection", str(error), "correct `connection` in environments.yml, or set its secret")]
    if report.ok:
        connection = ok("connection", report.detail)
    else:
        connection = fail("connection", report.detail, "see the checks below; nothing can be healed here until then")
    clock = (
        _clock(services, "platform", report.at)
        if report.at
        else skip("clock of the platform", "it runs on this clock, or tells no time")
    )
    return [connection, *report.checks, clock]


def _clock(services: Services, whose: str, at: datetime) -> Check:
    name, limit = f"clock of the {whose}", services.site().platform.doctor.clock_skew_seconds
    # A date in a header has whole seconds, and the answer was on its way.
    skew = (at - services.clock.now()).total_seconds()
    seen = f"{skew:+.1f} s against UICI's"
    if abs(skew) <= limit + 1:
        return ok(name, seen)
    return warn(name, f"{seen}; {_EFFECTS[whose]}", "let both machines follow one time server (chrony, timesyncd)")


def _settings(services: Services, environment: str) -> Environment:
    return services.site().environments[environment]


def _prometheus(services: Services, environment: str) -> list[Check]:
    settings = _settings(services, environment).prometheus
    if settings is None:
        return [skip("prometheus", "environments.yml names none: only notifications tell whether an alert fires")]
    client = PrometheusClient(settings)
    try:
        now = client.query("time()").series[0].value
        up = client.query("count(up)").series
        rules = client.alerting_rules()
    except (CallError, Problem, IndexError) as error:
        return [fail("prometheus", str(error), "start it, or correct prometheus: in environments.yml")]
    checks = [ok("prometheus", f"{settings.url} answers and has {len(rules)} alerting rules")]
    if now is not None:
        checks.append(_clock(services, "prometheus", datetime.fromtimestamp(now, UTC)))
    if not up:
        checks.append(warn("prometheus data", "it has no series `up`", "let it scrape the targets"))
    broken = sorted(rule.name for rule in rules if rule.health == "err")
    if broken:
        checks.append(warn("prometheus rules", f"cannot be evaluated: {', '.join(broken)}", "`promtool check rules`"))
    return [*checks, *_series(services, environment, client)]


def _series(services: Services, environment: str, client: PrometheusClient) -> list[Check]:
    """Whether Prometheus has series with the labels by which alerts are matched to targets."""
    checks: list[Check] = []
    for name, target in services.site().targets.items():
        if environment not in target.bindings or not target.match:
            continue
        selector = "{" + ", ".join(str(matcher) for matcher in target.match) + "}"
        what = f"data about {name}"
        try:
            found = client.query(f"count({selector})").series
        except CallError as error:
            checks.append(warn(what, f"{selector}: {error}", "compare `match` in targets.yml with Prometheus' labels"))
            continue
        if found:
            checks.append(ok(what, f"{found[0].value or 0:g} series have {selector}"))
        else:
            checks.append(
                warn(what, f"no series has {selector}", "no alert can be about it: compare `match` with the labels")
            )
    return checks


def _alertmanager(services: Services, environment: str) -> list[Check]:
    settings = _settings(services, environment).alertmanager
    if settings is None:
        return [skip("alertmanager", "environments.yml names none, so its routes are not known here")]
    client = AlertmanagerClient(settings)
    try:
        version, at, shown = client.version(), client.silences().at, client.configuration()
    except (CallError, Problem) as error:
        return [fail("alertmanager", str(error), "start it, or correct alertmanager: in environments.yml")]
    checks = [ok("alertmanager", f"{settings.url} answers, version {version}"), _clock(services, "alertmanager", at)]
    name = "alerts are routed to UICI"
    if shown is None:
        return [*checks, skip(name, "Alertmanager does not show its configuration")]
    if _WEBHOOK in shown:
        return [*checks, ok(name, f"a receiver posts to {_WEBHOOK}")]
    if "webhook_configs" in shown and "url: <secret>" in shown:
        return [*checks, skip(name, "Alertmanager hides the URLs of its webhooks")]
    return [*checks, warn(name, f"no receiver posts to {_WEBHOOK}", "add a webhook_configs to alertmanager.yml")]


def _targets(services: Services, environment: str) -> list[Check]:
    names = [name for name, target in services.site().targets.items() if environment in target.bindings]
    if not names:
        return [skip("targets", "no target lives here")]
    return [_target(services, environment, name) for name in names]


def _target(services: Services, environment: str, name: str) -> Check:
    what = f"target {name}"
    try:
        status = services.platforms.read(environment, name, "get_service_status")
        if status.get("state") == "missing":
            return fail(what, "it does not exist", "start it once, or correct its binding in targets.yml")
        health = services.platforms.read(environment, name, "check_service_health")
    except (CallError, Problem) as error:
        return fail(what, str(error), "see the connection above, or correct its binding in targets.yml")
    if health.get("healthy"):
        return Check(name=what, state=CheckState.OK, seen=f"{status.get('state')}, healthy")
    failing = "; ".join(f"{each['name']}: {each['detail']}" for each in health.get("checks", ()) if not each["ok"])
    return warn(what, f"{status.get('state')}, not healthy: {failing}", "is its health probe right, or is it down?")
