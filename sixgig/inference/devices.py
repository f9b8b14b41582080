"""What the engine can compute on besides the processor."""

import ctypes

from sixgig.hardware import EngineDevice
from sixgig.llamacpp import load_library

_GPU, _IGPU = 1, 2  # GGML_BACKEND_DEVICE_TYPE_GPU, _IGPU


def engine_devices() -> tuple[EngineDevice, ...]:
    """The GPUs of the installed engine build, none on a CPU build. Raises EngineError."""
    c = load_library().c
    devices = (c.ggml_backend_dev_get(number) for number in range(c.ggml_backend_dev_count()))
    return tuple(_device(c, device) for device in devices if c.ggml_backend_dev_type(device) in (_GPU, _IGPU))


def _device(c: ctypes.CDLL, device: int) -> EngineDevice:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    c.ggml_backend_dev_memory(device, free, total)
    return EngineDevice(
        name=c.ggml_backend_dev_name(device).decode(errors="replace"),
        description=c.ggml_backend_dev_description(device).decode(errors="replace"),
        kind="igpu" if c.ggml_backend_dev_type(device) == _IGPU else "gpu",
        memory_bytes=total.value,
        free_bytes=free.value,
    )
