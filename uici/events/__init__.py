"""What happened, as an ordered log that can be followed.

Belongs here: appending, reading and waiting for events. Does not belong here: telling people (`notify`) and
how events travel over HTTP (`service`).
"""
