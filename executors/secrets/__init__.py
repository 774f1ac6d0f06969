"""Where secrets are kept: Kubernetes Secrets, Oracle Cloud's Vault, HashiCorp Vault.

Belongs here: one provider each, a function from a locator to the value, found by entry point (group `uici.secrets`).
Does not belong here: deadlines, remembering and masking, which `uici.access` does for all of them alike.
"""
