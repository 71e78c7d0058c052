"""nginx as an upstream that others wrote, with TLS and HTTP/2, and the certificates that it shows."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Optional, Sequence

from conftest import PATIENCE, clean_env
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


class Authority:
    """A CA of a test, with its certificate in `ca.pem`."""

    def __init__(self, where: Path, name: str = "staging"):
        where.mkdir(parents=True, exist_ok=True)
        self.where = where
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        self.key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        self.certificate = self._builder(self.name, self.key, -DAY, 10 * DAY).add_extension(basic, True).sign(self.key, hashes.SHA256())
        self.file = where / f"{name}-ca.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, start: datetime.timedelta, end: datetime.timedelta) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        return builder.not_valid_before(now + start).not_valid_after(now + end)

    def sign(self, name: str, names: Sequence[str] = (), start: datetime.timedelta = -DAY, end: datetime.timedelta = 10 * DAY) -> tuple[Path, Path]:
        """Files with a certificate and its key; for a client where no names are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, start, end)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([general(one) for one in names]), False)
        usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        cert_file, key_file = self.where / f"{name}.pem", self.where / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert_file, key_file


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def program() -> str:
    """Debian puts it where not everybody looks."""
    found = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    assert found, "nginx is missing: install Debian's nginx-light"
    return found


class Nginx:
    """One server on a free port. It serves the files of `root`, and `PUT` makes new ones."""

    def __init__(
        self,
        where: Path,
        pair: Optional[tuple[Path, Path]] = None,
        http2: bool = False,
        lines: str = "",
        location: str = "dav_methods PUT DELETE; client_max_body_size 0;",
    ):
        self.root = where / "root"
        self.root.mkdir(parents=True, exist_ok=True)
        self.log = where / "access.log"
        # A socket that is handed on is bound to a port that nobody else can take meanwhile.
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = listener.getsockname()[1]
        flags = ("" if pair is None else " ssl") + (" http2" if http2 else "")
        tls = "" if pair is None else f"ssl_certificate {pair[0]}; ssl_certificate_key {pair[1]};"
        temporary = "".join(
            f"{kind}_temp_path {where}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        config = where / "nginx.conf"
        config.write_text(
            f"""{user} daemon off; worker_processes 1; pid {where}/nginx.pid; error_log {where}/error.log info;
            events {{ worker_connections 512; }}
            http {{
                log_format own '$server_protocol $request_method $uri $status $connection $ssl_client_s_dn';
                access_log {self.log} own; {temporary}
                server {{
                    listen 127.0.0.1:{self.port}{flags}; root {self.root}; {tls} {lines}
                    location / {{ {location} }}
                }}
            }}
            """
        )
        # The variable by which a new nginx takes over the sockets of an old one.
        env = clean_env({"NGINX": f"{listener.fileno()};"})
        self.process = subprocess.Popen(
            [program(), "-p", str(where), "-c", str(config), "-e", str(where / "error.log")],
            env=env,
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=(where / "nginx.out").open("wb"),
            stderr=subprocess.STDOUT,
        )
        listener.close()
        self.url = f"{'http' if pair is None else 'https'}://localhost:{self.port}"

    def seen(self, count: int = 1) -> list[list[str]]:
        """The words of each line of its log: protocol, method, path, status, number of the connection, client.

        A line is written after the answer was sent: waits until there are `count`.
        """
        end = time.monotonic() + PATIENCE
        while True:
            lines = self.log.read_text().splitlines() if self.log.exists() else []
            if len(lines) >= count or time.monotonic() > end:
                return [line.split(" ", 5) for line in lines]
            time.sleep(0.02)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE)
