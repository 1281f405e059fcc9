"""Pulled or built is decided once: a slow registry must not change the node's image under a running cluster."""

from pathlib import Path

import pytest

from axon_testbed import images
from axon_testbed.layout import Layout


def test_the_choice_is_remembered_until_it_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(tmp_path)
    asked: list[str] = []

    def decide(answers: bool) -> bool:
        def answer(registry: str) -> bool:
            asked.append(registry)
            return answers

        monkeypatch.setattr(images, "_answers", answer)
        images.is_pulled_from.cache_clear()  # as in another run
        return images.is_pulled_from(layout, "registry.example")

    assert [decide(True), decide(False)] == [True, True]
    images.forget_choices(layout)
    assert [decide(False), decide(True)] == [False, False]
    assert len(asked) == 2
