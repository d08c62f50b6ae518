"""Fixtures that tests of commands share."""

import pytest

from workers.clips import SCRIPTS, Clip, draw_clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    """Four drawn clips of 10 s, which no test changes."""
    return list(draw_clips(tmp_path_factory.mktemp("clips"), SCRIPTS))
