"""`flask seed` and `flask user create`."""

from typing import Any

import pytest

from package import load

PASSWORD = "correct horse"


@pytest.fixture
def runner(make_app: Any) -> Any:
    return make_app().test_cli_runner()


def test_seed_fills_empty_tables_once(runner: Any) -> None:
    first = runner.invoke(args=["seed"])
    assert (first.exit_code, first.output) == (0, "Made 8 categories and 288 products.\n")
    second = runner.invoke(args=["seed"])
    assert (second.exit_code, second.output) == (
        0,
        "The shop has 288 products: left as they are.\n",
    )


@pytest.mark.parametrize("arguments", [["seed"], ["user", "create", "Ada", "--password-stdin"]])
def test_a_database_without_tables_is_said_in_words(
    runner: Any, make_app: Any, db: Any, arguments: list[str]
) -> None:
    app = make_app()
    with app.app_context():
        db.drop_all()
    result = app.test_cli_runner().invoke(args=arguments, input=PASSWORD)
    assert result.exit_code == 1
    assert "run `flask db upgrade` first" in result.output


def test_only_development_has_a_demo_user(make_app: Any) -> None:
    app = make_app(APP_ENV="development", SECRET_KEY="k" * 40, WTF_CSRF_ENABLED=False)
    first = app.test_cli_runner().invoke(args=["seed"]).output
    assert "demo, password demo-shop" in first
    form = {"name": "demo", "password": "demo-shop"}
    assert app.test_client().post("/account/sign-in", data=form).status_code == 303
    second = app.test_cli_runner().invoke(args=["seed"]).output
    assert "no demo user was made" in second


def test_a_created_user_can_sign_in(runner: Any) -> None:
    arguments = ["user", "create", "Ada", "--password-stdin"]
    result = runner.invoke(args=arguments, input=f"{PASSWORD}\n")
    assert (result.exit_code, result.output) == (0, "Made the user Ada.\n")
    form = {"name": "Ada", "password": PASSWORD}
    assert runner.app.test_client().post("/account/sign-in", data=form).status_code == 303


def test_the_password_is_asked_for_twice_and_not_shown(runner: Any) -> None:
    result = runner.invoke(args=["user", "create", "Ada"], input=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0
    assert PASSWORD not in result.output


def test_the_password_is_kept_as_a_scrypt_hash(runner: Any, db: Any) -> None:
    runner.invoke(args=["user", "create", "Ada", "--password-stdin"], input=PASSWORD)
    with runner.app.app_context():
        user = db.session.scalars(db.select(load("account.models").User)).one()
        assert user.password_hash.startswith("scrypt:")
        assert PASSWORD not in user.password_hash


@pytest.mark.parametrize(
    ("name", "password", "words"),
    [
        ("Ada", "short", "A password of 8 to 1000 characters would do."),
        ("Ada", "x" * 1001, "A password of 8 to 1000 characters would do."),
        (" ", PASSWORD, "1 to 80 characters would do."),
        ("x" * 81, PASSWORD, "1 to 80 characters would do."),
        ("A\tB", PASSWORD, "1 to 80 characters would do."),
    ],
)
def test_what_will_not_do_is_said(runner: Any, name: str, password: str, words: str) -> None:
    result = runner.invoke(args=["user", "create", name, "--password-stdin"], input=password)
    assert result.exit_code != 0
    assert words in result.output


def test_a_name_is_taken_once(runner: Any) -> None:
    arguments = ["user", "create", "Ada", "--password-stdin"]
    runner.invoke(args=arguments, input=PASSWORD)
    result = runner.invoke(args=arguments, input=PASSWORD)
    assert result.exit_code == 1
    assert "There is a user Ada already." in result.output
