"""What a process has read of a database's trials: of a study of thousands only what changed is read again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.trial import FrozenTrial, TrialState

AT_ONCE = 500  # trials in one statement
NO_ID = 2**31 - 1


class TrialCache:
    """The trials of a storage's studies, as Optuna's own cache holds them, but for those that wait.

    Optuna reads every unfinished trial anew each time, with all that it holds, and a study begins with thousands that wait. Here
    their states are read, and a trial again where its state changed or while it runs. `brief`: names of user attributes that are
    all that the trials have, beside their state and the time of their beginning; everything unless given.
    """

    def __init__(self, rdb: RDBStorage, brief: Sequence[str] = ()) -> None:
        self.rdb, self.brief = rdb, brief
        self._trials: dict[int, dict[int, FrozenTrial]] = {}  # by study and id
        self._lock = threading.Lock()

    def trials(self, study_id: int) -> list[FrozenTrial]:
        """All trials of a study by number, as they are now."""
        with self._lock:
            known = self._trials.setdefault(study_id, {})
            first = min((i for i, trial in known.items() if not trial.state.is_finished()), default=max(known, default=-1) + 1)
            changed = [i for i, state in self._states(study_id, first) if self._is_news(known.get(i), state)]
            load = self._load_brief if self.brief else self._load
            for ids in _parts(changed):
                known.update((trial._trial_id, trial) for trial in load(study_id, ids))
            return sorted(known.values(), key=lambda trial: trial.number)

    def _is_news(self, trial: FrozenTrial | None, state: TrialState) -> bool:
        return trial is None or trial.state != state or state == TrialState.RUNNING

    def _states(self, study_id: int, first: int) -> list[tuple[int, TrialState]]:
        query = sa.select(TrialModel.trial_id, TrialModel.state).where(
            TrialModel.study_id == study_id, TrialModel.trial_id >= first
        )
        with self.rdb.scoped_session() as session:
            return [(row.trial_id, row.state) for row in session.execute(query)]

    def _load(self, study_id: int, ids: Sequence[int]) -> list[FrozenTrial]:
        return self.rdb._get_trials(study_id, None, set(ids), NO_ID)

    def _load_brief(self, study_id: int, ids: Sequence[int]) -> list[FrozenTrial]:
        attrs = TrialUserAttributeModel
        with self.rdb.scoped_session() as session:
            rows = session.execute(sa.select(TrialModel).where(TrialModel.trial_id.in_(ids))).scalars().all()
            found = session.execute(
                sa.select(attrs.trial_id, attrs.key, attrs.value_json).where(attrs.trial_id.in_(ids), attrs.key.in_(self.brief))
            ).all()
        trials = {row.trial_id: _brief(row) for row in rows}
        for trial_id, key, text in found:
            trials[trial_id].user_attrs[key] = json.loads(text)
        return list(trials.values())


def _brief(row: Any) -> FrozenTrial:
    return FrozenTrial(
        number=row.number, state=row.state, value=None, datetime_start=row.datetime_start, datetime_complete=None, params={},
        distributions={}, user_attrs={}, system_attrs={}, intermediate_values={}, trial_id=row.trial_id,
    )  # fmt: skip


def _parts(ids: Sequence[int]) -> Iterator[list[int]]:
    rest = iter(ids)
    while part := list(islice(rest, AT_ONCE)):
        yield part
