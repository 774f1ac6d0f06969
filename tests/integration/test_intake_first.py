"""Accepting goes before healing: runs begin when no sender waits for a commit any more."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.doubles.memory_executor import World
from tests.integration import runs_rig as rig
from tests.waiting import until
from uici.intake import writer as module
from uici.intake.writer import Accepted, IntakeWriter
from uici.model.alert import Notification
from uici.model.errors import Problem


def test_the_runs_are_told_once_all_that_waits_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STORM_SECONDS", 3600.0)
    stormed: list[bool] = []
    names = [f"web{number}" for number in range(4)]
    told: list[int] = []
    all_told = threading.Event()
    with rig.running(rig.site(tmp_path / "site", *names), World()) as application:
        services = application.services

        def tell() -> None:
            told.append(writer.waiting())
            all_told.set()

        writer = IntakeWriter(
            services.events,
            services.clock,
            services.site,
            services.selves,
            services.layers,
            application.site.platform.intake,
            tell,
        )
        writer.start()
        try:
            with services.store.write():  # so that the others come while the first waits for its turn to write
                futures = [writer.submit(_about(names[0]), "test")]
                until(lambda: writer.waiting() == 0, "the first to be taken")
                futures += [writer.submit(_about(name), "test") for name in names[1:]]
                for future in (futures[0], futures[-1]):
                    future.add_done_callback(lambda done: stormed.append(writer.storming()))
            for future in futures:
                assert future.result(rig.DEADLINE).new == 1
            assert all_told.wait(rig.DEADLINE)
            assert told == [0]  # nobody waited any more
            # One commit took them all. That is a storm, until no more of them come; a notification alone is none.
            assert stormed == [True, True]
            assert not writer.storming()
            alone = writer.submit(_about("web0", "Other"), "test")
            alone.add_done_callback(lambda done: stormed.append(writer.storming()))
            alone.result(rig.DEADLINE)
            until(lambda: stormed[2:] == [False], "the one alone to be committed")
            until(lambda: told == [0, 0], "the runs to be told of one that came alone")
        finally:
            writer.stop()


def test_who_sends_upon_the_answer_to_a_slow_commit_is_not_sent_away(tmp_path: Path) -> None:
    platform = "intake: {wait_seconds: 0.1}\n"
    sent: list[Future[Accepted]] = []
    refused: list[Problem] = []
    answered = threading.Event()
    with rig.running(rig.site(tmp_path / "site", "web", "api", platform=platform), World()) as application:

        def send_the_next(done: Future[Accepted]) -> None:
            try:
                sent.append(application.control.submit(_about("api"), "test"))
            except Problem as problem:
                refused.append(problem)
            answered.set()

        with application.services.store.write():
            application.control.submit(_about("web"), "test").add_done_callback(send_the_next)
            threading.Event().wait(0.5)  # the commit takes longer than anybody is to wait
        assert answered.wait(rig.DEADLINE)
        assert not refused
        assert sent[0].result(rig.DEADLINE).new == 1


def _about(program: str, name: str = "Down") -> Notification:
    alerts = (rig.alert(program, name),)
    return Notification(receiver="uici", group_key="{}", external_url="", alerts=alerts, truncated_alerts=0)
