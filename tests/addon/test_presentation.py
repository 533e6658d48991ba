# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the app store shows: texts and pictures, and the documentation of every option."""

import re

import pytest
from PIL import Image

from tests.addon import option_rules
from tests.addon.files import ADDON, read_config


@pytest.mark.parametrize(("file", "size"), [("icon.png", (128, 128)), ("logo.png", (250, 100))])
def test_pictures_have_the_size_that_the_store_shows(file: str, size: tuple[int, int]) -> None:
    with Image.open(ADDON / file) as picture:
        assert (picture.format, picture.size, picture.mode) == ("PNG", size, "RGBA")
        lowest, highest = picture.getchannel("A").getextrema()
        assert (lowest, highest) == (0, 255)


@pytest.mark.parametrize("file", ["README.md", "DOCS.md", "CHANGELOG.md"])
def test_texts_begin_with_a_title(file: str) -> None:
    assert re.match(r"# \w", (ADDON / file).read_text())


def test_the_documentation_explains_exactly_the_options_there_are() -> None:
    section = (ADDON / "DOCS.md").read_text().split("## Options")[1].split("### ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    explained = [name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)]
    config = read_config()
    assert explained == [option.name for option in option_rules.walk(config["schema"], config["options"])]
