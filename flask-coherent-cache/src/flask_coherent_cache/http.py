"""HTTP's rules for caches (RFC 9110, RFC 9111)."""

from typing import Any

from flask import Response


def withdraw_public(headers: Any) -> None:
    control = ", ".join(headers.getlist("Cache-Control"))
    parts = [p.strip() for p in control.split(",") if p.strip()]
    kept = [
        p
        for p in parts
        if p.lower() not in ("public", "private") and not p.lower().startswith("s-maxage")
    ]
    headers["Cache-Control"] = ", ".join(["private", *kept])


def conditional(environ: Any, response: Response) -> None:
    response.make_conditional(environ)
