"""A model whose loading does not end."""

from __future__ import annotations

from pathlib import Path

from provisioner.model import Layout, Lock
from provisioner.ops.load import load_one, with_loads
from provisioner.report import Evidence, VerifyReport
from tests.support.models import model


def test_a_load_that_takes_too_long_is_a_finding(tmp_path: Path) -> None:
    made = model("config.json", "tokenizer.json", "onnx/model.onnx", layouts=(Layout.FASTEMBED,))
    result = load_one(Lock((made,)), made, Layout.FASTEMBED, str(tmp_path), timeout=0.001)
    assert (result.outcome, result.detail) == ("failed", "did not load within 0.001 s")
    report = VerifyReport("store", "0123456789ab", Evidence.REHASHED, 0, 0, 0.0, (), "the lock at hand")
    (finding,) = with_loads(report, [result]).findings
    assert (finding.path, "did not load" in finding.detail) == ("org/model", True)
