"""What pods tell of single files of a set: each binding is told by its own file, and a pod's word is taken for no more."""

import copy
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.api.reasons import Reason
from axon_operator.domain.resources import VaultPath
from axon_operator.reconcile.views import Served, served

from .test_issue_passes import CONFIG, RUNTIME_NAMES, Scene, binding, turn
from .test_passes import NAMES, PRINCIPAL

BASE = Scene("account", "random", "variable")
"""Made once: a test works on a copy."""
VARIABLE, ACCOUNT, RANDOM = "env/variable", "secrets/account.json", "secrets/random.json"


@pytest.fixture
def scene() -> Scene:
    return copy.deepcopy(BASE)


def tell(scene: Scene, record: dict[str, Any]) -> None:
    """The pods have recorded this; all bindings are looked at."""
    scene.stubborn = True
    for uid in scene.pods:
        scene.world.vault[VaultPath(NAMES.vault_namespace, f"runtime-status/{PRINCIPAL}/{uid}")] = record
    scene.round()


def told(scene: Scene, name: str) -> dict[str, Any]:
    conditions = scene.world.objects[binding(name)]["status"]["conditions"]
    found: dict[str, Any] = next(c for c in conditions if c["type"] == "Ready")
    return found


def consumers(scene: Scene, name: str) -> dict[str, int]:
    found: dict[str, int] = scene.world.objects[binding(name)]["status"]["consumers"]
    return found


def test_a_value_that_does_not_fit_is_told_by_its_binding_alone_and_clears(scene: Scene) -> None:
    tell(scene, {"revision": "", "partly": scene.published, "unfit": VARIABLE, "absent": ""})
    assert scene.condition(binding("variable")) == ("False", Reason.VALUE_UNUSABLE)
    assert scene.condition(binding("variable"), "Delivered") == ("False", Reason.VALUE_UNUSABLE)
    message = told(scene, "variable")["message"]
    assert message.startswith("1 of 1 pods have a value of key value that no environment variable can hold")
    assert "deliver it as a file" in message
    assert consumers(scene, "variable") == {"ready": 0, "total": 1}
    for name in ("account", "random"):
        assert scene.condition(binding(name)) == ("True", Reason.READY)
        assert consumers(scene, name) == {"ready": 1, "total": 1}
    scene.stubborn = False
    scene.settle()
    assert scene.condition(binding("variable")) == ("True", Reason.READY)


def test_one_that_served_the_set_before_does_not_hide_it(scene: Scene) -> None:
    tell(scene, {"revision": scene.published, "partly": scene.published, "unfit": VARIABLE, "absent": ""})
    assert scene.condition(binding("variable")) == ("False", Reason.VALUE_UNUSABLE)


def test_of_several_variables_no_key_is_blamed(scene: Scene) -> None:
    variables = [{"name": name, "key": "value"} for name in ("ONE", "TWO")]
    scene.spec("variable")["delivery"] = {"env": {"variables": variables}}
    scene.settle()
    tell(scene, {"revision": "", "partly": scene.published, "unfit": VARIABLE, "absent": ""})
    assert "a key in spec.delivery.env" in told(scene, "variable")["message"]


def test_what_openbao_does_not_give_is_told_with_where_to_look(scene: Scene) -> None:
    tell(scene, {"revision": "", "partly": scene.published, "unfit": "", "absent": f"{ACCOUNT},{RANDOM}"})
    for name, words in (("account", "memberOf"), ("random", "log of their container credentials")):
        assert scene.condition(binding(name)) == ("False", Reason.NOT_FETCHED)
        assert told(scene, name)["message"].startswith("1 of 1 pods do not get it from OpenBao")
        assert words in told(scene, name)["message"]
    assert scene.condition(binding("variable")) == ("True", Reason.READY)


def test_a_proxys_value_is_told_with_what_a_header_can_carry(scene: Scene) -> None:
    proxy = {"host": "api.example", "localPort": 9001, "key": "value"}
    scene.spec("random")["delivery"] = {"proxy": proxy}
    scene.settle()
    (place,) = [f for f in scene.world.objects[CONFIG]["data"]["files"].split() if f.startswith("proxy/")]
    tell(scene, {"revision": "", "partly": scene.published, "unfit": place, "absent": ""})
    assert scene.condition(binding("random")) == ("False", Reason.VALUE_UNUSABLE)
    assert "header" in told(scene, "random")["message"]


def test_a_binding_is_gone_although_another_one_cannot_be_delivered(scene: Scene) -> None:
    scene.delete(binding("account"))
    scene.stubborn = True
    for _ in range(4):
        scene.round()
    assert binding("account") in scene.world.objects
    for _ in range(4):
        tell(scene, {"revision": "", "partly": scene.published, "unfit": VARIABLE, "absent": ""})
    assert binding("account") not in scene.world.objects
    assert binding("variable") in scene.world.objects


def test_an_old_generation_goes_when_its_own_file_is_replaced_whatever_becomes_of_others(scene: Scene) -> None:
    turn(scene, "account")
    turn(scene, "random")
    scene.stubborn = True
    scene.settle()
    scene.now += datetime.timedelta(minutes=10)
    for _ in range(6):
        tell(scene, {"revision": "", "partly": scene.published, "unfit": "", "absent": RANDOM})
    assert [n[-2:] for n in scene.names("account")] == [".2"]
    assert [n[-2:] for n in scene.names("random")] == [".1", ".2"]


def test_what_is_told_of_another_set_counts_for_nothing(scene: Scene) -> None:
    tell(scene, {"revision": "", "partly": "0123456789ab-7", "unfit": VARIABLE, "absent": ""})
    for name in ("account", "random", "variable"):
        assert scene.condition(binding(name)) == ("False", Reason.PROGRESSING)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([VARIABLE, f"{VARIABLE},x", "x" * 9000]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["revision", "expires", "unfit", "absent"]), ANYTHING),
    st.sampled_from(["set-1", "set-2"]) | ANYTHING,
)
def test_whatever_a_pod_writes_is_read_and_makes_no_sense_where_it_makes_none(
    record: dict[str, Any], partly: Any
) -> None:
    found = read({**record, "partly": partly})
    assert found.expires is None or isinstance(found.expires, int)
    assert found.partly is None or isinstance(found.partly, str)
    lists = [record.get("unfit"), record.get("absent")]
    sound = all(isinstance(text, str) and len(text) <= 8192 for text in lists)
    if found.serves("set-1", VARIABLE):
        told = isinstance(partly, str) and sound
        assert (told and partly == "set-1") or record.get("revision") == "set-1"
    if partly is not None and not sound:
        assert not found.serves("set-1", VARIABLE)


@given(st.text(), st.text())
def test_only_a_name_that_the_operator_knows_is_looked_for(unfit: str, absent: str) -> None:
    found = read({"partly": "set-1", "unfit": f"{unfit},{VARIABLE}", "absent": absent})
    assert not found.serves("set-1", VARIABLE)
    assert found.serves("set-1", ACCOUNT) is (ACCOUNT not in {*unfit.split(","), *absent.split(",")})


def test_a_record_of_an_older_sidecar_is_read() -> None:
    assert read({"revision": "set-1", "expires": "1767225600"}) == Served("set-1", 1767225600)
    assert read({"revision": "set-1", "expires": ""}).serves("set-1", VARIABLE)


def read(record: dict[str, Any]) -> Served:
    """As the operator reads what a pod has recorded."""
    openbao: Any = _Records(record)
    (found,) = served(openbao, RUNTIME_NAMES, NAMES, [{"metadata": {"uid": "1"}}])
    return found


class _Records:
    """OpenBao, with one record."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = record

    def read(self, _: VaultPath) -> dict[str, Any]:
        return self._record
