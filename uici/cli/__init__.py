"""The same powers in a terminal.

Belongs here: commands, rendering, exit codes. Everything that changes a service goes through the HTTP API, so a
terminal has no power that a token does not give; only `serve`, `token`, `init`, `check` and the offline preview
work on files. Does not belong here: decisions of any kind, and the HTTP API itself (`uici.service`).
"""


def main() -> None:
    """Entry point of the `uici` command."""
    # Here, so that importing this package costs nothing.
    from uici.model.collecting import uncollected

    with uncollected(to_stay=True):
        from uici.cli.app import app

    app()
