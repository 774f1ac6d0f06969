"""Requests of tests to servers of this machine."""

from __future__ import annotations

import httpx

web = httpx.Client(trust_env=False, verify=False, limits=httpx.Limits(max_keepalive_connections=0))
"""One for all: each new client reads the authorities of the whole world, which takes longer than any of its requests.
No connection is kept, because servers come and go.
"""
