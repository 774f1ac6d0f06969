"""Telling humans: what they are told, and the ways of telling.

Belongs here: messages, and their delivery. Does not belong here: deciding when to tell.
"""
