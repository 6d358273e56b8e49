"""Why a database cannot be used: in words that fit, and none that would lose data needlessly."""

import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

PROJECT = Path(__file__).parents[2]
(PACKAGE,) = (path.parent.name for path in (PROJECT / "src").glob("*/__init__.py"))
PREPARE = PROJECT / "deploy" / "prepare_database.py"
DELETE, MERGE = "down --volumes", "flask db merge heads"
REVISION = """
revision, down_revision = {revision!r}, {down!r}
def upgrade():
    from alembic import op
    op.execute({statement!r})
def downgrade(): pass
"""


@pytest.fixture
def prepare(tmp_path):
    """Run it on a copy of the project, on a SQLite file."""
    ignored = shutil.ignore_patterns("__pycache__", ".venv", "instance")
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=ignored)

    def run(**settings):
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{tmp_path / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "FLASK_APP": PACKAGE,
            "CACHE_TYPE": "NullCache",
            "DATABASE_URL": f"sqlite:///{tmp_path}/app.db",
            **settings,
        }
        return subprocess.run(
            [sys.executable, str(PREPARE)],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def add_revision(
    folder: Path, revision: str, down: str | None, statement: str = "SELECT 1"
) -> None:
    versions = next((folder / "src").iterdir()) / "migrations" / "versions"
    versions.mkdir(exist_ok=True)
    text = REVISION.format(revision=revision, down=down, statement=statement)
    (versions / f"{revision}.py").write_text(text)


def refusal(result: "subprocess.CompletedProcess[str]") -> str:
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


def test_two_heads_are_to_be_merged(prepare, tmp_path):
    for revision in ("zz1", "zz2"):
        add_revision(tmp_path, revision, None)
    said = refusal(prepare())
    assert MERGE in said
    assert DELETE not in said


def test_a_migration_that_fails_is_told_alone(prepare, tmp_path):
    for path in (tmp_path / "src").glob("*/migrations/versions/*.py"):
        path.unlink()
    add_revision(tmp_path, "zz1", None, "ALTER TABLE nowhere ADD COLUMN x INTEGER")
    said = refusal(prepare())
    assert "no such table: nowhere" in said
    assert DELETE not in said
    assert MERGE not in said


def test_the_tables_of_another_project_may_be_deleted(prepare, tmp_path):
    for path in (tmp_path / "src").glob("*/migrations/versions/*.py"):
        path.unlink()
    add_revision(tmp_path, "zz1", None, "CREATE TABLE mine (id INTEGER)")
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE mine (id INTEGER)")
    connection.close()
    assert DELETE in refusal(prepare())


def test_a_revision_of_another_version_is_told(prepare, tmp_path):
    with sqlite3.connect(tmp_path / "app.db") as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('unknown')")
    connection.close()
    said = refusal(prepare())
    assert "unknown" in said
    assert DELETE in said


def test_what_settings_are_wrong_is_told_before(prepare, tmp_path):
    (tmp_path / ".env").write_text("API_TOKEN=one$two\n")
    said = refusal(prepare(DATABASE_URL="sqlite:////nowhere/app.db"))
    assert "DATABASE_URL names the file" in said
    assert "line 1 (API_TOKEN)" in said


def test_no_file_of_sqlite_is_in_words(prepare, tmp_path):
    (tmp_path / "app.db").write_text("This is not a database. " * 99)
    assert "not a database" in refusal(prepare())


def test_a_server_that_compose_does_not_start_is_named():
    why = runpy.run_path(str(PREPARE))["why_unreachable"]
    url = make_url("postgresql+psycopg://app@database:5432/app")
    lost = "failed to resolve host 'database': Name or service not known"
    assert "COMPOSE_PROFILES=postgresql" in why(url, Exception(lost))
    refused = "password authentication failed for user"
    assert DELETE in why(url, Exception(refused))
    other = make_url("postgresql+psycopg://app@db.example.com/app")
    assert DELETE not in why(other, Exception(refused))
    assert "COMPOSE_PROFILES" not in why(other, Exception(lost))
