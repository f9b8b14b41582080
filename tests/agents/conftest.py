"""Fixtures of the tests that run other people's programs."""

import pytest

from tests.agents.installed import litellm_python, node, npm_packages
from tests.serve.conftest import served

__all__ = ["installed", "litellm", "served"]


@pytest.fixture(scope="session")
def installed():
    """(the program node, node_modules), before any gateway runs: the first time takes a minute."""
    return node(), npm_packages()


@pytest.fixture(scope="session")
def litellm():
    """A Python that has LiteLLM."""
    return litellm_python()
