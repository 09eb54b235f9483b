"""What the tests of data on disk share."""

import pytest


@pytest.fixture
def full_disk(monkeypatch):
    """Return a function that fills the disk: from then on nothing reaches it."""

    def fill():
        def fsync(_):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr('os.fsync', fsync)

    return fill
