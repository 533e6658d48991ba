# SPDX-License-Identifier: AGPL-3.0-or-later
"""Passwords as they are kept."""

import re

import pytest

from inference_server.storage.passwords import ALPHABET, generate_password, hash_password, matches


@pytest.mark.parametrize("password", ["correct horse", "", "pässwörd", "\udcff\x00", "x" * 500])
def test_a_password_matches_what_was_kept_of_it_and_no_other_does(password: str) -> None:
    kept = hash_password(password)
    assert matches(password, kept)
    assert not matches(password + "x", kept)


def test_two_hashes_of_one_password_share_nothing() -> None:
    first, second = hash_password("correct horse"), hash_password("correct horse")
    assert first.split("$")[:4] == second.split("$")[:4] == ["scrypt", "16384", "8", "5"]
    assert first.split("$")[4:] != second.split("$")[4:]
    assert "correct" not in first


def test_a_generated_password_can_be_typed_into_any_camera() -> None:
    made = {generate_password() for _ in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch(rf"[{ALPHABET}]{{16}}", password) for password in made)
