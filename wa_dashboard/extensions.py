"""Unbound extension objects; the factory binds them."""

from flask_migrate import Migrate

migrate = Migrate(directory="migrations", compare_type=True, render_as_batch=False)
