"""Small pure conversions: durations, quantities, and "is what exists as planned?"."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

_UNITS = {"h": 3600, "m": 60, "s": 1}
_SUFFIXES = {
    "m": Decimal("0.001"), "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9),
    "T": Decimal(10**12), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
}  # fmt: skip
_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")
_LIST = (list, tuple)
# dict, list and tuple, not the abstract Mapping and Sequence: asking for those took a fifth of a pass (measured)
_QUANTITY_PARENTS = frozenset({"hard", "limits", "requests", "default", "defaultRequest", "max", "min"})


def seconds(duration: str) -> int:
    """Seconds of a duration such as `1h30m`; the pattern of `api.base.Duration` has been checked."""
    return sum(int(n) * _UNITS[u] for n, u in re.findall(r"([0-9]+)([hms])", duration))


def as_planned(live: Any, planned: Any, parent: str = "") -> bool:
    """Whether everything in `planned` is in `live`; both are JSON.

    Maps may hold more than planned (servers add defaults), lists may not: a rule that somebody added
    to a policy is a difference. Missing and empty are the same, because servers drop empty fields.
    """
    if isinstance(planned, dict):
        if not isinstance(live, dict):
            return not planned and live is None
        return all(as_planned(live.get(key), value, _context(parent, key)) for key, value in planned.items())
    if isinstance(planned, _LIST):
        if not isinstance(live, _LIST):
            return not planned and live is None
        return len(live) == len(planned) and all(as_planned(a, b, parent) for a, b in zip(live, planned, strict=True))
    if planned in (None, ""):
        return live in (None, "")
    if parent in _QUANTITY_PARENTS and isinstance(live, str) and isinstance(planned, str):
        return _amount(live) == _amount(planned)
    if isinstance(planned, str):  # a plan may name one of an enumeration
        return isinstance(live, str) and live == planned
    return type(live) is type(planned) and bool(live == planned)


def in_order(value: Any) -> Any:
    """With lists of words, and of things with a name, sorted: Keycloak keeps no order in them."""
    if isinstance(value, Mapping):
        return {key: in_order(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return sorted(map(in_order, value), key=_name)
    return value


def has_unplanned(live: Any, planned: Any, known: Mapping[str, Sequence[Any]], path: str = "") -> bool:
    """Whether `live` holds a field or an item of a list that is neither planned nor known to come from the server.

    Args:
        live: what was read.
        planned: what was planned there.
        known: what servers add by themselves: path of the field (`.a.b`, through lists without an index) to its
            possible values; an empty sequence stands for any.
        path: where in the object this is.
    """
    if isinstance(live, dict):
        plan = planned if isinstance(planned, dict) else {}
        return any(
            has_unplanned(value, plan[key], known, f"{path}.{key}")
            if key in plan
            else not _is_servers(value, known, f"{path}.{key}")
            for key, value in live.items()
        )
    if isinstance(live, _LIST):
        items = planned if isinstance(planned, _LIST) else ()
        return len(live) > len(items) or any(
            has_unplanned(a, b, known, path) for a, b in zip(live, items, strict=False)
        )
    return False


def _name(item: Any) -> str:
    return str(item.get("name")) if isinstance(item, Mapping) else str(item)


def _is_servers(value: Any, known: Mapping[str, Sequence[Any]], path: str) -> bool:
    """Whether a field that is not planned says nothing. An empty map says something: as a selector, everything."""
    if path in known:
        return not known[path] or value in known[path]
    if isinstance(value, dict):
        return bool(value) and all(_is_servers(inner, known, f"{path}.{key}") for key, inner in value.items())
    return value is None or value in ("", [])


def _context(parent: str, key: str) -> str:
    """Quantities stand one level below these names; the server rewrites `1000m` as `1`."""
    return key if key in _QUANTITY_PARENTS else parent if parent in _QUANTITY_PARENTS else ""


def _amount(text: str) -> Decimal | str:
    match = _QUANTITY.match(text)
    return Decimal(match[1]) * _SUFFIXES[match[2] or ""] if match else text
