"""An API server of Kubernetes of a test's own: etcd and kube-apiserver, nothing that runs pods. As envtest does it."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.real.components import control_plane_programs, free_port
from tests.waiting import until
from uici.model.base import JsonObject

_ADMIN = "the-token-of-the-admin"
_PEM = serialization.Encoding.PEM
_TEXT = (_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class ControlPlane:
    """Use it as a context. `webhook` is asked who a bearer token is of that the API server does not know."""

    def __init__(self, folder: Path, webhook: str) -> None:
        programs = control_plane_programs()
        assert programs is not None, "mark the test: @pytest.mark.component('control-plane')"
        self._programs = programs
        self._folder = folder
        self._webhook = webhook
        self._running: list[subprocess.Popen[bytes]] = []
        self._etcd, self._etcd_peer, port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{port}"
        self.authority = folder / "authority.crt"

    def __enter__(self) -> ControlPlane:
        self._write_keys()
        etcd, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._etcd_peer}"
        try:
            self._start(
                "etcd", "--name", "test", "--data-dir", str(self._folder / "etcd"), "--listen-client-urls", etcd,
                "--advertise-client-urls", etcd, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", f"test={peer}",
            )  # fmt: skip
            self._start(
                "kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1",
                "--secure-port", self.url.rpartition(":")[2], "--advertise-address", "192.0.2.1",
                "--tls-cert-file", str(self.authority), "--tls-private-key-file", self._file("server.key"),
                "--token-auth-file", self._file("tokens.csv"), "--authorization-mode", "RBAC",
                "--service-account-issuer", "https://kubernetes.default.svc",
                "--service-account-key-file", self._file("accounts.pub"),
                "--service-account-signing-key-file", self._file("accounts.key"),
                "--authentication-token-webhook-config-file", self._file("webhook.json"),
                "--authentication-token-webhook-version", "v1", "--authentication-token-webhook-cache-ttl", "1s",
                "--cert-dir", str(self._folder), "--service-cluster-ip-range", "10.96.0.0/16",
            )  # fmt: skip
            until(self._ready, "the API server is ready", self._said)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in self._running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def apply(self, *things: JsonObject) -> None:
        """Make objects, as an admin."""
        listed = {"apiVersion": "v1", "kind": "List", "items": list(things)}
        self._kubectl("apply", "-f", "-", stdin=json.dumps(listed))

    def get(self, *arguments: str) -> JsonObject:
        """`kubectl get` as JSON, as an admin."""
        found: JsonObject = json.loads(self._kubectl("get", *arguments, "-o", "json"))
        return found

    def kubeconfig(self, user: JsonObject) -> Path:
        """A kubeconfig for this server, as `user`."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority": str(self.authority)}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path = self._folder / f"kubeconfig-{len(list(self._folder.glob('kubeconfig-*')))}"
        path.write_text(json.dumps(document))
        return path

    def _kubectl(self, *arguments: str, stdin: str = "") -> str:
        argv = ["kubectl", "--server", self.url, "--certificate-authority", str(self.authority), "--token", _ADMIN]
        home = {**os.environ, "HOME": str(self._folder), "KUBECONFIG": "/dev/null"}
        done = subprocess.run(
            [*argv, *arguments], input=stdin, env=home, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _ready(self) -> bool:
        for process in self._running:
            assert process.poll() is None, f"{process.args!r} ended: {self._said()}"
        try:
            # Its first objects are made a moment after it says that it is ready.
            self._kubectl("get", "clusterrole", "cluster-admin", "-o", "name")
        except AssertionError:
            return False
        return True

    def _said(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self._folder.glob("*.log"))

    def _start(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            self._running.append(
                subprocess.Popen(
                    [str(self._programs / program), *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def _file(self, name: str) -> str:
        return str(self._folder / name)

    def _write_keys(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the test's API server")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(key, hashes.SHA256())
        )
        self.authority.write_bytes(certificate.public_bytes(_PEM))
        accounts = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = accounts.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        Path(self._file("server.key")).write_bytes(key.private_bytes(*_TEXT))
        Path(self._file("accounts.key")).write_bytes(accounts.private_bytes(*_TEXT))
        Path(self._file("accounts.pub")).write_bytes(public)
        Path(self._file("tokens.csv")).write_text(f'{_ADMIN},admin,1,"system:masters"\n')
        asking = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "oracle", "cluster": {"server": self._webhook}}],
            "users": [{"name": "server", "user": {}}],
            "contexts": [{"name": "x", "context": {"cluster": "oracle", "user": "server"}}],
            "current-context": "x",
        }
        Path(self._file("webhook.json")).write_text(json.dumps(asking))
