"""Builds the wheel of flask-coherent-cache and ships it in generated projects.

check      the shipped wheel has the contents of the sources, or the sources a higher version
released   the shipped wheel has the contents of the sources
release    ship a wheel of the sources, and renew the locks of the generated project
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ROOT / "flask-coherent-cache"
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
# The time of every file in a wheel, so that the same sources make the same bytes: 1 January 2020.
EPOCH = "1577836800"
# So many of the files that differ are named.
MOST_NAMED = 5
RAISE = (
    "Raise __version__ in flask-coherent-cache/src/flask_coherent_cache/__init__.py, "
    "then run `make release-cache`."
)


def files_of_git(folder: Path) -> Iterator[Path]:
    """Yield the paths within a folder of what Git would hold if all were committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (folder / name).is_file():
            yield Path(name)


def copy_of_git(folder: Path, copy: Path) -> Path:
    """Copy what Git would hold of a folder, without what it ignores."""
    for name in files_of_git(folder):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder / name, copy / name)
    return copy


def build(output: Path) -> Path:
    """Build the wheel of the library in a folder. The same sources make the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        sources = copy_of_git(LIBRARY, Path(folder))
        subprocess.run(
            [sys.executable, "-m", "flit_core.wheel", "--outdir", output.resolve()],
            cwd=sources,
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
            capture_output=True,
            check=True,
        )
    return only_wheel(output)


def only_wheel(folder: Path) -> Path:
    """Return the one wheel of a folder."""
    (wheel,) = folder.glob("flask_coherent_cache-*.whl")
    return wheel


def shipped() -> Path:
    """Return the wheel that generated projects install."""
    return only_wheel(TEMPLATE / "vendor")


def version(wheel: Path) -> Version:
    """Return the version of a wheel, by its name."""
    return Version(wheel.name.split("-")[1])


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel by name, those left out that depend on the tool that built it."""
    tool = re.compile(r"[^/]+\.dist-info/(WHEEL|RECORD)")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        return {name: archive.read(name) for name in names if not tool.fullmatch(name)}


def problem(old: Path, new: Path) -> str | None:
    """Say why a wheel may not follow another one, or return None if it may."""
    if version(new) < version(old):
        return f"Version {version(new)} is lower than {version(old)}, which is released. {RAISE}"
    if version(new) == version(old) and contents(new) != contents(old):
        names = sorted({name for name, _ in contents(new).items() ^ contents(old).items()})
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        return (
            f"Version {version(new)} is released with other contents: "
            f"{', '.join(names[:MOST_NAMED])}{more}. A version never changes. {RAISE}"
        )
    return None


def problem_if_unreleased(old: Path, new: Path) -> str | None:
    """Say why a shipped wheel is not that of the sources, or return None if it is."""
    if version(new) > version(old):
        return (
            f"The sources are at version {version(new)}, and projects install {version(old)}. "
            "Run `make release-cache`."
        )
    return problem(old, new)


def put(wheel: Path, project: Path) -> None:
    """Put a wheel in the place of a project's, also in its pyproject.toml and its locks."""
    old = only_wheel(project / "vendor")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pinned = re.compile(rf"(^vendor/{re.escape(old.name)} \\\n    --hash=sha256:)[0-9a-f]+", re.M)
    for path in (project / "pyproject.toml", *project.glob("requirements/*.txt")):
        text = pinned.sub(rf"\g<1>{digest}", path.read_text(encoding="utf-8"))
        path.write_text(text.replace(old.name, wheel.name), encoding="utf-8", newline="\n")
    old.unlink()
    shutil.copyfile(wheel, project / "vendor" / wheel.name)


def released(folder: Path) -> Path | None:
    """Copy the wheel of the last commit into a folder. Return None if that commit has none."""
    names = git("ls-tree", "-z", "--name-only", "HEAD", f"{TEMPLATE.name}/vendor/").decode()
    for name in names.split("\0"):
        if name.endswith(".whl"):
            wheel = folder / Path(name).name
            wheel.write_bytes(git("show", f"HEAD:{name}"))
            return wheel
    return None


def git(*arguments: str) -> bytes:
    """Run Git in the repository and return what it prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def lock() -> None:
    """Renew the locks of the template by those of a project."""
    programs = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    with tempfile.TemporaryDirectory() as folder:
        bake = (programs / "cookiecutter", ROOT, "--no-input", "--accept-hooks", "no")
        config = ("--config-file", ROOT / "tests" / "cookiecutter.yaml", "--output-dir", folder)
        subprocess.run([*bake, *config], stdout=subprocess.DEVNULL, check=True)
        (project,) = (path.parent for path in Path(folder).glob("*/Makefile"))
        command = ("make", "--no-print-directory", "lock", f"VENV={programs.parent}")
        subprocess.run(command, cwd=project, env=environ, check=True)
        for path in project.glob("requirements/*.txt"):
            shutil.copyfile(path, TEMPLATE / "requirements" / path.name)


def release(replaced: str) -> str | None:
    """Ship a wheel of the sources. Say why that may not be, or return None if it was done."""
    with tempfile.TemporaryDirectory() as folder:
        committed = released(Path(folder))
        (Path(folder) / "new").mkdir()
        new = build(Path(folder) / "new")
        if committed and str(version(new)) != replaced and (reason := problem(committed, new)):
            return (
                f"{reason}\nIf that wheel is on your branch only and nobody has it, replace it: "
                f"make release-cache REPLACE={version(new)}"
            )
        if new.name != shipped().name or contents(new) != contents(shipped()):
            put(new, TEMPLATE)
    lock()
    print(f"Generated projects install {shipped().name}.")
    return None


def main() -> str | None:
    """Do what the command line says. Return what is wrong, in words."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["check", "released", "release"])
    parser.add_argument("--replace", default="", help="a version that nobody has yet")
    arguments = parser.parse_args()
    if arguments.command == "release":
        return release(arguments.replace)
    rule = problem if arguments.command == "check" else problem_if_unreleased
    with tempfile.TemporaryDirectory() as folder:
        return rule(shipped(), build(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
