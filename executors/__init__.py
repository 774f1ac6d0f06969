"""Adapters of platforms, one package each: `local` (processes under supervisord) and `docker`.

Belongs here: what names a platform's SDK or protocol, with the settings, the calls and their proofs beside it; and in
modules of its own what every platform does alike (probes, diagnostics, snapshots, a load balancer's runtime API). Does
not belong here: what should be done or whether it may be done; only `uici.model` and `uici.ports` are imported.
"""
