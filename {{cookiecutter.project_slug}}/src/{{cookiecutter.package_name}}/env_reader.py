"""A reader of settings that says in words what is wrong with each, and what to use instead."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from environs import Env, EnvValidationError, ValidationError

#: Secret settings: no message shows their values.
HIDDEN = {"SECRET_KEY", "SECRET_KEY_FALLBACKS", "API_TOKEN", "OPS_TOKEN", "DATABASE_URL"}

Accepts = Callable[[Any], bool]


def matches(pattern: str) -> Accepts:
    """Return a function that tells whether a text is what a regular expression describes."""
    return lambda text: re.fullmatch(pattern, text, re.ASCII) is not None


class SettingsReader(Env):
    """environs' reader, on a mapping; `found` collects the values that were read."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        """Read from `source`."""
        super().__init__(eager=False)
        self.found: dict[str, Any] = {}
        self._source = source
        self._remedies: dict[str, str] = {}

    def _get_value(self, env_key: str, default: Any) -> Any:
        return self._source.get(env_key, default)

    def _read(
        self, kind: Any, name: str, default: Any, remedy: str, accepts: Accepts, **more: Any
    ) -> Any:
        def check(value: Any) -> None:
            if not accepts(value):
                raise ValidationError(remedy)

        self._remedies[name] = remedy
        self.found[name] = kind(name, default, validate=check, **more)
        return self.found[name]

    def whole(self, name: str, default: int | None, least: int, most: int) -> Any:
        """Read a whole number between two bounds."""
        remedy = f"a whole number from {least} to {most}"
        return self._read(self.int, name, default, remedy, lambda value: least <= value <= most)

    def seconds(self, name: str, default: float, least: float, most: float) -> Any:
        """Read a number of seconds between two bounds."""
        remedy = f"a number of seconds from {least} to {most}"
        return self._read(self.float, name, default, remedy, lambda value: least <= value <= most)

    def flag(self, name: str, default: bool) -> Any:
        """Read a truth value."""
        return self._read(self.bool, name, default, "true or false", lambda _: True)

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> Any:
        """Read one of a few words."""
        return self.text(name, default, f"one of {', '.join(choices)}", choices.__contains__)

    def text(self, name: str, default: Any, remedy: str, accepts: Accepts = bool) -> Any:
        """Read a text that `accepts` does not refuse."""
        return self._read(self.str, name, default, remedy, accepts)

    def texts(self, name: str, default: Any, remedy: str, accepts: Accepts) -> Any:
        """Read a list of texts, separated by commas, none of which `accepts` refuses."""
        return self._read(
            self.list, name, default, remedy, lambda items: all(map(accepts, items)),
            subcast=str.strip,
        )  # fmt: skip

    def problems(self) -> list[str]:
        """Say in words what is wrong with each setting that was read."""
        try:
            self.seal()
        except EnvValidationError as error:
            return [self._problem(name) for name in error.error_messages]
        return []

    def _problem(self, name: str) -> str:
        value = self._source.get(name)
        shown = value if isinstance(value, int | float) else ascii(str(value)[:80])
        found = "will not do (its value is not shown)" if name in HIDDEN else f"is {shown}"
        return f"{name} {'is not set' if value is None else found}: use {self._remedies[name]}."
