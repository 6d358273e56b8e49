"""The JSON API of the shop."""

import hmac
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, NoReturn

from flask import Blueprint, abort, current_app, jsonify, make_response, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import BadRequest, Unauthorized

from ..extensions import cache, csrf, db
from ..security import sent_token
from . import listing, queries
from .models import MAX_INTEGER, Category, Product
from .validation import validate

bp = Blueprint("catalog_api", __name__, url_prefix="/api/products")
# A bearer token is sent by no browser on its own, so a forged form cannot use it.
csrf.exempt(bp)

_ONE = "/<int:product_id>"


# It does nothing for a GET, so the cached list can be served without it.
@cache.skip_on_hit
@bp.before_request
def check_token() -> None:
    """Let only the holder of API_TOKEN write."""
    if request.method in {"GET", "HEAD", "OPTIONS"}:
        return
    token = current_app.config["API_TOKEN"]
    if not token:
        abort(503, description="Writing is switched off: this server has no API_TOKEN.")
    if not hmac.compare_digest(sent_token().encode(), token.encode()):
        detail = "Send `Authorization: Bearer` with the API_TOKEN of this server."
        challenge = WWWAuthenticate("bearer", {"realm": "JSON API"})
        raise Unauthorized(detail, www_authenticate=challenge)


@bp.get("")
@cache.cached(timeout=300, query=listing.PARAMETERS)
def list_products() -> ResponseReturnValue:
    wanted, errors = listing.parse(request.args)
    if wanted is None:
        refuse(HTTPStatus.UNPROCESSABLE_ENTITY, errors)
    items = [_as_json(row) for row in wanted.products()]
    return {"items": items, "page": wanted.page, "pages": wanted.pages, "total": wanted.total}


# Not a cached page: making the JSON costs little, so it is enough to memoize the row beneath it.
# Clients may keep it, and ask each time whether it is still valid, as for a page.
@bp.get(_ONE)
def get_product(product_id: int) -> ResponseReturnValue:
    found = queries.product(product_id) if product_id <= MAX_INTEGER else None
    response = jsonify(_as_json(found))
    response.cache_control.no_cache = True
    response.add_etag()
    return response.make_conditional(request)


@bp.post("")
def create_product() -> ResponseReturnValue:
    values = _read_body(partial=False)
    product = Product(**_columns(values))
    db.session.add(product)
    _commit(values["slug"])
    response = make_response(_as_json(queries.product.uncached(product.id)), HTTPStatus.CREATED)
    response.headers["Location"] = url_for(".get_product", product_id=product.id)
    return response


# A write says nothing to the cache: the commit drops whatever was built from what it changed.
@bp.patch(_ONE)
def update_product(product_id: int) -> ResponseReturnValue:
    product = _find(product_id)
    values = _read_body(partial=True)
    for name, value in _columns(values).items():
        setattr(product, name, value)
    _commit(values.get("slug", ""))
    return _as_json(queries.product.uncached(product_id))


@bp.delete(_ONE)
def delete_product(product_id: int) -> ResponseReturnValue:
    db.session.delete(_find(product_id))
    db.session.commit()
    return "", HTTPStatus.NO_CONTENT


def _find(product_id: int) -> Product:
    # PostgreSQL refuses a larger number with an error; no product has the number 0.
    key = product_id if product_id <= MAX_INTEGER else 0
    return db.get_or_404(Product, key, description="There is no such product.")


def _read_body(*, partial: bool) -> dict[str, Any]:
    try:
        # Also `application/merge-patch+json` (RFC 7396), of which only a flat object is used.
        body = request.get_json()
    except (BadRequest, RecursionError):  # Python's parser gives up on what is nested too deep.
        abort(400, description="The body is not valid JSON, or nested too deep.")
    if not isinstance(body, dict):
        abort(422, description="Send a JSON object.")
    known = frozenset(db.session.scalars(select(Category.slug)))
    values, errors = validate(body, known, partial=partial)
    if errors:
        refuse(HTTPStatus.UNPROCESSABLE_ENTITY, errors)
    return values


def refuse(status: HTTPStatus, errors: dict[str, str]) -> NoReturn:
    """Report every fault at once, as a problem with `{"errors": {"price_cents": "must be …"}}`."""
    detail = " ".join(f"{name} {error}." for name, error in errors.items())
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    response = make_response(problem | {"errors": errors}, status)
    response.mimetype = "application/problem+json"
    response.cache_control.no_store = True
    abort(response)


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """Turn a category's slug into the category."""
    if "category" not in values:
        return values
    category = select(Category).filter_by(slug=values["category"])
    return values | {"category": db.session.scalars(category).one()}


def _commit(slug: str) -> None:
    """Commit; only the unique key can tell whether a slug is free: to look first is a race."""
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        if db.session.scalar(select(Product.id).filter_by(slug=slug)) is None:
            raise
        refuse(HTTPStatus.CONFLICT, {"slug": "is taken"})


def _as_json(row: queries.ProductData | None) -> dict[str, Any]:
    if row is None:
        abort(404, description="There is no such product.")
    fields = asdict(row)
    del fields["category_name"]
    return fields | {"updated_at": row.updated_at.isoformat()}
