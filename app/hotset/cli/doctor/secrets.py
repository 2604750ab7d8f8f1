"""Takes passwords out of whatever is said: a finding may quote an address or a server's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

from hotset.cli.doctor.finding import Finding

_USER = re.compile(r"(?<=://)[^/\s]*@")
_SHORTEST = 4  # a password of three letters is also a part of words


def without_secrets(findings: Iterable[Finding], urls: Iterable[str]) -> list[Finding]:
    """The findings without any address's user and password, and without the passwords of `urls` wherever they stand."""
    passwords = sorted({p for url in urls for p in _passwords(url) if len(p) >= _SHORTEST}, key=len, reverse=True)

    def clean(text: str) -> str:
        text = _USER.sub("***@", text)
        for password in passwords:
            text = text.replace(password, "***")
        return text

    return [replace(f, found=clean(f.found), remedy=clean(f.remedy)) for f in findings]


def _passwords(url: str) -> set[str]:
    try:
        parts = urlsplit(url)
        found = {parts.password or "", *parse_qs(parts.query).get("password", ())}
    except ValueError:
        return set()
    return found | {unquote(each) for each in found}
