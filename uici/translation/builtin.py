"""The calls of verbs without a platform, where callers of the translation look for them."""

from uici.model.builtin import BUILTIN_SPECS, ESCALATE, WAIT, classify_builtin

__all__ = ["BUILTIN_SPECS", "ESCALATE", "WAIT", "classify_builtin"]
