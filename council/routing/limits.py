"""What a route lets through, and the body that backends get."""

from __future__ import annotations

from council.asking import Ask
from council.errors import RefusalError
from council.settings import Route
from uici.model.base import JsonObject

_OUTPUT = ("max_completion_tokens", "max_tokens")


def limited(ask: Ask, route: Route) -> JsonObject:
    """The ask's body with at most the route's output tokens. Raises RefusalError (400) when its input is too long."""
    estimate = ask.input_tokens(route.bytes_per_token)
    if estimate > route.most_input_tokens:
        raise RefusalError(
            400,
            "context_length_exceeded",
            f"the input has about {estimate} tokens; the route {ask.route} takes {route.most_input_tokens}",
            parameter="prompt" if ask.kind == "completions" else "messages",
        )
    wanted = [value for name in _OUTPUT if isinstance(value := ask.body.get(name), int)]
    body = {name: value for name, value in ask.body.items() if name not in _OUTPUT}
    body["max_tokens" if ask.kind == "completions" else "max_completion_tokens"] = min(
        [route.most_output_tokens, *wanted]
    )
    return body
