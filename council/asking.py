"""What is asked of backends, and what they answer. Bodies are those of the OpenAI API, kept as JSON."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from uici.model.base import JsonObject, JsonValue

Kind = Literal["chat", "completions", "embeddings"]

PER_MESSAGE_TOKENS = 8
"""What the templates of chat models put around one message; a generous bound of those in use."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of a client. `body` is not changed by anybody."""

    kind: Kind
    body: JsonObject
    route: str
    tenant: str
    session: str | None
    due: float
    """By when there has to be content, in seconds of `time.monotonic`."""
    whole: JsonObject | None = None
    """What the client sent, where its context was compressed, or what is known was given with it."""

    @property
    def stream(self) -> bool:
        """Whether the client wants pieces."""
        return bool(self.body.get("stream"))

    @property
    def texts(self) -> list[str]:
        """Everything that a model would read."""
        if self.kind == "embeddings":
            return [each for each in self.inputs if isinstance(each, str)]
        if self.kind == "completions":
            prompt = self.body.get("prompt")
            return [prompt] if isinstance(prompt, str) else [str(item) for item in prompt or ()]
        found = [text for message in self.body["messages"] for text in _all_texts(message)]
        for name in ("tools", "response_format"):
            if self.body.get(name) is not None:
                found.append(str(self.body[name]))
        return found

    @property
    def inputs(self) -> list[str | list[int]]:
        """What is to be embedded: texts, or texts that the client has made tokens of."""
        given = self.body["input"]
        return [given] if isinstance(given, str) or isinstance(given[0], int) else given

    @property
    def question(self) -> str:
        """The last message of the user, or the prompt."""
        if self.kind == "completions":
            return "\n".join(self.texts)
        for message in reversed((self.whole or self.body)["messages"]):
            if message.get("role") == "user":
                return "\n".join(message_texts(message))
        return ""

    @property
    def earlier(self) -> list[str]:
        """What the user said before the question."""
        if self.kind == "completions":
            return []
        messages = (self.whole or self.body)["messages"]
        said = [message_texts(message) for message in messages if message.get("role") == "user"]
        return [text for texts in said[:-1] for text in texts]

    def input_bytes(self) -> int:
        """How long everything is that a model would read."""
        return sum(len(text.encode(errors="replace")) for text in self.texts)

    def input_tokens(self, bytes_per_token: float) -> int:
        """An estimate; at one byte per token, an upper bound for every byte-level tokenizer."""
        tokens = math.ceil(self.input_bytes() / bytes_per_token)
        if self.kind == "embeddings":
            tokens += sum(len(each) for each in self.inputs if not isinstance(each, str))
            return tokens + PER_MESSAGE_TOKENS * len(self.inputs)
        return tokens + PER_MESSAGE_TOKENS * (len(self.body["messages"]) if self.kind == "chat" else 1)

    @property
    def has_more_than_text(self) -> bool:
        """Whether there are images, sound or files in it, whose tokens only a backend can count."""
        if self.kind == "embeddings":
            return False
        if self.kind == "completions":
            prompt = self.body.get("prompt")
            return not all(isinstance(item, str) for item in (prompt if isinstance(prompt, list) else [prompt]))
        contents = [message.get("content") for message in self.body["messages"]]
        return any(part.get("type") != "text" for content in contents if isinstance(content, list) for part in content)

    @property
    def prompts(self) -> int:
        """How many texts are to be completed."""
        prompt = self.body.get("prompt")
        return len(prompt) if self.kind == "completions" and isinstance(prompt, list) else 1

    @property
    def answers(self) -> int:
        """How many alternatives are wanted."""
        count = self.body.get("n")
        return count if isinstance(count, int) and count > 0 else 1


@dataclass(frozen=True, slots=True)
class Recalled:
    """A conversation with what is known of its question."""

    ask: Ask
    document: JsonObject
    """As clients see it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a backend counted. None means that it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def of(cls, value: JsonValue) -> Usage:
        """From the member `usage` of an answer."""
        given = value if isinstance(value, dict) else {}
        counts = (given.get("prompt_tokens"), given.get("completion_tokens", 0 if "prompt_tokens" in given else None))
        read, written = (count if isinstance(count, int) and count >= 0 else None for count in counts)
        return cls(read, written)


@dataclass(slots=True)
class Answer:
    """A whole answer: the document that a client gets."""

    document: JsonObject
    usage: Usage = field(default_factory=Usage)
    raw_confidence: float | None = None
    """What the backend itself gives for how right it may be, from 0 to 1, before calibration."""
    abstains: bool = False
    """Whether the backend said that it does not know."""


Chunks = AsyncGenerator[JsonObject, None]
"""Chunks of a streamed answer, in the form of the API. Closing it gives up."""


class BackendError(Exception):
    """A backend did not answer, or not usefully. The text holds no secret."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        again: bool,
        faulty: bool,
        charged: bool,
        retry_seconds: float | None = None,
        document: JsonObject | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        """The HTTP status that it answered with, if it did."""
        self.again = again
        """Whether it makes sense to ask again."""
        self.faulty = faulty
        """Whether it speaks against the backend; a refused request does not."""
        self.charged = charged
        """Whether it may have cost something."""
        self.retry_seconds = retry_seconds
        self.document = document
        """Its own words, where they are about the request and so for the client."""


class Backend(Protocol):
    """What answers. Both methods raise BackendError."""

    name: str

    async def answer(self, ask: Ask, body: JsonObject) -> Answer:
        """The whole answer to `body`, which is the ask's with the limits of its route."""

    async def stream(self, ask: Ask, body: JsonObject) -> Chunks:
        """The answer in pieces, from its first content on: what failed before that is raised here."""

    async def embed(self, body: JsonObject) -> Answer:
        """Embeddings of the texts in `body`."""

    async def close(self) -> None:
        """Let go of connections."""


def message_bytes(message: JsonObject) -> int:
    """How long everything in a message is that a model would read, calls of tools included."""
    return sum(len(text.encode(errors="replace")) for text in _all_texts(message))


def has_content(chunk: JsonObject) -> bool:
    """Whether a chunk holds anything of an answer: text, a refusal, a call of a tool, or the reason of its end."""
    for choice in chunk.get("choices") or ():
        if choice.get("finish_reason") is not None or choice.get("text"):
            return True
        delta = choice.get("delta") or {}
        if any(value for name, value in delta.items() if name != "role"):
            return True
    return False


async def as_chunks(ask: Ask, answer: Answer) -> Chunks:
    """A whole answer as the chunks that a stream would have had."""
    document = answer.document
    head = {
        "id": document.get("id") or f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion.chunk" if ask.kind == "chat" else "text_completion",
        "created": document.get("created") or int(time.time()),
        "model": document.get("model") or ask.route,
    }
    for choice in document["choices"]:
        index, reason = choice.get("index", 0), choice.get("finish_reason") or "stop"
        if ask.kind == "chat":
            message = choice["message"]
            # A stream numbers the calls of tools, since their arguments may come in pieces.
            calls = [{"index": number, **call} for number, call in enumerate(message.get("tool_calls") or ())]
            delta = {**message, **({"tool_calls": calls} if calls else {})}
            yield {**head, "choices": [{"index": index, "delta": delta, "finish_reason": None}]}
            yield {**head, "choices": [{"index": index, "delta": {}, "finish_reason": reason}]}
        else:
            yield {**head, "choices": [{"index": index, "text": choice.get("text", ""), "finish_reason": reason}]}
    if document.get("usage"):
        yield {**head, "choices": [], "usage": document["usage"]}


def message_texts(message: JsonObject) -> Sequence[str]:
    """What is said in a message."""
    content = message.get("content")
    if isinstance(content, str):
        return (content,)
    parts = content if isinstance(content, list) else ()
    return tuple(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _all_texts(message: JsonObject) -> list[str]:
    calls = [str(message[name]) for name in ("tool_calls", "function_call", "name") if message.get(name)]
    return [*message_texts(message), *calls]
