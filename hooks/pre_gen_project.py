"""Checks every answer before a file is written, and reports all that is wrong at once."""

import keyword
import re
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

# The only places where cookiecutter renders this file: literals, nothing that Python would run.
ANSWERS = {{cookiecutter | literal}}
STANDARD_MODULES = {{standard_modules}}
TAKEN_MODULES = {{taken_modules}}
TAKEN_DISTRIBUTIONS = {{taken_distributions}}
DEVICES = {{devices}}

# For post_gen_project.py: the folder held files before the project came.
EXISTED = ".cookiecutter-existed"

FREE_TEXT = ("project_name", "description", "author_name")
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
PACKAGE = re.compile(r"[a-z][a-z0-9_]*")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`|~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
LENGTH = 50

# Characters that nobody sees, besides those of category Cf: fillers, joiners and selectors
# (Default_Ignorable_Code_Point in Unicode's DerivedCoreProperties.txt), the empty Braille cell, and
# what is no character at all.
UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e0fff]"
)
EMOJI = "\u00a9\u00ae\u203c-\u3299\U0001f000-\U0001faff"
ARABIC = "\u0620-\u06ff\u0750-\u077f\u08a0-\u08ff"
VIRAMAS = "".join(
    char for char in map(chr, range(0x900, 0x1800)) if unicodedata.combining(char) == 9
)
# Where they are part of what is seen: in an emoji that is joined, styled or a region's flag, and in
# scripts whose letters join (RFC 5892, A.1 and A.2).
SEEN = re.compile(
    f"(?:(?<=[{EMOJI}])|(?<=[{EMOJI}]\ufe0f))\u200d(?=[{EMOJI}])"
    f"|(?<=[#*0-9{EMOJI}])[\ufe0e\ufe0f]"
    "|(?<=\U0001f3f4)[\U000e0030-\U000e0039\U000e0061-\U000e007a]{4,6}\U000e007f"
    f"|(?<=[{VIRAMAS}])[\u200c\u200d]|(?<=[{ARABIC}])[\u200c\u200d](?=[{ARABIC}])"
)


def check_text(value):
    r"""Say what is wrong with a line of free text.

    >>> check_text('Zoë\'s "shop" 🛒')
    >>> check_text("  ")
    'is empty; write a few words'
    >>> check_text("a\nb")
    'holds the control character U+000A; write it on one line, without control characters'
    >>> check_text("a\u202eb")
    'holds U+202E, which cannot be seen; type it anew, without hidden characters'
    """
    if not value.strip():
        return "is empty; write a few words"
    for char in value:
        # Cc: control characters. Cs: half an emoji, which no file in UTF-8 can hold.
        if unicodedata.category(char) in ("Cc", "Cs"):
            return (
                f"holds the control character U+{ord(char):04X}; "
                "write it on one line, without control characters"
            )
    if char := hidden(value):
        return (
            f"holds U+{ord(char):04X}, which cannot be seen; "
            "type it anew, without hidden characters"
        )
    return None


def hidden(value):
    r"""Return the first character that cannot be seen, or that turns what is seen round, or None.

    >>> hidden("👩\u200d💻 क\u094d\u200dष \u0645\u06cc\u200c\u062e")
    >>> hidden("a\u200db")
    '\u200d'
    """
    for char in SEEN.sub("", value):
        if unicodedata.category(char) == "Cf" or UNSEEN.match(char):
            return char
    return None


def check_slug(value):
    """Say what is wrong with a slug.

    >>> check_slug("my-flask-app")
    >>> check_slug("My_App")
    'is no slug; use lower-case letters, digits and single dashes inside, such as my-app'
    """
    if len(value) > LENGTH:
        return f"is longer than {LENGTH} characters; shorten it"
    if not SLUG.fullmatch(value) or "--" in value:
        return (
            "is no slug; use lower-case letters, digits and single dashes inside, such as "
            f"{suggestion(value, '-')}"
        )
    if value in DEVICES:
        return f"is the name of a device on Windows; use {value}-app"
    if value in TAKEN_DISTRIBUTIONS:
        return f"is the name of a distribution it depends on; use {value}-app"
    return None


def check_package(value):
    """Say what is wrong with the name of a Python package.

    >>> check_package("shop_front")
    >>> check_package("class")
    'is a keyword of Python; use class_app'
    >>> check_package("json")
    'is a module of the standard library; use json_app'
    """
    if len(value) > LENGTH:
        return f"is longer than {LENGTH} characters; shorten it"
    if not PACKAGE.fullmatch(value):
        return (
            "is no package name; use lower-case letters, digits and underscores, a letter first, "
            f"such as {suggestion(value, '_')}"
        )
    for names, words in (
        (keyword.kwlist, "a keyword of Python"),
        (DEVICES, "the name of a device on Windows"),
        (STANDARD_MODULES, "a module of the standard library"),
        (TAKEN_MODULES, "a name that the project or a dependency uses itself"),
    ):
        if value in names:
            return f"is {words}; use {value}_app"
    return None


def check_email(value):
    """Say what is wrong with an e-mail address.

    >>> check_email("you@example.com")
    >>> check_email("you at example.com")
    'is no e-mail address; write one such as you@example.com'
    """
    if len(value) > 254 or not EMAIL.fullmatch(value):
        return "is no e-mail address; write one such as you@example.com"
    return None


def suggestion(value, joiner):
    """Return a valid name that is close to `value`."""
    name = joiner.join(re.findall("[a-z0-9]+", value.lower()))[: LENGTH - 8].strip(joiner)
    if not name[:1].isalpha():
        name = f"app{joiner}{name}".strip(joiner)
    taken = {*TAKEN_DISTRIBUTIONS, *TAKEN_MODULES, *DEVICES, *keyword.kwlist}
    return f"{name}{joiner}app" if name in taken else name


CHECKS = {
    **dict.fromkeys(FREE_TEXT, check_text),
    "project_slug": check_slug,
    "package_name": check_package,
    "author_email": check_email,
}


def main():
    """Print every wrong answer to standard error and return the exit status."""
    problems = [
        f"  {key}: {value!r} {problem}."
        for key, check in CHECKS.items()
        for value in [ANSWERS[key]]
        for problem in [check(value)]
        if problem
    ]
    if problems:
        say("\n".join(["Nothing was generated. Please change:", *problems]))
        return 1
    if any(Path().iterdir()):
        Path(EXISTED).touch()
    return 0


def say(text):
    """Print a text to standard error, whatever that can show, if it is there at all."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.reconfigure(errors="backslashreplace")
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
