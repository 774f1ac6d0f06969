"""What stands between UICI and an engine on another machine: certificates made by openssl, and an sshd of our own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.real.components import free_port
from tests.real.process import tail

_START_SECONDS = 20.0


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of the tests' own."""

    def __init__(self, folder: Path, name: str = "uici-test-ca") -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.pair = Pair(folder / "ca.pem", folder / "ca-key.pem")
        self._openssl("req", "-x509", *_KEY, "-keyout", self.pair.key, "-out", self.pair.certificate, "-subj",
                      f"/CN={name}", "-days", "2")  # fmt: skip

    @property
    def file(self) -> str:
        """The authority's own certificate."""
        return str(self.pair.certificate)

    def issue(self, name: str, *, host: str = "", expired: bool = False) -> Pair:
        """A certificate: of a server that is called `host` (`IP:…` or `DNS:…`), else of a client."""
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")
        request, more = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        usage = "serverAuth" if host else "clientAuth"
        more.write_text(f"extendedKeyUsage={usage}\n" + (f"subjectAltName={host}\n" if host else ""))
        self._openssl("req", *_KEY, "-keyout", pair.key, "-out", request, "-subj", f"/CN={name}")
        # Negative days end before they begin: expired the moment it is made.
        self._openssl("x509", "-req", "-in", request, "-CA", self.pair.certificate, "-CAkey", self.pair.key,
                      "-CAcreateserial", "-days", "-1" if expired else "2", "-extfile", more,
                      "-out", pair.certificate)  # fmt: skip
        return pair

    @staticmethod
    def _openssl(*arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class SshServer:
    """An sshd on a free port of 127.0.0.1 with keys of its own; `identity` may log in, `stranger` may not."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, mode=0o700)
        self.folder = folder
        self.port = free_port()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.identity, self.stranger = self._key("identity"), self._key("stranger")
        self.known_hosts = folder / "known_hosts"
        self._host_key = self._key("host")
        self.log = folder / "sshd.log"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "authorized_keys").write_text(self.identity.with_suffix(".pub").read_text())
        self.know(self._host_key)
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self._host_key}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {folder / 'authorized_keys'}\nPasswordAuthentication no\nStrictModes no\n"
            "KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\nMaxStartups 100\nMaxSessions 50\n"
        )

    @property
    def url(self) -> str:
        """Without the place of the engine's socket."""
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        """A connection's `ssh` with which it can be reached."""
        # No file of the user who runs the tests has a say.
        return {"identity": str(self.identity), "known_hosts": str(self.known_hosts), "config": "/dev/null"}

    def know(self, key: Path) -> None:
        """Write `key` as the host's into known_hosts."""
        kind, text = key.with_suffix(".pub").read_text().split()[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {kind} {text}\n")

    def start(self) -> None:
        """Start it and return when it answers."""
        Path("/run/sshd").mkdir(exist_ok=True)  # where it is separated from its privileges
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
        assert program is not None
        argv = [program, "-D", "-e", "-f", str(self.folder / "sshd_config")]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"sshd did not start:\n{tail(self.log)}") from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End it; sessions go on."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def _key(self, name: str) -> Path:
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=60)
        return path
