"""Generates projects in this process, and holds one as an object that tests look into and run."""

import atexit
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import vendoring
from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parent.parent
TEMPLATE = ROOT / "{{cookiecutter.project_slug}}"
CONTEXT: dict[str, object] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
CHOICES: dict[str, list[str]] = {
    key: value
    for key, value in CONTEXT.items()
    if isinstance(value, list) and not key.startswith("_")
}
# Files that no text is looked for in.
BINARY = {".ico", ".png", ".whl", ".woff2"}
FREE_TEXT = ("project_name", "description", "author_name")

Answers = Mapping[str, str]


@dataclass(frozen=True)
class Project:
    """A generated project in `path`."""

    path: Path
    answers: Answers

    def read(self, name: str) -> str:
        """Return the text of a file, its line ends untouched."""
        return (self.path / name).read_bytes().decode("utf-8")

    def files(self) -> Iterator[Path]:
        """Yield every file by its path within the project, those of Git left out."""
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(set(folders) - {".git"})
            for name in sorted(names):
                yield (Path(folder) / name).relative_to(self.path)

    @property
    def package(self) -> Path:
        """The folder of the project's one package."""
        (package,) = (self.path / "src").iterdir()
        return package

    def run(
        self, *command: str | Path, timeout: float = 600, check: bool = True, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project. Its output is in the failure if it fails.

        `environ` is added to an environment that names no other project's settings.
        """
        result = subprocess.run(
            command,
            cwd=self.path,
            env=clean_environ(**environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and result.returncode:
            words = " ".join(map(str, command))
            raise AssertionError(f"{words}\n{result.stdout[-8000:]}\n{result.stderr[-8000:]}")
        return result


def clean_environ(**environ: str) -> dict[str, str]:
    """Return this process's environment without what a project or make would take from it."""
    prefixes = ("APP_", "CACHE_", "DATABASE_", "FLASK_", "MAKE", "MFLAGS", "PYTEST_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return {**kept, **environ}


def bake(output: Path, **answers: str) -> Project:
    """Generate a project in `output` with the default answers but for `answers`.

    Raises `KeyError` for an answer to no question: cookiecutter would ignore it in silence.
    """
    return generate(output, answers, accept_hooks=True)


def bake_without_hooks(output: Path, **answers: str) -> Project:
    """Generate a project as a person does who lets no code of a template run."""
    return generate(output, answers, accept_hooks=False)


def generate(
    output: Path, answers: Answers, *, accept_hooks: bool, template: Path | None = None
) -> Project:
    """Call cookiecutter, with nobody's own defaults and nothing written outside `output`."""
    for key in answers:
        CONTEXT[key]
    config = output / "cookiecutter.yaml"
    output.mkdir(parents=True, exist_ok=True)
    config.write_text(f"replay_dir: {output}/replay\ncookiecutters_dir: {output}/templates\n")
    path = cookiecutter(
        str(template or source()),
        no_input=True,
        extra_context={key: verbatim(key, value) for key, value in answers.items()},
        output_dir=str(output),
        config_file=str(config),
        accept_hooks=accept_hooks,
        overwrite_if_exists=True,
    )
    return Project(Path(path), answers)


def verbatim(key: str, value: str) -> str:
    """Return an answer so that cookiecutter, which renders given answers, gets it as typed."""
    return value if key in CHOICES else f"{{% raw %}}{value}{{% endraw %}}"


@cache
def source() -> Path:
    """Return a copy of the template without what Git ignores, such as the cache of a linter."""
    return copy_of_repository(temporary_folder() / ROOT.name)


def copy_of_repository(copy: Path) -> Path:
    """Copy to `copy` what Git would clone, if all were committed and the library released."""
    vendoring.copy_of_git(ROOT, copy)
    if wheel() != vendoring.shipped():
        vendoring.put(wheel(), copy / TEMPLATE.name)
    return copy


@cache
def wheel() -> Path:
    """Return a wheel of the library as it is in the tree: the shipped one, if it is the same."""
    built = vendoring.build(temporary_folder())
    shipped = vendoring.shipped()
    same = built.name == shipped.name and vendoring.contents(built) == vendoring.contents(shipped)
    return shipped if same else built


def rebuilt(wheel: Path, folder: Path, *, version: str = "", text: str = "") -> Path:
    """Write a wheel with other contents, or as another version, or packed otherwise."""
    folder.mkdir()
    old = wheel.name.split("-")[1]
    copy = folder / wheel.name.replace(old, version or old)
    with zipfile.ZipFile(wheel) as read, zipfile.ZipFile(copy, "w") as written:
        for name in read.namelist():
            data = read.read(name)
            if version and name.endswith("/METADATA"):
                data = data.replace(
                    f"\nVersion: {old}\n".encode(), f"\nVersion: {version}\n".encode()
                )
            if name.endswith("/__init__.py"):
                data = data.replace(old.encode(), (version or old).encode()) + text.encode()
            written.writestr(name.replace(f"-{old}.dist", f"-{version or old}.dist"), data)
    return copy


def temporary_folder() -> Path:
    """Make a folder that is there until the tests end."""
    folder = tempfile.mkdtemp(prefix="flask-cache-template-")
    atexit.register(shutil.rmtree, folder)
    return Path(folder)


def product() -> list[dict[str, str]]:
    """Return every combination of the choices."""
    return [
        dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())
    ]


def pairs(combination: Answers) -> set[tuple[tuple[str, str], ...]]:
    """Return the pairs of answers that a combination holds."""
    return set(itertools.combinations(sorted(combination.items()), 2))


def pairwise() -> list[dict[str, str]]:
    """Return a few combinations that hold every pair of answers (greedy: the most new pairs)."""
    everything = product()
    missing = set().union(*map(pairs, everything))
    chosen = []
    while missing:
        best = max(everything, key=lambda combination: len(pairs(combination) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def selection() -> list[dict[str, str]]:
    """Return combinations that hold every pair of answers, and the first but for one answer."""
    first = {key: values[0] for key, values in CHOICES.items()}
    near = [{**first, key: value} for key, values in CHOICES.items() for value in values]
    chosen = [*near, *pairwise()]
    return [answers for at, answers in enumerate(chosen) if answers not in chosen[:at]]


def name_of(answers: Answers) -> str:
    """Return a slug that tells a combination from every other."""
    return "-".join(answers.values()).lower().replace(".", "")
