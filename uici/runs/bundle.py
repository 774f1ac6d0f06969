"""An incident as one file to hand on: everything known of it, masked, for people who have no access to UICI.

The same state gives the same bytes: nothing in it tells when or by whom it was made.
"""

from __future__ import annotations

import json
import platform
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from tempfile import SpooledTemporaryFile
from typing import IO

from sqlalchemy import select

from uici.catalogue.markdown import page_of
from uici.events.log import EventLog
from uici.model.base import JsonObject, JsonValue
from uici.model.guide import Guide
from uici.model.masking import mask
from uici.notify.wording import text_of
from uici.runs import reading
from uici.runs.guides import of_incident
from uici.runs.services import Services
from uici.store.database import Store
from uici.store.schema import SCHEMA_VERSION, attempts, deliveries, events, kept_results, outbox, plans

_IN_MEMORY = 1_048_576
_PAGE = 1000
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip file can tell (APPNOTE.TXT 4.4.6): every file bears it."""
_README_BYTES = 65_536
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")

_FILES = {
    "incident.json": "the incident: what, where, how it ended",
    "alerts.json": "the alerts with their labels and annotations",
    "findings.json": "what diagnosis found, with the evidence",
    "timeline.jsonl": "everything that happened, one event per line, oldest first",
    "guards.json": "what the guards decided, and why",
    "verdicts.json": "what verification said of each remedy",
    "messages.json": "what people were told, and whether it arrived",
    "versions.json": "UICI's version and the digest of its configuration",
    "runs/RUN/": "each run: its plans, exact calls with their results, approvals, and what they changed",
    "guides/": "the guides for it, as they were written and as pages",
    "results/": "results that operations left for people, such as snapshots",
}


@dataclass
class _Writer:
    """A zip file that takes so many bytes and no more."""

    archive: zipfile.ZipFile
    left: int
    missing: list[str] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> None:
        """Add one file, or note that it found no room."""
        if len(content) > self.left:
            self.missing.append(f"{name} ({len(content)} bytes)")
            return
        self.left -= len(content)
        entry = zipfile.ZipInfo(name, date_time=_EPOCH)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.create_system = 3
        entry.external_attr = 0o644 << 16
        self.archive.writestr(entry, content)

    def add_json(self, name: str, document: JsonValue) -> None:
        """Add one document, for people to read."""
        self.add(name, f"{json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)}\n".encode())


def make_bundle(services: Services, incident_id: str, *, configuration: str) -> IO[bytes]:
    """The zip file of one incident, at its beginning; the caller closes it. Beyond a megabyte it lies on disk.

    `configuration` is the digest of what is in force. Raises Problem when there is no such incident.
    """
    store, log = services.store, services.events
    most_bytes = services.site().platform.records.bundle_bytes
    incident = reading.one_incident(store, log, incident_id)
    incident.pop("timeline")
    file: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY)  # it outlives this function
    try:
        with zipfile.ZipFile(file, "w") as archive:
            writer = _Writer(archive, most_bytes - _README_BYTES)
            runs = [reading.one_run(store, log, str(run["id"])) for run in incident["runs"]]
            _parts(writer, store, log, incident, runs, configuration)
            guides = of_incident(services, incident)
            for guide in guides:
                _guide(writer, guide)
            writer.left = _README_BYTES
            writer.add("README.txt", _readme(incident, runs, guides, writer.missing).encode()[:_README_BYTES])
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def file_name(incident_id: str) -> str:
    """What the bundle of an incident is called, safe on every system."""
    return f"uici-{_safe(incident_id)}.zip"


def _parts(
    writer: _Writer, store: Store, log: EventLog, incident: JsonObject, runs: list[JsonObject], configuration: str
) -> None:
    id_ = str(incident["id"])
    writer.add_json(
        "incident.json", {key: value for key, value in incident.items() if key not in ("alerts", "findings")}
    )
    writer.add_json("alerts.json", incident["alerts"])
    writer.add_json("findings.json", incident["findings"])
    writer.add_json("versions.json", _versions(configuration))
    writer.add_json("messages.json", _messages(store, id_))
    timeline = [event for run in (None, *(str(run["id"]) for run in runs)) for event in _timeline(log, id_, run)]
    unique = {event["seq"]: event for event in timeline}
    ordered = [unique[seq] for seq in sorted(unique)]
    writer.add_json("guards.json", [event for event in ordered if event["type"] == "guarded"])
    writer.add_json("verdicts.json", [event for event in ordered if event["type"] in ("verified", "run_ended")])
    for run in runs:
        _run(writer, store, run)
    writer.add(
        "timeline.jsonl",
        "".join(f"{json.dumps(event, sort_keys=True, ensure_ascii=False)}\n" for event in ordered).encode(),
    )
    for number, name, result in _results(store, id_):
        writer.add_json(f"results/{number:03}-{_safe(name)}.json", result)


def _guide(writer: _Writer, guide: Guide) -> None:
    title, text = mask(guide.title), mask(guide.text)
    writer.add(f"guides/{_safe(guide.name)}.md", f"{text.rstrip()}\n".encode())
    writer.add(f"guides/{_safe(guide.name)}.html", page_of(title, text).encode())


def _run(writer: _Writer, store: Store, run: JsonObject) -> None:
    id_ = str(run["id"])
    folder = f"runs/{_safe(id_)}"
    apart = ("plan", "steps", "approvals", "calls", "changes")
    writer.add_json(f"{folder}/run.json", {key: value for key, value in run.items() if key not in apart})
    writer.add_json(f"{folder}/approvals.json", run["approvals"])
    writer.add_json(f"{folder}/changes.json", run["changes"])
    with store.read() as connection:
        rows = connection.execute(select(attempts).where(attempts.c.run_id == id_).order_by(attempts.c.id)).all()
        planned = connection.execute(
            select(events.c.data).where(events.c.run_id == id_, events.c.type == "planned").order_by(events.c.seq)
        ).scalars()
        # Every rung's plan, and the undo plans that calls were sent of, in order.
        cids = dict.fromkeys([*(str(data.get("cid")) for data in planned), *(_cid_of(row.position) for row in rows)])
        if run.get("cid"):
            cids.setdefault(str(run["cid"]))
        documents = {
            row.cid: row.document for row in connection.execute(select(plans).where(plans.c.cid.in_(list(cids))))
        }
    calls = [
        {
            "position": row.position,
            "attempt": row.number,
            "call": row.call,
            "arguments": row.arguments,
            "state_before": row.before,
            "sent_at": row.sent_at.isoformat(),
            "settled_at": row.settled_at.isoformat() if row.settled_at is not None else None,
            "outcome": row.outcome,
            "error": row.detail,
            "result": row.result,
        }
        for row in rows
    ]
    writer.add_json(f"{folder}/calls.json", mask(calls))
    writer.add_json(f"{folder}/plans.json", mask([{"cid": cid, **documents[cid]} for cid in cids if cid in documents]))


def _cid_of(position: str) -> str:
    """The plan that an attempt's position names: `do:sha256:HASH:STEP:CALL`."""
    return position.partition(":")[2].rsplit(":", 2)[0]


def _timeline(log: EventLog, incident: str, run: str | None) -> Iterator[JsonObject]:
    after = 0
    while page := log.read(incident=None if run else incident, run=run, after=after, limit=_PAGE):
        for event in page:
            yield event.model_dump(mode="json")
        after = page[-1].seq


def _results(store: Store, incident: str) -> Iterator[tuple[int, str, JsonObject]]:
    query = select(kept_results).where(kept_results.c.incident_id == incident).order_by(kept_results.c.id)
    with store.read() as connection:
        for number, row in enumerate(connection.execute(query), 1):
            document = {
                "operation": row.operation,
                "phase": row.phase,
                "run": row.run_id,
                "at": row.at.isoformat(),
                "shortened": row.shortened,
                "result": row.result,
            }
            # Again: by now more secrets may be known than when it was kept.
            yield number, row.operation, mask(document)


def _messages(store: Store, incident: str) -> JsonValue:
    with store.read() as connection:
        messages = connection.execute(
            select(outbox).where(outbox.c.incident_id == incident).order_by(outbox.c.id)
        ).all()
        sent = connection.execute(
            select(deliveries)
            .where(deliveries.c.message_id.in_([row.id for row in messages]))
            .order_by(deliveries.c.message_id, deliveries.c.channel)
        ).all()
    return mask(
        [
            {
                "id": row.id,
                "kind": row.kind,
                "at": row.created_at.isoformat(),
                "text": text_of(row.message),
                "channels": [
                    {"channel": each.channel, "state": each.state, "tries": each.tries, "error": each.error}
                    for each in sent
                    if each.message_id == row.id
                ],
            }
            for row in messages
        ]
    )


def _versions(configuration: str) -> JsonObject:
    return {
        "uici": version("uici"),
        "schema": SCHEMA_VERSION,
        "python": platform.python_version(),
        "configuration_in_force": configuration,
    }


def _readme(incident: JsonObject, runs: list[JsonObject], guides: Sequence[Guide], missing: Iterable[str]) -> str:
    lines = [
        f"Incident {incident['id']}: {incident['title']}",
        "",
        "UICI heals services. This is all that it knows of one incident.",
        "Whatever looks like a secret is shown as ******.",
        "",
        f"What      {incident['title']}",
        f"Severity  {incident['severity'] or 'not given'}",
        f"Where     {incident['environment'] or 'unknown environment'}/{incident['target'] or 'unknown target'}",
        f"When      {_moment(incident['opened_at'])} to {_moment(incident['closed_at'])}",
        f"Outcome   {incident['outcome'] or 'still open'}",
        f"Why       {_words(incident['reason']) or 'not said'}",
        "",
        "Found",
        *_listed(f"{item['name']}: {_words(item['summary'])}" for item in incident["findings"]),
        "",
        "Tried",
        *_listed(_told_run(run) for run in runs),
        "",
        "Alerts",
        *_listed(
            f"{alert['name']}: {alert['status']}, since {_moment(alert['starts_at'])}" for alert in incident["alerts"]
        ),
        "",
        "Guides",
        *_listed(f"{_words(mask(each.title))}: guides/{_safe(each.name)}.html" for each in guides),
        "",
        "Files",
        *(f"  {name:<16} {what}" for name, what in _FILES.items()),
    ]
    left_out = list(missing)
    if left_out:
        lines += ["", "Left out, since the bundle would have become too large (platform.yml: records.bundle_bytes)"]
        lines += _listed(left_out)
    return "\n".join(lines) + "\n"


def _told_run(run: JsonObject) -> str:
    tried = ", ".join(run["tried"]) or "nothing"
    if not run["acted_at"]:
        tried = f"nothing was changed (considered: {tried})" if run["tried"] else "nothing was changed"
    verdict = f", verdict {run['verdict']}" if run["verdict"] else ""
    return f"{run['id']}: {tried}; {run['outcome'] or run['state']}{verdict}: {_words(run['reason'])}"


def _listed(items: Iterable[str]) -> list[str]:
    return [f"  - {item}" for item in items] or ["  nothing"]


def _moment(text: JsonValue) -> str:
    return f"{str(text)[:19].replace('T', ' ')} UTC" if text else "now"


def _words(text: JsonValue) -> str:
    return " ".join(str(text or "").split())


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name).strip(".") or "_"
