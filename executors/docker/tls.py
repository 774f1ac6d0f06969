"""The way to an engine through TLS. Imports the SDK's HTTP library: load it with the first connection."""

from __future__ import annotations

import ssl
import tempfile
from pathlib import Path
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

from executors.docker.connection import TlsSettings
from uici.model.call import CallError, FailureKind

# https://www.openssl.org/docs/man3.0/man3/X509_STORE_CTX_get_error.html
_EXPIRED, _NOT_YET_VALID, _WRONG_HOST, _WRONG_ADDRESS = 10, 9, 62, 64
# The engine's answers to a certificate, in place of a handshake's end: nothing that was sent after it was looked at.
_REFUSALS = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED", "SSLV3_ALERT_CERTIFICATE_REVOKED", "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE", "SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR", "TLSV1_ALERT_PROTOCOL_VERSION",
    }
)  # fmt: skip
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL", "RECORD_LAYER_FAILURE"})
"""In the middle of a connection these mean that it was disturbed."""


class TlsAdapter(HTTPAdapter):
    """Mounted on the SDK's client: one context decides, and no bundle of public CAs is added to it."""

    def __init__(self, settings: TlsSettings, max_pool_size: int, where: str) -> None:
        """Read the files. Raises CallError(PERMANENT, `bad_settings`) for those that do not serve."""
        self._context = _context(settings, where)
        self._verify = settings.verify
        if not settings.verify:
            # It is what was asked for, so it is not said again with each request.
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        super().__init__(pool_connections=1, pool_maxsize=max_pool_size)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **more: Any) -> None:
        """See the base class; with our context."""
        wanted = "CERT_REQUIRED" if self._verify else "CERT_NONE"
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, cert_reqs=wanted, **more)

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """The pool, whatever the session says of TLS."""
        return self.poolmanager.connection_from_url(request.url)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context has it all."""


def refusal(errors: list[BaseException], where: str, sent: bool) -> CallError | None:
    """What a failure of TLS means; None for what is none, or may have come after a request was `sent`."""
    failure = next((error for error in errors if isinstance(error, ssl.SSLError)), None)
    if isinstance(failure, ssl.SSLCertVerificationError):
        why = f"{where} is not trusted: {failure.verify_message}"
        if failure.verify_code in (_EXPIRED, _NOT_YET_VALID):
            return CallError(
                FailureKind.PERMANENT, "tls_expired", f"{why}; renew its certificate, and compare the clocks"
            )
        if failure.verify_code in (_WRONG_HOST, _WRONG_ADDRESS):
            return CallError(
                FailureKind.PERMANENT, "tls_wrong_host", f"{why}; its certificate has to name the address in base_url"
            )
        return CallError(
            FailureKind.PERMANENT, "tls_untrusted", f"{why}; tls.ca has to be who signed the engine's certificate"
        )
    reason = str(getattr(failure, "reason", "") or "")
    if reason in _REFUSALS:
        return CallError(
            FailureKind.PERMANENT,
            "tls_refused",
            f"{where} does not accept UICI's certificate: {reason.lower().replace('_', ' ')}; give one that its CA "
            "signed for clients, by tls.certificate and tls.key",
        )
    if reason in _NO_TLS and not sent:
        return CallError(
            FailureKind.PERMANENT, "tls_not_spoken", f"{where} does not speak TLS on this port; engines do on 2376"
        )
    return None


def _context(settings: TlsSettings, where: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    what = "tls.ca"
    try:
        if settings.ca is None:
            context.load_default_certs()
        elif settings.ca.startswith("/"):
            context.load_verify_locations(cafile=settings.ca)
        else:
            context.load_verify_locations(cadata=settings.ca)
        if settings.certificate is not None and settings.key is not None:
            what = "tls.certificate and tls.key"
            with tempfile.TemporaryDirectory(prefix="uici-tls-") as folder:
                certificate = _as_file(settings.certificate, Path(folder) / "certificate.pem")
                key = _as_file(settings.key, Path(folder) / "key.pem")
                context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        # An SSLError is an OSError whose words are in `reason`.
        said = str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error).lower().replace("_", " ")
        raise CallError(
            FailureKind.PERMANENT,
            "bad_settings",
            f"{where}: {what} cannot be used: {said[:200]}",
        ) from None
    if not settings.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _as_file(pem: str, path: Path) -> str:
    """A path as it is; a text in a file of its own, since the library reads keys from files only."""
    if pem.startswith("/"):
        return pem
    path.touch(mode=0o600)
    path.write_text(pem)
    return str(path)


def _no_password() -> str:
    # Without this the library would ask on the terminal, and wait.
    raise ValueError("the key is encrypted; give it without a password")
