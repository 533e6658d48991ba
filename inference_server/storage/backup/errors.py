# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes wrong with backups."""


class BackupError(Exception):
    """A backup cannot be made, read or restored; the message says why and what to do."""


class PassphraseError(BackupError):
    """A passphrase is missing or wrong."""


def damaged(what: str) -> BackupError:
    """Return the error of a file that is not as it was written."""
    return BackupError(
        f"The file is damaged, incomplete or no backup: {what}. Copy it again from where it was made, or use another."
    )


def untrusted(what: str) -> BackupError:
    """Return the error of a file that is whole, but that this program cannot have written."""
    return BackupError(f"The backup is not trusted: {what}. Use one that hsi backup made.")
