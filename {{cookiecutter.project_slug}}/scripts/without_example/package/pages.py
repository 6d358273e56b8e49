"""The first page."""

from flask import Blueprint, render_template

from .extensions import cache

bp = Blueprint("pages", __name__)


# A cached page: for what is the same for everyone and asked for often.
@bp.get("/")
@cache.cached(timeout=300)
def home() -> str:
    return render_template("pages/home.html")
