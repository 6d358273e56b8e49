"""`flask cache doctor`: what is wrong, and how to fix it."""

from flask import current_app

from .. import doctor as checks
from ..current import cache
from .base import group, json_option, quiet_logging, wait_option, write
from .terminal import wrapped


@group.command("doctor", epilog="Exit codes: 0 no problem, 1 problems found, 2 wrong usage.")
@wait_option
@json_option
def doctor(wait: float, json: bool) -> None:
    """Find what is wrong, and say how to fix it.

    It checks the settings, the cache server and the running processes.

    It writes a few keys of its own, and deletes them. `advice` is a warning and no problem;
    `unknown` is what could not be checked.
    """
    with quiet_logging():
        findings = list(checks.examine(current_app, cache, wait))
    problems = sum(finding.severity == "problem" for finding in findings)
    texts = []
    for finding in findings:
        texts.append(wrapped(f"{finding.severity:<9}{finding.check:<13}", finding.what, 22))
        if finding.remedy:
            texts.append(wrapped(" " * 22 + "-> ", finding.remedy, 25))
    texts.append(f"\n{problems or 'No'} problem{'s' if problems != 1 else ''} found.")
    write(json, {"problems": problems, "findings": findings}, *texts, ok=not problems)
