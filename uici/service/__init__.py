"""The HTTP service: what comes in over the network is authenticated, bounded and parsed here.

Belongs here: routes, HTTP authentication, problem details, event streams. Does not belong here: any decision
about what to do or whether it may be done; routes only ask the `Control` that they are given.
"""
