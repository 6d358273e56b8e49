"""The parameters of a function, and which of them the arguments of a call are."""

import inspect
from collections.abc import Iterable
from typing import Any

from .wrappers import takes_anything


class Parameters:
    """The parameters of a function, or of what decorators that hand on all are around.

    :raises TypeError: for a function of C that does not tell.
    """

    def __init__(self, function: Any) -> None:
        try:
            signature = inspect.signature(function, follow_wrapped=False)
        except ValueError:
            raise TypeError(
                f"{function.__qualname__} does not tell what arguments it takes: "
                "write a function (def) that calls it."
            ) from None
        self._signature = inspect.signature(function) if takes_anything(function) else signature
        parameters = self._signature.parameters.values()
        self.names = tuple(parameter.name for parameter in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        self._is_plain = all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)

    def count_as_given(self) -> int:
        """Return how many arguments by position are all of them, in order; -1 if some are not."""
        return len(self.names) if self._is_plain else -1

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        """Name every argument, as ``inspect`` does, which costs more than the rest of a hit.

        :raises TypeError: where the arguments do not fit.
        """
        names, defaults = self.names, self.defaults
        if self._is_plain and not kwargs and len(args) == len(names):
            return zip(names, args, strict=True)
        if self._is_plain and len(args) <= len(names):
            given = defaults | kwargs if kwargs else defaults
            rest = names[len(args) :]
            if not kwargs or kwargs.keys() <= set(rest):
                try:
                    return zip(names, (*args, *[given[name] for name in rest]), strict=True)
                except KeyError:
                    pass  # One is missing: the signature says which.
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments.items()
