"""Client certificates: what TLS has verified, and who that is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from uici.access.roles import Principal
from uici.model.credentials import CertificateRule

_SANS = frozenset({"DNS", "URI", "email"})


def principal_of(certificate: Mapping[str, Any], rules: Iterable[CertificateRule]) -> Principal | None:
    """Who shows this certificate, as `ssl.SSLSocket.getpeercert` gives one that was verified; None for nobody known."""
    names = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    sans = [value for kind, value in certificate.get("subjectAltName", ()) if kind in _SANS]
    for rule in rules:
        name = rule.common_name or rule.san or ""
        # Of several common names none is *the* name.
        if (rule.common_name is not None and names == [name]) or (rule.san is not None and name in sans):
            return Principal(id=f"certificate-{name}", name=name, role=rule.role, scope=rule.scope)
    return None
