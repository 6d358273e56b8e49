"""Finishes a rendered project: makes secrets, starts a repository, says what is next.

It uses the standard library and no network. Cookiecutter deletes the project if a hook fails, so
what cannot be done is said in words, and nothing that is said can fail.
"""

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# The only place where cookiecutter renders this file.
ANSWERS = {{cookiecutter | literal}}

# Folders that stay empty where the answers choose none of their files.
MAYBE_EMPTY = (".github/workflows", ".github")

# Left by pre_gen_project.py in a folder that held files before.
EXISTED = ".cookiecutter-existed"

# Nothing of the machine's or the person's own decides what the first commit holds, or runs in it.
ALONE = {
    "core.attributesFile": "/dev/null",
    "core.autocrlf": "false",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "init.defaultBranch": "main",
    "user.useConfigOnly": "true",  # no commit under a name that Git guessed
}

# Of Git's variables, those that stay: the others are of a hook or a command of another repository.
KEPT = ("GIT_AUTHOR_", "GIT_CEILING_", "GIT_COMMITTER_", "GIT_CONFIG", "GIT_EXEC_PATH")

HELD_FILES = """\
This folder held files before: no repository was made, so that you choose what goes into the first
commit: git init, git add, git commit."""

INSIDE = """\
This folder is inside the Git repository {top}: no other was made. CI, Dependabot and
the hooks of pre-commit work from the root of a repository only. Either move their files there and
put this folder's path into them, or give the project a repository of its own: git init."""

OTHER_OWNER = """\
This folder is inside a Git repository of another owner, which Git does not use: no other was made.
With git init here, the project has one of its own. Git says:
{error}"""

NO_REPOSITORY = """\
No repository was made. Git says:
{error}"""

NO_COMMIT = """\
The repository has no first commit. Git says:
{error}
Once that is solved: git add --all && git commit"""


# How Git says so since 2.35.3, and how it did before.
OWNED_BY_OTHERS = re.compile("dubious ownership|owned by someone else")


class NotDone(Exception):
    """A step was not done. The text says why, and what to do."""


class GitError(Exception):
    """Git failed. The text is what Git itself said."""


def prune(project):
    """Remove the folders in which no file was chosen. What holds a file stays, whoever's it is."""
    for path in MAYBE_EMPTY:
        with suppress(OSError):
            (project / path).rmdir()


def write_env(project):
    """Write `.env` with fresh secrets, as the project itself can do where no hook ran.

    An `.env` that exists is left as it is: it holds the passwords of volumes that exist.
    """
    if (project / ".env").exists():
        return
    command = [sys.executable, project / "scripts" / "make_env.py"]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotDone(f"There is no .env ({error}): make .env makes one.") from error


def start_repository(project):
    """Make a Git repository with a first commit, unless the folder is in one already."""
    held_files = (project / EXISTED).exists()
    (project / EXISTED).unlink(missing_ok=True)
    if (project / ".git").exists():
        return
    check_surroundings(project)
    if held_files:
        raise NotDone(HELD_FILES)
    try:
        git(project, "init", "--quiet", "--template=")
    except GitError as error:
        raise NotDone(NO_REPOSITORY.format(error=error)) from error
    try:
        commit(project)
    except GitError as error:
        raise NotDone(NO_COMMIT.format(error=error)) from error
    finally:
        # Now with the person's own template: its hooks and excludes are for what comes after.
        with suppress(GitError):
            git(project, "init", "--quiet")


def check_surroundings(project):
    """Raise `NotDone` if the folder is inside a repository, or if Git cannot tell."""
    try:
        top = git(project, "rev-parse", "--show-toplevel")
    except FileNotFoundError as error:
        raise NotDone("Git is not installed: no repository was made.") from error
    except GitError as error:
        if "not a git repository" in str(error):
            return
        words = OTHER_OWNER if OWNED_BY_OTHERS.search(str(error)) else NO_REPOSITORY
        raise NotDone(words.format(error=error)) from error
    raise NotDone(INSIDE.format(top=top))


def commit(project):
    """Commit all files, by commands that know no template, no signature and none of its hooks."""
    git(project, "add", "--all")
    tree = git(project, "write-tree")
    first = git(project, "commit-tree", tree, "-m", "First commit")
    git(project, "update-ref", "HEAD", first)


def git(project, *arguments):
    """Run Git in `project` and return what it printed.

    Raises `GitError` with Git's own words, and `FileNotFoundError` without Git.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(KEPT)
    } | {"GIT_ATTR_NOSYSTEM": "1", "LC_ALL": "C", "LANGUAGE": "C"}
    alone = [word for name, value in ALONE.items() for word in ("-c", f"{name}={value}")]
    try:
        result = subprocess.run(
            ["git", *alone, *arguments],
            cwd=project,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        raise
    except (OSError, subprocess.SubprocessError) as error:
        raise GitError(str(error)) from error
    if result.returncode:
        raise GitError((result.stderr + result.stdout).strip())
    return result.stdout.strip()


def next_steps(project):
    """Return the three commands to start with."""
    # The whole path, because a hook does not know the folder in which cookiecutter was called.
    folder = shlex.quote(str(project)) if os.name == "posix" else f'"{project}"'
    return f"""
{ANSWERS["project_slug"]} is ready. Next:

  1. cd {folder}
  2. docker compose up --build      # http://127.0.0.1:8000; without Docker: make dev
  3. docker compose exec web flask user create YOU      # in a second terminal: to sign in
"""


def say(text):
    """Print a text, unless the console is closed, full, or a pipe that nobody reads any more."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)
    except (OSError, ValueError):
        # Python would flush again at the end, and fail.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main():
    """Finish the project in the working directory."""
    project = Path.cwd()
    prune(project)
    for step in (write_env, start_repository):
        try:
            step(project)
        except Exception as error:  # whatever it is: the project is worth more than the step
            say(f"{error}\n")
    say(next_steps(project))


if __name__ == "__main__":
    main()
