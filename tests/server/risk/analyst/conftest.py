# SPDX-License-Identifier: AGPL-3.0-or-later
"""The models that the tests of language models share: they are loaded once per test, which takes less than a second."""

from pathlib import Path

import pytest

from tests.support.language import hybrid_path
from tests.support.weights import language_model_path


@pytest.fixture
def real() -> Path:
    """The small real model, a transformer."""
    return language_model_path()


@pytest.fixture
def hybrid() -> Path:
    """The tiny hybrid."""
    return hybrid_path()
