"""UICI's own tables, and the connection to the database that holds them.

Belongs here: the schema, its version, reading and writing transactions. Does not belong here: what the rows
mean (the rooms above know), and the engine's own tables, which the engine keeps in the same database.
"""
