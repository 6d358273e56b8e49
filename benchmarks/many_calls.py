"""Counts what 50 memoized calls in one request depend on.

Usage: python benchmarks/many_calls.py

The last line is JSON: how many tags an entry has at most, and how many entries drop when one of
the products changes. The database is one that the shop has been filled into.
"""

import json
from importlib import import_module

from starting import package

CALLS, CHANGED = range(1, 51), 40


def main() -> None:
    """Make the entries, look at them, and write."""
    app = import_module(package()).create_app()
    function = import_module(f"{package()}.catalog.queries").product
    product = import_module(f"{package()}.catalog.models").Product
    (cache,) = app.extensions["cache"]
    session = app.extensions["sqlalchemy"].session
    with app.test_request_context("/"):
        for number in CALLS:
            function(number)
    with app.app_context():
        keys = [function.make_cache_key(function.uncached, number) for number in CALLS]
        before = cache.engine.inspect(keys)
    if {found.state for found in before} != {"fresh"}:
        raise SystemExit("benchmark: the entries are not there")
    with app.app_context():
        session.get(product, CHANGED).stock += 1
        session.commit()
        after = cache.engine.inspect(keys)
    tags = max(len(found.entry.tags) for found in before)
    print(json.dumps({"tags": tags, "drops": sum(found.state != "fresh" for found in after)}))


if __name__ == "__main__":
    main()
