"""The far end for tests and demo: Meta's, Twilio's and 360dialog's wire formats on one loopback port.

It imports nothing else of this product, so that it can judge it.
"""

from .server import CannotStart, Simulator, create_server, in_thread, main

__all__ = ["CannotStart", "Simulator", "create_server", "in_thread", "main"]
