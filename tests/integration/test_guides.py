"""Guides over HTTP, in the terminal, beside an incident, in messages, and followed while UICI runs."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration import runs_rig
from tests.integration.runs_rig import told
from tests.integration.service_rig import Served, alert, notification, serving
from tests.waiting import until
from uici.access.roles import Role
from uici.catalogue.locations import GUIDES
from uici.model.scope import Scope
from uici.notify.wording import text_of

API = "/api/v1"
STRATEGIES = """
strategies:
  odd: {match: ['alertname="Odd"'], action: escalate, advice: [look twice]}
"""
GUIDE = """---
title: 'Odd things on @all'
strategies: [odd]
targets: [w*]
tags: [strange]
---
# Look

First <img src=x onerror=alert(1)>, then [there](javascript:alert(1)). The password is token=abcdef123456.
"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "config" / GUIDES).mkdir(parents=True)
    (tmp_path / "config" / GUIDES / "odd.md").write_text(GUIDE)
    with serving(tmp_path, platform="catalogue: {reload_seconds: 0.05}\n", strategies=STRATEGIES) as served:
        yield served


def names(served: Served, path: str = "") -> list[str]:
    return [guide["name"] for guide in served.as_admin("GET", f"{API}/guides{path}").json()["guides"]]


def test_guides_are_listed_searched_and_shown(served: Served) -> None:
    assert {"odd", "disk-full"} <= set(names(served))
    assert names(served, "?q=strange") == ["odd"]
    assert names(served, "?q=STRAN") == ["odd"]
    assert names(served, "?q=disk")[0] == "disk-full"
    assert names(served, "?q=disk strange") == []
    assert names(served, "?q=%22%27*()") == names(served, "?q=") == []
    assert served.as_admin("GET", f"{API}/guides?q={'x' * 201}").status_code == 422
    guide = served.as_admin("GET", f"{API}/guides/odd")
    assert guide.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    document = guide.json()
    assert (document["title"], document["strategies"]) == ("Odd things on @all", ["odd"])
    assert "<img src=x" in document["markdown"]
    assert "<h1>Look</h1>" in document["html"]
    assert "<img" not in document["html"]
    assert "href" not in document["html"]
    assert "abcdef123456" not in guide.text
    unknown = served.as_admin("GET", f"{API}/guides/odds")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_guide")
    assert "did you mean 'odd'" in unknown.json()["detail"]


def test_a_guide_for_certain_targets_is_for_those_who_may_see_one_of_them(served: Served) -> None:
    tokens = served.application.control.tokens
    inside = tokens.create(Role.VIEWER, "inside", scope=Scope(targets=("web",)))
    outside = tokens.create(Role.VIEWER, "outside", scope=Scope(targets=("other",)))

    def listed(token: str) -> list[str]:
        return [each["name"] for each in served.request("GET", f"{API}/guides", token).json()["guides"]]

    assert "odd" in listed(inside)
    assert "odd" not in listed(outside)
    assert "disk-full" in listed(outside)
    assert served.request("GET", f"{API}/guides?q=strange", outside).json() == {"guides": []}
    assert served.request("GET", f"{API}/guides/odd", inside).status_code == 200
    refused = served.request("GET", f"{API}/guides/odd", outside)
    assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
    # Neither which targets it is for, nor that there is one of nearly this name.
    assert "w*" not in refused.text
    assert "odd'?" in served.request("GET", f"{API}/guides/odds", inside).text
    assert "odd'?" not in served.request("GET", f"{API}/guides/odds", outside).text


def test_the_guide_stands_beside_the_incident_and_in_what_people_are_told(served: Served) -> None:
    (incident,) = served.alert(notification(alert("Odd", service="web"))).json()["incidents"]
    document = served.as_admin("GET", f"{API}/incidents/{incident['id']}").json()
    (guide,) = document["guides"]
    assert guide == {"name": "odd", "title": "Odd things on @all", "path": f"{API}/guides/odd"}
    assert served.as_admin("GET", guide["path"]).status_code == 200
    (message,) = until(lambda: [each for each in told(served.application) if each["kind"] == "escalation"], "word")
    assert message["what_to_do"][:2] == ["look twice", "read the guide 'Odd things on @all': uici guides show odd"]


def test_guides_are_followed_and_a_broken_one_changes_nothing(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "config" / GUIDES / "odd.md"
    assert names(served, "?q=strange") == ["odd"]
    file.write_text(GUIDE.replace("strange", "unheard"))
    until(lambda: names(served, "?q=unheard") == ["odd"], "the change")
    assert names(served, "?q=strange") == []
    (event,) = [each for each in served.application.events.read() if each.type == "configuration_reloaded"]
    assert event.data["changes"] == {"guides": {"changed": ["odd"]}}
    file.write_text(GUIDE.replace("[odd]", "[od]"))
    rejected = until(lambda: served.as_admin("GET", f"{API}/configuration").json()["rejected"], "the rejection")
    (problem,) = rejected["problems"]
    assert problem["where"] == f"{file}:3:14"
    assert "did you mean 'odd'?" in problem["detail"]
    assert names(served, "?q=unheard") == ["odd"]
    file.unlink()
    until(lambda: "odd" not in names(served), "its end")
    assert json.dumps(served.as_admin("GET", f"{API}/configuration").json()["rejected"]) == "null"


LADDER = """
strategies:
  down:
    match: ['alertname="Down"']
    diagnose: [get_service_status]
    remedies:
      - name: lift
        steps:
          - {operation: escalate_to_human, parameters: {message: mind the queue}}
          - restart_service
        verify: {within: 1, stable_for: 0.1, confirm_within: 0, interval: 0.1}
"""


def test_questions_to_people_steps_that_ask_them_and_the_bundle_have_the_guides(tmp_path: Path) -> None:
    config = runs_rig.site(
        tmp_path / "site",
        "web",
        strategies=LADDER,
        policies=runs_rig.POLICIES.replace("auto\n", "approve\n"),
        platform='notify: {guide_url: "https://wiki.example/{guide}/"}\n',
    )
    (config / GUIDES).mkdir()
    (config / GUIDES / "odd.md").write_text(GUIDE.replace("[odd]", "[down]", 1))
    with runs_rig.running(config, World()) as application:
        accepted = runs_rig.send(application, runs_rig.alert("web"))
        (question,) = until(lambda: told(application), "the question to people")
        application.control.approve(question["run"], question["cid"], "ann", "")
        _, asked = until(lambda: told(application) if len(told(application)) > 1 else None, "the step's word")
        incident = runs_rig.closed(application, accepted)
        with application.control.bundle(incident["id"]) as file, zipfile.ZipFile(io.BytesIO(file.read())) as archive:
            found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert [question["kind"], asked["kind"]] == ["approval", "escalation"]
    for message in (question, asked):
        lines = text_of(message).splitlines()
        assert "Guide Odd things on @\u2060all: https://wiki.example/odd/" in lines
        assert any(line.startswith("Do: read the guide ") and line.endswith("uici guides show odd") for line in lines)
    page = found["guides/odd.html"]
    assert "<title>Odd things on @all</title>" in page
    assert "<h1>Look</h1>" in page
    assert ("<img" in page, "href" in page) == (False, False)
    assert "<img src=x" in found["guides/odd.md"]
    assert "Odd things on @all: guides/odd.html" in found["README.txt"]
    for name, text in found.items():
        assert "abcdef123456" not in text, name
