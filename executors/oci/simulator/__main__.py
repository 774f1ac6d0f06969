"""Run a simulator until SIGINT or SIGTERM: `python -m executors.oci.simulator --state FOLDER --port 0`."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from pathlib import Path

from executors.oci.simulator import Simulator


def main() -> int:
    """Print one line of JSON that says where it listens, then serve."""
    parser = argparse.ArgumentParser(prog="python -m executors.oci.simulator", description=__doc__)
    parser.add_argument("--state", type=Path, required=True, help="folder that keeps the simulated cloud")
    parser.add_argument("--port", type=int, default=0, help="of the API; 0 takes a free one")
    parser.add_argument("--admin-port", type=int, default=0, help="of the admin channel; 0 takes a free one")
    parser.add_argument("--speed", type=float, default=20.0, help="divides all durations of the real services")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="oci simulator: %(message)s", stream=sys.stderr)
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with Simulator(asked.state, port=asked.port, admin_port=asked.admin_port, speed=asked.speed) as simulator:
        sys.stdout.write(json.dumps(simulator.describe()) + "\n")
        sys.stdout.flush()
        signal.sigwait(ending)
    return 0


if __name__ == "__main__":
    sys.exit(main())
