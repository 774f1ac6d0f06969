"""Faults of all kinds on several replicas at once, and a checker that proves of the history that nothing went wrong."""
