"""What people write of the way to an engine: an environment's `connection`."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from executors.diagnostics import LookLimits
from uici.model.base import Frozen

_ADDRESS = re.compile(
    r"unix:///\S+"
    r"|(tcp|http|https)://[^\s/@]+(:\d{1,5})?/?"
    # What the remote shell reads of it holds no character that means something to a shell.
    r"|ssh://([A-Za-z0-9_][A-Za-z0-9_.-]*@)?[A-Za-z0-9_][A-Za-z0-9_.-]*(:\d{1,5})?(/[A-Za-z0-9_./-]*)?"
)
_FORMS = (
    "base_url is unix:///path/to/docker.sock, tcp://host:port or ssh://user@host, without a password; "
    "a socket at another place is ssh://user@host/path/to/docker.sock"
)


def _absolute(value: str) -> str:
    # The ssh client splits its options at spaces, takes quotes off, and fills in what follows % and $.
    if not re.fullmatch(r"/[^\s\"'\\%$\0]*", value):
        raise ValueError("needs an absolute path without spaces, quotes, backslashes, % and $")
    return value


def _pem_or_path(value: str) -> str:
    if "-----BEGIN " not in value and (not value.startswith("/") or "\0" in value):
        raise ValueError("needs an absolute path, or a reference such as ${file:/path} or ${env:NAME} to PEM text")
    return value


Pem = Annotated[str, AfterValidator(_pem_or_path)]
"""A PEM file's path, or, where a reference was resolved, its text."""
File = Annotated[str, AfterValidator(_absolute)]


class TlsSettings(Frozen):
    """TLS to the engine. Files are read again when the engine refuses, so that renewed ones are found."""

    ca: Pem | None = Field(default=None, description="who signed the engine's certificate; default: the public CAs")
    certificate: Pem | None = Field(default=None, description="UICI's own, for an engine with --tlsverify")
    key: Pem | None = Field(default=None, repr=False, description="of `certificate`; not encrypted")
    verify: bool = Field(default=True, description="false accepts any engine that answers at the address")

    @model_validator(mode="after")
    def _pair(self) -> TlsSettings:
        if (self.certificate is None) is not (self.key is None):
            raise ValueError("certificate and key belong together; give both or neither")
        return self


class SshSettings(Frozen):
    """Beside what the ssh client reads by itself: ~/.ssh/config, ~/.ssh/known_hosts, the agent."""

    identity: File | None = Field(default=None, description="private key file; no other key is then offered")
    known_hosts: File | None = Field(default=None, description="file of the hosts' keys")
    config: File | None = Field(default=None, description="configuration file in the place of ~/.ssh/config")


class DockerSettings(Frozen):
    """An environment's `connection`. Durations in seconds."""

    base_url: str = Field(
        default="unix:///var/run/docker.sock",
        description="the engine's address: unix:///path, tcp://host:port or ssh://user@host[:port][/path]",
    )
    tls: TlsSettings | None = Field(default=None, description="for tcp://; without it only loopback is reached")
    ssh: SshSettings | None = Field(default=None, description="for ssh://")
    insecure: bool = Field(
        default=False, description="true allows tcp:// without TLS to other machines: who can reach it owns them"
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=600, description="longest wait for one answer, beside the time a stop may take"
    )
    api_version: str = Field(
        default="auto", pattern=r"^(auto|1\.\d{1,3})$", description="auto asks the engine which it speaks"
    )
    limits: LookLimits = LookLimits()

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise ValueError(_FORMS)
        try:
            _ = urlsplit(value).port
        except ValueError:
            raise ValueError("base_url has a port that is none: 1 to 65535") from None
        return value

    @model_validator(mode="after")
    def _fits(self) -> DockerSettings:
        if self.tls is not None and self.scheme not in ("tcp", "https"):
            raise ValueError(f"tls goes with tcp://, not with {self.scheme}://")
        if self.ssh is not None and self.scheme != "ssh":
            raise ValueError(f"ssh goes with ssh://, not with {self.scheme}://")
        if self.scheme in ("tcp", "http") and not self.uses_tls and not self.insecure and not self.is_loopback:
            raise ValueError(
                "tcp:// without TLS reaches only this machine: whoever can talk to an engine owns its host. "
                "Give tls, use ssh://, or write insecure: true"
            )
        return self

    @property
    def scheme(self) -> str:
        """unix, tcp, http, https or ssh."""
        return urlsplit(self.base_url).scheme

    @property
    def uses_tls(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls is not None or self.scheme == "https"

    @property
    def is_loopback(self) -> bool:
        """Whether the address is this machine's own, by its text: no name is looked up."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"
