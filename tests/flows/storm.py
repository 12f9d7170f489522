"""The installation that can be killed is the benchmarks' (`python3 app.py bench crash`)."""

from wa_dashboard.bench.crash import Storm
from wa_dashboard.bench.storm import Installation, installation, session_of

__all__ = ["Installation", "Storm", "installation", "session_of"]
