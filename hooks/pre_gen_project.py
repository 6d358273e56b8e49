"""Checks every answer before a file is written, and reports all that is wrong at once."""

import keyword
import re
import sys
import unicodedata

# The only places where cookiecutter renders this file: literals, nothing that Python would run.
ANSWERS = {{cookiecutter | literal}}
STANDARD_MODULES = {{standard_modules}}
TAKEN_MODULES = {{taken_modules}}
TAKEN_DISTRIBUTIONS = {{taken_distributions}}

FREE_TEXT = ("project_name", "description", "author_name")
SLUG = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
PACKAGE = re.compile(r"[a-z][a-z0-9_]*")
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`|~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
LENGTH = 50


def check_text(value):
    r"""Say what is wrong with a line of free text.

    >>> check_text('Zoë\'s "shop" 🛒')
    >>> check_text("  ")
    'is empty; write a few words'
    >>> check_text("a\nb")
    'holds the control character U+000A; write it on one line, without control characters'
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
    if value in TAKEN_DISTRIBUTIONS:
        return f"is the name of a distribution it depends on; {value}-app would do"
    return None


def check_package(value):
    """Say what is wrong with the name of a Python package.

    >>> check_package("shop_front")
    >>> check_package("class")
    'is a keyword of Python; class_app would do'
    >>> check_package("json")
    'is a module of the standard library; json_app would do'
    """
    if len(value) > LENGTH:
        return f"is longer than {LENGTH} characters; shorten it"
    if keyword.iskeyword(value):
        return f"is a keyword of Python; {value}_app would do"
    if not PACKAGE.fullmatch(value):
        return (
            "is no package name; use lower-case letters, digits and underscores, a letter first, "
            f"such as {suggestion(value, '_')}"
        )
    if value in STANDARD_MODULES:
        return f"is a module of the standard library; {value}_app would do"
    if value in TAKEN_MODULES:
        return f"is a name that the project or a dependency uses itself; {value}_app would do"
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
    taken = name in TAKEN_DISTRIBUTIONS or name in TAKEN_MODULES or keyword.iskeyword(name)
    return f"{name}{joiner}app" if taken else name


CHECKS = {
    **dict.fromkeys(FREE_TEXT, check_text),
    "project_slug": check_slug,
    "package_name": check_package,
    "author_email": check_email,
}


def main():
    """Print every wrong answer to standard error and return the exit status."""
    # A console that cannot show an emoji must not turn a message into a traceback.
    sys.stderr.reconfigure(errors="backslashreplace")
    problems = [
        f"  {key}: {value!r} {problem}."
        for key, check in CHECKS.items()
        for value in [ANSWERS[key]]
        for problem in [check(value)]
        if problem
    ]
    if problems:
        print("Nothing was generated. Please change:", *problems, sep="\n", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
