"""Plans by a model: what it may say, what it is told, how it is asked, and what its answers mean.

Belongs here: everything between an incident's facts and a plan in the closed vocabulary. Does not belong here: whether
the plan may be carried out (`uici.guard`), and gathering the facts or going on with the run (`uici.runs`).
"""
