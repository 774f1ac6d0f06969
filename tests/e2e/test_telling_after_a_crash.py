"""Messages that were held back when the process was killed are told after the restart: in one summary, once."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.server import Server, alert, payload, write_site
from tests.integration.notify_rig import listening
from tests.waiting import until
from uici.model.base import JsonObject


def test_a_kill_loses_no_held_message_and_tells_none_twice(tmp_path: Path) -> None:
    with listening() as heard:
        notify: JsonObject = {
            "channels": {"people": {"url": "${env:TELLING_URL}"}},
            "limits": {"escalation": {"messages": 1, "seconds": 12}},
        }
        environment = {"TELLING_URL": f"json://127.0.0.1:{heard.port}/x"}
        config = write_site(tmp_path / "site", platform={"notify": notify, "self": {"names": ["uici"]}})

        def titles() -> list[str]:
            return [request.json()["title"] for request in list(heard.requests)]

        def held() -> list[JsonObject]:
            return [each for each in server.get("/notifications")["messages"] if each["state"] == "held"]

        server = Server(config)
        try:
            server.start(environment)
            for number in range(4):
                fires = alert(f"Nobody{number}", "nothing", fingerprint=f"{number:016x}")
                del fires["labels"]["uici_target"]
                answer = server.send(payload(fires))
                assert answer.status_code == 202, answer.text
            until(lambda: len(titles()) == 1 and len(held()) == 3, "one to be told and three to be held", server.tail)
            server.kill()
            server.start(environment)
            until(lambda: len(titles()) == 2, "the summary", server.tail)
            assert titles()[1].startswith("[critical] 3 more messages since ")
            summary = heard.requests[1].json()["message"]
            told = f"{titles()[0]} {summary}"
            assert sorted(number for number in range(4) if f"Nobody{number} on" in told) == [0, 1, 2, 3]
            until(lambda: not held(), "nothing to be held any more", server.tail)
            until(
                lambda: not any(each["pending"] for each in server.get("/notifications")["channels"]),
                "everything to be sent",
                server.tail,
            )
            assert len(titles()) == 2
        finally:
            server.stop()
            server.http.close()
