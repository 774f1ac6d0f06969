"""A new model beside the old one: how requests are split, and whether it may stay.

Belongs here: weights, samples, gates and their statistics. Does not belong here: setting a weight to zero because of a
verdict, which is UICI's to do.
"""
