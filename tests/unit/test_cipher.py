"""The cipher of prompts and answers: round trips, keys that come and go, and what it does to digests."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

import hotset
from hotset import load_settings
from hotset.errors import CannotDecrypt, InvalidSettings
from hotset.store.cipher import ENCRYPTED, Cipher

#: The same in each process: tests are named by them.
OLD, NEW = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))
PLAIN, OLDER, NEWER, BOTH = Cipher(), Cipher(OLD), Cipher(NEW), Cipher(NEW, OLD)

BEGINNINGS = st.sampled_from(["", "hotset-encrypted:", "hotset-encrypted:0:", ENCRYPTED, f"{ENCRYPTED}1:", "gAAAA"])
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
TEXTS = st.builds("{}{}".format, BEGINNINGS, WORDS)


@given(text=TEXTS, cipher=st.sampled_from([PLAIN, OLDER, NEWER, BOTH]))
def test_a_text_comes_back_as_it_was(text: str, cipher: Cipher) -> None:
    kept = cipher.encrypt(text)
    assert cipher.decrypt(kept, "It") == text
    assert BOTH.decrypt(kept, "It") == text, "whoever has all keys reads what anybody wrote"
    assert kept.startswith(ENCRYPTED) == (cipher.keys > 0 and text != "")


@given(text=WORDS.filter(lambda text: not text.startswith("hotset-encrypted:")), cipher=st.sampled_from([PLAIN, BOTH]))
def test_a_text_from_before_is_read_as_it_stands(text: str, cipher: Cipher) -> None:
    assert cipher.decrypt(text, "It") == text
    assert PLAIN.encrypt(text) == text, "without keys nothing changes"


@pytest.mark.parametrize("length", [7_999, 8_000, 8_001, 120_000])
@pytest.mark.parametrize("letter", ["a", "\U0001f600"])
def test_a_long_text_is_kept_in_pieces_none_of_which_can_be_left_out(length: int, letter: str) -> None:
    kept = OLDER.encrypt(letter * length)
    assert OLDER.decrypt(kept, "It") == letter * length
    with pytest.raises(CannotDecrypt):
        OLDER.decrypt(kept[:-1], "It")
    with pytest.raises(CannotDecrypt):
        OLDER.decrypt(kept.rpartition(".")[0] or kept[:-20], "It")


@pytest.mark.parametrize("letter", ["a", "é", "\U0001f600"])
@pytest.mark.parametrize("cut", [100_000, 70_000])
def test_of_a_text_that_was_cut_whole_pieces_can_be_read(letter: str, cut: int) -> None:
    beginning = OLDER.decrypt(OLDER.encrypt(letter * 120_000)[:cut], "It", cut=True)
    assert beginning and beginning == letter * len(beginning) and len(beginning) % 8_000 == 0
    assert PLAIN.decrypt("a" * cut, "It", cut=True) == "a" * cut


@given(value=st.recursive(st.none() | st.booleans() | st.integers() | WORDS, lambda v: st.lists(v, max_size=3) |
       st.dictionaries(st.sampled_from(["a", "hotset_encrypted"]), v, max_size=2)),
       cipher=st.sampled_from([PLAIN, OLDER, BOTH]))  # fmt: skip
def test_json_comes_back_as_it_was(value: object, cipher: Cipher) -> None:
    kept = json.loads(cipher.encrypt_json(json.dumps(value)))
    assert cipher.decrypt_json(kept, "It") == value
    if cipher.keys:
        assert list(kept) == ["hotset_encrypted"] and str(kept["hotset_encrypted"]).startswith(ENCRYPTED)


@pytest.mark.parametrize("cipher", [PLAIN, NEWER], ids=["no key", "another key"])
def test_without_the_key_there_is_no_text_but_an_error_with_a_remedy(cipher: Cipher) -> None:
    with pytest.raises(CannotDecrypt, match=r"The prompt of job 7 .*HOTSET_ENCRYPTION_KEYS") as caught:
        cipher.decrypt(OLDER.encrypt("my words"), "The prompt of job 7")
    assert not caught.value.retryable
    for secret in (OLD, NEW, "my words"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("damage", ["", "1", "1:", "1:x", "2:", "1:é", "x:" + "gAAAA" * 20, "99999999999:"])
def test_what_was_changed_is_refused(damage: str) -> None:
    for kept in (ENCRYPTED + damage, f"hotset-encrypted:2:{damage}"):
        for cipher in (PLAIN, OLDER):
            with pytest.raises(CannotDecrypt):
                cipher.decrypt(kept, "It")


def test_a_text_in_the_place_of_json_is_refused() -> None:
    with pytest.raises(CannotDecrypt):
        OLDER.decrypt_json({"hotset_encrypted": OLDER.encrypt("no JSON")}, "It")


def test_a_new_key_goes_in_front_and_the_old_texts_are_read_as_long_as_theirs_is_kept() -> None:
    before, after = OLDER.encrypt("before"), BOTH.encrypt("after")
    assert (BOTH.decrypt(before, "It"), BOTH.decrypt(after, "It")) == ("before", "after")
    assert NEWER.decrypt(after, "It") == "after"
    with pytest.raises(CannotDecrypt):
        OLDER.decrypt(after, "It")


def test_the_same_text_is_never_kept_alike() -> None:
    assert OLDER.encrypt("yes") != OLDER.encrypt("yes")


def test_a_digest_in_the_tables_cannot_be_tried_without_the_key() -> None:
    digest = hashlib.sha256(b"yes").hexdigest()
    assert PLAIN.digests(digest) == (digest,)
    written = OLDER.digests(digest)[0]
    assert written != digest and len(written) == len(digest)
    assert written not in NEWER.digests(digest)
    assert {written, digest, NEWER.digests(digest)[0]} == set(BOTH.digests(digest)), "rows from any time compare"
    assert BOTH.digests(digest)[0] == NEWER.digests(digest)[0]


def test_keys_are_set_apart_by_commas_or_as_a_file_has_them() -> None:
    for setting in (f"{NEW},{OLD}", f" {NEW} , {OLD},", f"\n{NEW}\n{OLD}\n"):
        cipher = Cipher.of(SecretStr(setting))
        assert cipher.keys == 2 and NEWER.decrypt(cipher.encrypt("x"), "It") == "x"
    assert Cipher.of(None).keys == 0


@pytest.mark.parametrize("setting", ["hunter2", f"{NEW},hunter2", f"{NEW[:-4]}", "é" * 44, f"{NEW};{OLD}", ",", " "])
def test_what_is_no_key_is_refused_with_the_way_to_make_one(setting: str) -> None:
    with pytest.raises(InvalidSettings, match=r"encryption_keys.*Fernet\.generate_key") as caught:
        Cipher.of(SecretStr(setting))
    assert "hunter2" not in str(caught.value) and NEW[:8] not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_remedy_makes_a_key() -> None:
    with pytest.raises(InvalidSettings) as caught:
        Cipher("no")
    code = caught.value.remedy.partition("'")[2].rstrip("'")
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert Cipher(made).decrypt(Cipher(made).encrypt("x"), "It") == "x"


def test_without_the_package_only_keys_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.fernet", None)
    assert Cipher().decrypt(Cipher().encrypt("x"), "It") == "x"
    with pytest.raises(CannotDecrypt):
        Cipher().decrypt(f"{ENCRYPTED}1:x", "It")
    with pytest.raises(InvalidSettings, match=r"hotset\[encryption\]"):
        Cipher(OLD)


def test_the_keys_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings({"HOTSET_ENCRYPTION_KEYS": f"{NEW},{OLD}"})
    assert settings.encryption_keys is not None and Cipher.of(settings.encryption_keys).keys == 2
    for text in (repr(settings), str(settings), repr(BOTH), repr(vars(BOTH).keys())):
        assert NEW not in text and OLD not in text
    (tmp_path / "hotset.toml").write_text(f'encryption_keys = ["{NEW}"]')
    with pytest.raises(InvalidSettings, match="encryption_keys") as caught:
        load_settings({})
    assert NEW not in str(caught.value)


def test_no_store_is_made_without_saying_what_encrypts() -> None:
    """It would write in the clear what others encrypt."""
    package = Path(hotset.__file__).parent
    worker = package.parent.parent / "workers" / "hotset_worker"
    found = 0
    for path in (*package.rglob("*.py"), *worker.rglob("*.py")):
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)) if "Store(" in text else ():
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if name in ("JobStore", "MessageStore"):
                    found += 1
                    assert "cipher" in {k.arg for k in node.keywords}, f"{path}:{node.lineno}"
    assert found >= 4
