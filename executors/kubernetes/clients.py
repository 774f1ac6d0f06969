"""The official SDK's credentials and connection pool. The SDK is imported with the first connection."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

from executors.kubernetes.settings import KubernetesSettings
from uici.model.call import CallError, FailureKind

_POOL = 16
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_SECONDS = 60.0


class Client:
    """One way to one API server: its address, a pool of connections, and the credentials of the moment."""

    def __init__(self, configuration: Any, namespace: str, source: str) -> None:
        self.configuration = configuration
        self.namespace = namespace
        """Of objects whose binding names none."""
        self.source = source
        """Where the credentials come from, for people."""
        configuration.connection_pool_maxsize = _POOL
        self._api: Any = importlib.import_module("kubernetes.client").ApiClient(configuration)
        self._refreshing = threading.Lock()

    @property
    def host(self) -> str:
        """The API server's address, without a slash at its end."""
        return str(self.configuration.host).rstrip("/")

    @property
    def pool(self) -> Any:
        """urllib3's manager of connections, with TLS as configured."""
        return self._api.rest_client.pool_manager

    def headers(self) -> dict[str, str]:
        """What authenticates a request; expired credentials are renewed here."""
        headers: dict[str, str] = {}
        with self._refreshing:
            self._api.update_params_for_auth(headers, [], ["BearerToken"])
        return headers

    def close(self) -> None:
        """Close all connections."""
        self.pool.clear()
        self._api.close()


def new_client(settings: KubernetesSettings, environment: str, environ: Mapping[str, str] = os.environ) -> Client:
    """A client of the way that the settings name; nothing is sent yet.

    Raises CallError(PERMANENT): `kubernetes_sdk_missing`, `bad_credentials`.
    """
    try:
        sdk: Any = importlib.import_module("kubernetes")
    except ImportError:
        raise CallError(
            FailureKind.PERMANENT,
            "kubernetes_sdk_missing",
            f"environment {environment!r} needs the Kubernetes SDK, which is not installed: "
            "pip install 'uici[kubernetes]'",
        ) from None
    try:
        if settings.server is not None:
            return _by_address(sdk, settings)
        if settings.in_cluster:
            return _in_cluster(sdk, settings)
        return _by_default(sdk, settings, environ)
    except (sdk.config.ConfigException, OSError, ValueError, UnicodeError) as error:
        # The SDK's messages name keys of the file and paths, never values.
        reason = f"{error.strerror} {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
        raise CallError(
            FailureKind.PERMANENT,
            "bad_credentials",
            f"the connection of environment {environment!r} has no usable credentials, because {reason[:300]}; correct "
            "connection.kubeconfig, connection.context, connection.in_cluster or connection.server",
        ) from None


def _by_default(sdk: Any, settings: KubernetesSettings, environ: Mapping[str, str]) -> Client:
    if settings.kubeconfig is not None:
        places = os.path.expanduser(settings.kubeconfig)
    else:
        places = environ.get("KUBECONFIG") or os.path.expanduser("~/.kube/config")
    is_there = any(Path(place).is_file() for place in places.split(os.pathsep) if place)
    in_a_pod = "KUBERNETES_SERVICE_HOST" in environ
    if not is_there and in_a_pod and settings.kubeconfig is None and settings.context is None:
        return _in_cluster(sdk, settings)
    if not is_there:
        raise FileNotFoundError(2, "there is no kubeconfig at", places)
    configuration = sdk.client.Configuration()
    sdk.config.load_kube_config(
        config_file=places, context=settings.context, client_configuration=configuration, persist_config=False
    )
    contexts, current = sdk.config.list_kube_config_contexts(places)
    wanted = settings.context or current["name"]
    context: dict[str, Any] = next((one["context"] for one in contexts if one["name"] == wanted), {})
    if not configuration.api_key and not configuration.cert_file:
        _refuse_failed_plugin(sdk, places, str(context.get("user")))
    if configuration.refresh_api_key_hook is not None:
        configuration.refresh_api_key_hook = _seldom(configuration.refresh_api_key_hook)
    namespace = settings.namespace or context.get("namespace") or "default"
    return Client(configuration, str(namespace), f"context {wanted!r} of {places}")


def _refuse_failed_plugin(sdk: Any, places: str, name: str) -> None:
    """Raise what the user's credential plugin says, which the SDK only logs: it would go on as nobody."""
    config = sdk.config.kube_config.KubeConfigMerger(places).config
    user = config["users"].get_with_name(name, safe=True) if "users" in config else None
    if user is None or "exec" not in user["user"]:
        return
    importlib.import_module("kubernetes.config.exec_provider").ExecProvider(user["user"]["exec"], None).run()
    raise sdk.config.ConfigException(f"the credential plugin of the user {name!r} gave nothing at first; try again")


def _seldom(renew: Callable[[Any], None]) -> Callable[[Any], None]:
    """The SDK's own renewal, at most once a minute.

    It takes what expires within five minutes for expired, which a token of Oracle Cloud does from its first moment: it
    would run the plugin before every request.
    """
    renewed_at = monotonic()

    def refresh(configuration: Any) -> None:
        nonlocal renewed_at
        if monotonic() - renewed_at >= _TOKEN_SECONDS:
            renew(configuration)
            renewed_at = monotonic()

    return refresh


def _in_cluster(sdk: Any, settings: KubernetesSettings) -> Client:
    configuration = sdk.client.Configuration()
    sdk.config.load_incluster_config(client_configuration=configuration)
    # What stands in a pod reaches its API server directly.
    configuration.proxy = None
    own = Path(_ACCOUNT, "namespace")
    namespace = settings.namespace or (own.read_text().strip() if own.is_file() else "") or "default"
    return Client(configuration, namespace, "the pod's own service account")


def _by_address(sdk: Any, settings: KubernetesSettings) -> Client:
    configuration = sdk.client.Configuration(host=settings.server)
    configuration.ssl_ca_cert = _existing(settings.ca_file)
    configuration.cert_file = _existing(settings.client_certificate_file)
    configuration.key_file = _existing(settings.client_key_file)
    configuration.verify_ssl = not settings.insecure_skip_tls_verify
    source = "connection.server"
    if settings.token is not None:
        configuration.api_key["BearerToken"] = f"Bearer {settings.token.strip()}"
        source += " with connection.token"
    elif settings.token_file is not None:
        refresh = _token_reader(os.path.expanduser(settings.token_file))
        refresh(configuration)
        configuration.refresh_api_key_hook = refresh
        source += " with connection.token_file"
    return Client(configuration, settings.namespace or "default", source)


def _existing(path: str | None) -> str | None:
    if path is None:
        return None
    expanded = os.path.expanduser(path)
    with open(expanded, "rb"):  # raises OSError with the path, which TLS would not name
        return expanded


def _token_reader(path: str) -> Callable[[Any], None]:
    """Sets the token that stands in the file, read again once a minute: service accounts' tokens are renewed there."""
    read_at = -_TOKEN_SECONDS

    def refresh(configuration: Any) -> None:
        nonlocal read_at
        if monotonic() - read_at < _TOKEN_SECONDS:
            return
        token = Path(path).read_text(encoding="ascii").strip()
        if not token:
            raise ValueError(f"the token file {path} is empty")
        configuration.api_key["BearerToken"] = f"Bearer {token}"
        read_at = monotonic()

    return refresh
