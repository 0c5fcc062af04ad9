"""One graph in ONNX Runtime, or in OpenVINO where it is installed."""

import importlib.util
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from data.errors import InputError

Engine = Literal["onnxruntime", "openvino"]
ENGINES: tuple[Engine, ...] = ("onnxruntime", "openvino")
SLOW_OPTIMIZERS = ["QDQPropagationTransformer"]
"""What ONNX Runtime is not to do: it moves rounding before max pooling, which is far slower in 8 bits than in float."""


class Session(Protocol):
    """A loaded graph."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs in the order of the graph."""
        ...


def installed_engine(wanted: Engine) -> Engine:
    """Return the wanted engine, or another one where that is not installed and the other is."""
    there = [engine for engine in ENGINES if importlib.util.find_spec(engine) is not None]
    return wanted if wanted in there or not there else there[0]


def usable_threads() -> int:
    """Return the threads of the processor that this process may use, 0 where the system does not say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def open_session(graph: Path, engine: Engine = "onnxruntime", threads: int | None = None, lanes: int = 1) -> Session:
    """Load a graph.

    Args:
        graph: an ONNX file.
        engine: what runs it.
        threads: of the processor, for each radiograph; by default those that the process may use.
        lanes: threads that may call `run` at the same time.

    Raises InputError where the engine is not installed, and for a graph that it cannot load.

    """
    count = usable_threads() if threads is None else threads  # 0: the engine's own choice
    try:
        return OpenVinoSession(graph, count, lanes) if engine == "openvino" else OnnxSession(graph, count)
    except ImportError as error:
        raise InputError(
            f"{graph.parent}: an exported model needs {engine}, which is not installed; python -m pip install {engine}"
        ) from error


class OnnxSession:
    """A graph in ONNX Runtime, which any number of threads may run at the same time."""

    def __init__(self, graph: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings are about its own choices
        # Threads spin while they wait for the next operator, and stop after the last: what follows it, and what reads
        # and writes files, has the processor for itself.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Work in ever smaller pieces: a thread that is late leaves less for the others to wait for.
        options.add_session_config_entry("session.dynamic_block_base", "4")
        try:
            self.session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_OPTIMIZERS
            )
        except Exception as error:  # its own classes of exceptions, which share no other base
            raise InputError(f"{graph}: ONNX Runtime cannot load it ({_first_line(error)}); export again") from error

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs in the order of the graph. Raises MemoryError where there is not enough of it."""
        try:
            return self.session.run(None, dict(feeds))
        except Exception as error:
            raise _failure(error) from error


class OpenVinoSession:
    """A graph in OpenVINO, which `lanes` threads may run at the same time."""

    def __init__(self, graph: Path, threads: int, lanes: int = 1) -> None:
        import openvino

        # Left to itself it computes in bfloat16 where the processor can, and answers otherwise than the run.
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads * lanes
        if lanes > 1:
            settings["NUM_STREAMS"] = lanes
        try:
            self.model = openvino.compile_model(openvino.Core().read_model(graph), "CPU", settings)
        except RuntimeError as error:
            raise InputError(f"{graph}: OpenVINO cannot load it ({_first_line(error)}); use ONNX Runtime") from error
        self.own = threading.local()  # a request serves one thread

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs in the order of the graph. Raises MemoryError where there is not enough of it."""
        if not hasattr(self.own, "request"):
            self.own.request = self.model.create_infer_request()
        try:
            found = self.own.request.infer(dict(feeds))
        except RuntimeError as error:
            raise _failure(error) from error
        return [np.array(found[output]) for output in self.model.outputs]


def _failure(error: Exception) -> Exception:
    """Return what a failed run is to raise: MemoryError where the engine's message speaks of memory."""
    text = str(error).lower()
    if any(word in text for word in ("bad_alloc", "allocate", "out of memory", "std::length_error")):
        return MemoryError(_first_line(error))
    return RuntimeError(_first_line(error))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


def available_memory() -> int | None:
    """Return the bytes that this process may still take, None where the system does not say (Linux does)."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        if limit != "max":
            found.append(max(int(limit) - used, 0))
    except (OSError, ValueError):
        pass
    return min(found, default=None)


def as_feeds(image: np.ndarray, numbers: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Return the inputs of a graph: images float32 [N, 1, H, W] and whole numbers."""
    scalars = {name: np.array(number, np.int64) for name, number in numbers.items()}
    return {"image": np.ascontiguousarray(image, np.float32), **scalars}


def bytes_per_pixel(graph: Path, numbers: Mapping[str, int], size: tuple[int, int]) -> float:
    """Return the memory that ONNX Runtime takes for each pixel of an image, measured on one of this height and width.

    It is twice the largest sum of what one operator reads and writes: memory is handed on in pieces that do not fit
    exactly.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.log_severity_level = 3
    options.profile_file_prefix = str(graph.with_suffix(".profile"))
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    session.run(None, as_feeds(np.full((1, 1, *size), 0.5), numbers))
    profile = Path(session.end_profiling())
    events = json.loads(profile.read_text(encoding="utf-8"))
    profile.unlink()
    sizes = [
        int(event["args"]["activation_size"]) + int(event["args"]["output_size"])
        for event in events
        if event.get("cat") == "Node" and "output_size" in event.get("args", {})
    ]
    return 2 * max(sizes) / (size[0] * size[1])
