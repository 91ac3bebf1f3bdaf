"""Latencies of a study, apart for each kind of hardware: the kinds that have joined it, and what was measured on each. No torch.

Each kind, and each network on each kind, is one hidden attribute, so machines of different kinds never write the same. The first
kind that joined is the study's reference hardware: Optuna's second objective is in its milliseconds, whatever a trial runs on.
Earlier versions kept the latency of a grid in user attributes, of one kind; they are read as of the hardware that was timed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from statistics import median
from typing import Any

import optuna

from ablation.machine.hardware import describe_hardware, digest_of, kind_name
from ablation.record.trial import parts_of, place_of
from studies.store.storage import batched, exclusive, get_system_attrs, set_system_attr

# prefixes of hidden attributes: of a kind by its digest; of what was timed on it, by digest and network, or by digest alone for
# what holds for a whole session
HARDWARE, TIMING = "hardware:", "timing:"
# user attributes of earlier versions: network -> place -> numbers; place -> A/A ratio; place -> how it was measured
LATENCY, NOISE, SESSIONS = "latency", "latency_noise", "latency_sessions"

Entries = dict[str, dict[str, Any]]  # place -> numbers of one network
ESTIMATED = "latency_estimated_from"  # of an entry, and of its trial as user attribute: the kind whose ratio it rests on


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of hardware of a study, and what was timed on it by 'device/batch'."""

    digest: str
    name: str = ""  # in words, no two alike in one study
    about: Mapping[str, Any] = field(default_factory=dict)  # as `describe_hardware` gives it
    is_first: bool = False
    latency: dict[str, Entries] = field(default_factory=dict)  # by network
    noise: dict[str, Any] = field(default_factory=dict)
    sessions: dict[str, Any] = field(default_factory=dict)

    def place(self, place: str) -> str:
        """A 'device/batch' as records of the study name it."""
        device, batch_size, _ = parts_of(place)
        return place_of(device, batch_size, "" if self.is_first else self.name)

    def reference_ms(self, place: str) -> float | None:
        """The latency of the network that all others are compared with, as its ratios to them have it; None where there is none."""
        timed = [entries[place] for entries in self.latency.values() if place in entries]
        known = [entry["median_ms"] / entry["ratio"] for entry in timed if entry.get("median_ms") and entry.get("ratio")]
        return median(known) if known else None


@cache
def this_hardware(device: str) -> dict[str, Any]:
    """What this machine is."""
    return describe_hardware(device)


def hardware_digest(device: str) -> str:
    """8 hex digits for the kind of this machine."""
    return digest_of(this_hardware(device))


def kinds(study: optuna.Study) -> list[Kind]:
    """The kinds of hardware of a study, its reference first."""
    attrs = get_system_attrs(study)
    joined = {name.removeprefix(HARDWARE): value for name, value in attrs.items() if name.startswith(HARDWARE)}
    known: dict[str, Kind] = {}
    for digest, value in sorted(joined.items(), key=lambda item: item[1]["number"]):
        known[digest] = Kind(digest=digest, name=value["name"], about=value["about"], is_first=not known)
    for digest, about, network, values in (*_of_user_attrs(study), *_of_system_attrs(attrs)):
        kind = known.get(digest)
        if kind is None:  # of an earlier version, and no process of this one has joined since
            name = name_among([each.name for each in known.values()], about)
            kind = known[digest] = Kind(digest=digest, name=name, about=about, is_first=not known)
        if network:
            entries = kind.latency.setdefault(network, {})
            entries |= values.get("latency", {})
        else:
            kind.noise.update(values.get("noise", {}))
            kind.sessions.update(values.get("sessions", {}))
    return list(known.values())


# digest, hardware, network or nothing, and what was measured, by place
Timing = tuple[str, Mapping[str, Any], str, Mapping[str, Any]]


def _of_system_attrs(attrs: Mapping[str, Any]) -> Iterator[Timing]:
    """What was timed by this version, and of searches by earlier ones."""
    for name, values in attrs.items():
        if name.startswith(TIMING):
            digest, _, network = name.removeprefix(TIMING).partition(":")
            yield digest, next(map(_about, values.get("sessions", {}).values()), {}), network, values


def _of_user_attrs(study: optuna.Study) -> Iterator[Timing]:
    """What was timed of a grid by earlier versions, by the hardware that its sessions state, else its first trial."""
    attrs = study.user_attrs
    latency, noise, sessions = (attrs.get(name, {}) for name in (LATENCY, NOISE, SESSIONS))
    for place in dict.fromkeys(place for entries in latency.values() for place in entries):
        about = _about(sessions.get(place)) or _of_first_trial(study)
        digest, measured = digest_of(about), {"noise": noise, "sessions": sessions}
        yield digest, about, "", {name: {place: of[place]} for name, of in measured.items() if place in of}
        for network, entries in latency.items():
            if place in entries:
                yield digest, about, network, {"latency": {place: entries[place]}}


def _about(sessions: Any) -> dict[str, Any]:
    """The hardware that sessions at one place ran on."""
    return dict(sessions[0]["provenance"]) if sessions else {}


def _of_first_trial(study: optuna.Study) -> dict[str, Any]:
    records = (trial.user_attrs.get("record", {}) for trial in study.get_trials(deepcopy=False))
    return next((about for record in records if (about := record.get("provenance", {}).get("hardware"))), {})


def name_among(taken: Collection[str], about: Mapping[str, Any]) -> str:
    """A kind in words, numbered where another kind is called the same."""
    name = kind_name(about)
    return next(each for n in range(1, len(taken) + 2) if (each := name if n == 1 else f"{name} ({n})") not in taken)


def join(study: optuna.Study, device: str) -> Kind:
    """This machine's kind, noted in the study by the first process of that kind; the very first is the reference."""
    digest = hardware_digest(device)
    if f"{HARDWARE}{digest}" not in get_system_attrs(study):
        with exclusive(study, "hardware"):
            known = {kind.digest: kind for kind in kinds(study)}
            about, names = this_hardware(device), [kind.name for kind in known.values()]
            known.setdefault(digest, Kind(digest=digest, name=name_among(names, about), about=about))
            stored = get_system_attrs(study)
            with batched(study):
                for number, kind in enumerate(known.values()):
                    if f"{HARDWARE}{kind.digest}" not in stored:
                        values = {"number": number, "name": kind.name, "about": dict(kind.about)}
                        set_system_attr(study, f"{HARDWARE}{kind.digest}", values)
    return kind_of(study, digest)


def kind_of(study: optuna.Study, digest: str) -> Kind:
    """A kind by its digest; one that has not joined has nothing timed."""
    return next((kind for kind in kinds(study) if kind.digest == digest), Kind(digest=digest))


def store_timing(study: optuna.Study, digest: str, by_network: Mapping[str, Mapping[str, Any]]) -> None:
    """Keep what was measured on one kind; of a network `latency`, of a session as a whole, "", `noise` and `sessions`; by place.

    For the holder of the lock of that kind alone.
    """
    known = get_system_attrs(study)
    with batched(study):
        for network, measured in by_network.items():
            name = f"{TIMING}{digest}{':' if network else ''}{network}"
            values = {kind: {**known.get(name, {}).get(kind, {}), **new} for kind, new in measured.items()}
            set_system_attr(study, name, {**known.get(name, {}), **values})


def latencies(study: optuna.Study) -> dict[str, Entries]:
    """Network -> its latency on every kind of hardware that timed it, by place."""
    found: dict[str, Entries] = {}
    for kind in kinds(study):
        for network, entries in kind.latency.items():
            found.setdefault(network, {}).update({kind.place(place): entry for place, entry in entries.items()})
    return found


def stored_latency(study: optuna.Study, network: str) -> Entries:
    """The same of one network; empty where none timed it."""
    return latencies(study).get(network, {})


def stored_noise(study: optuna.Study) -> dict[str, Any]:
    """Place -> ratio of the reference network to a second copy of itself, of grids."""
    return {kind.place(place): floor for kind in kinds(study) for place, floor in kind.noise.items()}


def stored_sessions(study: optuna.Study) -> dict[str, Any]:
    """Place -> how it was measured, of grids."""
    return {kind.place(place): sessions for kind in kinds(study) for place, sessions in kind.sessions.items()}


def comparable_latencies(study: optuna.Study) -> dict[str, Entries]:
    """Network -> 'device/batch' -> its latency on the study's first hardware, so that all trials compare.

    Of a network that was timed on other kinds alone an estimate: its ratio there, times what the reference network takes on the
    first; it says from which kind it is.
    """
    found: dict[str, Entries] = {}
    every = kinds(study)
    for kind in every:
        for network, entries in kind.latency.items():
            for place, entry in entries.items():
                of = found.setdefault(network, {})
                if place not in of:
                    of[place] = entry if kind.is_first else _estimate(entry, every[0].reference_ms(place), kind.name)
    return found


def _estimate(entry: Mapping[str, Any], reference_ms: float | None, name: str) -> dict[str, Any]:
    ratio = entry.get("ratio")
    if entry.get("median_ms") is None:
        return dict(entry)  # with the reason why it could not be timed
    if not ratio or reference_ms is None:
        return {}
    return {"median_ms": reference_ms * ratio, "ratio": ratio, ESTIMATED: name}
