"""The first page."""

from flask import Blueprint, render_template

from .extensions import cache

bp = Blueprint("pages", __name__)


# A cached page: for what is the same for everyone and asked for often. `flask cache warm` asks for
# what says `warm=`.
@bp.get("/")
@cache.cached(timeout=300, warm=True)
def home() -> str:
    return render_template("pages/home.html")
