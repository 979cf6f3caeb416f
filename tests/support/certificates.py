"""Certificates that nobody has signed but themselves, made by the ``openssl`` command."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

with_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")


def self_signed(folder: Path, *names: str) -> tuple[Path, Path]:
    """The PEM files of a certificate for ``names``, such as ``DNS:localhost``, and of its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=hub -addext subjectAltName={','.join(names)} -keyout {key}"
        f" -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    return certificate, key
