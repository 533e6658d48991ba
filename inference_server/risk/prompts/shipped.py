# SPDX-License-Identifier: AGPL-3.0-or-later
"""The prompts that come with the product, one file per version."""

import re
from dataclasses import dataclass
from importlib.resources import files

from inference_server.core.prompt import PromptKind
from inference_server.risk.prompts.text import read_prompt

_NAME = re.compile(r"v(\d+)\.toml")


@dataclass(frozen=True, slots=True)
class ShippedPrompt:
    """A shipped text and the name that it gives itself."""

    kind: PromptKind
    name: str
    text: str


def shipped_prompts() -> tuple[ShippedPrompt, ...]:
    """Return every shipped prompt, of each kind the oldest first."""
    found = []
    for kind in PromptKind:
        folder = files("inference_server.risk.prompts").joinpath(kind.value)
        numbered = sorted((int(name[1]), file) for file in folder.iterdir() if (name := _NAME.fullmatch(file.name)))
        texts = [file.read_text("utf-8") for _, file in numbered]
        found += [ShippedPrompt(kind, read_prompt(kind, text).name, text) for text in texts]
    return tuple(found)


def newest_shipped(kind: PromptKind) -> ShippedPrompt:
    """Return the shipped prompt of a kind that is meant for new installations."""
    return [prompt for prompt in shipped_prompts() if prompt.kind is kind][-1]
