"""The audit log: who decided what, in a chain of entries of which none can be changed unnoticed.

Belongs here: the form of an entry, adding, sealing, cutting off, verifying and exporting. Does not belong here: what is
worth an entry (each room that decides something says so itself, mostly by an event, see `uici.events`).
"""
