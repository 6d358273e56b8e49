"""Rows of the database in fragments: they join the key by their identity, and their tags."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask, render_template
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, column_property, mapped_column, relationship

import flask_coherent_cache as caching
from flask_coherent_cache._dependencies.dependencies import current_dependencies
from fragment_cases import Show, make

db = SQLAlchemy()


class Shop(db.Model):  # type: ignore[name-defined,misc]
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(db.JSON, default=list)
    shout: Mapped[str] = column_property(db.func.upper(db.literal("x")), deferred=True)
    parent_id: Mapped[int | None] = mapped_column(db.ForeignKey("shop.id"))
    parent: Mapped["Shop | None"] = relationship(remote_side="Shop.id")


@pytest.fixture
def shop() -> Iterator[tuple[Flask, Show]]:
    """An application with two rows, and what shows a template with the row of a number."""
    body = "{{ n() }} {{ shop.name }}{% endcache %}"
    templates = {"page": "{% cache 60, 'f' %}" + body, "vary": "{% cache 60, 'f', shop %}" + body}
    templates["list"] = (
        "{% cache 60, 'l' %}{{ n() }} {% for s in shops %}{{ s.name }}{% endfor %}{% endcache %}"
    )
    app, cache, _ = make(templates, SQLALCHEMY_DATABASE_URI="sqlite://")
    db.init_app(app)
    with app.app_context():
        db.create_all()
        db.session.add_all([Shop(id=1, name="a"), Shop(id=2, name="b", parent_id=1)])
        db.session.commit()
    cache.watch(db)

    def show_row(number: int, name: str = "page", change: Callable[[Shop], object] = repr) -> str:
        with app.test_request_context():
            row = db.session.get(Shop, number)
            change(row)
            # It depends on the row by itself, not because something read it here.
            current_dependencies().readings.clear()
            return render_template(name, shop=row, shops=[row])

    yield app, show_row
    with app.app_context():
        db.drop_all()
        for engine in db.engines.values():
            engine.dispose()


def rename(app: Flask, number: int, name: str) -> None:
    with app.app_context():
        db.session.get(Shop, number).name = name
        db.session.commit()


@pytest.mark.parametrize("template", ["page", "vary", "list"])
def test_a_row_joins_by_its_identity_and_its_tags(shop: tuple[Flask, Show], template: str) -> None:
    app, show = shop
    assert [show(1, template), show(2, template)] * 2 == [
        show(number, template) for number in (1, 2) * 2
    ]
    assert show(1, template).startswith("1 ")
    rename(app, 1, "c")
    assert [show(1, template), show(2, template)] == ["3 c", "2 b"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: setattr(row, "viewer", "Ann"), "holds 'viewer' beside its columns"),
        (lambda row: row.shout, "holds 'shout' beside its columns"),
        (lambda row: row.parent, "holds 'parent' beside its columns"),
        (lambda row: setattr(row, "name", "z"), "changes that are not committed"),
        (db.session.expunge, "changes that are not committed"),
    ],
)
def test_a_row_that_carries_more_is_refused(
    shop: tuple[Flask, Show], change: Callable[[Shop], object], words: str
) -> None:
    app, show = shop
    with pytest.raises(
        caching.UnstableArgument, match=rf"variable 'shop' is a row, Shop, .*{words}"
    ):
        show(2, "page", change)
    app.config["CACHE_STRICT"] = False
    show(2, "page", change)
    assert show(2) == "2 b"


def test_what_is_changed_inside_a_column_is_seen(shop: tuple[Flask, Show]) -> None:
    _, show = shop
    assert show(1) == "1 a"
    assert show(1, "page", lambda row: row.tags.append("x")) == "2 a"
    assert show(1) == "1 a"


def test_a_row_of_whose_changes_nobody_tells_is_refused() -> None:
    app, _, _ = make({"page": "{% cache 60, 'f' %}{{ shop.name }}{% endcache %}"})
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db.init_app(app)
    with app.test_request_context():
        db.create_all()
        db.session.add(Shop(id=1, name="a"))
        db.session.commit()
        with pytest.raises(caching.UnstableArgument, match="nobody tells"):
            render_template("page", shop=db.session.get(Shop, 1))
        db.session.remove()
        for engine in db.engines.values():
            engine.dispose()
