"""The engine's builds: the one installed, and which suits a GPU, as its package description lists them."""

from __future__ import annotations

from dataclasses import dataclass

from sixgig.hardware import Absent, Gpu

INDEX = "https://xorbitsai.github.io/xllamacpp/whl"
LAST_DRIVER_BEFORE_TURING = 580  # 590 and later ignore Maxwell, Pascal and Volta
_TURING = (7, 5)
_OLDEST = (5, 0)
_NATIVE_IN_CU128 = ((8, 6), (8, 9))  # machine code; the rest is compiled by a driver that knows CUDA 12.8


@dataclass(frozen=True)
class EngineFacts:
    """The engine's wheel. requirement: what pip must install; fault: why it cannot be used, "" if it can."""

    version: str | Absent
    requirement: str
    fault: str = ""
    cure: str = ""


@dataclass(frozen=True)
class EngineBuild:
    """tag: of the index, or "" for PyPI's own. needs: what the system must have for it."""

    tag: str
    kind: str
    needs: str
    lowest_driver: int = 0

    def install(self, requirement: str) -> str:
        """The command that puts this build in place of the installed one."""
        index = f" --index-url {INDEX}/{self.tag}" if self.tag else ""
        return f"pip install --force-reinstall {requirement}{index}"


METAL = EngineBuild("", "Metal", "macOS on Apple silicon")
VULKAN = EngineBuild("vulkan", "Vulkan", "a Vulkan driver")
ROCM = EngineBuild("rocm-7.2.4", "ROCm 7.2", "glibc 2.35, ROCm 7, and RDNA 2 or later or MI350; else: vulkan")


def build_for(gpu: Gpu) -> EngineBuild:
    """The build that suits best; Vulkan's for what no other covers."""
    if gpu.vendor == "nvidia":
        return _cuda(_capability(gpu))
    return {"amd": ROCM, "apple": METAL}.get(gpu.vendor, VULKAN)


def driver_fault(gpu: Gpu, build: EngineBuild) -> str:
    """Why this driver cannot run that build; "" where it can, or does not tell its version."""
    major = (gpu.driver or "").partition(".")[0]
    if not major.isdecimal() or int(major) >= build.lowest_driver:
        return ""
    return f"its driver {gpu.driver} is too old for {build.kind}, which needs {build.lowest_driver} or later"


def driver_cure(gpu: Gpu, build: EngineBuild) -> str:
    """Which driver to install."""
    if _capability(gpu) < _TURING:
        last = LAST_DRIVER_BEFORE_TURING
        return f"install driver {build.lowest_driver} to {last}; later ones no longer know this card"
    return f"install driver {build.lowest_driver} or later"


def _cuda(capability: tuple[int, int]) -> EngineBuild:
    """CUDA 13 dropped all before Turing; only the GPUs that CUDA 12.8 does not know need it."""
    if capability < _OLDEST:
        return VULKAN
    if capability > (12, 0):
        return EngineBuild("cu132", "CUDA 13.2", "glibc 2.35", 580)
    return EngineBuild("cu128", "CUDA 12.8", "glibc 2.35", 525 if capability in _NATIVE_IN_CU128 else 570)


def _capability(gpu: Gpu) -> tuple[int, int]:
    """(major, minor); (0, 0) where the driver does not tell."""
    major, _, minor = (gpu.compute_capability or "").partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)
