"""The composition root: settings → database → rims. Imported by entry points only."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from . import failpoints, logs, security
from .config import ConfigError, Settings
from .db import db, engine_options
from .domain.pace import Pace
from .extensions import migrate


def create_app(settings: Settings | None = None) -> Flask:
    """The whole application. Without ``settings`` they are read from the environment.

    Raises ConfigError naming the variable that is wrong.
    """
    settings = settings or Settings.from_env()
    project = settings.root
    app = Flask("wa_dashboard", root_path=str(project), template_folder="templates", static_folder=None)
    app.config.update(
        SECRET_KEY=settings.secret_key,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
        MAX_CONTENT_LENGTH=8 * 1024 * 1024,
    )
    app.ensure_sync = _as_it_is  # type: ignore[method-assign, assignment]
    app.extensions["wa_settings"] = settings
    app.extensions["wa_pace"] = _read("WA_PACE", Pace.parse, settings.pace)
    security.use_keys(settings.encryption_keys)
    _read("WA_FAILPOINTS", failpoints.arm, settings.failpoints)
    logs.configure(settings.log_level, human=settings.human_logs)
    db.init_app(app)
    migrate.init_app(app, db, directory=str(project / "migrations"))
    _register_rims(app)
    return app


def _as_it_is(function: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing here is async; Flask would look into each hook at each request to find that out."""
    return function


def _read(variable: str, reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except ValueError as error:
        raise ConfigError(variable, f"is not understood: {error}.") from error


def _register_rims(app: Flask) -> None:
    from . import api, cli, web
    from .api import health

    api.init_app(app)
    app.register_blueprint(health.bp)
    web.init_app(app)
    cli.register(app)
