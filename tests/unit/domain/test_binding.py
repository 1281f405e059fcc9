"""Which bindings are delivered, and what the others are told."""

from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.domain.binding import Binding, problems

KEYS = {"billing/stripe": frozenset({"api_key", "hook"})}


def binding(
    name: str,
    *,
    created: str = "2026-01-01T00:00:00Z",
    path: str = "billing/stripe",
    file: str = "",
    keys: tuple[str, ...] = (),
) -> Binding:
    spec = {
        "runtimeRef": {"name": "agent"},
        "source": {"kv": {"path": path, "keys": list(keys)}},
        "delivery": {"file": {"path": file or f"{name}.json"}},
    }
    return Binding(name, created, SecretBindingSpec.model_validate(spec))


def test_a_binding_without_a_problem_is_delivered() -> None:
    assert problems([binding("a", keys=("api_key",))], KEYS, [], []) == {}


def test_a_missing_secret_is_waited_for_and_named() -> None:
    found = problems([binding("a", path="nope")], {"nope": None}, [], [])["a"]
    assert (found.reason, found.permanent) == (Reason.SOURCE_MISSING, False)
    assert "kv/org/nope" in found.message


def test_a_missing_key_is_named() -> None:
    found = problems([binding("a", keys=("api_key", "other"))], KEYS, [], [])["a"]
    assert found.reason is Reason.SOURCE_MISSING
    assert "no key other" in found.message


def test_the_older_of_two_bindings_keeps_the_file() -> None:
    old, new = (
        binding("z", created="2026-01-01T00:00:00Z", file="f"),
        binding("a", created="2026-01-02T00:00:00Z", file="f"),
    )
    found = problems([new, old], KEYS, [], [])
    assert set(found) == {"a"}
    assert (found["a"].reason, found["a"].permanent) == (Reason.CONFLICT, True)


def test_a_broken_binding_does_not_hold_a_file_name() -> None:
    broken, good = binding("a", path="nope", file="f"), binding("b", created="2026-02-01T00:00:00Z", file="f")
    assert set(problems([broken, good], {**KEYS, "nope": None}, [], [])) == {"a"}
