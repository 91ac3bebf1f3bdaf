"""How many trials at a time train the most images a second on this machine: measured by running them, not assumed.

`measure` starts that many processes, lets all of them load and warm up, then lets them train at once for a few seconds. As a
program, `python -m studies.engine.side_by_side`, it is one of those processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from ablation.design.protocol import Protocol
from ablation.design.spec import ModelSpec
from ablation.machine.cores import num_cores
from studies.work.processes import worker_environment

SECONDS = 5.0
GAIN = 1.05  # more trials at a time must bring at least this much
PATIENCE_S = 180.0  # for all processes of one measurement to load and warm up; one that hangs is ended then
CUDA_COUNTS = (1, 2, 4, 8)


def candidates(device: str) -> tuple[int, ...]:
    """Numbers of trials to try: powers of two, on a CPU up to its cores."""
    return CUDA_COUNTS if device == "cuda" else tuple(n for n in CUDA_COUNTS if n <= num_cores())


def fastest(rates: dict[int, float]) -> int:
    """The number of trials to run at a time: a larger one only where it is at least 5 % faster than the best smaller one."""
    best = min(rates)
    for count in sorted(rates):
        if rates[count] > GAIN * rates[best]:
            best = count
    return best


def measure(
    spec: ModelSpec,
    protocol: Protocol,
    device: str,
    counts: Sequence[int],
    *,
    seconds: float = SECONDS,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[int, float]:
    """Trials at a time -> images a second, all together. A number that there is no memory for is left out, with all larger ones."""
    rates: dict[int, float] = {}
    for count in counts:
        if should_stop():
            break
        rate = _rate(spec, protocol, device, count, seconds)
        if rate is None:
            break
        rates[count] = rate
    return rates


def _rate(spec: ModelSpec, protocol: Protocol, device: str, count: int, seconds: float) -> float | None:
    """Images a second of `count` processes at once; None where one of them fails."""
    asked = json.dumps({"spec": spec.to_dict(), "protocol": protocol.to_dict(), "device": device, "seconds": seconds})
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "studies.engine.side_by_side", asked],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=worker_environment(count),
        )
        for _ in range(count)
    ]  # fmt: skip
    overdue = threading.Timer(PATIENCE_S + seconds, _end, [processes])
    overdue.start()
    try:
        if not all(_read(p) == "ready" for p in processes):
            return None
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        rates = [_read(p) for p in processes]
        return sum(map(float, rates)) if all(rates) else None
    except BrokenPipeError:
        return None
    finally:
        overdue.cancel()
        _end(processes)
        for process in processes:
            process.communicate()


def _end(processes: Sequence[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.kill()


def _read(process: subprocess.Popen[str]) -> str:
    """One line of a process; empty where it ended without one."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main(argument: str) -> int:
    """Train on random images until the time is over, and print how many a second."""
    import torch

    from ablation.train.speed import training_step

    asked = json.loads(argument)
    spec, protocol = ModelSpec.from_dict(asked["spec"]), Protocol(**asked["protocol"])
    step, wait = training_step(spec, protocol, asked["device"])
    for _ in range(3):
        step()
    wait()
    print("ready", flush=True)
    sys.stdin.readline()
    begin, steps = time.perf_counter(), 0
    with torch.random.fork_rng(devices=[]):
        while time.perf_counter() - begin < asked["seconds"]:
            step()
            wait()
            steps += 1
    print(steps * protocol.batch_size / (time.perf_counter() - begin), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
