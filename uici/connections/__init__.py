"""What connections may cost a server, before anybody has said who they are.

Belongs here: bounds on slow, many and endless connections, the same for every server of this project.
Does not belong here: requests and who may make them (`uici.service`, `council.api`).
"""
