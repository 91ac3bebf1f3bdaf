"""Provenance: plain values, no host names and no paths, sensible where a tool is missing."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from ablation.machine import hardware


def test_description_is_plain_and_anonymous() -> None:
    text = json.dumps({"hardware": hardware.describe_hardware(), "software": hardware.describe_software()})
    assert str(Path(__file__).parents[2]) not in text
    assert str(Path.home()) not in text
    host = platform.node()
    assert len(host) < 4 or host not in text


def test_describes_this_machine() -> None:
    result = hardware.describe_hardware("cpu")
    assert (result["device"], result["cpu_threads"]) == ("cpu", torch.get_num_threads())
    assert result["cpu_cores"] >= 1
    assert result["cpu"]


def test_name_fits_a_folder() -> None:
    assert re.fullmatch(r"cpu-\d+core-[a-z0-9-]+", hardware.hardware_name("cpu"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cpu-2core-Intel(R) Xeon(R) CPU @ 2.20GHz", "cpu-2core-intel-xeon"),
        ("NVIDIA H200", "nvidia-h200"),
        ("cpu-8core-AMD Ryzen 7 5800X 8-Core Processor", "cpu-8core-amd-ryzen-7-5800x-8-core"),
        ("x" * 60, "x" * 48),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert hardware.slug(text) == expected


def test_software_names_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "PACKAGES", "torch no-such-package-here")
    result = hardware.describe_software()
    assert result["python"] == platform.python_version()
    assert (result["torch"].split("+")[0], result["no-such-package-here"]) == (torch.__version__.split("+")[0], "not installed")


def test_nvidia_smi_is_read_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_run", lambda *command: "570.86.15, 1980, 2619, 1980, 700.00, 34, [N/A]")
    result = hardware.query_nvidia_smi("GPU-1")
    assert (result["driver"], result["clock_sm_mhz"], result["utilisation_percent"]) == ("570.86.15", 1980.0, None)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"cpu": "AMD EPYC 9B14", "cpu_cores": 2}, "AMD EPYC 9B14, 2 cores"),
        ({"cpu": "Intel(R) Core(TM) i7-8700 CPU @ 3.20GHz", "cpu_cores": 1}, "Intel Core i7-8700, 1 core"),
        ({"gpu": "NVIDIA H200", "cpu": "AMD EPYC", "cpu_cores": 16}, "NVIDIA H200, AMD EPYC, 16 cores"),
        ({"cpu": "v1.2/x@y"}, "v1-2-x"),
        ({"cpu": None}, "unknown hardware"),
    ],
)
def test_kinds_of_hardware_have_names_that_can_stand_in_a_path(values: dict[str, Any], name: str) -> None:
    assert hardware.kind_name(values) == name


def test_machines_of_one_kind_differ_in_what_no_latency_depends_on() -> None:
    known = {"device": "cpu", "system": "Linux x86_64", "cpu": "AMD EPYC", "cpu_cores": 2}
    assert hardware.digest_of({**known, "cpu_threads": 1, "memory_gb": 8}) == hardware.digest_of(known)
    for part in ("device", "system", "cpu", "cpu_cores", "gpu", "gpu_capability", "driver"):
        assert hardware.digest_of({**known, part: "other"}) != hardware.digest_of(known)


def test_nvidia_smi_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_run", lambda *command: None)
    assert hardware.query_nvidia_smi() == dict.fromkeys(hardware.SMI)


def test_commit_of_a_tracked_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "hardware.py"
    file.write_text("1")
    monkeypatch.setattr(hardware, "__file__", str(file))
    assert hardware.git_commit() is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "core.hooksPath=/dev/null")
        return subprocess.run(
            ("git", "-C", str(tmp_path), *identity, *arguments), check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init")
    assert hardware.git_commit() is None
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table.md").write_text("1")
    git("add", ".")
    git("commit", "-m", "first")
    assert hardware.git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "results" / "table.md").write_text("2")
    assert hardware.git_commit() == git("rev-parse", "HEAD"), "a result is not code"
    file.write_text("2")
    assert hardware.git_commit() == git("rev-parse", "HEAD") + "-dirty"


def test_gpu_folder_is_the_bare_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "describe_hardware", lambda device: {"device": "cuda", "gpu": "NVIDIA H200"})
    assert hardware.hardware_name("cuda") == "h200"
