"""The service that the demo breaks. Standard library only: `python -I service.py NAME PORT`.

It answers /health. POST /hang makes it stop answering while its process lives. `DEMO_COLOUR` is its
configuration: with an unknown colour the first POST /order ends it with EX_CONFIG, a fault that no health check saw.
"""

import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EX_CONFIG = 78
COLOURS = ("green", "blue")
hanging = threading.Event()
ordered = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Answers, unless it hangs."""

    def do_GET(self) -> None:  # the base class gives the name
        """Say that all is well; while hanging, say nothing for a long time."""
        if hanging.is_set():
            time.sleep(600)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok\n")

    def do_POST(self) -> None:  # the base class gives the name
        """Begin to hang, or take an order."""
        (ordered if self.path == "/order" else hanging).set()
        self.send_response(202)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Stay quiet about requests."""


def main(name: str, port: str) -> int:
    """Serve until ended."""
    colour = os.environ.get("DEMO_COLOUR", "green")
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{name} serves on port {port}, colour {colour}\n")
    sys.stdout.flush()
    if colour not in COLOURS:
        ordered.wait()
        sys.stdout.write(f"configuration error: unknown colour {colour!r}, allowed: {', '.join(COLOURS)}\n")
        sys.stdout.flush()
        return EX_CONFIG
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
