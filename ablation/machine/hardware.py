"""What a number was measured on: machine, packages, commit, as plain values. No host names and no paths."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ablation.machine.cores import num_cores

PACKAGES = (
    "torch torchvision numpy scipy pandas optuna optuna-dashboard plotly seaborn matplotlib fvcore pytorch-msssim scikit-learn "
    "safetensors pillow"
)


def machine_name(hardware: Mapping[str, Any]) -> str | None:
    """'NVIDIA H200' or 'AMD EPYC': what is named of a machine that `describe_hardware` described; None where neither is known."""
    return hardware.get("gpu") or hardware.get("cpu")


# parts of a machine on which a latency depends: machines that agree in them are of one kind
KIND = ("device", "system", "cpu", "cpu_cores", "gpu", "gpu_capability", "driver")


def digest_of(hardware: Mapping[str, Any]) -> str:
    """8 hex digits for the kind of a machine that `describe_hardware` described."""
    kept = {name: hardware.get(name) for name in KIND}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]


def kind_name(hardware: Mapping[str, Any]) -> str:
    """'AMD EPYC 9B14, 2 cores', 'NVIDIA H200, AMD EPYC 9B14, 16 cores': its kind in words, without dots, slashes and at signs.

    >>> kind_name({"cpu": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cpu_cores": 1})
    'Intel Xeon, 1 core'
    """
    parts = [re.sub(r"\((r|tm)\)|(\s*cpu)?\s*@.*", "", hardware.get(part) or "", flags=re.IGNORECASE) for part in ("gpu", "cpu")]
    num = hardware.get("cpu_cores")
    parts += [f"{num} core{'s' if num > 1 else ''}"] if num else []
    return re.sub(r"[./@]+", "-", ", ".join(part.strip() for part in parts if part)) or "unknown hardware"


def describe_hardware(device: str = "cpu") -> dict[str, Any]:
    """CPU, memory and, for a CUDA device, GPU: model, cores, threads, RAM, driver, clocks. None where the system doesn't say."""
    import torch

    values: dict[str, Any] = {
        "device": torch.device(device).type,
        "cpu": cpu_model(),
        # that this process may use: a container may have cut them
        "cpu_cores": num_cores(),
        "cpu_threads": torch.get_num_threads(),
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if torch.device(device).type == "cuda":
        values.update(describe_gpu(device))
    return values


def hardware_name(device: str = "cpu") -> str:
    """A short name for folders, e.g. 'cpu-2core-amd-epyc' or 'h200'."""
    hardware = describe_hardware(device)
    if hardware["device"] == "cuda":
        return slug(hardware["gpu"]).removeprefix("nvidia-")
    return slug(f"cpu-{hardware['cpu_cores']}core-{hardware['cpu']}")


def describe_software() -> dict[str, str]:
    """Versions of Python and of the packages that take part in a number; 'not installed' where one is missing."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES.split():
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def git_commit() -> str | None:
    """The commit of this source tree, with '-dirty' where it was changed since; None where no repository tracks it."""
    git = ("git", "-C", str(Path(__file__).parent))
    # an installed copy may lie inside a repository of somebody else, which doesn't track it
    if _run(*git, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _run(*git, "rev-parse", "HEAD")
    # a result written again is no change of the code that made it
    changed = _run(*git, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results")
    return commit and commit + ("-dirty" if changed else "")


def cpu_model() -> str:
    """The processor's name as its maker writes it."""
    if sys.platform == "darwin":
        return _run("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("model name") and ":" in line]
    return names[0] if names and names[0] else platform.processor() or platform.machine()


def memory_gb() -> float | None:
    """RAM in GB (10^9 bytes), to one digit."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None


def describe_gpu(device: str = "cuda") -> dict[str, Any]:
    """GPU name, memory and capability from torch; driver, clocks in MHz and power limit in W from nvidia-smi where it is there."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    values = {
        "gpu": properties.name,
        "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
        "gpu_capability": f"{properties.major}.{properties.minor}",
        "num_gpus": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }
    # nvidia-smi numbers every GPU of the machine, torch only the visible ones; the identifier is common to both
    uuid = getattr(properties, "uuid", None)
    return {**values, **query_nvidia_smi(None if uuid is None else f"GPU-{uuid}")}


SMI = {
    "driver": "driver_version",
    "clock_sm_mhz": "clocks.sm",
    "clock_memory_mhz": "clocks.mem",
    "clock_sm_max_mhz": "clocks.max.sm",
    "power_limit_w": "power.limit",
    "temperature_c": "temperature.gpu",
    "utilisation_percent": "utilization.gpu",
}


def query_nvidia_smi(uuid: str | None = None) -> dict[str, Any]:
    """The values of SMI for one GPU, None where nvidia-smi is missing or doesn't know."""
    choice = [f"--id={uuid}"] if uuid else []
    out = _run("nvidia-smi", f"--query-gpu={','.join(SMI.values())}", "--format=csv,noheader,nounits", *choice)
    values = [value.strip() for value in out.splitlines()[0].split(",")] if out else []
    if len(values) != len(SMI):
        return dict.fromkeys(SMI)
    return {name: _number(value) for name, value in zip(SMI, values, strict=True)}


def slug(text: str) -> str:
    """Lower case letters, digits and single hyphens; trade marks and clock rates dropped; at most 48 characters."""
    text = re.sub(r"\((r|tm)\)|\bcpu\s*@.*|@.*|\bprocessor\b", " ", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")[:48].rstrip("-")


def _number(value: str) -> Any:
    try:
        return float(value)
    except ValueError:
        return None if value.startswith("[") or value in ("", "N/A") else value


def _run(*command: str) -> str | None:
    # output of a command, or None where it is missing or fails
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def provenance(device: str, started: float | None = None) -> dict[str, Any]:
    """Where numbers come from: hardware, packages, commit, and when."""
    when = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))} if started else {}
    return {**when, "hardware": describe_hardware(device), "software": describe_software(), "commit": git_commit()}
