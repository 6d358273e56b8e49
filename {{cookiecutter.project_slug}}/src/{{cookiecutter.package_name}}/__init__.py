"""The application factory."""

from collections.abc import Mapping
from typing import Any

from flask import Flask

try:
    from flask_coherent_cache.tools import Commands, Inspector, Toolbar
except ModuleNotFoundError as error:
    if error.name == "flask_coherent_cache":
        error.add_note(
            "It comes with this project, in vendor/: run `make install`, or `pip install"
            " --require-hashes -r requirements/runtime.txt` in the project's folder. Do not install"
            " it by its name, which on an index may be a stranger's."
        )
    raise

from . import assets, blueprints, errors, extensions, logs, security
from .config import as_mapping, instance_path, load
from .extensions import cache, metrics
from .ops.access import check_ops_token, operators


def create_app(config: Mapping[str, Any] | object | None = None, **overrides: Any) -> Flask:
    """Build the application from the environment, `config` and `overrides`; the later wins.

    :param config: settings as a mapping, or as an object with upper-case attributes.
    :raises ConfigurationError: naming every setting that is wrong, and what to use instead.
    """
    app = Flask(__name__, instance_path=instance_path())
    app.config.update(load(as_mapping(config) | overrides))
    logs.configure(app)
    extensions.init_app(app)
    Toolbar(cache).init_app(app)
    for blueprint in blueprints.BLUEPRINTS:
        app.register_blueprint(blueprint)
    errors.init_app(app)
    assets.init_app(app)
    metrics.init_app(app)
    Inspector(cache, authorize=operators(blueprints.signed_in_name)).init_app(app)
    Commands(cache, checks=[check_ops_token]).init_app(app)
    security.init_app(app)
    # WSGI middleware, from the inside out. Pages served before Flask pass through all of it.
    security.mount(app)
    logs.init_app(app)
    security.trust_proxies(app)
    metrics.listen(app, app.config["METRICS_PORT"])
    return app
