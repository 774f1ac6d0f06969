"""HTTP: the OpenAI API and the council's own routes.

Belongs here: reading requests, who may come in, answers and streams as clients know them. Does not belong here: who
answers (`council.routing`), what it may cost (`council.budget`), what is remembered (`council.memory`).
"""
