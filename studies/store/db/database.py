"""A database as Optuna's storage: it outlasts restarts of its server, and does in one transaction what belongs together.

Every method is repeated where the connection is lost, for RECONNECT_S at most. An answer that got lost may have been a success, so
what must not be done twice looks first whether it was done: a trial is begun, created and ended once.
"""

from __future__ import annotations

import copy
import json
import uuid
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import optuna
import sqlalchemy as sa
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb.models import (
    StudyModel,
    StudySystemAttributeModel,
    TrialModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)  # fmt: skip
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from studies.store.db.cached import TrialCache
from studies.store.retry import until_answered

T = TypeVar("T")
LEASE = "lease"  # user attribute of a trial: who runs it
CREATED = "created"  # hidden attribute of a trial: by which call, so that one whose answer was lost is not made twice
BRIEF = ("network_key", "seed", "reason_kind", "retry_failed", "certain", "role", LEASE)  # all that the state of a study rests on
# seconds since 1970 by the database's own clock; SQLite's is that of the machine
NOW = {
    "postgresql": "extract(epoch FROM clock_timestamp())",
    "mysql": "UNIX_TIMESTAMP(NOW(6))",
    "mariadb": "UNIX_TIMESTAMP(NOW(6))",
    "sqlite": "(julianday('now') - 2440587.5) * 86400",
}
UP_SINCE = {"postgresql": "extract(epoch FROM pg_postmaster_start_time())"}


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A time that all machines of a study share, in seconds since 1970."""

    now: float
    up_since: float = 0.0  # before that the storage took nobody's beats
    shared: bool = True


def _repeated(name: str) -> Any:
    """A method of Optuna's storage that may be done twice."""

    def method(self: Database, *args: Any, **kwargs: Any) -> Any:
        return until_answered(lambda: getattr(self.rdb, name)(*args, **kwargs))

    return method


class Database(BaseStorage):
    """Optuna's storage in a database; `rdb` is Optuna's own."""

    def __init__(self, rdb: RDBStorage) -> None:
        self.rdb, self.engine = rdb, rdb.engine
        self._whole, self._brief = TrialCache(rdb), TrialCache(rdb, BRIEF)
        self._claimed: dict[int, FrozenTrial] = {}  # until it is first asked for
        name = self.engine.dialect.name
        self._now: sa.ColumnElement[Any] = sa.literal_column(NOW[name])
        self._up_since: sa.ColumnElement[Any] = sa.literal_column(UP_SINCE.get(name, "0"))
        # one question needs no transaction, which is two more round trips; SQLite's must begin by locking
        self._reader = self.engine if name == "sqlite" else self.engine.execution_options(isolation_level="AUTOCOMMIT")

    create_new_study = _repeated("create_new_study")  # Optuna loads a study that is there already
    delete_study = _repeated("delete_study")
    set_study_user_attr = _repeated("set_study_user_attr")
    set_study_system_attr = _repeated("set_study_system_attr")
    get_study_id_from_name = _repeated("get_study_id_from_name")
    get_study_name_from_id = _repeated("get_study_name_from_id")
    get_study_directions = _repeated("get_study_directions")
    get_study_user_attrs = _repeated("get_study_user_attrs")
    get_study_system_attrs = _repeated("get_study_system_attrs")
    get_all_studies = _repeated("get_all_studies")
    set_trial_param = _repeated("set_trial_param")
    set_trial_intermediate_value = _repeated("set_trial_intermediate_value")
    set_trial_user_attr = _repeated("set_trial_user_attr")
    set_trial_system_attr = _repeated("set_trial_system_attr")
    _get_trial = _repeated("get_trial")
    get_trial_id_from_study_id_trial_number = _repeated("get_trial_id_from_study_id_trial_number")
    get_trial_system_attrs = _repeated("get_trial_system_attrs")
    get_trial_user_attrs = _repeated("get_trial_user_attrs")

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial as it is now."""
        return self._claimed.pop(trial_id, None) or self._get_trial(trial_id)

    def remove_session(self) -> None:
        """Close the connection of this thread."""
        self.rdb.scoped_session.remove()

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Trials by number."""
        trials = until_answered(lambda: self._whole.trials(study_id))
        trials = [trial for trial in trials if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def brief_trials(self, study_id: int) -> list[FrozenTrial]:
        """Trials by number, with no more than what the states of jobs rest on."""
        return until_answered(lambda: self._brief.trials(study_id))

    def num_trials(self, study_id: int, states: Sequence[TrialState]) -> int:
        """How many trials are in these states."""
        query = sa.select(sa.func.count()).where(TrialModel.study_id == study_id, TrialModel.state.in_(states))
        return int(self._ask(query)[0][0])

    def state(self, trial_id: int) -> TrialState:
        """The state of one trial."""
        query = sa.select(TrialModel.state).where(TrialModel.trial_id == trial_id)
        return TrialState(self._ask(query)[0][0])

    def clock(self) -> Clock:
        """The database's time."""
        now, up_since = self._ask(sa.select(self._now, self._up_since))[0]
        return Clock(now=float(now), up_since=float(up_since))

    def study_attrs(self, study_id: int, prefix: str) -> dict[str, Any]:
        """Hidden attributes of a study whose names begin so."""
        attrs = StudySystemAttributeModel
        query = sa.select(attrs.key, attrs.value_json).where(
            attrs.study_id == study_id, attrs.key.startswith(prefix, autoescape=True)
        )
        return {key: json.loads(text) for key, text in self._ask(query)}

    def drop_study_attr(self, study_id: int, name: str) -> None:
        """Forget a hidden attribute of a study."""
        attrs = StudySystemAttributeModel
        query = sa.delete(attrs).where(attrs.study_id == study_id, attrs.key == name)
        self._in_one(lambda session, again: session.execute(query))

    def same(self, study_id: int, trial_id: int, attrs: Mapping[str, Any]) -> list[FrozenTrial]:
        """Trials that are complete, run or wait, beside this one, and have these user attributes."""
        states = (TrialState.COMPLETE, TrialState.RUNNING, TrialState.WAITING)
        query = sa.select(TrialModel.trial_id).where(
            TrialModel.study_id == study_id, TrialModel.trial_id != trial_id, TrialModel.state.in_(states)
        )
        for name, value in attrs.items():
            other = aliased(TrialUserAttributeModel)
            query = query.join(other, other.trial_id == TrialModel.trial_id).where(
                other.key == name, other.value_json == json.dumps(value)
            )
        return [self.get_trial(row[0]) for row in self._ask(query)]

    def claim(self, study_id: int, lease: Mapping[str, Any]) -> int | None:
        """Begin the first waiting trial, with this lease of this moment from the start; its id, None when none waits."""
        query = sa.select(TrialModel, self._now).where(TrialModel.study_id == study_id, TrialModel.state == TrialState.WAITING)
        query = query.order_by(TrialModel.trial_id).limit(1).with_for_update(skip_locked=True)

        def once(session: Session, again: bool) -> FrozenTrial | None:
            begun = self._begun(session, study_id, str(lease["worker"])) if again else None
            if begun is not None:
                return self.rdb._build_frozen_trial_from_trial_model(begun)
            found = session.execute(query).one_or_none()
            if found is None:
                return None
            trial, now = found[0], float(found[1])
            trial.state, trial.datetime_start = TrialState.RUNNING, datetime.fromtimestamp(now)
            self._write(session, TrialUserAttributeModel, trial.trial_id, {LEASE: {**lease, "time": now}})
            return self.rdb._build_frozen_trial_from_trial_model(trial)

        claimed = self._in_one(once)
        if claimed is None:
            return None
        self._claimed[claimed._trial_id] = claimed
        return claimed._trial_id

    def _begun(self, session: Session, study_id: int, worker: str) -> TrialModel | None:
        """The running trial that this worker was given when the answer got lost."""
        query = sa.select(TrialModel, TrialUserAttributeModel.value_json).join(TrialUserAttributeModel)
        query = query.where(TrialModel.study_id == study_id, TrialModel.state == TrialState.RUNNING)
        rows = session.execute(query.where(TrialUserAttributeModel.key == LEASE)).all()
        return next((trial for trial, text in rows if json.loads(text)["worker"] == worker), None)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Add a trial, a running one without a template."""
        template = copy.copy(template_trial) or optuna.trial.create_trial(state=TrialState.RUNNING)
        user_attrs, system_attrs = template.user_attrs, {**template.system_attrs, CREATED: uuid.uuid4().hex}
        template.user_attrs, template.system_attrs = {}, {}  # Optuna would write them one by one
        attrs, text = TrialSystemAttributeModel, json.dumps(system_attrs[CREATED])
        known = sa.select(attrs.trial_id).where(attrs.key == CREATED, attrs.value_json == text)

        def once(session: Session, again: bool) -> int:
            made: Any = session.scalar(known) if again else None
            if made is None:
                StudyModel.find_or_raise_by_id(study_id, session, for_update=True)  # numbers are counted
                if template.state == TrialState.RUNNING:
                    template.datetime_start = datetime.fromtimestamp(float(session.scalar(sa.select(self._now)) or 0))
                made = int(self.rdb._get_prepared_new_trial(study_id, template, session).trial_id)
                self._write(session, TrialUserAttributeModel, made, user_attrs)
                self._write(session, TrialSystemAttributeModel, made, system_attrs)
            return int(made)

        return self._in_one(once)

    def set_attrs(self, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Set user attributes of a trial, all or none. UpdateFinishedTrialError when it is finished."""

        def once(session: Session, again: bool) -> None:
            trial: Any = TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self.check_trial_is_updatable(trial_id, trial.state)
            self._write(session, TrialUserAttributeModel, trial_id, attrs)

        self._in_one(once)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Begin or end a trial; False where one that is to begin has begun."""
        if not state.is_finished():
            return bool(until_answered(lambda: self.rdb.set_trial_state_values(trial_id, state, values)))
        if not self.finish(trial_id, state, values, {}):
            raise UpdateFinishedTrialError(f"Trial {trial_id} has already finished and can not be updated.")
        return True

    def finish(self, trial_id: int, state: TrialState, values: Sequence[float] | None, attrs: Mapping[str, Any]) -> bool:
        """End a trial with its values and last user attributes; False, having changed nothing, when another had ended it."""
        query = sa.select(TrialModel, self._now).where(TrialModel.trial_id == trial_id).with_for_update()
        results = [TrialValueModel.value_to_stored_repr(value) for value in values or ()]

        def once(session: Session, again: bool) -> bool:
            trial, now = session.execute(query).one()
            if trial.state.is_finished():
                stored = [(v.value, v.value_type) for v in sorted(trial.values, key=lambda v: v.objective)] if again else []
                return again and trial.state == state and stored == results  # by this call, whose answer was lost
            self._write(session, TrialUserAttributeModel, trial_id, attrs)
            rows = [{"objective": i, "value": value, "value_type": kind} for i, (value, kind) in enumerate(results)]
            session.add_all(TrialValueModel(trial_id=trial_id, **row) for row in rows)
            trial.state, trial.datetime_complete = state, datetime.fromtimestamp(float(now))
            return True

        return self._in_one(once)

    def _write(self, session: Session, model: Any, trial_id: int, attrs: Mapping[str, Any]) -> None:
        """Attributes in one statement."""
        if not attrs:
            return
        rows = [{"trial_id": trial_id, "key": name, "value_json": json.dumps(value)} for name, value in attrs.items()]
        if self.engine.dialect.name in ("mysql", "mariadb"):
            put = mysql.insert(model).values(rows)
            session.execute(put.on_duplicate_key_update(value_json=put.inserted.value_json))
            return
        dialect: Any = sqlite if self.engine.dialect.name == "sqlite" else postgresql
        insert = dialect.insert(model).values(rows)
        session.execute(
            insert.on_conflict_do_update(
                index_elements=[model.trial_id, model.key], set_={"value_json": insert.excluded.value_json}
            )
        )

    def _ask(self, query: sa.Select[Any]) -> Sequence[Any]:
        """The rows that answer one question."""

        def once() -> Sequence[Any]:
            with self._reader.connect() as connection:
                return connection.execute(query).all()

        return until_answered(once)

    def _in_one(self, work: Callable[[Session, bool], T]) -> T:
        """Do it in one transaction; the work learns whether it is done again, as the answer to the time before got lost."""
        times = 0

        def once() -> T:
            nonlocal times
            times += 1
            with self.rdb.scoped_session() as session, session.begin():
                return work(session, times > 1)

        return until_answered(once)
