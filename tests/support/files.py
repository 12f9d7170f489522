"""A shop's file server: real TLS on a real socket, with a certificate of its own, and a count of what came."""

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PDF = b"%PDF-1.7\n" + b"ticket " * 40 + b"\n%%EOF\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 200
JPEG = b"\xff\xd8\xff\xe0" + b"\x00" * 200
MP4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + b"\x00" * 200

Answer = Callable[[socket.socket], None]


class FileServer:
    """``answers``: path → raw bytes of a whole HTTP answer, or what talks to the socket itself. ``connections``
    counts accepted ones; ``requests`` are (path, Host)."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self.answers: dict[str, bytes | Answer] = {}
        self.connections = 0
        self.requests: list[tuple[str, str]] = []
        self.down = False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path: str, host: str = "localhost") -> str:
        return f"https://{host}:{self.port}{path}"

    def put(self, path: str, content: bytes, mime: str = "application/octet-stream", delay: float = 0.0) -> str:
        """Serve this content; returns its address."""
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {mime}\r\nContent-Length: {len(content)}\r\n\r\n".encode()

        def answer(connection: socket.socket) -> None:
            time.sleep(delay)
            connection.sendall(head + content)

        self.answers[path] = answer
        return self.url(path)

    def count(self, path: str) -> int:
        return sum(1 for each, _ in self.requests if each == path)

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(raw,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        if self.down:
            raw.close()
            return
        raw.settimeout(30)
        try:
            with self._context.wrap_socket(raw, server_side=True) as connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = connection.recv(4096)
                    if not piece:
                        return
                    head += piece
                lines = head.decode("latin-1").split("\r\n")
                path = lines[0].split(" ")[1]
                host = next(line[6:] for line in lines if line.lower().startswith("host: "))
                self.requests.append((path, host))
                answer = self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                if isinstance(answer, bytes):
                    connection.sendall(answer)
                else:
                    answer(connection)
        except OSError:
            return


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost, tickets.example and 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests of wa_dashboard")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.DNSName("tickets.example"), x509.DNSName("other.example")]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "files.pem", folder / "files.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, private


@contextmanager
def serving(certificate: Path, key: Path) -> Iterator[FileServer]:
    """A file server for the length of the block."""
    server = FileServer(certificate, key)
    try:
        yield server
    finally:
        server.close()
