"""Templates: a context that notes which names of context processors a template uses."""

import sys
from typing import Any

from jinja2.runtime import Context
from jinja2.utils import missing

from .._dependencies.dependencies import current_dependencies
from .._dependencies.watching import made_once


@made_once
def context_class(base: Any) -> type[Context]:
    """Make a subclass of an environment's context class that notes what is looked up."""

    class NotingContext(base):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._noticed = current_dependencies().noticed

        def resolve_or_missing(self, key: str) -> Any:
            value = super().resolve_or_missing(key)
            if self._noticed.processors:
                if value is missing:
                    self._noticed.used_unknown()
                else:
                    self._noticed.used(key, value)
            return value

        def get_all(self) -> dict[str, Any]:
            # A template hands all names on to one that it includes, whose own look-ups count.
            if "__jinja_template__" not in sys._getframe(1).f_globals:
                self._noticed.used_all()
            names: dict[str, Any] = super().get_all()
            return names

    NotingContext.__name__ = base.__name__
    return NotingContext
