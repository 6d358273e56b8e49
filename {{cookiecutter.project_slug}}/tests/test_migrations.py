"""The migrations and the models agree, forwards and backwards."""

from pathlib import Path

import pytest
from sqlalchemy import inspect

from {{cookiecutter.package_name}} import create_app
from {{cookiecutter.package_name}}.extensions import cache, db


@pytest.fixture
def empty(tmp_path):
    """An application whose database has no tables."""
    app = create_app(APP_ENV="testing", DATABASE_URL=f"sqlite:///{tmp_path / 'empty.db'}")
    yield app
    with app.app_context():
        db.engine.dispose()


def run(app, *arguments):
    result = app.test_cli_runner().invoke(args=["db", *arguments])
    assert result.exit_code == 0, (result.output, result.exception)


def schema(app):
    """What the database holds: columns, keys, indexes and constraints, by table."""
    with app.app_context():
        found = inspect(db.engine)
        return {
            table: {
                "columns": {c["name"]: (repr(c["type"]), c["nullable"]) for c in columns},
                "primary key": found.get_pk_constraint(table),
                "foreign keys": sorted(map(str, found.get_foreign_keys(table))),
                "unique": sorted(map(str, found.get_unique_constraints(table))),
                "checks": sorted(map(str, found.get_check_constraints(table))),
                "indexes": sorted(map(str, found.get_indexes(table))),
            }
            for table in found.get_table_names()
            if (columns := found.get_columns(table)) and table != "alembic_version"
        }


def test_migrations_make_what_the_models_say(empty, app):
    run(empty, "upgrade")
    run(empty, "check")
    assert schema(empty) == schema(app)


def test_migrations_can_be_printed_undone_and_done_again(empty):
    run(empty, "upgrade", "--sql")
    assert schema(empty) == {}
    run(empty, "upgrade")
    run(empty, "downgrade", "base")
    assert schema(empty) == {}
    run(empty, "upgrade")


def test_an_upgrade_ends_with_an_empty_cache(empty):
    if not list((Path(empty.root_path) / "migrations" / "versions").glob("*.py")):
        pytest.skip("there are no migrations yet")
    with empty.app_context():
        cache.set("key", "value")
    run(empty, "current")
    with empty.app_context():
        assert cache.get("key") == "value", "nothing was migrated"
    run(empty, "upgrade")
    with empty.app_context():
        assert cache.get("key") is None
