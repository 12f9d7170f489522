"""Headers that every answer of the application carries, pages and API alike."""

from flask import Flask, Response

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
HSTS = "max-age=31536000; includeSubDomains"


def install_headers(app: Flask, https: bool) -> None:
    """Add the headers to each response of ``app``; HSTS only when the public address is https.

    What is not marked cacheable by its view is never stored: most answers hold personal data.
    """

    wanted = HEADERS | {"Cache-Control": "no-store"} | ({"Strict-Transport-Security": HSTS} if https else {})

    @app.after_request
    def add_headers(response: Response) -> Response:
        # Asked once for all: each look into the headers goes through the whole list.
        present = {name.lower() for name, _ in response.headers}
        for name, value in wanted.items():
            if name.lower() not in present:
                response.headers.add(name, value)
        if "vary" in present:
            response.vary.add("HX-Request")
        else:
            response.headers.add("Vary", "HX-Request")
        return response
