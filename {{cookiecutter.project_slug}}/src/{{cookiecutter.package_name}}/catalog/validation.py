"""What a product sent to the API must be. Every fault is reported, not the first."""

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
    """Check a product's fields.

    :param body: the JSON object that was sent.
    :param categories: the slugs that exist.
    :param partial: a PATCH, which may leave any field out.
    :returns: the values to write, and what is wrong by field.
    """
    rules: dict[str, Callable[[Any], str | None]] = {
        "name": _check_name,
        "slug": _check_slug,
        "price_cents": _check_count,
        "stock": _check_count,
        "category": lambda slug: _check_category(slug, categories),
    }
    values: dict[str, Any] = {}
    errors = _unknown([field for field in body if field not in rules and field not in _READ_ONLY])
    for field, value in body.items():
        if field not in rules:
            continue
        if error := rules[field](value):
            errors[field] = error
        else:
            values[field] = value.strip() if field == "name" else value
    if not partial:
        errors |= dict.fromkeys(_REQUIRED - body.keys(), "is missing")
        if "slug" not in body and "name" in values:
            values["slug"] = slugify(values["name"])
            if not values["slug"]:
                errors["slug"] = "cannot be made from the name; send one"
    return values, dict(sorted(errors.items()))


def _unknown(fields: list[str]) -> dict[str, str]:
    """Report names that no product has: as many, and as much of each, as a person reads."""
    errors = {
        field if len(field) <= _LONGEST_SHOWN else f"{field[:_LONGEST_SHOWN]}…": (
            "is not a field of a product"
        )
        for field in fields[:_MOST_SHOWN]
    }
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
    return (
        "must be lower-case letters a to z and digits, with single dashes between, "
        f"at most {MAX_SLUG_LENGTH}"
    )


def _check_category(value: Any, categories: frozenset[str]) -> str | None:
    if isinstance(value, str) and value in categories:
        return None
    return "must be the slug of a category"


def _check_count(value: Any) -> str | None:
    # In Python, though not in JSON, true is a kind of integer.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER:
        return None
    return f"must be a whole number from 0 to {MAX_INTEGER}"
