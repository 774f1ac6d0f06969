"""UICI heals services: from an alert to a guarded, durable and verified remedy.

This package holds everything that is not specific to one platform; what names a vendor SDK lives in
`executors`, which `uici` never imports by name.
"""
