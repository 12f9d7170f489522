"""One step of a benchmark in a process of its own: ``python -m wa_dashboard.bench MODULE:FUNCTION '{"…": …}'``.

What the function returns is the last line of stdout, as JSON. The process ends with its parent.
"""

import importlib
import json
import os
import resource
import sys


def main(words: list[str]) -> int:
    """Call the function that is named, with the arguments of the JSON object."""
    from ..serve import die_with

    die_with(os.getppid())
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # a connection is a file
    module, _, function = words[0].partition(":")
    found = getattr(importlib.import_module(f"wa_dashboard.bench.{module}"), function)
    facts = found(**json.loads(words[1] if len(words) > 1 else "{}"))
    sys.stdout.write(json.dumps(facts, default=str) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
