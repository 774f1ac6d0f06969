"""The primary is lost and its streaming standby promoted: what was accepted is kept, or known to be lost."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.service_rig import Served, alert, notification, serving
from tests.real.postgres import Postgres, postgres_folder
from tests.waiting import until

pytestmark = [pytest.mark.component("postgres"), pytest.mark.timeout(240)]
PLATFORM = "intake: {commit_seconds: 2.0}\nruns: {takeover_seconds: 60}\n"


def incident(served: Served, name: str) -> str:
    answer = served.alert(notification(alert(name)))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["incidents"][0]["id"])


def test_a_standby_takes_over(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = Postgres(stack.enter_context(postgres_folder()))
        second = Postgres(stack.enter_context(postgres_folder()))
        third = Postgres(stack.enter_context(postgres_folder()), port=first.port)
        for server in (first, second, third):
            stack.callback(server.kill)
        first.create()
        second.copy_of(first)
        first.wait_for_standby()
        state = (
            f"postgresql://uici@/uici?host=127.0.0.1:{first.port}&host=127.0.0.1:{second.port}"
            "&target_session_attrs=read-write"
        )
        served = stack.enter_context(serving(tmp_path, state=state, platform=PLATFORM))

        # In step: what is answered with 202 is on both.
        kept = incident(served, "Kept")
        second.stop()
        alone = served.alert(notification(alert("Alone")))
        assert (alone.status_code, alone.headers["retry-after"] > "0") == (503, True)
        second.start()
        until(lambda: served.client.get("/readyz").status_code == 200, "readiness")
        also_kept = incident(served, "AlsoKept")
        first.kill()
        assert served.alert(notification(alert("Down"))).status_code == 503
        second.promote()
        until(lambda: served.client.get("/readyz").status_code == 200, "readiness on the promoted standby")
        assert (incident(served, "Kept"), incident(served, "AlsoKept")) == (kept, also_kept)

        # Not in step: what the primary had not streamed when it was lost is gone, though it was answered with 202.
        third.copy_of(second)
        third.stop()
        lost = incident(served, "Lost")
        second.kill()
        third.start()
        third.promote()
        until(lambda: served.client.get("/readyz").status_code == 200, "readiness on the second standby")
        assert incident(served, "Kept") == kept
        # Alertmanager's repetition, after its repeat_interval, is a new alert.
        assert incident(served, "Lost") != lost
