"""Adoption: an administrator hands a Tenant what another one of its name had before it was lost."""

import re
from dataclasses import dataclass
from typing import Final

from axon_operator.domain.names import ADOPT_ANNOTATION
from axon_operator.domain.resources import Manifest
from axon_operator.domain.tenant.marks import Mark

_FORM: Final = re.compile(r"(?:([A-Za-z0-9-]{1,64})/)?([A-Za-z0-9-]{1,64})")


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose things a Tenant is to take over."""

    uid: str
    """Of the lost Tenant."""
    cluster: str
    """In which that was."""

    def covers(self, mark: Mark) -> bool:
        """Whether something is that Tenant's. A mark without cluster could be anybody's."""
        return (mark.owner, mark.cluster) == (self.uid, self.cluster)


def asks_to_adopt(live: Manifest) -> str:
    """The text of a Tenant's annotation; empty without one."""
    return str((live["metadata"].get("annotations") or {}).get(ADOPT_ANNOTATION) or "")


def claim_of(live: Manifest, cluster: str) -> Claim | None:
    """What the annotation of a Tenant asks for: `<uid>` in this cluster, or `<cluster>/<uid>`; None for anything else."""
    found = _FORM.fullmatch(asks_to_adopt(live))
    return Claim(found[2], found[1] or cluster) if found else None
