# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where the passphrase of a backup comes from: a file, the environment, or whoever types it. Never the command line."""

import argparse
import getpass
import os
import sys
from pathlib import Path

from inference_server.settings import BACKUP_PASSPHRASE_VARIABLE
from inference_server.storage.backup.errors import PassphraseError
from inference_server.storage.backup.verify import is_encrypted


def add_option(parser: argparse.ArgumentParser) -> None:
    """Let a command take a passphrase."""
    parser.add_argument(
        "--passphrase-file",
        type=Path,
        metavar="FILE",
        help=f"read the passphrase here, not from {BACKUP_PASSPHRASE_VARIABLE}",
    )


def given(options: argparse.Namespace) -> str | None:
    """Return the passphrase of the file or the environment, None without. Raises PassphraseError, OSError."""
    file: Path | None = options.passphrase_file
    if file is None:
        return os.environ.get(BACKUP_PASSPHRASE_VARIABLE) or None
    try:
        text = file.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise PassphraseError(f"{file} holds no text. Write the passphrase into it.") from error
    if not text:
        raise PassphraseError(f"{file} is empty. Write the passphrase into it.")
    return text


def chosen(options: argparse.Namespace) -> str | None:
    """Return the passphrase for a new backup, asked for with `--encrypt`. Raises PassphraseError, OSError."""
    known = given(options)
    if known or not options.encrypt:
        return known
    first = _asked("Passphrase for the backup: ")
    if not first or first != _asked("Again: "):
        raise PassphraseError("The passphrases are empty or differ. Nothing was saved; try again.")
    return first


def of_backup(options: argparse.Namespace, backup: Path) -> str | None:
    """Return the passphrase of a backup, asking for it when it is encrypted. Raises PassphraseError, OSError."""
    known = given(options)
    if known or not backup.is_file() or not is_encrypted(backup):
        return known
    return _asked(f"Passphrase of {backup}: ")


def _asked(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise PassphraseError(
            f"The backup needs a passphrase. Give it with --passphrase-file or {BACKUP_PASSPHRASE_VARIABLE}."
        )
    return getpass.getpass(prompt, stream=sys.stderr)
