"""The processes of a training: how many, on which device, and the random numbers of each."""

import atexit
import os
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object, set_seed

from data.console import console
from data.errors import InputError
from detectors.config.experiment import TrainConfig

T = TypeVar("T")
ACCUMULATION = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"


def make_accelerator(train: TrainConfig) -> Accelerator:
    """Return the accelerator of one training; a process may train several times, with other settings each time."""
    grouped = torch.distributed.is_available() and torch.distributed.is_initialized()
    # Accelerate keeps the first settings for the life of the process; the group of processes stays.
    AcceleratorState._reset_state(reset_partial_state=not grouped)
    GradientState._reset_state()
    # It would divide every loss, and the steps with it, without a word in the configuration.
    ignored = os.environ.pop(ACCUMULATION, None)
    accelerator = Accelerator(
        mixed_precision=settled_precision(train),
        cpu=train.device == "cpu",
        # The other processes wait while the first makes phantoms, which can take longer than ten minutes.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],
    )
    if ignored not in (None, "1") and accelerator.is_main_process:
        console.print(f"{ACCUMULATION}={ignored} is ignored: a step takes one batch, see train.batch_size")
    if accelerator.num_processes > 1 and not grouped:
        atexit.register(_leave_group)
    return accelerator


def settled_precision(train: TrainConfig) -> str:
    """Return the precision of training steps, "no", "fp16" or "bf16": what "auto" means on this machine.

    It is bfloat16 where the device computes in it, which nearly halves the time of a step there, and else "no":
    a CPU that must emulate it is slower than in float32.
    """
    if train.precision != "auto":
        return train.precision
    if train.device == "auto" and torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"
    return "bf16" if _cpu_flags() & {"avx512_bf16", "amx_bf16"} else "no"


def _cpu_flags() -> set[str]:
    """Return what the first CPU can do by the names that Linux has for it; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())


def seed_process(seed: int, process: int = 0) -> None:
    """Seed the generators that models draw on, differently in every process; the first one takes the seed itself."""
    set_seed(seed if process == 0 else int(np.random.SeedSequence([seed, process]).generate_state(1)[0]))


def from_first_process(accelerator: Accelerator, read: Callable[[], T]) -> T:
    """Return in every process what `read` returns in the first; every process has to call it.

    Files of a run lie on the first machine alone where machines share no folder. An InputError of the first process is
    raised in all of them, so that none waits for ever.
    """
    if accelerator.num_processes == 1:
        return read()
    found: list[Any] = [None]
    if accelerator.is_main_process:
        try:
            found = [read()]
        except InputError as error:
            found = [error]
    broadcast_object_list(found)
    if isinstance(found[0], InputError):
        raise found[0]
    return found[0]


def random_states(accelerator: Accelerator) -> list[dict[str, Any]]:
    """Return the states of the generators that models draw on, one entry a process; every process has to call it.

    They are of types that `weights_only` loading allows. Samples need none: each is drawn from (seed, epoch, index).
    """
    own = {
        "python": random.getstate(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    return gather_object([own]) if accelerator.num_processes > 1 else [own]


def restore_random_states(states: Any, process: int) -> None:
    """Put the generators of a process back to those of `random_states`.

    A process that was not there then keeps its own. Raises ValueError, TypeError, KeyError or RuntimeError for
    anything else than such states.
    """
    each = [states] if isinstance(states, dict) else states  # runs of before had those of the first process alone
    if process >= len(each):
        return
    version, internal, gauss = each[process]["python"]
    random.setstate((version, tuple(internal), gauss))
    torch.set_rng_state(each[process]["torch"])
    cuda = each[process]["cuda"]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda[: torch.cuda.device_count()])


def _leave_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
