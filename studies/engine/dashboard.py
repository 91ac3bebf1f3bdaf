"""What a study shows in optuna-dashboard: files of each trial, notes, our own Pareto figure, and the line that starts it."""

from __future__ import annotations

import html
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import sqlalchemy as sa
from optuna.artifacts import upload_artifact
from optuna.trial import TrialState
from optuna_dashboard import save_note, save_plotly_graph_object

from ablation.record.trial import METRICS, Metric
from ablation.report.kit.numbers import capital
from ablation.stats import pareto_front
from studies.store.latency import kinds
from studies.store.place import S3, Store
from studies.store.storage import batched, get_system_attrs, is_url, set_system_attr

if TYPE_CHECKING:
    import plotly.graph_objects as go

GALLERY = "gallery"  # hidden study attribute: the file names that every trial has, in order
FIGURE_ID = "pareto"
NOTE_CHARS = 2000  # one attribute of a database; notes are copied with every look at the study


def upload_artifacts(trial: optuna.Trial, store: Store, files: Sequence[Path]) -> list[str]:
    """Attach files to a trial before it is told; their identifiers. The dashboard's gallery goes by position, so every trial of a
    study must bring the same names in the same order, the first one included."""
    names = [file.name for file in files]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise FileNotFoundError(f"artifacts not written: {', '.join(missing)}")
    expected = get_system_attrs(trial.study).get(GALLERY)
    assert expected in (None, names), f"artifacts must be {expected} in every trial of this study, got {names}"
    if expected is None:
        set_system_attr(trial.study, GALLERY, names)
    with batched(trial.study):
        return [upload_artifact(artifact_store=store, file_path=str(file), study_or_trial=trial) for file in files]


def write_note(owner: optuna.Study | optuna.Trial, text: str) -> None:
    """Set the Markdown note of a study or a trial; at most 2,000 characters, a longer one is cut and says so."""
    if len(text) > NOTE_CHARS:
        text = text[: NOTE_CHARS - 20].rstrip() + "\n\n... (cut)"
    save_note(owner, text)


def publish_pareto(study: optuna.Study, leading: Metric = METRICS["loss"]) -> None:
    """Draw the complete trials' first metric against latency, with the front of all three objectives, under one fixed id.

    Latency is that of the study's first hardware, whatever trials ran on.
    """
    figure = pareto_figure(study, leading)
    with batched(study):
        save_plotly_graph_object(study, figure, graph_object_id=FIGURE_ID)


def pareto_figure(study: optuna.Study, leading: Metric = METRICS["loss"]) -> go.Figure:
    """The plotly figure of `publish_pareto`: infeasible trials (user attribute `feasible` false) are never on the front."""
    import plotly.graph_objects as go

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in complete if trial.user_attrs.get("feasible", True)]
    kept = pareto_front([trial.values for trial in feasible], [leading.lower_is_better, True, True])
    front = [trial for trial, keep in zip(feasible, kept, strict=True) if keep]
    numbers = {trial.number for trial in front}
    others = [trial for trial in complete if trial.number not in numbers]
    figure = go.Figure()
    for name, trials in (("Pareto front", front), ("dominated or infeasible", others)):
        labels = [html.escape(trial.user_attrs.get("label", "")) for trial in trials]
        figure.add_scatter(
            x=[trial.values[1] for trial in trials],
            y=[leading.scale * trial.values[0] for trial in trials],
            text=[f"trial {t.number}: {label}<br>{t.values[2]:,.0f} parameters" for t, label in zip(trials, labels, strict=True)],
            mode="markers",
            name=name,
        )
    label = f"{leading.label} in {leading.unit}" if leading.unit else leading.label
    hardware = kinds(study)
    where = f"latency in ms, {hardware[0].name}" if len(hardware) > 1 else "latency in ms"
    titles = {"title": f"{capital(leading.label)} against latency", "xaxis_title": where, "yaxis_title": label}
    figure.update_layout(template="none", **titles)
    return figure


def dashboard_command(where: str | Path, artifacts: str | Path) -> str:
    """The line that starts optuna-dashboard on a study. A password in a URL is shown as ***, to be typed in again.

    Of artifacts in a bucket, whose prefix its command line can't name, it shows no pictures.
    """
    shown = sa.make_url(str(where)).render_as_string(hide_password=True) if is_url(where) else str(where)
    kind = "RDBStorage" if is_url(where) else "JournalFileStorage"
    pictures = [] if str(artifacts).startswith(S3) else ["--artifact-dir", str(artifacts)]
    return shlex.join(["optuna-dashboard", shown, "--storage-class", kind, *pictures])
