"""Apprise's own services against real receivers on loopback: what arrives, why something did not, and no secret told.

Slack, Discord and PagerDuty have fixed addresses, which the tests replace in the library; the rest take a host.
"""

import logging
import ssl
import subprocess
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope
from apprise.plugins import pagerduty
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.slack import NotifySlack

from tests.integration.notify_rig import Heard, listening, settings
from tests.real.components import free_port
from uici.model.base import JsonObject
from uici.model.errors import Problem
from uici.model.settings import MessageKind
from uici.notify.apprise_notifier import AppriseNotifier
from uici.notify.channels import check_channels, open_channels
from uici.notify.wording import body_of, title_of

TOKENS = "TAAAAAAAA", "ABBBBBBBB", "cccccccccccccccccccccccc"
SLACK = f"slack://{'/'.join(TOKENS)}"
MESSAGE: JsonObject = {
    "kind": MessageKind.ESCALATION,
    "severity": "critical",
    "title": "Down on web in local: UICI needs a human",
    "where": {"place": "local/web"},
    "why": "no_remedy_left: restart did not help",
    "annotations": {"summary": "<!here> @channel look at [this](https://evil.example) & <https://evil.example|that>"},
    "tried": [{"remedy": "restart", "verdict": "ineffective", "undone": True}],
    "what_to_do": ["see everything known of it: uici incidents inc_1"],
}


@pytest.fixture
def heard() -> Iterator[Heard]:
    with listening() as heard:
        yield heard


def notifier(url: str, form: Any = "text", timeout: float = 5) -> AppriseNotifier:
    return AppriseNotifier("people", url, timeout=timeout, form=form)


# --- what arrives -----------------------------------------------------------------------------------------------------


def test_json_and_xml(heard: Heard) -> None:
    notifier(f"json://127.0.0.1:{heard.port}/hook").send(MESSAGE)
    notifier(f"xml://127.0.0.1:{heard.port}/hook").send(MESSAGE)
    json_, xml = heard.requests
    got = json_.json()
    assert (got["title"], got["message"]) == (title_of(MESSAGE), body_of(MESSAGE, "text"))
    assert got["type"] == "failure"
    assert "<Subject>[critical] Down on web" in xml.body


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_slack_gets_words_and_no_calls_or_links(heard: Heard, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifySlack, "webhook_url", f"{heard.url}/services")
    notifier(SLACK, form).send(MESSAGE)
    (request,) = heard.requests
    assert request.path == f"/services/{'/'.join(TOKENS)}"
    text = request.body
    assert "Down on web in local" in text
    assert "uici incidents inc_1" in text
    # https://docs.slack.dev/messaging/formatting-message-text: a call or a link begins with an unescaped `<`.
    assert "<" not in text
    assert "https://evil" not in text
    assert "@channel" not in text


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_mattermost_and_discord_call_nobody(heard: Heard, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifyDiscord, "notify_url", f"{heard.url}/discord")
    notifier(f"mmost://127.0.0.1:{heard.port}/{'m' * 26}", form).send(MESSAGE)
    notifier("discord://123456789012345678/webhook-token-of-discord", form).send(MESSAGE)
    mattermost, discord = heard.requests
    for request in (mattermost, discord):
        assert "Down on web in local" in request.body
        assert "@channel" not in request.body
        assert "https://evil" not in request.body
    # Discord's library calls whom it finds; it found nobody: https://docs.discord.com/developers/resources/message
    assert not discord.json().get("allow_mentions", {}).get("parse")


def test_pagerduty_gets_an_event_that_triggers(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pagerduty.PAGERDUTY_API_LOOKUP, pagerduty.PagerDutyRegion.US, f"{heard.url}/v2/enqueue")
    heard.status = 202
    notifier("pagerduty://integration-key-of-service@api-key-of-account").send(MESSAGE)
    (request,) = heard.requests
    event = request.json()
    assert (event["event_action"], event["payload"]["severity"]) == ("trigger", "critical")
    assert "Down on web in local" in event["payload"]["summary"]


def test_teams_gets_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with listening(context) as heard:
        notifier(f"workflows://localhost:{heard.port}/workflow-of-teams/signature-of-teams", "markdown").send(MESSAGE)
        (request,) = heard.requests
    assert request.path.startswith("/workflows/workflow-of-teams/")
    assert request.json()["attachments"][0]["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert "Down on web in local" in request.body
    assert "https://evil" not in request.body


class Mailbox:
    """What an SMTP server got, and what it says to it."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802  # aiosmtpd's name
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))
        return self.answer


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    mailbox = Mailbox()

    def accept(server: Any, session: Any, envelope: Any, mechanism: Any, given: Any) -> AuthResult:
        return AuthResult(success=given.password == b"s3cret-mail")

    controller = Controller(
        mailbox, hostname="127.0.0.1", port=free_port(), authenticator=accept, auth_require_tls=False
    )
    # It warns that passwords go without TLS here, which is meant.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    controller.start()
    yield mailbox, controller.port
    controller.stop()


def mail_url(port: int, password: str = "s3cret-mail") -> str:
    return f"mailto://uici:{password}@127.0.0.1:{port}?from=uici@example.org&to=ops@example.org&mode=insecure"


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_an_e_mail_arrives_with_its_subject(mailbox: tuple[Mailbox, int], form: str) -> None:
    box, port = mailbox
    notifier(mail_url(port), form).send(MESSAGE)
    (mail,) = box.mails
    assert mail["Subject"] == "[critical] Down on web in local: UICI needs a human"
    assert mail["To"] == "ops@example.org"
    plain = mail.get_body(("plain",)).get_content()
    assert "uici incidents inc_1" in plain
    html = mail.get_body(("html",))
    assert html is None or "<a " not in html.get_content()


def test_an_e_mail_that_is_refused_is_not_delivered(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    box.answer = "552 the mailbox is full"
    with pytest.raises(OSError, match=r"(?i)mail") as caught:
        notifier(mail_url(port)).send(MESSAGE)
    with pytest.raises(OSError, match=r"(?i)mail") as wrong:
        notifier(mail_url(port, "another-password")).send(MESSAGE)
    assert "another-password" not in str(wrong.value)
    assert "s3cret-mail" not in str(caught.value)


# --- why something did not --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [302, 400, 403, 404, 429, 500, 503])
def test_only_a_2xx_accepts(heard: Heard, status: int) -> None:
    heard.status = status
    with pytest.raises(OSError, match=str(status)):
        notifier(f"json://127.0.0.1:{heard.port}/hook").send(MESSAGE)


def test_a_url_that_calls_failures_a_success_is_not_believed(heard: Heard) -> None:
    heard.status = 500
    with pytest.raises(OSError, match="500"):
        notifier(f"json://127.0.0.1:{heard.port}/hook?optional=yes").send(MESSAGE)


def test_a_receiver_that_is_gone_or_silent_is_told(heard: Heard) -> None:
    with pytest.raises(OSError, match=r"(?i)connection error"):
        notifier(f"json://127.0.0.1:{free_port()}/hook").send(MESSAGE)
    heard.hangs = True
    with pytest.raises(OSError, match=r"(?i)connection error"):
        notifier(f"json://127.0.0.1:{heard.port}/hook", timeout=0.2).send(MESSAGE)


def test_slack_that_answers_200_without_ok_did_not_accept(heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifySlack, "webhook_url", f"{heard.url}/services")
    heard.answer = "invalid_payload"
    with pytest.raises(OSError, match="Slack"):
        notifier(SLACK).send(MESSAGE)


# --- nothing of a URL is told -----------------------------------------------------------------------------------------


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """All that reaches the process' log where somebody wants to see everything."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    root, handler = logging.getLogger(), Keep(logging.DEBUG)
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield lines
    root.setLevel(level)
    root.removeHandler(handler)


BAD_URLS = (
    "nothing://token-nothing-1/x",
    "slack://token-short/x",
    "pagerduty://token-alone",
    "mailto://token-user:token-password",
    "discord://token-id",
    "json://",
    "token-without-scheme",
    "json://127.0.0.1/token-path?method=token-method",
)


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_none_is_refused_by_the_channels_name(
    url: str, monkeypatch: pytest.MonkeyPatch, logged: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEOPLE", url)
    notify = settings(channels={"on-call": {"url": "${env:PEOPLE}"}})
    for check in (open_channels, check_channels):
        with pytest.raises(Problem) as caught:
            check(notify)
        assert "on-call" in caught.value.detail
        assert caught.value.where == "platform.yml: notify.channels.on-call.url"
        assert "token" not in f"{caught.value.detail} {caught.value.errors}".replace("Token", "")
    assert "token" not in "".join(logged)
    assert "token" not in "".join(capfd.readouterr())


def test_no_token_is_told_when_a_delivery_fails(
    heard: Heard, monkeypatch: pytest.MonkeyPatch, logged: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(NotifySlack, "webhook_url", f"{heard.url}/services")
    heard.status, heard.answer = 403, f"no such hook {'/'.join(TOKENS)}"
    port = free_port()
    urls = (
        SLACK,
        f"json://user-name:pass-word@127.0.0.1:{heard.port}/path-token?-q=query-token&+X-Key=header-token",
        f"json://user-name:pass-word@127.0.0.1:{port}/path-token",
        f"mailto://user-name:pass-word@127.0.0.1:{port}?from=a@b.org&to=c@d.org&mode=insecure",
    )
    secrets = (*TOKENS, "user-name", "pass-word", "path-token", "query-token", "header-token")
    for url in urls:
        with pytest.raises(OSError, match=r"\S") as caught:
            notifier(url).send(MESSAGE)
        said = f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
        assert not [secret for secret in secrets if secret in said]
    assert not [secret for secret in secrets if secret in "".join(logged)]
    shown = "".join(capfd.readouterr())
    assert not [secret for secret in secrets if secret in shown]


def test_a_check_without_the_secret_says_what_it_did_not_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "json://127.0.0.1/x")
    monkeypatch.delenv("ELSEWHERE", raising=False)
    notify = settings(channels={"here": {"url": "${env:HERE}"}, "away": {"url": "${env:ELSEWHERE}"}})
    (missing,) = check_channels(notify)
    assert "'away'" in missing
    assert "ELSEWHERE" in missing
    with pytest.raises(Problem, match="ELSEWHERE"):
        open_channels(notify)


SERVICES = {
    "Slack": SLACK,
    "Pager Duty": "pagerduty://integration-key@api-key",
    "Opsgenie": "opsgenie://12345678-1234-1234-1234-123456789abc",
    "Power Automate / Workflows (for MSTeams)": "workflows://prod-1.westeurope.logic.azure.com:443/workflow-id/signature",
    "E-Mail": "mailtos://user:password@example.org?to=ops@example.org",
    "Telegram": "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "ntfy": "ntfy://topic",
}


@pytest.mark.parametrize("name", SERVICES)
def test_urls_of_the_documents_are_understood(name: str) -> None:
    """Apprise's own parser only: nothing is sent to these services here."""
    assert notifier(SERVICES[name]).service == name
