"""The part of `cupy.cuda` and the memory pools that programs use: presence, synchronisation and memory of a device.

Nothing is asynchronous and nothing is pooled here, so waiting returns at once and pools are empty.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class CUDARuntimeError(RuntimeError):
    """CuPy's error when the driver or the device is missing; reachable as cupy.cuda.runtime.CUDARuntimeError."""

    def __init__(self, status: int = 100) -> None:
        self.status = status
        super().__init__("cudaErrorNoDevice: no CUDA-capable device is detected")


class OutOfMemoryError(MemoryError):
    """Never raised here; the name lets a program catch it."""


class _Idle:
    """Calls are synchronous, so there is nothing to choose and nothing to wait for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def use(self) -> _Idle:
        return self

    def synchronize(self) -> None:
        pass

    def __enter__(self) -> _Idle:
        return self

    def __exit__(self, *error: object) -> None:
        pass


class Device(_Idle):
    compute_capability = "00"
    mem_info = (0, 0)

    def __init__(self, device: int = 0) -> None:
        self.id = int(device)


class Stream(_Idle):
    null: Stream


class Event(_Idle):
    def record(self, stream: Stream | None = None) -> None:
        pass


Stream.null = Stream()


def _on_a_device(device_count: int, answer: Any) -> Callable[..., Any]:
    """A function with a fixed result that raises CuPy's error without a device."""

    def ask(*args: Any, **kwargs: Any) -> Any:
        if not device_count:
            raise CUDARuntimeError
        return answer

    return ask


def memory_pool(device_count: int) -> SimpleNamespace:
    answers = {
        "used_bytes": 0,
        "total_bytes": 0,
        "free_bytes": 0,
        "n_free_blocks": 0,
        "get_limit": 0,
        "free_all_blocks": None,
        "set_limit": None,
    }
    return SimpleNamespace(**{name: _on_a_device(device_count, answer) for name, answer in answers.items()})


def cuda_values(device_count: int) -> dict[str, Any]:
    """The attributes of `cupy.cuda` on a machine with that many devices."""
    properties = {"name": b"stand-in", "totalGlobalMem": 0, "major": 0, "minor": 0}
    runtime = {
        "getDeviceCount": device_count,
        "deviceSynchronize": None,
        "getDeviceProperties": properties,
        "memGetInfo": (0, 0),
        "driverGetVersion": 0,
        "runtimeGetVersion": 0,
    }
    return {
        "Device": Device if device_count else _on_a_device(0, None),
        "Stream": Stream,
        "Event": Event,
        "is_available": lambda: device_count > 0,
        "get_device_id": _on_a_device(device_count, 0),
        "get_current_stream": lambda device_id=-1: Stream.null,
        "get_elapsed_time": lambda start_event, end_event: 0.0,
        "memory": SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        "runtime": SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            **{name: _on_a_device(device_count, answer) for name, answer in runtime.items()},
        ),
    }
