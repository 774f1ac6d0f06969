"""UICI heals services: from an alert to a guarded, durable and verified remedy.

Belongs here: everything that is not specific to one platform. Does not belong here: what names a vendor's SDK; that
lives in `executors`, which `uici` never imports by name.
"""
