"""What people and models said, as ciphertext in the tables: the one place that encrypts it, and decrypts it again.

    hotset-encrypted:1:2:gAAAA….gAAAA…      Fernet tokens, and how many there are: each of a piece of the text
    hotset-encrypted:0:hotset-encrypted:…   not encrypted; said of a text that itself begins as these do
    anything else                           a text from before keys were set, or without keys

Fernet (AES-128-CBC, HMAC-SHA256, see https://github.com/fernet/spec) says nothing of the row that a token belongs to:
who can write to the tables can put one in another's place.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import SecretStr

from hotset.errors import CannotDecrypt, InvalidSettings

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

#: How every ciphertext begins.
ENCRYPTED = "hotset-encrypted:1:"
_PREFIX = "hotset-encrypted:"
_PLAIN = "hotset-encrypted:0:"
#: What stands for a body of JSON: an object with this name alone.
_IN_JSON = "hotset_encrypted"
#: Characters of a piece. A message takes the beginning of a long answer, and pieces that are whole can be read; even of
#: four bytes each they fit into what it takes.
_PIECE = 8_000
_KEY = re.compile("[A-Za-z0-9_-]{43}=")
_MAKE_ONE = "Make one: python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"


class Cipher:
    """`keys`: Fernet keys; the first encrypts, all decrypt. Without any, texts are written as they are.

    Raises InvalidSettings for keys where the package `cryptography` is not installed, or one that is no key.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = len(keys)
        self._fernet: MultiFernet | None = _fernet(keys) if keys else None
        self._hash_keys = [_hash_key(key) for key in keys]

    @classmethod
    def of(cls, encryption_keys: SecretStr | None) -> Self:
        """From the setting of that name. Raises InvalidSettings."""
        if encryption_keys is None:
            return cls()
        # A file may have spaces and ends of lines between them, too.
        keys = encryption_keys.get_secret_value().replace(",", " ").split()
        if not keys:
            # Whoever sets it means to encrypt.
            raise InvalidSettings("encryption_keys are set, and hold no key.", remedy=_MAKE_ONE)
        return cls(*keys)

    def encrypt(self, text: str) -> str:
        """As it is kept. What is empty stays so."""
        if not text or self._fernet is None:
            return _PLAIN + text if text.startswith(_PREFIX) else text
        tokens = [self._fernet.encrypt(piece.encode()).decode() for piece in _pieces(text)]
        return f"{ENCRYPTED}{len(tokens)}:{'.'.join(tokens)}"

    def decrypt(self, kept: str, what: str, *, cut: bool = False) -> str:
        """The text again. `cut`: only its beginning was kept, and as much of that is given as can be read.

        Raises CannotDecrypt, which says of `what`.
        """
        if not kept.startswith(_PREFIX):
            return kept
        if kept.startswith(_PLAIN):
            return kept[len(_PLAIN) :]
        count, _, all_tokens = kept.removeprefix(ENCRYPTED).partition(":")
        tokens = all_tokens.split(".")
        if cut:
            tokens = tokens[:-1]
        elif count != str(len(tokens)):
            raise CannotDecrypt(what)
        return "".join(self._open(token, what) for token in tokens)

    def encrypt_json(self, value: str) -> str:
        """The JSON text that is kept of a JSON text."""
        if self._fernet is None and _IN_JSON not in value:
            return value
        return json.dumps({_IN_JSON: self.encrypt(value) if self._fernet is not None else _PLAIN + value})

    def decrypt_json(self, kept: Any, what: str) -> Any:
        """The value again, from the one that was kept. Raises CannotDecrypt."""
        if not isinstance(kept, Mapping) or kept.keys() != {_IN_JSON}:
            return kept
        text = self.decrypt(str(kept[_IN_JSON]), what)
        try:
            return json.loads(text)
        except ValueError:
            # A token of ours, put here by somebody else.
            raise CannotDecrypt(what) from None

    def digests(self, digest: str) -> tuple[str, ...]:
        """What stands in the tables for the digest (hex) of a body, so that nobody who reads them can try short ones.

        The first is written; a body is the same as before if any was, under another key or before there were keys.
        """
        keyed = (hmac.digest(key, bytes.fromhex(digest), hashlib.sha256).hex() for key in self._hash_keys)
        return (*keyed, digest)

    def _open(self, token: str, what: str) -> str:
        if self._fernet is None:
            raise CannotDecrypt(what)
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet.decrypt(token).decode()
        except (InvalidToken, ValueError):
            raise CannotDecrypt(what) from None


def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError:
        raise InvalidSettings(
            "encryption_keys are set, and the package that encrypts is not installed.",
            remedy="pip install 'hotset[encryption]'",
        ) from None
    made = []
    for place, key in enumerate(keys, 1):
        # Fernet itself takes what begins as a key, two with a wrong mark between them, say.
        if not _KEY.fullmatch(key):
            which = "it" if len(keys) == 1 else f"number {place} of {len(keys)}"
            raise InvalidSettings(f"encryption_keys: {which} is no Fernet key.", remedy=_MAKE_ONE)
        made.append(Fernet(key))
    return MultiFernet(made)


def _hash_key(key: str) -> bytes:
    """A key of its own, so that digests say nothing of the one that encrypts."""
    return hmac.digest(base64.urlsafe_b64decode(key), b"hotset: digests of bodies", hashlib.sha256)


def _pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), _PIECE):
        yield text[start : start + _PIECE]
