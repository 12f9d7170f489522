"""What ``run`` prints: the link, the demo, and a line that works when pasted into a shell."""

import http.server
import json
import re
import shlex
import subprocess
import threading

import pytest

from wa_dashboard.config import Settings
from wa_dashboard.greeting import curl_line, greeting

DEMO = {"tenant": "Teatrul de Mâine", "api_key": "wak_test_ab12cd34_x", "phone": "+40700000001"}


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings.from_env({"WA_DATA_DIR": str(tmp_path / "d")})


def test_a_first_start_shows_the_link_of_the_first_account(settings):
    text = greeting(
        settings, {"welcome_url": "http://h/welcome/x", "sign_in_url": "http://h", "demo": DEMO}, 2.5, colour=False
    )
    assert "Open   http://h/welcome/x" in text
    assert "Teatrul de Mâine" in text
    assert "ready in 2.5 s" in text
    assert "SQLite, embedded queue" in text
    assert "\033" not in text


def test_a_later_start_shows_where_to_sign_in_and_no_secret(settings):
    text = greeting(settings, {"welcome_url": None, "sign_in_url": "http://h/sign-in", "demo": None}, 0.4, colour=True)
    assert "http://h/sign-in" in text
    assert "\033[1m" in text
    for word in ("welcome/", "curl", "wak_", settings.secret_key):
        assert word not in text


def test_every_print_is_another_order():
    orders = {re.search(r'"order_id":"([^"]+)"', curl_line("http://h", DEMO))[1] for _ in range(5)}
    assert len(orders) == 5


@pytest.mark.parametrize("name", ["Ana", 'D\'Artagnan "Ș" $HOME `id` \\'])
def test_the_line_works_when_pasted(name, tmp_path):
    """Run by a real shell against a server that remembers what came."""
    seen: list[tuple[str, dict, bytes]] = []

    class Far(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_):
            pass

    body = {"order_id": "A-1", "recipient": {"phone": "+40700000001", "first_name": name}}
    with http.server.HTTPServer(("127.0.0.1", 0), Far) as far:
        threading.Thread(target=far.serve_forever, daemon=True).start()
        line = curl_line(f"http://127.0.0.1:{far.server_port}", {**DEMO, "body": body})
        assert "\n" not in line
        assert shlex.split(line)[0] == "curl"
        subprocess.run(["sh", "-c", line], check=True, timeout=20)
        far.shutdown()
    path, headers, raw = seen[0]
    assert path == "/api/wa/send/confirm"
    assert headers["Authorization"] == f"Bearer {DEMO['api_key']}"
    assert headers["Content-Type"] == "application/json"
    assert json.loads(raw) == body
