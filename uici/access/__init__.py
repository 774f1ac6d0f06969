"""Who may do what, and where secrets come from.

Belongs here: tokens, roles and their permissions, secret references and their providers. Does not belong
here: HTTP headers (`uici.service`), and the masking of what is shown (`uici.model`).
"""
