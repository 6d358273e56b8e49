"""Types that an application teaches the keys: what ``cache.key_for`` registers."""

from collections.abc import Callable
from typing import Any, TypeVar

from .classes import UnstableArgument, full_name
from .encoding import OtherTypes, is_known, stable_text

F = TypeVar("F", bound=Callable[..., Any])


class RegisteredTypes:
    """Types whose values a function of the owner's turns into what can be written."""

    def __init__(self) -> None:
        self._by_type: dict[type, tuple[Callable[[Any], Any], bool]] = {}

    def registering(self, kind: type, *, subclasses: bool) -> Callable[[F], F]:
        """Return a decorator that registers a function for a type.

        :raises TypeError: for what is no type, and for a type whose text is known.
        """
        if not isinstance(kind, type):
            raise TypeError(f"cache.key_for takes a type: {kind!r} is none.")
        if is_known(kind) or kind in (object, type):
            raise TypeError(f"cache.key_for: {full_name(kind)} cannot be registered.")

        def register(function: F) -> F:
            if not callable(function):
                raise TypeError(
                    f"cache.key_for({kind.__name__}) takes a function, not {function!r}."
                )
            # A class that was defined again, as in a factory, replaces the older one.
            for other in [each for each in self._by_type if full_name(each) == full_name(kind)]:
                del self._by_type[other]
            self._by_type[kind] = function, subclasses
            return function

        return register

    def text(self, value: Any, others: OtherTypes | None = None) -> str | None:
        """Write a value of a registered type; ``None`` for any other.

        A subclass may hold more than the function knows of, so it needs one of its own, or a
        registration that says ``subclasses=True``.

        :raises UnstableArgument: where the function returns what has no text.
        """
        kind = type(value)
        for base in kind.__mro__ if self._by_type else ():
            function, subclasses = self._by_type.get(base, (None, False))
            if function is not None and (base is kind or subclasses):
                break
        else:
            return None
        name = full_name(kind)
        returned = function(value)
        if returned is None or returned is value:
            what = "nothing" if returned is None else "the object itself"
            raise UnstableArgument(
                f"is a {name}, for which the function of cache.key_for returns {what}: "
                "return plain data that tells its values apart"
            )
        try:
            return f"{name}[{stable_text(returned, others or self.text)}]"
        except UnstableArgument as error:
            raise UnstableArgument(
                f"is a {name}, for which the function of cache.key_for returns what {error}"
            ) from None
