"""A user of the shop who operates it."""

from {{cookiecutter.package_name}}.account.models import User
from {{cookiecutter.package_name}}.extensions import db

KEY = "kX3v9QmZ0rT7yB5nL1cW8dF2gH6jP4sA"


def test_ops_users_names_users_of_the_shop(make_app):
    production = {"APP_ENV": "production", "SECRET_KEY": KEY, "CACHE_TYPE": "SimpleCache"}
    app = make_app(**production, SESSION_COOKIE_SECURE=False, OPS_USERS="anna")
    with app.app_context():
        users = [User(name=name, password_hash="-") for name in ("anna", "bert")]
        db.session.add_all(users)
        db.session.commit()
        ids = {user.name: user.id for user in users}
    statuses = {}
    for name in ("anna", "bert"):
        client = app.test_client()
        with client.session_transaction() as session:
            session["user_id"] = ids[name]
        statuses[name] = client.get("/_cache/").status_code
    assert statuses == {"anna": 200, "bert": 404}
    with client.session_transaction() as session:
        session["user_id"] = 1000
    assert client.get("/_cache/").status_code == 404
