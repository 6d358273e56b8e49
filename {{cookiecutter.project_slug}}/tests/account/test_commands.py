"""`flask user create`, and the user of development."""

import pytest

from {{cookiecutter.package_name}}.account.models import User
from {{cookiecutter.package_name}}.extensions import db

PASSWORD = "correct horse"


@pytest.fixture
def runner(make_app):
    return make_app().test_cli_runner()


@pytest.mark.parametrize("arguments", [["seed"], ["user", "create", "Ada", "--password-stdin"]])
def test_a_database_without_tables_is_said_in_words(make_app, arguments):
    app = make_app()
    with app.app_context():
        db.drop_all()
    result = app.test_cli_runner().invoke(args=arguments, input=PASSWORD)
    assert result.exit_code == 1
    assert "run `flask db upgrade` first" in result.output


def test_only_development_has_a_demo_user(make_app):
    app = make_app(APP_ENV="development", SECRET_KEY="k" * 40, WTF_CSRF_ENABLED=False)
    first = app.test_cli_runner().invoke(args=["seed"]).output
    assert "demo, password demo-shop" in first
    form = {"name": "demo", "password": "demo-shop"}
    assert app.test_client().post("/account/sign-in", data=form).status_code == 303
    second = app.test_cli_runner().invoke(args=["seed"]).output
    assert "no demo user was made" in second


CREATE = ["user", "create", "Ada"]


def test_a_created_user_can_sign_in(runner):
    result = runner.invoke(args=[*CREATE, "--password-stdin"], input=f"{PASSWORD}\n")
    assert (result.exit_code, result.output) == (0, "Made the user Ada.\n")
    with runner.app.app_context():
        user = db.session.scalars(db.select(User)).one()
        assert user.password_hash.startswith("scrypt:32768:")
    form = {"name": "Ada", "password": PASSWORD}
    assert runner.app.test_client().post("/account/sign-in", data=form).status_code == 303
    result = runner.invoke(args=[*CREATE, "--password-stdin"], input=PASSWORD)
    assert result.exit_code == 1
    assert "There is a user Ada already." in result.output


def test_the_password_is_asked_for_twice_and_not_shown(runner):
    result = runner.invoke(args=CREATE, input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("Ada", "short", "8 to 1000 characters"),
        ("Ada", "x" * 1001, "8 to 1000 characters"),
        (" ", PASSWORD, "1 to 80 characters"),
        ("x" * 81, PASSWORD, "1 to 80 characters"),
        ("A\tB", PASSWORD, "1 to 80 characters"),
    ],
)
def test_what_will_not_do_is_said(runner, name, password, words):
    result = runner.invoke(args=["user", "create", name, "--password-stdin"], input=password)
    assert result.exit_code != 0
    assert words in result.output
