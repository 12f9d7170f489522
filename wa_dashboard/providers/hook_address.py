"""Whether an address that a provider reports to is ours, without keeping addresses of strangers."""

from urllib.parse import urlsplit


def whose(registered: str | None, ours: str) -> tuple[str, str | None]:
    """``ours``, ``moved`` (our path at another host), ``other`` or ``none``, and the host where it is another's.

    Addresses of other programs may carry their secrets: nothing but the host is told.
    """
    if not registered:
        return "none", None
    if registered.partition("#")[0].rstrip("/") == ours.rstrip("/"):
        return "ours", None
    parts = urlsplit(registered)
    if parts.path.rstrip("/") == urlsplit(ours).path.rstrip("/"):
        return "moved", parts.hostname
    return "other", parts.hostname
