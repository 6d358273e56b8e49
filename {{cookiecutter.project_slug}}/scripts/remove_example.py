"""Take the example shop out, and leave an application with one small page.

It asks nothing. It stops if git could not bring back what it deletes, unless --force is given.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
#: The files that take the shop's place; `package` stands for the package in src/.
OVERLAY = PROJECT / "scripts" / "without_example"

DELETED = (
    "src/{package}/account",
    "src/{package}/catalog",
    "src/{package}/migrations/versions/0002_shop.py",
    "src/{package}/static/catalog",
    "src/{package}/templates/account",
    "src/{package}/templates/catalog",
    "tests/account",
    "tests/catalog",
    "scripts/remove_example.py",
    "scripts/without_example",
)

#: File, words, what stands in their place. White space does not count; words that are not found
#: were changed by their owner, and are reported.
EDITS = (
    ("Makefile", "lock up down remove-example", "lock up down"),
    ("Makefile", "migrate, fill empty tables, serve", "migrate, serve"),
    (
        "Makefile",
        "remove-example: install ## take the example shop out, once you have seen it "
        "$(BIN)/python scripts/remove_example.py $(ARGS)",
        "",
    ),
    (
        "compose.yaml",
        "migrates, and fills the example's tables where they are empty.",
        "migrates the database.",
    ),
    ("deploy/prepare_database.py", "used, migrate, seed.", "used, and migrate."),
    (
        "deploy/prepare_database.py",
        "application's database and fill the example's tables where they are empty.",
        "application's database.",
    ),
    (
        "deploy/prepare_database.py",
        "# The example brings the command; without the example there is nothing to fill. "
        'if seed := app.cli.commands.get("seed"): '
        "seed.main(args=[], obj=info, standalone_mode=False)",
        "",
    ),
)

#: File and heading: the section goes, up to the next heading of its level.
SECTIONS = (("README.md", "## The example shop"),)

DONE = """\
The example is gone. What is left is one page, in src/{package}/pages.py.
- src/{package}/blueprints.py was replaced: add blueprints of your own to it again.
- A database that has the shop's tables does not fit any more: delete it (the file in instance/;
  `docker compose down --volumes`), or keep its data elsewhere first.
- The first model's migration, once you have written the model:
    .venv/bin/flask db upgrade
    .venv/bin/flask db migrate --message "first tables"
    make format
- See what changed: git status; git diff"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="whatever git says")
    if not parser.parse_args().force and (reason := what_git_minds()):
        sys.exit(f"{reason} Nothing was changed; --force goes ahead all the same.")
    package = find_package()
    missed = [
        f"- {name}: {words}"
        for name, words, replacement in EDITS
        if not edit(
            PROJECT / name,
            words.replace("{package}", package),
            replacement.replace("{package}", package),
        )
    ]
    missed += [
        f"- {name}: {heading}" for name, heading in SECTIONS if not cut(PROJECT / name, heading)
    ]
    overlay = {path: path.read_bytes() for path in OVERLAY.rglob("*") if path.is_file()}
    for name in DELETED:
        delete(PROJECT / name.replace("{package}", package))
    for path, content in overlay.items():
        first, *rest = path.relative_to(OVERLAY).parts
        folder = PROJECT / "src" / package if first == "package" else PROJECT / first
        write(folder.joinpath(*rest), content)
    print(DONE.format(package=package))
    if missed:
        print(
            "These words of the example were not found; look for what became of them:",
            *missed,
            sep="\n",
        )


def what_git_minds() -> str | None:
    """Say why git could not bring the files back, or `None` if it could."""
    deleted = [name.replace("{package}", find_package()) for name in DELETED]
    try:
        changed = git("status", "--porcelain", "--", ".")
        # Also what an ignore file keeps from being seen as missing in git.
        unknown = git("ls-files", "--others", "--exclude=__pycache__/", "--", *deleted)
    except FileNotFoundError:
        return "git is not installed, so nothing could bring the deleted files back."
    except subprocess.CalledProcessError as error:
        return f"git could not bring the deleted files back. It says: {error.stderr.strip()}"
    if changed or unknown:
        return "There are uncommitted changes; commit them first, so that this can be undone."
    return None


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(  # noqa: S603 - fixed arguments
        command, cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout


def find_package() -> str:
    (package,) = (path.parent.name for path in (PROJECT / "src").glob("*/__init__.py"))
    return package


def edit(path: Path, words: str, replacement: str) -> bool:
    """Replace words however they are wrapped, or with `""` take their lines out; say if found."""
    pattern = r"\s+".join(map(re.escape, words.split()))
    if not replacement:
        pattern = rf"^[ \t]*{pattern}\n?|[ \t]*{pattern}"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    edited, found = re.subn(pattern, lambda _: replacement, text, flags=re.MULTILINE)
    if found:
        path.write_text(edited.rstrip() + "\n", encoding="utf-8", newline="\n")
    return bool(found)


def cut(path: Path, heading: str) -> bool:
    """Take a section out of a Markdown file; say if it was found."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    level = heading.partition(" ")[0]
    pattern = rf"^{re.escape(heading)}\n.*?(?=^{level} |\Z)"
    edited, found = re.subn(pattern, "", text, flags=re.MULTILINE | re.DOTALL)
    if found:
        path.write_text(edited, encoding="utf-8", newline="\n")
    return bool(found)


def delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    main()
