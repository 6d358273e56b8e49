"""Pages of one person."""

import re
from http import HTTPStatus

from flask import Blueprint, Response, abort, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from ..catalog import queries
from ..catalog.models import Product
from ..catalog.validation import SLUG
from ..extensions import cache, db
from . import session as sessions
from . import throttle
from .models import User, password_is_right, wish
from .session import current_user, login_required

bp = Blueprint("account", __name__, url_prefix="/account", cli_group=None)


# Pages that nobody may cache: their forms hold a token of this visitor's session, and after signing
# out the browser's back button must not show what was there.
@bp.after_request
@cache.skip_on_hit
def forbid_storing(response: Response) -> Response:
    """Forbid storing (RFC 9111, 5.2.2.5) wherever a view did not allow it, as a cached one does."""
    if "Cache-Control" not in response.headers:
        response.cache_control.no_store = True
    return response


def _without_token(page: bytes) -> bytes:
    """Leave out the form's token: it says when it was made, and an older one is as valid."""
    return re.sub(rb'(name="csrf_token" value=)"[^"]*"', rb"\1", page)


# A private page: expensive to build, and requested again by the same person within the timeout. Its
# key holds a digest of the session, so nobody gets another person's page: each has an entry.
@bp.get("")
@login_required
@cache.cached(timeout=60, private=True, may_differ=_without_token)
def index() -> str:
    user = current_user()
    return render_template("account/index.html", user=user, wishes=_wishes(user))


@bp.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> ResponseReturnValue:
    target = sessions.local_path(request.args.get("next")) or url_for(".index")
    if "user_id" in session:
        return redirect(target)
    if request.method != "POST":
        return render_template("account/sign_in.html")
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    if not throttle.admit(name):
        error = "Too many failed attempts. Wait a quarter of an hour, then try again."
        page = render_template("account/sign_in.html", name=name, error=error)
        retry = {"Retry-After": str(throttle.WINDOW_SECONDS)}
        return page, HTTPStatus.TOO_MANY_REQUESTS, retry
    user = _authenticated(name, password)
    if user is None:
        error = "The name or the password is wrong."
        page = render_template("account/sign_in.html", name=name, error=error)
        return page, HTTPStatus.UNPROCESSABLE_ENTITY
    throttle.forget(name)
    sessions.sign_in(user)
    return redirect(target, HTTPStatus.SEE_OTHER)


@bp.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    session.clear()
    return redirect(url_for("catalog.home"), HTTPStatus.SEE_OTHER)


@bp.get("/wishes")
@login_required
def wishes() -> str:
    return render_template("account/wishes.html", wishes=_wishes(current_user()))


# The shop's pages are everyone's and can hold no token of a session, so their link leads here.
@bp.get("/wishes/add")
@login_required
def confirm_wish() -> str:
    found = queries.product_by_slug(request.args.get("product", ""))
    if found is None:
        abort(404, description="There is no such product.")
    return render_template("account/confirm_wish.html", product=found)


@bp.post("/wishes/add")
@login_required
def add_wish() -> ResponseReturnValue:
    user = current_user()
    user.wishes.add(_chosen_product())
    return _save_wishes()


@bp.post("/wishes/remove")
@login_required
def remove_wish() -> ResponseReturnValue:
    user = current_user()
    user.wishes.discard(_chosen_product())
    return _save_wishes()


def _authenticated(name: str, password: str) -> User | None:
    # PostgreSQL refuses a NUL in text with an error.
    user = db.session.scalar(select(User).filter_by(name=name)) if "\0" not in name else None
    return user if password_is_right(user, password) else None


def _wishes(user: User) -> tuple[queries.ProductData, ...]:
    """List a user's wishes by name, in one query."""
    wished = queries.select_products().join(wish).where(wish.c.user_id == user.id)
    return queries.fetch(wished.order_by(Product.name, Product.id))


def _chosen_product() -> Product:
    slug = request.form.get("product", "")
    statement = select(Product).filter_by(slug=slug if SLUG.fullmatch(slug) else "")
    product: Product = db.one_or_404(statement, description="There is no such product.")
    return product


def _save_wishes() -> ResponseReturnValue:
    try:
        db.session.commit()
    except (IntegrityError, StaleDataError):
        # Another request of this user did the same at the same time.
        db.session.rollback()
    return redirect(url_for(".wishes"), HTTPStatus.SEE_OTHER)
