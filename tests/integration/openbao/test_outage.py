"""OpenBao away: every call says so, in our words, and the next one after its return works."""

from collections.abc import Iterator

import pytest

from axon_operator.api.reasons import Reason
from axon_operator.backends.errors import Transient
from axon_operator.backends.vault.adapter import OpenBao
from axon_operator.domain.resources import VaultPath
from servers.bao import Bao

CHILDREN = VaultPath("", "sys/namespaces")


@pytest.fixture
def away(bao: Bao) -> Iterator[Bao]:
    """May be sealed or stopped; afterwards it runs again."""
    yield bao
    bao.stop()
    bao.start()


@pytest.mark.parametrize("logged_in", [False, True])
def test_sealed(vault: OpenBao, away: Bao, logged_in: bool) -> None:
    if logged_in:
        vault.list(CHILDREN)
    away.admin("POST", "", "sys/seal")
    with pytest.raises(Transient, match=r"is sealed; unseal it\.$") as sealed:
        vault.list(CHILDREN)
    assert sealed.value.reason is Reason.VAULT_UNAVAILABLE
    assert sealed.value.__context__ is None


def test_stopped_and_back(vault: OpenBao, away: Bao) -> None:
    vault.list(CHILDREN)
    away.stop()
    with pytest.raises(Transient, match="could not be reached") as stopped:
        vault.list(CHILDREN)
    assert away.address in stopped.value.message
    away.start()
    vault.list(CHILDREN)


def test_on_a_returned_server_old_tokens_still_work(vault: OpenBao, away: Bao) -> None:
    vault.list(CHILDREN)
    away.stop()
    away.start()
    vault.list(CHILDREN)
