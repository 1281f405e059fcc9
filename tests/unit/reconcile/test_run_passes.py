"""A runtime whose workload runs to its end: one Job for each run, and nothing that was issued is left behind it."""

import pytest

from axon_operator.domain.resources import BINDING, JOB, POD, Manifest, Ref, VaultPath

from .test_passes import ACME, AGENT, BILLING, NAMES, PRINCIPAL, SECRET, declare, ready, settle
from .world import Crash, World

RUN = Ref(JOB, "axon-acme", PRINCIPAL)
POLICY = VaultPath(NAMES.vault_namespace, f"sys/policies/acl/{PRINCIPAL}")


def declared() -> World:
    world = World()
    declare(world, ACME, AGENT, BILLING)
    world.objects[AGENT]["spec"] |= {"run": {"deadline": "10m"}, "replicas": 1}
    settle(world, ACME)
    world.vault[SECRET] = {"subkeys": {"api_key": None}}
    settle(world, ACME, AGENT, BILLING)
    return world


def edit(world: World, **spec: object) -> None:
    world.objects[AGENT]["spec"].update(spec)
    world.objects[AGENT]["metadata"]["generation"] += 1


def say(world: World, **status: object) -> None:
    """What the Job's controller says."""
    world.objects[RUN]["status"] = status


def over(how: str) -> list[Manifest]:
    return [{"type": how, "status": "True"}]


def test_it_runs_once_and_what_it_was_given_ends_with_it() -> None:
    world = declared()
    assert world.objects[RUN]["spec"]["activeDeadlineSeconds"] == 600
    assert not any(ref.resource.kind == "Deployment" for ref in world.objects)
    assert ready(world, AGENT)["status"] == "False"
    say(world, active=1, ready=1)
    settle(world, AGENT, BILLING)
    assert (ready(world, AGENT)["status"], ready(world, AGENT)["reason"]) == ("True", "Ready")
    assert "kv/data/org" in world.vault[POLICY]["policy"]
    say(world, succeeded=1, conditions=over("Complete"))
    settle(world, AGENT, BILLING)
    assert (ready(world, AGENT)["status"], ready(world, AGENT)["reason"]) == ("True", "RunSucceeded")
    assert "kv/data/org" not in world.vault[POLICY]["policy"]
    assert (ready(world, BILLING)["status"], ready(world, BILLING)["reason"]) == ("True", "NoConsumers")
    before = world.writes
    settle(world, AGENT, BILLING)
    assert world.writes == before


def test_a_run_that_failed_says_how_it_runs_again() -> None:
    world = declared()
    say(world, failed=1, conditions=over("Failed"))
    settle(world, AGENT, BILLING)
    assert (ready(world, AGENT)["status"], ready(world, AGENT)["reason"]) == ("False", "RunFailed")
    assert "spec.run.trigger" in ready(world, AGENT)["message"]
    assert "kv/data/org" not in world.vault[POLICY]["policy"]
    uid = world.objects[RUN]["metadata"]["uid"]
    edit(world, run={"deadline": "10m", "trigger": "again"})
    settle(world, AGENT, BILLING)
    assert "status" not in world.objects[RUN], f"{uid} was made anew"
    assert "kv/data/org" in world.vault[POLICY]["policy"]


@pytest.mark.parametrize("how", ["Complete", "Failed"])
def test_what_has_run_is_not_run_again_for_another_pod_template_or_more_bindings(how: str) -> None:
    world = declared()
    say(world, conditions=over(how))
    world.objects[RUN]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 1
    settle(world, AGENT, BILLING)
    assert world.objects[RUN]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 1
    assert world.objects[RUN]["status"] == {"conditions": over(how)}


def test_a_run_is_suspended_and_goes_on() -> None:
    world = declared()
    say(world, active=1, ready=1)
    edit(world, suspended=True)
    settle(world, AGENT)
    assert world.objects[RUN]["spec"]["suspend"] is True
    assert ready(world, AGENT)["reason"] == "Suspended"
    edit(world, suspended=False)
    settle(world, AGENT)
    assert world.objects[RUN]["spec"]["suspend"] is False


def test_a_suspended_tenant_stops_its_runs() -> None:
    world = declared()
    say(world, active=1, ready=1)
    world.objects[ACME]["spec"]["suspended"] = True
    world.objects[ACME]["metadata"]["generation"] += 1
    settle(world, ACME, AGENT)
    assert world.objects[RUN]["spec"]["suspend"] is True


def test_a_foreign_job_of_that_name_is_not_touched() -> None:
    world = declared()
    world.objects[RUN]["metadata"]["labels"]["axonos.ai/owner-uid"] = "another"
    before = world.objects[RUN]["metadata"]["uid"]
    edit(world, image="registry.example/other:1")
    settle(world, AGENT)
    assert ready(world, AGENT)["reason"] == "NameTaken"
    assert world.objects[RUN]["metadata"]["uid"] == before


def test_a_deletion_takes_the_job_too() -> None:
    world = declared()
    for ref in (BILLING, AGENT):
        world.objects[ref]["metadata"]["deletionTimestamp"] = "2026-01-02T00:00:00Z"
    settle(world, AGENT, BILLING)
    assert not {RUN, AGENT, BILLING} & set(world.objects)
    assert not any(ref.resource in {JOB, POD, BINDING} for ref in world.objects)


def test_a_crash_behind_any_write_of_a_run_converges() -> None:
    clean = declared()
    say(clean, conditions=over("Complete"))
    start = clean.writes
    settle(clean, AGENT, BILLING)
    for fuse in range(1, clean.writes - start + 1):
        world = declared()
        say(world, conditions=over("Complete"))
        world.fuse = fuse
        with pytest.raises(Crash):
            settle(world, AGENT, BILLING)
        settle(world, AGENT, BILLING)
        assert world.vault[POLICY] == clean.vault[POLICY]
        assert ready(world, AGENT)["reason"] == "RunSucceeded"
