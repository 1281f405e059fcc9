"""A Tenant's vault section: its OpenBao namespace."""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field

from axon_operator.api.base import DNS_LABEL, ApiModel, CredentialRef, Duration, HostName, ObjectName, Port, cel, keyed

_NAME = "[A-Za-z0-9][A-Za-z0-9 ._-]*"
GroupPath = Annotated[str, Field(pattern=f"^(/{_NAME})+$", min_length=2, max_length=255)]
"""A Keycloak group by its full path, such as `/finance/keepers`."""

SqlName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", min_length=1, max_length=63)]
"""Name of a database or of an account in it: nothing that would have to be escaped, in an address or in SQL."""


class DatabasePlugin(StrEnum):
    """Which kind of database it is."""

    POSTGRESQL = "postgresql"


class DatabaseRole(ApiModel):
    """Accounts that OpenBao makes, one for each pod, or one that there is already and whose password OpenBao keeps.

    There is no SQL here: rights are kept in the database.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.memberOf) != has(self.account)",
                    "message": "exactly one is needed: memberOf (an account is made for each pod) or account (one that there is already)",
                },
                {
                    "rule": "!has(self.rotationInterval) || has(self.account)",
                    "message": "rotationInterval is for account; the others end with the ttl of their binding: remove it",
                },
            ]
        }
    )

    name: ObjectName = Field(description="Its name, by which SecretBindings ask for it.")
    member_of: list[SqlName] | None = Field(
        default=None,
        description=(
            "Roles of the database, made by its administrator, in which each account made for a pod is a member; what"
            " they may do, it may do. The account of `username` must be allowed to grant them."
        ),
        min_length=1,
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    account: SqlName | None = Field(
        default=None,
        description=(
            "An account that the database's administrator has made. OpenBao changes its password at once, to one that"
            " only it and the pods know, and keeps changing it. The account of `username` must be allowed to change it."
        ),
    )
    rotation_interval: Duration | None = Field(
        default=None,
        description="How often OpenBao changes the password of `account`, 1h to 8760h; 24h if it is left out.",
        json_schema_extra=cel(
            "duration(self) >= duration('1h') && duration(self) <= duration('8760h')", "must be between 1h and 8760h"
        ),
    )

    @property
    def lifetime(self) -> str:
        """Of a password of `account`."""
        return self.rotation_interval or "24h"


class Database(ApiModel):
    """A database in which OpenBao makes accounts that expire, or keeps the passwords of others. The connection is always encrypted and verified."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.roles) || self.roles.all(r, !has(r.memberOf) || !(self.username in r.memberOf))",
                    "message": "memberOf names the account of username: workloads could make accounts by it; name roles of their own",
                },
                {
                    "rule": "!has(self.roles) || self.roles.all(r, !has(r.account) || r.account != self.username)",
                    "message": "account names the account of username, which is OpenBao's alone; name another one",
                },
                {
                    "rule": "!has(self.roles) || self.roles.all(r, !has(r.account) || self.roles.exists_one(o, has(o.account) && o.account == r.account))",
                    "message": "two roles share an account, whose password each of them would change; name it in one",
                },
            ]
        }
    )

    name: ObjectName = Field(
        description="Its name in OpenBao: `database/config/<name>`. Its roles begin with it and a dot."
    )
    plugin: DatabasePlugin = Field(default=DatabasePlugin.POSTGRESQL, description="Which kind of database it is.")
    host: HostName = Field(
        description=(
            "Its host, which must be on the operator's list of allowed hosts and in the database's certificate. At"
            " another host the account is another one, with a Secret of its own."
        )
    )
    port: Port = Field(default=5432, description="Its port.")
    database: SqlName = Field(description="The database to which OpenBao connects.")
    ca: str | None = Field(
        default=None,
        description=(
            "Which authority vouches for its certificate: the file <ca>.crt in the folder for such files on OpenBao's"
            " server. Without it those that OpenBao's server trusts anyway."
        ),
        pattern=DNS_LABEL,
        max_length=63,
    )
    username: SqlName = Field(
        description="The account with which OpenBao makes others. It is OpenBao's alone: its password is changed at once."
    )
    credential_secret_ref: CredentialRef = Field(
        description="Where its first password is. A changed Secret is taken over anew; a deleted one changes nothing."
    )
    rotation_interval: Duration = Field(
        default="720h",
        description="How often OpenBao changes that account's password again, to one that only it knows.",
        json_schema_extra=cel(
            "duration(self) >= duration('1h') && duration(self) <= duration('8760h')", "must be between 1h and 8760h"
        ),
    )
    roles: list[DatabaseRole] = Field(
        default_factory=list,
        max_length=32,
        description="What SecretBindings may ask for; none by default.",
        json_schema_extra=keyed("name"),
    )


class Vault(ApiModel):
    """The tenant's OpenBao namespace."""

    admins: list[GroupPath] = Field(
        default_factory=list,
        max_length=32,
        description="Keycloak groups of the realm, by full path such as /finance/keepers. Their members may log in to "
        "OpenBao as `org-admin`, who keeps the organization's secrets below kv/org/. A member of a subgroup is none of the group.",
    )
    databases: list[Database] = Field(
        default_factory=list,
        max_length=16,
        description="Databases in which OpenBao can make accounts. From one that leaves the list, the accounts that were "
        "made go, then the connection.",
        json_schema_extra={
            **keyed("name"),
            **cel(
                "self.all(x, self.exists_one(y, y.username == x.username && y.host == x.host && y.port == x.port))",
                "two databases share an account, whose password each of them would change; give each one of its own",
            ),
        },
    )
