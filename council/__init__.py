"""The council: a self-hosted language-model service in front of any OpenAI-compatible server.

Belongs here: answering requests of the OpenAI API by a cascade of backends, their budgets, memory and canary.
Does not belong here: what UICI decides of alerts and plans. The two speak HTTP only; of `uici` the council uses the
frozen types, the reader of YAML and the references to secrets.
"""
