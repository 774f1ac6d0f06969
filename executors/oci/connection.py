"""The way to Oracle Cloud: who UICI is there, one client for each service, made when it is first needed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from executors.oci import failures
from executors.oci.settings import OciSettings
from uici.model.base import JsonObject, JsonValue
from uici.model.call import CallError, FailureKind

CLIENTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "containers": ("container_instances", "ContainerInstanceClient"),
        "compute": ("core", "ComputeClient"),
        "pools": ("core", "ComputeManagementClient"),
        "network": ("core", "VirtualNetworkClient"),
        "work": ("work_requests", "WorkRequestClient"),
        "agent": ("compute_instance_agent", "ComputeInstanceAgentClient"),
        "functions": ("functions", "FunctionsManagementClient"),
        "function_work": ("functions", "WorkRequestManagementClient"),
        "balancer": ("load_balancer", "LoadBalancerClient"),
        "monitoring": ("monitoring", "MonitoringClient"),
        "logs": ("loggingsearch", "LogSearchClient"),
    }
)
_MOST_PAGES = 200


class Answer:
    """One answer: its data as plain JSON, and the headers that matter."""

    def __init__(self, response: Any) -> None:
        import oci

        self.raw = response.data
        self.status = int(response.status)
        self.headers = {str(name).lower(): str(value) for name, value in dict(response.headers or {}).items()}
        self.data: JsonValue = oci.util.to_dict(response.data) if _is_model(response.data) else response.data

    @property
    def content(self) -> bytes:
        """The body of an answer that is no JSON: a stream, bytes or text."""
        data = self.raw
        if isinstance(data, str):
            return data.encode("utf-8", "surrogatepass")
        return bytes(data.content if hasattr(data, "content") else data)

    @property
    def etag(self) -> str | None:
        """For `if-match`."""
        return self.headers.get("etag")

    @property
    def work_request(self) -> str | None:
        """The OCID of the work that goes on after this answer."""
        return self.headers.get("opc-work-request-id")

    @property
    def at(self) -> datetime | None:
        """The service's own time."""
        try:
            return parsedate_to_datetime(self.headers["date"])
        except (KeyError, ValueError):
            return None


class Cloud:
    """One region, as one identity. Safe for several threads."""

    def __init__(self, settings: OciSettings, environment: str) -> None:
        self.settings = settings
        self.environment = environment
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str], Any] = {}
        self._known: tuple[JsonObject, Any] | None = None

    @property
    def where(self) -> str:
        """What messages call it."""
        place = self.settings.endpoint or self.settings.region or "its own region"
        return f"Oracle Cloud ({place}, environment {self.environment!r})"

    def compartment(self, given: str | None = None) -> str:
        """Where to look. Raises CallError(PERMANENT, `no_compartment`) when nobody says."""
        config, signer = self._credentials()
        found = given or self.settings.compartment or config.get("tenancy") or getattr(signer, "tenancy_id", None)
        if not found:
            raise CallError(
                FailureKind.PERMANENT,
                "no_compartment",
                f"no compartment is known for {self.where}; set connection.compartment, or compartment in the binding",
            )
        return str(found)

    def region(self) -> str:
        """The region that is spoken to."""
        config, signer = self._credentials()
        return str(config.get("region") or getattr(signer, "region", None) or "unknown")

    def signer(self) -> Any:
        """The SDK's signer of requests. Raises CallError(PERMANENT) without SDK or credentials."""
        return self._credentials()[1]

    def claims(self) -> dict[str, str]:
        """What the token of a resource principal says of the resource that UICI runs in; empty for others."""
        if self.settings.auth.kind != "resource_principal":
            return {}
        signer = self.signer()
        found = {name: signer.get_claim(name) for name in ("res_id", "res_compartment")}
        return {name: str(text) for name, text in found.items() if text}

    def ask(self, service: str, operation: str, *arguments: Any, **options: Any) -> Answer:
        """Look; the SDK's own strategy asks again where that makes sense. Raises CallError."""
        return self.send(*CLIENTS[service], operation, arguments, options, mutates=False)

    def find(self, service: str, operation: str, *arguments: Any, **options: Any) -> Answer | None:
        """As `ask`; None when there is no such thing, or none that may be seen."""
        try:
            return self.ask(service, operation, *arguments, **options)
        except CallError as error:
            if error.code == "oci_not_found":
                return None
            raise

    def all(self, service: str, operation: str, *arguments: Any, **options: Any) -> list[JsonObject]:
        """Every item of a list, page after page. Raises CallError."""
        found: list[JsonObject] = []
        page: str | None = None
        for _ in range(_MOST_PAGES):
            answer = self.ask(service, operation, *arguments, **options, **({"page": page} if page else {}))
            data = answer.data
            found += data["items"] if isinstance(data, dict) and "items" in data else data
            page = answer.headers.get("opc-next-page")
            if not page:
                return found
        raise CallError(
            FailureKind.PERMANENT,
            "oci_too_much",
            f"{self.where} has more than {_MOST_PAGES} pages for {operation}; name a smaller compartment",
        )

    def tell(self, service: str, operation: str, *arguments: Any, **options: Any) -> Answer:
        """Change something; sent once. Raises CallError."""
        given = {name: value for name, value in options.items() if value is not None}
        return self.send(*CLIENTS[service], operation, arguments, given, mutates=True)

    def send(
        self,
        package: str,
        client: str,
        operation: str,
        arguments: tuple[Any, ...],
        options: Mapping[str, Any],
        *,
        mutates: bool,
    ) -> Answer:
        """Any method of any client. Raises CallError."""
        method: Callable[..., Any] = getattr(self.client(package, client), operation)
        doing = f"{package}.{operation}"
        import oci

        strategy = oci.retry.NoneRetryStrategy() if mutates else self._patience()
        try:
            return Answer(method(*arguments, **options, retry_strategy=strategy))
        except Exception as error:
            told = failures.translated(error, doing, self.where, mutates=mutates)
            if told.code == "oci_not_authenticated":
                self.close()  # a renewed key or token is found by the next call
            raise told from None

    def client(self, package: str, client: str) -> Any:
        """The client, made now if it was not yet. Raises CallError(PERMANENT) without SDK or credentials."""
        with self._lock:
            made = self._clients.get((package, client))
        if made is not None:
            return made
        config, signer = self._credentials()
        import importlib

        import oci

        endpoint = self.settings.endpoints.get(package) or self.settings.endpoint
        kind = getattr(importlib.import_module(f"oci.{package}"), client)
        try:
            made = kind(
                config,
                signer=signer,
                timeout=(self.settings.connect_seconds, self.settings.read_seconds),
                # Whether to try again is decided by the run; a circuit that opens would hide what is so.
                circuit_breaker_strategy=oci.circuit_breaker.NoCircuitBreakerStrategy(),
                allow_control_chars=True,
                **({"service_endpoint": endpoint} if endpoint else {}),
            )
        except Exception as error:
            raise failures.translated(error, f"the client of {package}", self.where, mutates=False) from None
        with self._lock:
            return self._clients.setdefault((package, client), made)

    def close(self) -> None:
        """Forget clients and credentials; the next call makes new ones."""
        with self._lock:
            clients, self._clients, self._known = list(self._clients.values()), {}, None
        for client in clients:
            client.base_client.session.close()

    def _patience(self) -> Any:
        import oci

        # The SDK's default strategy (which errors, which backoff) within the time that a look may take.
        return oci.retry.RetryStrategyBuilder(
            max_attempts=self.settings.attempts,
            total_elapsed_time_seconds=self.settings.read_seconds,
            retry_max_wait_between_calls_seconds=5,
        ).get_retry_strategy()

    def _credentials(self) -> tuple[JsonObject, Any]:
        with self._lock:
            if self._known is None:
                self._known = _made(self.settings)
            return self._known


def token(key: str, purpose: str) -> str | None:
    """`opc-retry-token` of one creation within one sending: the same for its repetitions. None without a key."""
    return hashlib.sha256(f"{key}/{purpose}".encode()).hexdigest() if key else None


def _made(settings: OciSettings) -> tuple[JsonObject, Any]:
    """The SDK's configuration and its signer. Raises CallError(PERMANENT)."""
    try:
        import oci
    except ImportError:
        raise CallError(
            FailureKind.PERMANENT, "oci_sdk_missing", "the package oci is not installed; pip install 'uici[oci]'"
        ) from None
    auth = settings.auth
    what = f"profile {auth.profile!r} of {auth.file}" if auth.kind in ("config_file", "session_token") else auth.kind
    region = {"region": settings.region} if settings.region else {}
    try:
        if auth.kind == "instance_principal":
            at = settings.endpoints.get("auth")
            given = {"federation_endpoint": f"{at}/v1/x509"} if at else {}
            return dict(region), oci.auth.signers.InstancePrincipalsSecurityTokenSigner(**given)
        if auth.kind == "resource_principal":
            return dict(region), oci.auth.signers.get_resource_principals_signer()
        config = {**oci.config.from_file(auth.file, auth.profile), **region}
        if auth.kind == "session_token":
            key = oci.signer.load_private_key_from_file(config["key_file"], config.get("pass_phrase"))
            content = Path(config["security_token_file"]).expanduser().read_text().strip()
            return config, oci.auth.signers.SecurityTokenSigner(content, key)
        oci.config.validate_config(config)
        return config, oci.signer.Signer.from_config(config)
    except Exception as error:
        raise failures.credentials(error, what) from None


def _is_model(data: Any) -> bool:
    return isinstance(data, list) or hasattr(data, "swagger_types")
