"""Checks a product that was sent to the API. Every fault is reported, not only the first."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from .models import MAX_INTEGER, MAX_NAME_LENGTH, MAX_SLUG_LENGTH

SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)
#: Fields that the database sets; they may be sent back unchanged, as a GET gave them.
_READ_ONLY = frozenset({"id", "updated_at"})
_MOST_SHOWN = 10
_LONGEST_SHOWN = 60
_REQUIRED = frozenset({"name", "price_cents", "category"})


def slugify(name: str) -> str:
    """Make a slug from a name: ``"Café, 2 cups"`` becomes ``"cafe-2-cups"``; may be empty."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:MAX_SLUG_LENGTH].strip("-")


def validate(
    body: Mapping[str, Any], categories: frozenset[str], *, partial: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the values of a JSON object that can be written, and what is wrong, by field.

    With `partial`, as for a PATCH, any field may be left out.
    """
    rules: dict[str, Callable[[Any], str | None]] = {
        "name": _check_name,
        "slug": _check_slug,
        "price_cents": _check_count,
        "stock": _check_count,
        "category": lambda value: _check_category(value, categories),
    }
    known = {field: value for field, value in body.items() if field in rules}
    errors = {field: error for field, value in known.items() if (error := rules[field](value))}
    values = {field: value for field, value in known.items() if field not in errors}
    if "name" in values:
        values["name"] = values["name"].strip()
    errors |= _unknown([field for field in body if field not in rules.keys() | _READ_ONLY])
    if not partial:
        errors |= dict.fromkeys(_REQUIRED - body.keys(), "is missing")
        if "slug" not in body and "name" in values:
            values["slug"] = slugify(values["name"])
            if not values["slug"]:
                errors["slug"] = "cannot be made from the name; send one"
    return values, dict(sorted(errors.items()))


def _unknown(fields: list[str]) -> dict[str, str]:
    """Report names that no product has: as many, and as much of each, as a person reads."""
    shown = (
        field if len(field) <= _LONGEST_SHOWN else f"{field[:_LONGEST_SHOWN]}…"
        for field in fields[:_MOST_SHOWN]
    )
    errors = dict.fromkeys(shown, "is not a field of a product")
    if len(fields) > _MOST_SHOWN:
        errors["…"] = f"and {len(fields) - _MOST_SHOWN} more are not fields of a product"
    return errors


def _check_name(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "must be a text that is not empty"
    if len(value.strip()) > MAX_NAME_LENGTH:
        return f"must be at most {MAX_NAME_LENGTH} characters"
    # Neither a NUL nor half a surrogate pair, both of which JSON allows, can be stored.
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in value):
        return "must hold no control characters"
    return None


def _check_slug(value: Any) -> str | None:
    if isinstance(value, str) and len(value) <= MAX_SLUG_LENGTH and SLUG.fullmatch(value):
        return None
    return f"must be at most {MAX_SLUG_LENGTH} of a to z and 0 to 9, with single dashes between"


def _check_category(value: Any, categories: frozenset[str]) -> str | None:
    is_one = isinstance(value, str) and value in categories
    return None if is_one else "must be the slug of a category"


def _check_count(value: Any) -> str | None:
    # In Python, though not in JSON, true is a kind of integer.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return None
    return f"must be a whole number from 0 to {MAX_INTEGER}"
