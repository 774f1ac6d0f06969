"""Health probes that a binding may carry: one HTTP request or one TCP connection, for every executor alike."""

from __future__ import annotations

import socket
import ssl
import time
from functools import cache
from typing import TypedDict
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from uici.model.base import Frozen

_BODY_LIMIT = 65536  # a probe asks for the status; a body is read only so far that the connection ends in order
_OK = 200


class ProbeResult(TypedDict):
    """What a probe saw."""

    name: str
    ok: bool
    detail: str


class Probe(Frozen):
    """Exactly one of `http` (a URL) and `tcp` (host:port)."""

    http: str | None = Field(default=None, max_length=2048, description="URL; a redirect is not followed")
    tcp: str | None = Field(default=None, max_length=300, description="host:port; IPv6 addresses in brackets")
    expect_status: int = Field(default=_OK, ge=100, le=599)
    timeout: float = Field(default=2.0, gt=0, le=60, description="seconds for each wait: to connect, for the answer")

    @field_validator("http")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if any(character <= " " or character == "\x7f" for character in value):
            raise ValueError("a URL holds no spaces and no control characters")
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("http: needs an http:// or https:// URL with a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a probe's URL holds no credentials")
        _ = parts.port  # raises ValueError when it is no port
        return value

    @field_validator("tcp")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is not None:
            _address(value)
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Probe:
        if (self.http is None) is (self.tcp is None):
            raise ValueError("a probe has exactly one of http and tcp")
        # By its value: what was written down in full says the default, too.
        if self.tcp is not None and self.expect_status != _OK:
            raise ValueError("expect_status belongs to http")
        return self


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host or any(character <= " " for character in host) or not (port.isascii() and port.isdigit()):
        raise ValueError("tcp: needs host:port, for example 127.0.0.1:5432")
    if not 0 < int(port) < 65536:
        raise ValueError("tcp: the port is between 1 and 65535")
    return host, int(port)


def run_probe(probe: Probe) -> ProbeResult:
    """Ask once. Never raises for a service that fails: that is what `ok: false` and `detail` say."""
    return _http(probe, probe.http) if probe.http is not None else _tcp(probe, probe.tcp or "")


def _http(probe: Probe, url: str) -> ProbeResult:
    import httpx  # costs some 100 ms to load; a check without a probe should not pay for it

    parts = urlsplit(url)
    name = f"http {parts.scheme}://{parts.netloc}{parts.path}"  # the query may hold a key
    deadline = time.monotonic() + probe.timeout
    try:
        with (
            httpx.Client(timeout=probe.timeout, trust_env=False, verify=_trust(), follow_redirects=False) as client,
            client.stream("GET", url, headers={"User-Agent": "uici-probe", "Connection": "close"}) as response,
        ):
            status = response.status_code
            received = 0
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > _BODY_LIMIT:
                    break
                if time.monotonic() > deadline:
                    return {"name": name, "ok": False, "detail": f"no whole answer within {probe.timeout:g} s"}
    except httpx.TimeoutException:
        return {"name": name, "ok": False, "detail": f"no answer within {probe.timeout:g} s"}
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        return {"name": name, "ok": False, "detail": f"no answer: {_brief(error)}"}
    if status != probe.expect_status:
        return {"name": name, "ok": False, "detail": f"answered {status}, expected {probe.expect_status}"}
    return {"name": name, "ok": True, "detail": f"answered {status}"}


@cache
def _trust() -> ssl.SSLContext:
    """The authorities of an https probe, read once: for each probe anew that would take longer than most answers."""
    import httpx  # as above

    return httpx.create_ssl_context(trust_env=False)


def _tcp(probe: Probe, address: str) -> ProbeResult:
    name = f"tcp {address}"
    try:
        with socket.create_connection(_address(address), timeout=probe.timeout):
            return {"name": name, "ok": True, "detail": "accepts connections"}
    except TimeoutError:
        return {"name": name, "ok": False, "detail": f"no connection within {probe.timeout:g} s"}
    except (OSError, UnicodeError) as error:
        return {"name": name, "ok": False, "detail": f"no connection: {_brief(error)}"}


def _brief(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
