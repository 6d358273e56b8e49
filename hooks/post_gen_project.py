"""Finishes a rendered project: prunes, makes secrets, starts a repository, says what is next.

It uses the standard library and no network, because cookiecutter deletes the project if it fails.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

# The only place where cookiecutter renders this file.
ANSWERS = {{cookiecutter | literal}}

# What stays only with one answer: (key, answer, paths).
ONLY_WITH = (
    ("ci", "github", (".github",)),
    ("ci", "gitlab", (".gitlab-ci.yml",)),
)


def prune(project):
    """Remove what the answers have no use for."""
    for key, answer, paths in ONLY_WITH:
        if ANSWERS[key] == answer:
            continue
        for path in paths:
            remove(project / path)


def remove(path):
    """Remove a file or a folder with all it holds, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_env(project):
    """Write `.env` with fresh secrets, as the project itself can do where no hook ran.

    An `.env` that exists is left as it is: it holds the passwords of volumes that exist.
    """
    if not (project / ".env").exists():
        subprocess.run([sys.executable, project / "scripts" / "make_env.py"], check=False)


def start_repository(project):
    """Make a Git repository with a first commit. Return what was not done, in words, or None."""
    if (project / ".git").exists():
        return None
    if not shutil.which("git"):
        return "Git is not installed: no repository was made."
    if git(project, "rev-parse", "--is-inside-work-tree") is not None:
        return "This folder is inside a Git repository already: no other was made."
    if git(project, "-c", "init.defaultBranch=main", "init", "--quiet") is None:
        return "Git could not make a repository here."
    # useConfigOnly: no commit under a name that Git guessed. Hooks and signing are for people.
    commit = ("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", "First commit")
    if (
        git(project, "add", "--all") is None
        or git(project, "-c", "user.useConfigOnly=true", *commit) is None
    ):
        return (
            "Git made no first commit, most likely because user.name and user.email are not set: "
            "set them, then `git add --all && git commit`."
        )
    return None


def git(project, *arguments):
    """Run Git in `project`. Return what it printed, or None if it failed."""
    # A hook or another repository's command may have set these for itself.
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    }
    try:
        result = subprocess.run(
            ["git", *arguments],
            cwd=project,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


def next_steps():
    """Return the three commands to start with."""
    slug = ANSWERS["project_slug"]
    return f"""
{slug} is ready. Next:

  1. cd {slug}
  2. docker compose up --build      # http://127.0.0.1:8000; without Docker: make dev
  3. docker compose exec web flask user create YOU      # in a second terminal: to sign in
"""


def main():
    """Finish the project in the working directory."""
    project = Path.cwd()
    prune(project)
    write_env(project)
    note = start_repository(project)
    if note:
        print(note)
    print(next_steps())


if __name__ == "__main__":
    sys.exit(main())
