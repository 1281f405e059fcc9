"""A cached result must be made again when, and only when, what it was made from has changed."""

from pathlib import Path

from axon_testbed import stamps
from axon_testbed.layout import Layout


def test_digest_tells_where_a_part_ends() -> None:
    assert stamps.digest("ab", "c") != stamps.digest("a", "bc")


def test_sources_change_with_content_name_and_mode(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("1")
    seen = {stamps.of_sources(tmp_path)}
    file.write_text("2")
    seen.add(stamps.of_sources(tmp_path))
    file.chmod(0o700)
    seen.add(stamps.of_sources(tmp_path))
    file.rename(tmp_path / "b")
    seen.add(stamps.of_sources(tmp_path))
    assert len(seen) == 4


def test_a_stamp_needs_the_same_inputs_and_the_result(tmp_path: Path) -> None:
    layout, result = Layout(tmp_path), tmp_path / "result"
    result.touch()
    assert not stamps.is_current(layout, "step", "inputs", [result])
    stamps.mark(layout, "step", "inputs")
    assert stamps.is_current(layout, "step", "inputs", [result])
    assert not stamps.is_current(layout, "step", "others", [result])
    result.unlink()
    assert not stamps.is_current(layout, "step", "inputs", [result])


def test_a_step_that_began_and_did_not_end_is_not_current(tmp_path: Path) -> None:
    layout, result = Layout(tmp_path), tmp_path / "result"
    result.touch()
    stamps.forget(layout, "step")
    stamps.mark(layout, "step", "inputs")
    stamps.forget(layout, "step")
    assert not stamps.is_current(layout, "step", "inputs", [result])
