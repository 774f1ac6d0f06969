"""The way of a state from an older schema to this version's.

Belongs here: one module for each schema, with what changes from the one before it; the order in which they are carried
out, and what makes that safe: one migrates while the others wait, a backup first, one transaction. Does not belong
here: the tables as they are now (`uici.store`), which a migration never imports, because they go on changing.
"""

from uici.store.migrations.upgrading import bring_up_to_date, read_versions, refuse_newer, version_of
from uici.store.migrations.versions import Migration, StateSchema

__all__ = ["Migration", "StateSchema", "bring_up_to_date", "read_versions", "refuse_newer", "version_of"]
