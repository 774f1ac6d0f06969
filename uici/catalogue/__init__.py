"""The only reader of YAML in uici: where configuration lies, how it is read, and whether it means anything.

Belongs here: locations, reading with positions, overlaying, the three stages of validation, diagnostics, the
starter tree. Does not belong here: what the configuration is used for, vendor SDKs, secrets' values.
"""
