"""Nothing that looks like a credential reaches a log line."""

import io
import json
import logging
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from axon_operator.process.logs import configure, redact

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
BAO = "s.CAESIHvU3jYfQ0p7mVxT0sQyqQ1"


@pytest.mark.parametrize(
    "text", [JWT, f"Bearer {JWT}", BAO, f"X-Vault-Token: {BAO}", "-----BEGIN RSA PRIVATE KEY-----"]
)
def test_texts_that_look_like_credentials_are_redacted(text: str) -> None:
    event = redact(None, "info", {"event": f"failed: {text}"})
    assert "[redacted]" in event["event"]
    assert JWT not in event["event"]
    assert BAO not in event["event"]


@given(
    st.sampled_from(["token", "client_secret", "password", "jwt", "lease_id", "accessor", "Authorization"]),
    st.text(min_size=1),
)
def test_values_under_telling_names_are_redacted(key: str, value: str) -> None:
    assert redact(None, "info", {key: value})[key] == "[redacted]"


def test_a_librarys_exception_leaves_only_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure("DEBUG")
    try:
        raise ValueError("canary-value")
    except ValueError:
        logging.getLogger("some.library").exception("it failed")
    structlog.stdlib.get_logger("axon_operator").info("hello", target="axon-acme")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "canary-value" not in stream.getvalue()
    assert lines[0]["error"] == "ValueError"
    assert (lines[1]["event"], lines[1]["target"], lines[1]["level"]) == ("hello", "axon-acme", "info")
