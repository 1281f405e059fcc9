"""What a profile demands is demanded of every spec, and nothing else is."""

from ipaddress import IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.governance import EgressBounds, GovernanceProfileSpec, MfaDemand, SessionCeilings
from axon_operator.api.identity import Identity, Sessions
from axon_operator.api.reasons import Reason
from axon_operator.api.secretbinding import SecretBindingSpec
from axon_operator.api.tenant import EgressRule, Network, TenantSpec
from axon_operator.api.vault import DatabaseRole
from axon_operator.api.workflowruntime import WorkflowRuntimeSpec
from axon_operator.domain.governance import Governed, Profile, opens_too_much, outlasts, refusal, violations
from axon_operator.domain.values import seconds

DIGEST = f"registry.example/agent@sha256:{'0' * 64}"
TAG = "registry.example/agent:1"

durations = st.builds(lambda n, unit: f"{n}{unit}", st.integers(1, 120), st.sampled_from("smh"))
networks = st.builds(
    lambda address, prefix: str(IPv4Network((address, prefix), strict=False)),
    st.integers(0, 2**32 - 1),
    st.integers(8, 32),
)
ports = st.lists(st.integers(1, 65535), min_size=1, max_size=3)
rules = st.lists(st.builds(EgressRule, cidr=networks, ports=ports), max_size=3)
sessions = st.builds(Sessions, access_token_lifespan=durations, idle_timeout=durations, max_lifespan=durations)
tenants = st.builds(
    TenantSpec, identity=st.builds(Identity, sessions=sessions), network=st.builds(Network, egress=rules)
)
runtimes = st.builds(WorkflowRuntimeSpec, image=st.sampled_from([TAG, DIGEST]), egress=rules)


def binding(ttl: str, egress: list[EgressRule]) -> SecretBindingSpec:
    spec = {
        "runtimeRef": {"name": "agent"},
        "source": {"kv": {"path": "a"}},
        "delivery": {"file": {"path": "a"}},
        "ttl": ttl,
        "egress": [rule.to_json() for rule in egress],
    }
    return SecretBindingSpec.model_validate(spec)


specs: st.SearchStrategy[Governed] = st.one_of(tenants, runtimes, st.builds(binding, durations, rules))
ceilings = st.none() | durations
profiles = st.builds(
    GovernanceProfileSpec,
    sessions=st.builds(
        SessionCeilings, max_access_token_lifespan=ceilings, max_idle_timeout=ceilings, max_lifespan=ceilings
    ),
    mfa=st.sampled_from(MfaDemand),
    require_image_digest=st.booleans(),
    max_credential_ttl=ceilings,
    egress=st.builds(
        EgressBounds, shortest_prefix=st.integers(8, 32), denied_ports=st.lists(st.integers(1, 65535), max_size=3)
    ),
)


def within(value: str, ceiling: str | None) -> bool:
    return ceiling is None or seconds(value) <= seconds(ceiling)


def opened(spec: Governed) -> list[EgressRule]:
    return spec.network.egress if isinstance(spec, TenantSpec) else spec.egress


@given(specs)
def test_an_empty_profile_demands_nothing(spec: Governed) -> None:
    assert violations("none", GovernanceProfileSpec(), spec) == []


@given(profiles, specs)
def test_what_passes_is_within_every_bound(profile: GovernanceProfileSpec, spec: Governed) -> None:
    if violations("p", profile, spec):
        return
    for rule in opened(spec):
        assert IPv4Network(rule.cidr).prefixlen >= profile.egress.shortest_prefix
        assert not set(rule.ports) & set(profile.egress.denied_ports)
    match spec:
        case TenantSpec():
            mine, most = spec.identity.sessions, profile.sessions
            assert within(mine.access_token_lifespan, most.max_access_token_lifespan)
            assert within(mine.idle_timeout, most.max_idle_timeout)
            assert within(mine.max_lifespan, most.max_lifespan)
        case WorkflowRuntimeSpec():
            assert not profile.require_image_digest or spec.image == DIGEST
        case SecretBindingSpec():
            assert within(spec.ttl, profile.max_credential_ttl)


@given(profiles, profiles, specs)
def test_what_passes_a_stricter_profile_passes_a_laxer_one(
    one: GovernanceProfileSpec, other: GovernanceProfileSpec, spec: Governed
) -> None:
    """The laxer one demands the same or less, field by field."""
    laxer = one.model_copy(
        update={
            "sessions": SessionCeilings(),
            "max_credential_ttl": None,
            "require_image_digest": one.require_image_digest and other.require_image_digest,
            "egress": EgressBounds(
                shortest_prefix=min(one.egress.shortest_prefix, other.egress.shortest_prefix),
                denied_ports=[p for p in one.egress.denied_ports if p in other.egress.denied_ports],
            ),
        }
    )
    if not violations("strict", one, spec):
        assert violations("lax", laxer, spec) == []


@given(profiles, specs)
def test_every_message_says_who_demands_it_of_which_field(profile: GovernanceProfileSpec, spec: Governed) -> None:
    for message in violations("soc2", profile, spec):
        assert message.startswith("GovernanceProfile soc2 ")
        assert "spec." in message
        assert message.endswith(".")


@given(profiles, st.builds(EgressRule, cidr=networks, ports=ports))
def test_a_rule_opens_too_much_exactly_where_it_would_be_refused(
    profile: GovernanceProfileSpec, rule: EgressRule
) -> None:
    alone = WorkflowRuntimeSpec(image=DIGEST, egress=[rule])
    assert opens_too_much(Profile("p", profile), rule) is bool(violations("p", profile, alone))


def test_a_second_factor_that_is_not_asked_for_is_missed() -> None:
    demanding = GovernanceProfileSpec(mfa=MfaDemand.REQUIRED)
    none = TenantSpec.model_validate({"identity": {"mfa": "None"}})
    assert violations("soc2", demanding, none) == [
        "GovernanceProfile soc2 demands spec.identity.mfa: Required; set it."
    ]


def test_all_that_is_wrong_is_told_at_once() -> None:
    profile = GovernanceProfileSpec(
        require_image_digest=True, egress=EgressBounds(shortest_prefix=24, denied_ports=[23, 80])
    )
    wide = EgressRule(cidr="203.0.0.0/16", ports=[443, 80, 23])
    refused = refusal(Profile("soc2", profile), WorkflowRuntimeSpec(image=TAG, egress=[wide]))
    assert refused is not None
    assert refused.reason is Reason.GOVERNANCE_VIOLATION
    assert refused.message == (
        "GovernanceProfile soc2 demands an image by digest; write spec.image as name@sha256:…. "
        "GovernanceProfile soc2 allows no range wider than /24 in spec.egress; narrow 203.0.0.0/16. "
        "GovernanceProfile soc2 denies ports in spec.egress; remove 23, 80."
    )


def test_a_tenant_without_a_profile_is_free_and_one_whose_profile_is_gone_is_not() -> None:
    spec = WorkflowRuntimeSpec(image=DIGEST)
    assert refusal(None, spec) is None
    gone = refusal(Profile("gone", None), spec)
    assert gone is not None
    assert gone.reason is Reason.PROFILE_NOT_FOUND
    assert "spec.governance.profile" in gone.message
    # what is open stays so: nobody knows better
    assert not opens_too_much(Profile("gone", None), EgressRule(cidr="203.0.113.0/24", ports=[443]))


def test_an_account_that_is_kept_lives_no_longer_than_a_credential_may() -> None:
    profile = Profile("p", GovernanceProfileSpec(max_credential_ttl="2h"))
    for interval, refused in (("1h", False), ("2h", False), ("121m", True), (None, True)):
        role = DatabaseRole(name="app", account="app_rw", rotation_interval=interval)
        ordered = {"name": "orders", "host": "db", "database": "orders", "username": "axon"}
        database = {**ordered, "credentialSecretRef": {"name": "orders"}, "roles": [role.to_json()]}
        spec = TenantSpec.model_validate({"vault": {"databases": [database]}})
        assert bool(outlasts(profile, role)) == bool(refusal(profile, spec)) == refused
        assert outlasts(None, role) is outlasts(Profile("p", GovernanceProfileSpec()), role) is None
