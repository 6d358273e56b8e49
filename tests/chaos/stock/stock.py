"""The shop's pages on Flask-Caching as its documentation shows it, over the same tables.

It runs in a container of the project's image, in the place of the project's own application. Each
write drops all that it changes, by hand and without a mistake: the first page, the product's page,
the memoized queries. No page shows more than these.
"""

import os
from datetime import UTC, datetime

from flask import Flask, abort, jsonify, render_template_string, request
from flask_caching import Cache
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

PAGE_SIZE = 24
SORTS = {"name": "name", "-price": "price_cents DESC"}
CARDS = """<!doctype html><title>Shop</title><h1>{{ title }}</h1>
{% if own %}<p data-price-cents="{{ own }}">{{ own / 100 }}</p>{% endif %}
<ul>{% for product in products %}<li>
  <a href="/products/{{ product.slug }}">{{ product.name }}</a>
  <p data-price-cents="{{ product.price_cents }}">{{ product.price_cents / 100 }}</p>
</li>{% endfor %}</ul>"""

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ["DATABASE_URL"].replace(
    "postgresql://", "postgresql+psycopg://"
)
app.config["CACHE_TYPE"] = "RedisCache"
app.config["CACHE_REDIS_HOST"] = os.environ["CACHE_REDIS_HOST"]
app.config["CACHE_REDIS_PASSWORD"] = os.environ["CACHE_REDIS_PASSWORD"]
app.config["CACHE_DEFAULT_TIMEOUT"] = 300
db = SQLAlchemy(app)
cache = Cache(app)


class Product(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String)
    slug = db.Column(db.String)
    price_cents = db.Column(db.Integer)
    updated_at = db.Column(db.DateTime(timezone=True))


def as_dict(product):
    return {name: getattr(product, name) for name in ("id", "name", "slug", "price_cents")}


@cache.memoize()
def product_by_id(number):
    product = db.session.get(Product, number)
    return product and as_dict(product)


@cache.memoize()
def listed(page, sort):
    rows = Product.query.order_by(text(SORTS.get(sort, "name")), Product.id)
    return [as_dict(row) for row in rows.limit(PAGE_SIZE).offset((page - 1) * PAGE_SIZE)]


@app.get("/")
@cache.cached()
def home():
    newest = Product.query.order_by(Product.updated_at.desc(), Product.id.desc()).limit(8)
    return render_template_string(CARDS, title="Shop", products=list(map(as_dict, newest)))


@app.get("/products")
def products():
    found = listed(request.args.get("page", 1, type=int), request.args.get("sort", "name"))
    if not found:
        abort(404)
    return render_template_string(CARDS, title="All products", products=found)


@app.get("/products/<slug>")
@cache.cached()
def product(slug):
    found = Product.query.filter_by(slug=slug).first_or_404()
    return render_template_string(CARDS, title=found.name, own=found.price_cents)


@app.get("/api/products")
def list_products():
    return jsonify(items=listed(request.args.get("page", 1, type=int), "name"))


@app.get("/api/products/<int:number>")
def get_product(number):
    return product_by_id(number) or abort(404)


@app.patch("/api/products/<int:number>")
def update_product(number):
    found = db.get_or_404(Product, number)
    found.price_cents = request.get_json()["price_cents"]
    found.updated_at = datetime.now(UTC)
    slug = found.slug
    db.session.commit()
    cache.delete("view//")
    cache.delete(f"view//products/{slug}")
    cache.delete_memoized(product_by_id, number)
    cache.delete_memoized(listed)
    return as_dict(found)


@app.get("/account")
@app.get("/account/sign-in")
@app.get("/account/wishes")
def account():
    count = Product.query.count()
    return f"<!doctype html><title>Account</title><p>Nothing wished of {count} products."


@app.get("/healthz")
def health():
    return {"status": "ok"}


@app.get("/readyz")
def ready():
    db.session.execute(text("SELECT 1"))
    return {"status": "ok"}
