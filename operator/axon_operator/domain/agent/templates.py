"""Templates of `bao agent`: how a credential is fetched, and the text that is made of it.

A template never holds a value. What people chose in it (paths, keys, names) is letters, digits, `_`, `.`, `-` and `/`
by the patterns of the API, so nothing can leave its quotes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from axon_operator.api.secretbinding import EnvDelivery, FileDelivery, FileFormat


@dataclass(frozen=True, slots=True)
class Fetch:
    """How a credential is fetched: what stands before and after a text in which `$d` holds its values by their keys."""

    opening: str
    closing: str
    leased: bool
    """It ends with a lease, and is fetched anew before that."""
    keys: tuple[str, ...]
    """The values wanted; all of them when empty."""

    def around(self, text: str) -> str:
        """The template that makes the text. A credential that lacks a wanted value must not replace a good one."""
        guards = "".join(
            f'{{{{ if not (sprig_hasKey $d "{key}") }}}}{{{{ sprig_fail "key missing" }}}}{{{{ end }}}}'
            for key in self.keys
        )
        return f"{self.opening}{guards}{text}{self.closing}"


def kv(path: str, keys: Sequence[str]) -> Fetch:
    """A secret of the KV store; `path`: below `kv/data`."""
    return Fetch(f'{{{{ with secret "kv/data/{path}" }}}}{{{{ $d := .Data.data }}}}', "{{ end }}", False, tuple(keys))


def grant(path: str, key: str, context: str, keys: Sequence[str]) -> Fetch:
    """What a user has encrypted for the runtime: OpenBao decrypts it with the runtime's key.

    Args:
        path: below `kv/data`.
        key: of the transit engine.
        context: with what it was encrypted beside the key, base64.
        keys: wanted.
    """
    stored = f'{{{{ with secret "kv/data/{path}" }}}}'
    decrypt = (
        f'{{{{ with secret "transit/decrypt/{key}" (printf "ciphertext=%s" .Data.data.ciphertext)'
        f' "associated_data={context}" }}}}'
    )
    parsed = "{{ $d := .Data.plaintext | base64Decode | parseJSON }}"
    return Fetch(f"{stored}{decrypt}{parsed}", "{{ end }}{{ end }}", False, tuple(keys))


def account(role: str, host: str, port: int, database: str) -> Fetch:
    """An account of a database, made for this pod."""
    opening = f'{{{{ with secret "database/creds/{role}" }}}}{_logs_in_to(host, port, database)}'
    return Fetch(opening, "{{ end }}", True, ())


def kept_account(path: str, version: int, host: str, port: int, database: str) -> Fetch:
    """An account that OpenBao keeps.

    The agent looks again when the password's time is over, and no sooner (measured): `version` makes another template of
    this for each password, so that one that was changed before its time is fetched at once.
    """
    known = f'{{{{ $version := "{version}" }}}}'
    opening = f'{{{{ with secret "{path}" }}}}{known}{_logs_in_to(host, port, database)}'
    return Fetch(opening, "{{ end }}", False, ())


def _logs_in_to(host: str, port: int, database: str) -> str:
    """What a program needs to use the account that was read."""
    values = (
        f'"username" .Data.username "password" .Data.password "host" "{host}" "port" "{port}" "database" "{database}"'
    )
    return f"{{{{ $d := sprig_dict {values} }}}}"


def certificate(role: str, spiffe_id: str) -> Fetch:
    """A certificate for the runtime's own identity, with a key that OpenBao has made for this pod."""
    values = (
        '"certificate" .Data.certificate "private_key" .Data.private_key "ca_chain" (sprig_join "\\n" .Data.ca_chain)'
    )
    opening = f'{{{{ with secret "pki/issue/{role}" "uri_sans={spiffe_id}" }}}}{{{{ $d := sprig_dict {values} }}}}'
    return Fetch(opening, "{{ end }}", True, ())


def file_text(file: FileDelivery, keys: Sequence[str]) -> str:
    """The text of a file."""
    values = {key: f'{{{{ index $d "{key}" | toUnescapedJSON }}}}' for key in keys}
    match file.format:
        case FileFormat.RAW:
            return f'{{{{ index $d "{keys[0]}" }}}}'
        case FileFormat.PEM:
            return "".join(f'{{{{ index $d "{key}" }}}}\n' for key in ("private_key", "certificate", "ca_chain"))
        case FileFormat.DOTENV if not values:
            return "{{ range $key, $value := $d }}{{ $key }}={{ $value | toUnescapedJSON }}\n{{ end }}"
        case FileFormat.DOTENV:
            return "".join(f"{key}={value}\n" for key, value in values.items())
        case FileFormat.JSON if not values:
            return "{{ $d | toUnescapedJSON }}"
        case FileFormat.JSON:
            return "{" + ",".join(f'"{key}":{value}' for key, value in values.items()) + "}"


_FIT = r"^[^'\\x00]*$"
"""What a variable can hold, in a text of a Go template."""


def env_text(env: EnvDelivery) -> str:
    """The variables in the form that the kubelet reads: literal between single quotes, which a value cannot hold.

    It is nothing, and not to be published, if one value does not fit. A template that fails would not tell that from a
    credential that cannot be had.
    """
    values = [(v.name, f'sprig_toString (index $d "{v.key}")') for v in env.variables]
    fit = " ".join(f'(sprig_regexMatch "{_FIT}" ({value}))' for _, value in values)
    lines = "".join(f"{name}='{{{{ {value} }}}}'\n" for name, value in values)
    return f"{{{{ if and {fit} }}}}{lines}{{{{ end }}}}"
