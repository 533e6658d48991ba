# SPDX-License-Identifier: AGPL-3.0-or-later
"""Text from outside as quoted data: names of cameras, zones and people, whatever was read from a picture, notes.

A model takes a text for what its form says. So what comes from outside cannot end its quote, begin a line, hold a sign
of a chat format (`<|im_end|>`, `[INST]`, `### Instruction`), hide letters or turn the direction of writing; and it is
short.
"""

import re
import unicodedata

LONGEST = 60
"""Characters of a name."""
LONGEST_NOTE = 200
"""Characters of a sentence."""

_NOTHING = "?"
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_QUOTES = {"Pi", "Pf"}
_MARKS = '"`\u00b4\u2032\u2033\u2034\u2036\u2037\u3003\u301d\u301e\u301f\u201e\u201a'
"""Quote marks that Unicode counts among other signs."""
_OTHERS = str.maketrans(
    dict.fromkeys(_MARKS, "'") | dict.fromkeys("<[{", "(") | dict.fromkeys(">]}", ")") | dict.fromkeys("|\\", "/")
)
_RUN = re.compile(r"([^\w\s])\1{2,}")


def quoted(text: str, longest: int = LONGEST) -> str:
    """Return a text from outside as data: one line in double quotes, which it cannot end, of at most `longest` + 2."""
    normal = unicodedata.normalize("NFKC", text[: 4 * longest])
    plain = "".join(_plain(character) for character in normal).translate(_OTHERS)
    words = " ".join(_RUN.sub(r"\1", plain).split())
    if len(words) > longest or len(text) > 4 * longest:
        words = f"{words[: longest - 3].rstrip()}..."
    return f'"{words or _NOTHING}"'


def _plain(character: str) -> str:
    category = unicodedata.category(character)
    if category in _DROPPED:
        return " "
    return "'" if category in _QUOTES else character
