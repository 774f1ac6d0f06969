"""The SDK's way over a unix socket, with one pool for all paths. Imports the SDK: load it with the first connection.

The SDK keeps a pool of connections for every single URL, so it reuses next to none, and it leaves a socket open
whose connect has failed.
"""

from __future__ import annotations

import socket
from typing import Any

import urllib3
from docker.transport import UnixHTTPAdapter
from docker.transport.unixconn import UnixHTTPConnection, UnixHTTPConnectionPool


class OnePoolAdapter(UnixHTTPAdapter):
    """Mounted on the SDK's client in place of its own adapter."""

    def new_pool(self) -> Any:
        """The pool, empty."""
        return _Pool("http+docker://localhost", self.socket_path, self.timeout, maxsize=self.max_pool_size)

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        """The one pool, whatever the path."""
        with self.pools.lock:
            pool = self.pools.get("all")
            if pool is None:
                pool = self.pools["all"] = self.new_pool()
        return pool


class _Connection(UnixHTTPConnection):
    def connect(self) -> None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(self.timeout)
            connection.connect(self.unix_socket)
        except OSError as error:
            connection.close()
            # Whatever it was, a timeout included: nothing has been sent.
            raise urllib3.exceptions.NewConnectionError(self, str(error)) from error
        self.sock = connection


class _Pool(UnixHTTPConnectionPool):
    def _new_conn(self) -> Any:
        # The SDK keeps plain seconds there, unlike the pool it inherits from.
        return _Connection(self.base_url, self.socket_path, self.timeout)  # type: ignore[arg-type] # its stubs say Timeout
