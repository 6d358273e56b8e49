"""The tags of a view's pages, and the key by which Flask-Caching's users know them."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlencode

from werkzeug.routing import Rule

from .._keys.classes import UnstableArgument
from .._keys.encoding import bounded, stable_text


def view_tag(endpoint: str) -> str:
    """The tag of all pages of an endpoint."""
    return f"view:{endpoint.replace('%', '%25').replace('?', '%3F')}"


def unknown_view_tag(endpoint: str) -> str:
    """The tag of the endpoint's pages whose arguments no converter can write."""
    return f"{view_tag(endpoint)}?"


def view_tags(rules: Iterable[Rule], endpoint: str, values: Mapping[str, Any]) -> set[str]:
    """The tags of an endpoint's pages with these arguments, in the form that their URL has.

    :param rules: the rules of the endpoint; each one that takes these arguments gives a tag.
    """
    tags, names = set(), sorted(values)
    for rule in rules:
        if rule.arguments == values.keys():
            try:
                pairs = [_pair(name, _url_text(rule, name, values[name])) for name in names]
            except UnstableArgument:
                continue
            tags.add(bounded(f"{view_tag(endpoint)}?{'&'.join(pairs)}"))
    return tags


def _pair(name: str, text: str) -> str:
    # Most need no encoding, which takes longer than the rest.
    plain = f"{name}{text}".isascii() and text.isalnum() and name.isidentifier()
    return f"{name}={text}" if plain else urlencode({name: text})


def _url_text(rule: Rule, name: str, value: Any) -> str:
    """Write an argument as the rule's converter does."""
    converter = rule._converters.get(name)
    if converter is None:  # The rule itself sets it: defaults={…}.
        return f"={stable_text(value)}"
    try:
        return unquote(converter.to_url(value))
    except Exception as error:  # It is the application's code.
        if isinstance(value, str):
            return value  # As it stands in the URL.
        raise UnstableArgument(f"is no value of the URL's argument {name!r}") from error


def path_key(prefix: str, path: str) -> str:
    """The key by which Flask-Caching's users know the pages of a path."""
    return prefix % path if "%s" in prefix else prefix
