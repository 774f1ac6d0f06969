"""Asking a server with the OpenAI API: one answer, within a time that nothing can stretch.

Source of the API: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from uici.model.base import Frozen, JsonObject, JsonValue
from uici.model.call import CallError, FailureKind
from uici.model.council import CouncilSettings
from uici.monitoring.http import MonitoringHttp
from uici.planning.council.prompt import Question


class Reply(Frozen):
    """What came back, and what it cost."""

    text: str
    cut_off: bool
    """It reached `answer_tokens` before its end."""
    model: str
    """What answered, by its own word."""
    read: int | None
    """Tokens of the question."""
    written: int | None
    """Tokens of the answer."""
    cost_usd: float | None
    """None where the server does not say; the council does."""


def ask(settings: CouncilSettings, asked: Question, within: float) -> Reply:
    """One answer, within so many seconds. Raises CallError: TEMPORARY where asking again may help."""
    body: JsonObject = {
        "model": settings.model,
        "messages": list(asked.messages),
        "max_tokens": settings.answer_tokens,
        "response_format": {"type": "json_schema", "json_schema": {"name": "decision", "schema": asked.schema_}},
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    document = _server(settings).ask("/chat/completions", body, within).document
    try:
        choice = document["choices"][0]
        content = choice["message"]["content"]
    except (KeyError, IndexError, TypeError):
        raise _another_api() from None
    usage = document.get("usage")
    return Reply(
        text=content if isinstance(content, str) else "",
        cut_off=choice.get("finish_reason") == "length",
        model=str(document.get("model") or settings.model)[:256],
        read=_count(usage, "prompt_tokens"),
        written=_count(usage, "completion_tokens"),
        cost_usd=_cost(document.get("council")),
    )


def models(settings: CouncilSettings) -> tuple[str, ...]:
    """What may be named as `council.model`. Raises CallError."""
    document = _server(settings).get("/models").document
    try:
        return tuple(str(each["id"]) for each in document["data"])
    except (KeyError, TypeError):
        raise _another_api() from None


def _server(settings: CouncilSettings) -> MonitoringHttp:
    return MonitoringHttp(settings, "the council", "platform.yml")


def _another_api() -> CallError:
    return CallError(
        FailureKind.PERMANENT,
        "unusable_answer",
        "the council's answer is none of the OpenAI API: does council.url in platform.yml end with /v1?",
    )


def _count(usage: JsonValue, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def _cost(council: JsonValue) -> float | None:
    """Of all stages that were asked, discarded ones included."""
    try:
        return float(sum(Decimal(stage["cost_usd"]) for stage in council["stages"]))
    except (KeyError, TypeError, InvalidOperation):
        return None
