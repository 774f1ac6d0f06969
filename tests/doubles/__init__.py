"""Conforming stand-ins for what lies beyond the process."""
