# SPDX-License-Identifier: AGPL-3.0-or-later
"""Access tokens and the file that holds the first one."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_server.storage import tokens
from inference_server.storage.token_file import ensure_token
from inference_server.storage.tokens import Scope, Token
from tests.support.home import START, Home

ALLOWED = {
    Scope.READ: {Scope.READ},
    Scope.UPLOAD: {Scope.UPLOAD},
    Scope.INTEGRATION: {Scope.INTEGRATION, Scope.READ, Scope.UPLOAD},
    Scope.ADMIN: set(Scope),
}


async def _verify(home: Home, secret: str) -> Token | None:
    async with home.database.reading() as connection:
        return await tokens.verify(connection, secret)


async def _revoke(home: Home, token_id: int) -> bool:
    async with home.database.writing() as connection:
        return await tokens.revoke(connection, token_id, home.clock.now())


@pytest.mark.parametrize("bearer", Scope)
def test_a_scope_allows_what_it_names_and_nothing_more(bearer: Scope) -> None:
    assert {wanted for wanted in Scope if bearer.allows(wanted)} == ALLOWED[bearer]


async def test_a_token_is_known_by_its_secret(a_home: Home) -> None:
    secret = await a_home.token(Scope.UPLOAD)
    assert await _verify(a_home, secret) == Token(1, "test upload", Scope.UPLOAD, START, None)
    assert await _verify(a_home, secret[:-1]) is None
    assert await _verify(a_home, "") is None


async def test_no_file_of_the_database_holds_the_secret(sqlite_home: Home) -> None:
    secret = await sqlite_home.token()
    for file in sqlite_home.file.parent.glob("*.sqlite3*"):
        assert secret.encode() not in file.read_bytes()
    await sqlite_home.database.close()
    assert secret.encode() not in sqlite_home.file.read_bytes()


@pytest.mark.parametrize("secret", ["\udcff", "broken \ud800", "geheim é", "\x00", "x" * 100_000])
async def test_what_no_token_can_be_is_refused_like_any_wrong_one(a_home: Home, secret: str) -> None:
    assert await _verify(a_home, secret) is None


@given(st.text(st.characters(), max_size=30))
def test_a_secret_of_any_characters_has_a_digest(secret: str) -> None:
    assert len(tokens._digest(secret)) == 64


async def test_a_revoked_token_is_refused(a_home: Home) -> None:
    kept, ended = await a_home.token(), await a_home.token()
    assert await _revoke(a_home, 2)
    assert await _verify(a_home, ended) is None
    assert await _verify(a_home, kept) is not None
    assert not await _revoke(a_home, 2)
    assert not await _revoke(a_home, 99)
    async with a_home.database.reading() as connection:
        assert [token.revoked_at for token in await tokens.list_all(connection)] == [None, START]


async def test_two_tokens_never_share_a_secret(a_home: Home) -> None:
    assert len({await a_home.token() for _ in range(5)}) == 5


async def test_the_first_start_leaves_a_token_that_only_the_owner_can_read(a_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "token"
    secret = await ensure_token(a_home.database, file, a_home.clock)
    assert file.read_text() == f"{secret}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    known = await _verify(a_home, secret)
    assert known is not None
    assert known.scope is Scope.INTEGRATION


async def test_the_next_start_keeps_the_token(a_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "token"
    secret = await ensure_token(a_home.database, file, a_home.clock)
    assert await ensure_token(a_home.database, file, a_home.clock) == secret
    async with a_home.database.reading() as connection:
        assert len(await tokens.list_all(connection)) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"wrong\n", b"\xff\xfe\x00broken", b"a" * 10_000])
async def test_a_file_without_a_valid_token_gets_a_new_one(a_home: Home, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    file.chmod(0o644)
    secret = await ensure_token(a_home.database, file, a_home.clock)
    assert file.read_text() == f"{secret}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await _verify(a_home, secret) is not None


async def test_a_revoked_token_in_the_file_is_replaced(a_home: Home, tmp_path: Path) -> None:
    file = tmp_path / "token"
    old = await ensure_token(a_home.database, file, a_home.clock)
    await _revoke(a_home, 1)
    assert await ensure_token(a_home.database, file, a_home.clock) != old


async def test_a_file_that_cannot_be_written_leaves_no_token_behind(a_home: Home, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="token"):
        await ensure_token(a_home.database, tmp_path / "missing" / "token", a_home.clock)
    async with a_home.database.reading() as connection:
        assert await tokens.list_all(connection) == ()


async def test_a_left_over_part_file_does_not_make_the_token_readable_by_others(a_home: Home, tmp_path: Path) -> None:
    part = tmp_path / "token.part"
    part.write_text("left over")
    part.chmod(0o644)
    await ensure_token(a_home.database, tmp_path / "token", a_home.clock)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
