"""The application factory."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

try:
    from flask_coherent_cache.tools import commands, doctor, inspector, metrics, toolbar
except ModuleNotFoundError as error:
    if error.name != "flask_coherent_cache":
        raise
    raise ModuleNotFoundError(
        "flask_coherent_cache is not installed. It comes with this project, in vendor/: run"
        " `make install`, or `pip install --require-hashes -r requirements/runtime.txt` in the"
        " project's folder. Do not install it by its name, which on an index may be a stranger's."
    ) from None

from . import assets, blueprints, errors, extensions, logs, security
from .config import instance_path, load, named
from .extensions import cache
from .ops.access import check_token, operator


def create_app(config: Mapping[str, Any] | object | None = None, **overrides: Any) -> Flask:
    """Build the application from the environment, `config` and `overrides`; the later wins.

    :param config: settings as a mapping, or as an object with upper-case attributes.
    :raises ConfigurationError: naming every setting that is wrong, and what would do.
    """
    app = Flask(__name__, instance_path=instance_path())
    app.config.update(load(named(config) | overrides))
    logs.configure(app)
    extensions.init_app(app)
    toolbar.init_app(app, cache)
    for blueprint in blueprints.BLUEPRINTS:
        app.register_blueprint(blueprint)
    errors.init_app(app)
    assets.init_app(app)
    # WSGI middleware, from the inside out. Pages served before Flask pass through all of it.
    metrics.init_app(app, cache)
    inspector.init_app(app, cache, authorize=operator)
    commands.init_app(app, cache)
    doctor.add_check(app, check_token)
    security.init_app(app)
    logs.init_app(app)
    security.trust_proxies(app)
    security.mount(app)
    metrics.listen(app, app.config["METRICS_PORT"])
    return app
