"""Unbound extension objects; the factory binds them."""

from flask_login import LoginManager
from flask_migrate import Migrate

login_manager = LoginManager()
migrate = Migrate(directory="migrations", compare_type=True, render_as_batch=False)
