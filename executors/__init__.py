"""Adapters of platforms: `local` (processes under supervisord) and `docker`. They import only `uici.model` and `uici.ports`."""
