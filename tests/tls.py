"""Certificates for tests: an authority of our own, and a server's certificate for 127.0.0.1, by the openssl program."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from conftest import no_service


@dataclass(frozen=True)
class Certificates:
    """`ca`: what clients trust; `other_ca`: another authority, which vouches for nobody here."""

    ca: Path
    other_ca: Path
    server: ssl.SSLContext


def make_certificates(folder: Path) -> Certificates:
    if shutil.which("openssl") is None:
        no_service("there is no openssl program to make certificates with")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2")
    for name in ("ca", "other"):
        extensions = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl(
            "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}", *extensions
        )
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key")
    openssl("req", "-x509", *key, "-keyout", "server.key", "-out", "server.pem", "-subj", "/CN=server", *names, *signed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Certificates(folder / "ca.pem", folder / "other.pem", context)
