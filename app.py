"""The door: ``python3 app.py [COMMAND]``. Everything that can be typed is listed in the README.

Also the WSGI module: ``app:app`` and ``app:create_app`` (both made on first use, so that this file stays quick).
This file and wa_dashboard/bootstrap.py must be readable by old Pythons: they say that the Python is too old.
"""

import os
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))


def __getattr__(name):
    if name == "create_app":
        from wa_dashboard.factory import create_app

        return create_app
    if name == "app":
        from wa_dashboard.config import ConfigError
        from wa_dashboard.factory import create_app

        try:
            globals()["app"] = create_app()
        except (ConfigError, OSError) as error:
            sys.exit(str(error))
        return globals()["app"]
    raise AttributeError("module %r has no attribute %r" % (__name__, name))


def main(argv):
    """Prepare what is missing, then do the command. Returns the exit code."""
    if ROOT not in sys.path:
        sys.path.insert(0, ROOT)
    from wa_dashboard import bootstrap

    command = next((word for word in argv if not word.startswith("-")), "run")
    if command == "run" and {"-h", "--help"} & set(argv):
        command = "help"
    bootstrap.prepare(ROOT, command, argv)
    rest = list(argv)
    if command in rest:
        rest.remove(command)
    if command == "run":
        from wa_dashboard import supervisor

        return supervisor.main(rest)
    if command == "test":
        return bootstrap.run_tests(ROOT, rest)
    if command == "web":
        from wa_dashboard import serve

        return serve.main(rest)
    if command == "simulator":
        from wa_dashboard import serve

        return serve.simulator(rest)
    if command == "bench":
        from wa_dashboard.bench import command as bench

        return bench.main(rest)
    from wa_dashboard import cli

    return cli.main(list(argv))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
