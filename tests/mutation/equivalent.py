"""Mutants that no test can notice, each with the reason. One that is gone, or is noticed after all, fails the test."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str, int], str] = {
    (
        "executors/local/changes.py",
        "ProgramChanges._changing",
        "without `if instance.pid is not None`",
        0,
    ): "no process id equals None, so comparing with it changes nothing; the condition is for the type checker",
    (
        "uici/intake/targeting.py",
        "TargetIndex._self_as",
        "without '' in environment or ''",
        0,
    ): "no environment is called None any more than ''; the text is for the type checker",
    (
        "uici/intake/targeting.py",
        "TargetIndex._names_self",
        "without `if identity.may_begin(labels[label])`",
        0,
    ): "a short cut: what it leaves out is no name of UICI, which the look that follows would find, too",
    (
        "executors/docker/self_guard.py",
        "SelfGuard.check_request",
        "without named in named or container[:12]",
        0,
    ): "which of two names of UICI is told; it is refused by either",
    (
        "executors/local/executor.py",
        "LocalExecutor._refuse_self",
        "without `if instance.pid is not None`",
        0,
    ): "no process id equals None, so comparing with it changes nothing; the condition is for the type checker",
    **{
        (
            "executors/kubernetes/open_guard.py",
            "OpenGuard._reached",
            what,
            0,
        ): "only for the type checker: a create has a body, and what has a namespace has been given one"
        for what in ("without '' in namespace or ''", "without {} in request.body or {}")
    },
}
"""(file, function, what is flipped, which of several of the same words) -> why nothing can tell the difference."""
