import pytest
import torch

from detectors.config.experiment import TrainConfig
from detectors.training import processes
from detectors.training.processes import settled_precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx2", "avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), ({"avx512f", "avx512_vnni"}, "no"), (set(), "no")],
)
def test_automatic_precision_is_bf16_on_a_cpu_that_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], expected: str
) -> None:
    monkeypatch.setattr(processes, "_cpu_flags", lambda: flags)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert settled_precision(TrainConfig(precision="auto")) == expected


def test_a_given_precision_is_kept() -> None:
    assert [settled_precision(TrainConfig(precision=name)) for name in ("no", "fp16", "bf16")] == ["no", "fp16", "bf16"]
