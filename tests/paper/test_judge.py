"""All claims judged together: what is missing, few seeds, scope, Holm's correction, the hardware, the ledger."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ablation.record.attribution import Attribution
from studies.paper.claims import judge as claims
from studies.paper.claims import ledger
from studies.paper.claims.judge import CLAIMS, PAPER_CLAIMS, judge
from studies.paper.evidence.evidence import MAIN_ARMS, MODIFIED, Evidence
from studies.paper.rules import compared
from studies.paper.rules.compared import Compared
from studies.paper.rules.kinds import FAILS, HOLDS, UNDECIDED
from studies.paper.rules.verdict import Claim, Finding
from tests.fake_evidence import QUALITY, fake_evidence
from tests.fake_explanation import fake_explanation
from tests.paper.worlds import CASES, FACTORS, LATENT, LOSS, MOVES, PAPER_RUN, TRAINED, of, quality, steps


def test_all_21_claims_in_order_then_four_findings() -> None:
    ids = ["C1", "C2a", "C2b", *(f"C{n}" for n in range(3, 22))]
    assert [c.id for c in PAPER_CLAIMS] == ids
    assert [v.id for v in judge(fake_evidence())] == [*ids, "T1", "T2", "T3", "T4"]
    assert set(CASES) == {c.id for c in CLAIMS}


def test_the_claims_are_those_of_the_paper_s_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "paper.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| (C\d+[ab]?) \| (.*?) \|", page, flags=re.MULTILINE))
    assert {c.id: c.says.replace("→", "->") for c in PAPER_CLAIMS} == listed


@pytest.mark.parametrize("seeds", [0, 1, 2])
def test_below_three_seeds_nothing_trained_is_decided(seeds: int) -> None:
    verdicts = {v.id: v for v in judge(fake_evidence(seeds))}
    assert {name for name in TRAINED if verdicts[name].kind != UNDECIDED} == set()
    assert verdicts["C1"].kind == HOLDS and verdicts["C21"].kind == UNDECIDED
    if seeds:
        assert f"{seeds} seed" in verdicts["C9"].sentence and "needs 3" in verdicts["C9"].sentence


def test_noise_between_seeds_decides_nothing_about_quality() -> None:
    verdicts = {v.id: v for v in judge(fake_evidence(spread=0.6, **PAPER_RUN))}
    for name in ("C9", "C11", "C13", "C18", "C19"):
        assert verdicts[name].kind == UNDECIDED and "Not settled" in verdicts[name].sentence


def test_one_epoch_is_no_epochs() -> None:
    assert "1 epoch," in of("C9", fake_evidence(scale={"epochs": 1})).scope


def test_rules_state_the_least_number_of_seeds() -> None:
    for claim in CLAIMS:
        if claim.id in TRAINED:
            assert f"at least {compared.LEAST_SEEDS} seeds" in claim.rule.lower(), claim.id


PATHS = (
    "analysis", QUALITY, f"{QUALITY}.ssim", "analysis.per_image", "analysis.eval_losses", LATENT, f"{LATENT}.hopkins",
    f"{LATENT}.silhouette", f"{LATENT}.hopkins.null_high", f"{LATENT}.probes", f"{LATENT}.linear_auc_mean", FACTORS,
    f"{FACTORS}.dci", MOVES, f"{MOVES}.smoothness", "record.training", "record.training.epochs", LOSS, "record.quality",
)  # fmt: skip

EMPTY = fake_explanation(modes=(), sweep=(), decompositions=(), attributions=(), noise={}, costs={})

FIELDS: tuple[dict[str, Any], ...] = (
    {"explanation": None}, {"explanation": EMPTY}, {"references": {}}, {"loss_attribution": ()}, {"speed": {}}, {"hypotheses": ()},
    {"trials": ()}, {"arms": {}}, {"references": {"_made_of": {"data": "x"}, "mean face": {}}}, {"provenance": {}},
    {"scale": {"data": None, "num_images": None}},
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_missing_measurements_never_raise(path: str) -> None:
    for verdict in judge(fake_evidence(without=(path,))):
        assert "could not be read" not in verdict.sentence, verdict.sentence
        assert verdict.sentence and verdict.scope and verdict.kind in (HOLDS, FAILS, UNDECIDED)


@pytest.mark.parametrize("fields", FIELDS)
def test_missing_parts_never_raise(fields: dict[str, Any]) -> None:
    for verdict in judge(fake_evidence(**fields)):
        assert "could not be read" not in verdict.sentence, verdict.sentence


def test_reason_for_what_is_missing() -> None:
    evidence = fake_evidence(without=("analysis.disentanglement", f"{LATENT}.dimension_probes"))
    trials = [replace(t, analysis={**t.analysis, "not_computed": {"factors": "real faces have none"}}) for t in evidence.trials]
    verdict = of("C15", replace(evidence, trials=tuple(trials)))
    assert verdict.kind == UNDECIDED and "real faces have none" in verdict.sentence
    failed = [(arm, seed) for arm in MAIN_ARMS for seed in range(3)]
    assert "loss became NaN" in of("C9", fake_evidence(failed=failed)).sentence


def test_unreadable_evidence_is_undecided_and_told() -> None:
    broken = replace(fake_evidence(), speed={"ratio": "fast", "low": None, "high": None}, hypotheses=None)  # type: ignore[arg-type]
    verdicts = {v.id: v for v in judge(broken)}
    assert verdicts["C21"].kind == UNDECIDED and "could not be read: ValueError" in verdicts["C21"].sentence
    assert verdicts["C1"].kind == HOLDS


def test_scope_says_what_was_not_the_paper_s_scale() -> None:
    for verdict in judge(fake_evidence()):
        if verdict.id in TRAINED:
            for words in ("rendered faces (400 images)", "48 px", "a quarter of the paper's width", "only", "The paper: CelebA"):
                assert words in verdict.scope, (verdict.id, verdict.scope)
    paper = {"data": "celeba", "image_size": 144, "num_images": 20_000, "epochs": 10, "width": "the paper's", "hardware": "H200"}
    scope = of("C9", fake_evidence(scale=paper)).scope
    assert "CelebA (20,000 images), 144 px" in scope and "H200" in scope and "The paper:" not in scope
    assert "a quick run" in of("C9", fake_evidence(scale={"quick": True})).scope
    assert "ellipse" not in of("C10", fake_evidence()).scope and "exact mask" in of("C10", fake_evidence()).scope
    assert "144 px" in of("C2a", fake_evidence()).scope and "144 px" in of("C1", fake_evidence()).scope


def test_sentences_are_made_of_the_numbers() -> None:
    verdict = of("C11", fake_evidence(spread=0.0, **quality(high_frequency=(0.31, 0.17), high_frequency_matched=(0.21, 0.13))))
    for words in ("0.210 against 0.130", "0.310 against 0.170", "−0.140", "3 seeds"):
        assert words in verdict.sentence


def test_ledger_of_every_kind(tmp_path: Path) -> None:
    evidence = fake_evidence()
    verdicts = judge(evidence)
    paths = ledger.write_ledger(verdicts, tmp_path / "paper", evidence)
    assert [p.name for p in paths] == ["claims.csv", "claims.md", "ledger.json"]
    stored = json.loads(paths[2].read_text(encoding="utf-8"))
    assert ledger.from_json(paths[2].read_text(encoding="utf-8")) == verdicts
    assert stored["scale"]["data"] == "faces" and stored["provenance"]["commit"] == "0123abc"
    assert stored["verdicts"]["C1"]["evidence"]["parameters, original"]["value"] == 9_352_195
    assert sum(stored["counts"]["C"].values()) == 22 and sum(stored["counts"]["T"].values()) == 4
    rows = list(csv.DictReader(io.StringIO(paths[0].read_text(encoding="utf-8"))))
    assert tuple(rows[0]) == ledger.COLUMNS and {r["id"] for r in rows} == {v.id for v in verdicts}
    assert len(paths[1].read_text(encoding="utf-8").splitlines()) == 2 + 26


def test_numbers_of_a_verdict_have_names_of_their_own() -> None:
    for verdict in judge(fake_evidence()):
        names = [n.name for n in verdict.evidence]
        assert len(names) == len(set(names)), verdict.id


def test_rows_without_numbers_are_kept() -> None:
    verdicts = judge(fake_evidence(0, explanation=None, speed={}, loss_by_seed={}, hypotheses=()))
    assert len(ledger.ledger_rows(verdicts)) == 26
    assert ledger.to_csv(verdicts).count("undecided") >= 26 and "| C1 | **undecided** |" in ledger.to_markdown(verdicts)
    assert ledger.counts(verdicts)["C"] == {"holds": 0, "fails": 0, "undecided": 22}
    assert ledger.counts_text(verdicts) == "Of 22 verdicts on 21 claims 22 are undecided."


def test_same_evidence_same_ledger() -> None:
    first, second = (ledger.to_json(judge(fake_evidence()), fake_evidence()) for _ in range(2))
    assert first == second


def test_without_torch() -> None:
    code = "import sys, studies.paper.claims.judge, studies.paper.claims.ledger; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode == 0


def test_fake_worlds_have_the_means_that_they_were_given() -> None:
    evidence = fake_evidence(seeds=20, truths={f"{LATENT}.hopkins.value": {MODIFIED: 0.9}})
    mean = evidence.estimate(MODIFIED, f"{LATENT}.hopkins.value")
    assert mean is not None and mean.value == pytest.approx(0.9, rel=0.01)
    assert isinstance(evidence.loss_attribution[0], Attribution)
    trial = evidence.trials[0]
    assert float(np.mean(trial.analysis["per_image"]["ssim"])) == pytest.approx(trial.get(f"{QUALITY}.ssim"))


def test_by_luck_at_most_one_study_in_twenty_decides_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """21 claims about nothing, three seeds each, half of them with images; as often judged as needed to see 5 % from 50 %."""

    def nothing(number: int) -> Claim:
        def find(evidence: Evidence) -> Finding:
            # what seeds and images add, of equal size: the images are the same for all seeds
            draw = np.random.default_rng((int(evidence.scale["study"]), number))
            images = draw.normal(size=100) if number % 2 else np.zeros(100)
            values = tuple((draw.normal(size=3) / 10 + images.mean()).tolist())
            quantity = Compared(label="x", values=values, images=images if number % 2 else None, error=evidence.error)
            return Finding(kind=quantity.kind(), sentence="x")

        return Claim(id=f"C{number}", says="x", measurement="x", rule="x", link="x", find=find)

    monkeypatch.setattr(claims, "CLAIMS", tuple(nothing(number) for number in range(21)))
    empty = fake_evidence(0)
    wrong = sum(any(v.kind != UNDECIDED for v in judge(replace(empty, scale={"study": study}))) for study in range(400))
    assert wrong <= 400 * 0.05 + 3 * (400 * 0.05 * 0.95) ** 0.5


def test_holm_step_down_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chances 0.01, 0.02, 0.04 and 0.2 of four: 0.01 passes 0.05 / 4, 0.02 then fails 0.05 / 3; of three all pass in their turn."""

    def claim(number: int, chance: float, by_chance: bool = True) -> Claim:
        def find(evidence: Evidence) -> Finding:
            return Finding(kind=HOLDS if chance <= evidence.error else UNDECIDED, sentence=str(evidence.error))

        return Claim(id=f"C{number}", says="x", measurement="x", rule="x", link="x", find=find, by_chance=by_chance)

    for chances, kinds in (((0.01, 0.02, 0.04, 0.2), [HOLDS, *[UNDECIDED] * 3]), ((0.04, 0.016, 0.025), [HOLDS] * 3)):
        monkeypatch.setattr(claims, "CLAIMS", tuple(claim(n, chance) for n, chance in enumerate(chances)))
        verdicts = judge(fake_evidence(0))
        assert [v.kind for v in verdicts] == kinds and {v.together for v in verdicts} == {len(chances)}
    monkeypatch.setattr(claims, "CLAIMS", (claim(1, 0.04), claim(2, 0.03, by_chance=False)))
    verdicts = judge(fake_evidence(0))
    assert [(v.kind, v.together) for v in verdicts] == [(HOLDS, 1), (HOLDS, 0)], "what rests on no interval is not corrected"


@pytest.mark.parametrize("claim_id", [c.id for c in CLAIMS if c.of_gpu])
def test_time_is_decided_by_a_gpu_alone(claim_id: str) -> None:
    assert {c.id for c in CLAIMS if c.of_gpu} == {"C2a", "C2b", "C5", "C6", "C21"}
    for changes in CASES[claim_id][:2]:
        evidence = fake_evidence(**(changes or steps(1.9)))
        assert of(claim_id, evidence).kind in (HOLDS, FAILS)
        speed = {**evidence.speed, "device": "cpu"}
        assert evidence.explanation is not None
        places = tuple(replace(a, place=a.place.replace("cuda", "cpu")) for a in evidence.explanation.attributions)
        cpu = replace(evidence, speed=speed, explanation=replace(evidence.explanation, device="cpu", attributions=places))
        verdict = of(claim_id, cpu)
        assert verdict.kind == UNDECIDED and "Not settled by a CPU" in verdict.sentence
        assert [n.value for n in verdict.evidence] == [n.value for n in of(claim_id, evidence).evidence], "its figures are shown"
    assert claim_id in claims.GPU_POLICY and claim_id not in {v.id for v in judge(cpu) if v.together}
