"""Tools for operators and developers: the inspector, the toolbar, metrics and `flask cache`.

    from flask_coherent_cache.tools import Commands, Inspector, Metrics, Toolbar

    toolbar, metrics = Toolbar(cache), Metrics(cache)
    inspector, commands = Inspector(cache, authorize=operator), Commands(cache)

Each tool is a Flask extension: create it once, and call its ``init_app`` for each application,
after the cache's own and after ``cache.serve_before_flask(app)``. Middleware of your own that must
also run for pages served before Flask comes last.
"""

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

from ._pages.at_once import add_middleware
from ._tools import toolbar
from ._tools.commands import group
from ._tools.current import engine_of, set_cache
from ._tools.doctor import CHECKS, Check
from ._tools.doctor.finding import Finding
from ._tools.exporter import Exporter, OwnPort
from ._tools.inspector import access
from ._tools.inspector.views import REPORTER
from ._tools.reporter import Reporter
from ._tools.requests import count_requests

if TYPE_CHECKING:
    from . import Cache

__all__ = ["Commands", "Finding", "Inspector", "Metrics", "Toolbar"]

_REPORT_SECONDS = 2
_EXPORT_SECONDS = 1
#: In `app.extensions`.
_EXPORTER = "coherent_cache_exporter"


class Inspector:
    """The inspector at ``/_cache/``: what the cache does and holds, and buttons to act on it.

    It adds the blueprint ``cache_inspector`` and keeps ten minutes of figures in each process. The
    setting ``CACHE_INSPECTOR=False`` turns both off, and ``/_cache/`` is then a 404.

    :param cache: the :class:`~flask_coherent_cache.Cache` to show.
    :param authorize: called in each request for the inspector, with no arguments. It returns the
        operator's name as a ``str``, which is logged with each action, or raises an
        ``HTTPException``, as ``flask.abort`` does. Any other answer is a 403.

    Example::

        def operator():
            return current_user.name if current_user.is_admin else abort(404)

        inspector = Inspector(cache, authorize=operator)
        inspector.init_app(app)
    """

    def __init__(self, cache: "Cache", *, authorize: Callable[[], str]) -> None:
        self.cache = cache
        self.authorize = authorize

    def init_app(self, app: Flask) -> None:
        """Serve the inspector.

        Call it after Flask-WTF's ``CSRFProtect``, if you use it: forms then carry its token.

        :param app: the application; the cache must be initialized for it.
        """
        app.config.setdefault("CACHE_INSPECTOR", True)
        requests, ticker = count_requests(app, self.cache)
        engine = engine_of(app, self.cache)
        if engine is not None and app.config["CACHE_INSPECTOR"]:
            reporter = app.extensions[REPORTER] = Reporter(engine, requests)
            ticker.every(_REPORT_SECONDS, reporter.tick)
        app.extensions[access.AUTHORIZE] = self.authorize
        csrf: Any = app.extensions.get("csrf")
        if hasattr(csrf, "exempt"):
            # Its check would tell a stranger that there is something; `let_in` makes it later.
            csrf.exempt(access.bp)
        for hook in (access.let_in, access.keep_out_of_caches):
            self.cache.skip_on_hit(hook)
        app.register_blueprint(access.bp)


class Toolbar:
    """A line under each HTML page that says what the cache did for it, for development.

    It is added where the setting ``CACHE_TOOLBAR`` is true and there is a cache. It shows keys and
    tags to every visitor and makes pages uncacheable for browsers, so leave it off in production.

    :param cache: the :class:`~flask_coherent_cache.Cache` to show.

    Example::

        app.config["CACHE_TOOLBAR"] = app.debug
        Toolbar(cache).init_app(app)
    """

    def __init__(self, cache: "Cache") -> None:
        self.cache = cache

    def init_app(self, app: Flask) -> None:
        """Add the toolbar to the pages of an application.

        Call it before you register hooks that change responses: the first one registered is the
        last one to run.

        :param app: the application; the cache must be initialized for it.
        """
        engine = engine_of(app, self.cache)
        if app.config.get("CACHE_TOOLBAR") and engine is not None:
            engine.statistics.traces = True
            app.register_blueprint(toolbar.bp)
            app.before_request(toolbar.forget_conditions)
            app.after_request(toolbar.add_toolbar)


class Metrics:
    """Metrics for Prometheus, of the cache and of all requests, summed over a server's processes.

    Under gunicorn, import the hooks of :mod:`flask_coherent_cache.gunicorn` in its configuration.

    :param cache: the :class:`~flask_coherent_cache.Cache` to measure.

    Example::

        metrics = Metrics(cache)
        metrics.init_app(app)

        @app.get("/metrics")
        def show_metrics():
            body, content_type = metrics.exposition()
            return body, {"Content-Type": content_type}
    """

    def __init__(self, cache: "Cache") -> None:
        self.cache = cache

    def init_app(self, app: Flask) -> None:
        """Count what an application and its cache do.

        :param app: the application; the cache must be initialized for it.
        :raises ModuleNotFoundError: without the library's extra ``prometheus``; it says how to
            install it.
        """
        # It is imported where it is used first: that takes a while, and needs its folder.
        if find_spec("prometheus_client") is None:
            raise ModuleNotFoundError(
                "The metrics need the library's extra [prometheus]. Install the wheel again, as in:"
                " pip install 'PATH/flask_coherent_cache-VERSION-py3-none-any.whl[prometheus]'.",
                name="prometheus_client",
            )
        requests, ticker = count_requests(app, self.cache)
        with app.app_context():
            release = self.cache.settings["RELEASE"]
        exporter = Exporter(release, requests, engine_of(app, self.cache))
        app.extensions[_EXPORTER] = exporter
        ticker.every(_EXPORT_SECONDS, exporter.export)

    def exposition(self) -> tuple[bytes, str]:
        """Return the current application's metrics in Prometheus' text format.

        :returns: the body, and its content type.
        :raises RuntimeError: outside an application context.
        :raises KeyError: if :meth:`init_app` was not called for the application.
        """
        exporter: Exporter = current_app.extensions[_EXPORTER]
        return exporter.exposition()

    def listen(self, app: Flask, port: int | None) -> None:
        """Answer ``/metrics`` on a port of its own, without any authorization.

        The server must listen on that port, too. Call it after everything else that wraps
        ``app.wsgi_app``: what arrives on that port reaches nothing else of the application.

        :param app: the application that :meth:`init_app` was called for.
        :param port: the port; ``None`` does nothing.
        :raises KeyError: if :meth:`init_app` was not called for the application.
        """
        if port:
            exporter = app.extensions[_EXPORTER]
            add_middleware(
                app,
                lambda wsgi_app: OwnPort(wsgi_app, port, exporter),
                lambda at_once: OwnPort(at_once, port, exporter).answer_at_once,
            )


class Commands:
    """The commands of ``flask cache``: ``stats``, ``keys``, ``doctor`` and others.

    :param cache: the :class:`~flask_coherent_cache.Cache` to show and to act on.
    :param checks: functions that ``flask cache doctor`` runs beside its own. Each is called with
        the settings, a mapping, and returns or yields :class:`Finding`.

    Example::

        def check_token(config):
            if not config["OPS_TOKEN"]:
                yield Finding("ops-token", "advice", "OPS_TOKEN is not set.", "Set it.")

        Commands(cache, checks=[check_token]).init_app(app)
    """

    def __init__(self, cache: "Cache", *, checks: Iterable[Check] = ()) -> None:
        self.cache = cache
        self.checks = tuple(checks)

    def init_app(self, app: Flask) -> None:
        """Add ``flask cache`` to the commands of an application.

        :param app: the application; the cache must be initialized for it.
        """
        set_cache(app, self.cache)
        app.extensions[CHECKS] = self.checks
        app.cli.add_command(group)
