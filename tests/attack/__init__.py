"""Attacks: each test is one and fails without what stops it; docs/threat-model.md says what stops which."""
