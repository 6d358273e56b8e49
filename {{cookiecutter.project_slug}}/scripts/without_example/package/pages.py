"""The first page."""

from flask import Blueprint, render_template

from .extensions import cache

bp = Blueprint("pages", __name__)


# A cached page: one that is the same for everyone and requested often. `flask cache warm` requests
# the pages that say `warm=`.
@bp.get("/")
@cache.cached(timeout=300, warm=True)
def home() -> str:
    return render_template("pages/home.html")
