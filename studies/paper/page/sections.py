"""The paper's page, section by section: lists of blocks, plots and strips, with what is missing said in its place. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ablation.measure.latency.statistics import LEAST_SITTINGS
from ablation.report.explain import answer as explain_answer
from ablation.report.explain import machine as explain_machine
from ablation.report.explain import plots as explain_plots
from ablation.report.explain import style as explain_style
from ablation.report.explain import sweep as explain_sweep
from ablation.report.explain import words as explain_words
from ablation.report.explain.mechanism import decomposed
from ablation.report.kit.page import Bullets, Heading, Missing, Paragraph
from studies.paper.evidence.evidence import MAIN_ARMS, Evidence
from studies.paper.page import curves, latent, look, maps, pieces, quality, strips, tables, words
from studies.paper.page.study import Part, Study

PICTURES = "Large pictures are compressed on this page; every pixel is in the PNG files of `strips`."
WITHHELD = (
    "Not shown here: pictures of real faces. Their licence forbids passing them on, so this copy of the page leaves out every "
    "sample, reconstruction and strip; the same command, run on the data, draws them for you."
)

MASKED_PIXELS = (
    "All numbers are of the image as the network decodes it. With the mask, training pastes the input's background into it first, "
    "so that pixels outside of the face are never trained: compare networks with and without the mask inside the face only."
)


def table_1(study: Study) -> list[Part]:
    """Section 3, first half."""
    e = study.evidence.explanation
    where = f"Ours: {explain_style.place_text(explain_style.main_place(e)).split(',')[0]}, 144 px" if e is not None else "Ours"
    note = f"Paper: its own GPU, which it does not name; mean ± standard deviation of runs. {where}; losses at this study's scale. "
    blocks: list[Part] = [study.section("Table 1 of the paper, and ours", "table-1"), tables.table_1(study.evidence)]
    blocks.append(Paragraph(f"{note}{tables.PLUS_MINUS} '-': not measured here, or not in the paper."))
    if e is None:
        blocks.append(Missing(words.missing(study.evidence, "parameters at 144 px and latency", "explanation", "latency")))
    return blocks


def figures(study: Study) -> list[Part]:
    """Section 3, second half: figures 1 to 6 of the paper again."""
    e, arrays = study.evidence, study.arrays
    blocks: list[Part] = [study.section("The paper's figures again", "figures")]
    blocks += [Paragraph(PICTURES) if study.images_allowed else Missing(WITHHELD)]
    blocks += [study.section("Figure 1: samples of the data", "figure-1", 3)]
    blocks += [study.strip(partial(strips.samples, e, arrays), "samples of the data", "samples", stem="figure_1_samples")]
    blocks += [study.section("Figure 2: originals beside reconstructions", "figure-2", 3)]
    blocks += [
        study.strip(
            partial(strips.reconstructions, e, arrays), "reconstructions", "reconstructions", stem="figure_2_reconstructions"
        )
    ]
    blocks += [study.section("Figure 3: t-SNE of the posterior means", "figure-3", 3)]
    blocks += [study.plot(maps.tsne_attributes(e, arrays), "t-SNE maps", "tsne", "t-SNE", "latent", stem="tsne_attributes")]
    more = maps.tsne_perplexities(e, arrays)
    if more is not None or "plots/tsne_perplexities.svg" in study.kept:
        blocks += [study.plot(more, "t-SNE maps by perplexity", "tsne", stem="tsne_perplexities")]
    blocks += _colours(study)
    blocks += [study.section("Figures 4 and 5: latent dimension 20 from −3 to 3", "figure-4-5", 3)]
    blocks += [
        study.strip(partial(strips.paper_traversal, e, arrays), "the paper's traversal", "traversal", stem="figure_4_5_traversal")
    ]
    blocks += [
        study.section("Figure 6: loss by epoch", "figure-6", 3),
        study.plot(curves.loss_curves(e), "loss curves", "curves", "epochs"),
    ]
    blocks += [Paragraph("Losses of the best weights, all in evaluation mode, so that the two splits are comparable:")]
    return [*blocks, *study.measures(tables.LOSSES, "losses in evaluation mode", "eval_losses")]


def _colours(study: Study) -> list[Part]:
    found = maps.maps_of(study.evidence, study.arrays)
    if not found or maps.colouring(study.evidence, found):
        return []
    return [Missing(words.missing(study.evidence, "attributes to colour the maps by", "attributes"))]


def quality_section(study: Study) -> list[Part]:
    """Section 4."""
    e = study.evidence
    blocks: list[Part] = [study.section("Quality of reconstructions", "quality")]
    if not look.arms_of(e, look.QUALITY["ssim"].path):
        return [*blocks, Missing(words.missing(e, "quality of reconstructions", "quality")), *_frequency(study), *_paired(study)]
    blocks += [tables.quality(e, tables.RECONSTRUCTION), Heading("Where the error is", 3), tables.quality(e, tables.WHERE)]
    blocks += [Paragraph(_quality_note(e))]
    gone = [look.QUALITY[n].label for n in (*tables.RECONSTRUCTION, *tables.WHERE) if not _has(e, n)]
    blocks += [Missing(words.missing(e, ", ".join(gone), *(n for n in look.QUALITY if not _has(e, n)), "masks"))] if gone else []
    blocks += [] if look.references(e) else [Missing(words.missing(e, "references (mean face, PCA)", "references"))]
    blocks += [study.plot(quality.quality_params(e), "quality against parameters", "quality")]
    return [*blocks, *_frequency(study), *_paired(study)]


def _has(e: Evidence, name: str) -> bool:
    return bool(look.arms_of(e, look.QUALITY[name].path))


def _quality_note(e: Evidence) -> str:
    regions = {t.get("analysis.quality.reporting.region") for t in e.trials} - {None}
    face = {"mask": "the exact mask of the face", "ellipse": "a central ellipse, for there are no masks"}
    region = look.joined([face.get(str(r), str(r)) for r in sorted(map(str, regions))]) or "not stored"
    rest = [arm for arm in look.arms_of(e) if arm not in MAIN_ARMS]
    more = f" {len(rest)} further networks, between the paper's two, are in the plot and in `trials.csv`." if rest else ""
    return (
        f"Means over test images, from the posterior mean, then over seeds. {tables.PLUS_MINUS} Inside and outside: {region}. ΔE: "
        "CIE 1976, mean over pixels. Above 1/4 cycle per pixel, high-frequency power: the reconstruction's over the original's, "
        "whatever it is of; matched detail: how much of the original's own waves is shown, 1 for all, 0 for none, however much "
        f"noise there is.{more}"
    )


def _frequency(study: Study) -> list[Part]:
    head = study.section("Fine detail by spatial frequency", "frequency", 3)
    return [head, study.plot(quality.frequency_bands(study.evidence), "power by spatial frequency", "high_frequency", "quality")]


def _paired(study: Study) -> list[Part]:
    head = study.section("Image by image", "paired", 3)
    return [head, study.plot(quality.paired_differences(study.evidence), "differences image by image", "per_image", "quality")]


def pieces_section(study: Study) -> list[Part]:
    """Section 5."""
    e = study.evidence
    blocks: list[Part] = [study.section("Quality given to the pieces, and controls", "pieces")]
    blocks += [study.plot(pieces.loss_pieces(e), "loss given to the pieces", "loss_attribution", "pieces", "factorial")]
    if e.loss_attribution:
        found = e.loss_attribution[0]
        of = f"{found.num_variants} of {found.num_possible} combinations of their pieces were trained, both networks among them"
        of += f", {found.place} each" if found.place else ""
        blocks += [tables.pieces(e.loss_attribution), Paragraph(f"Shapley values with 95 % intervals over seeds; {of}.")]
    note = "Controls in the table of quality: a plain network with as few parameters as modified, and original with a pooled head."
    return [*blocks, Paragraph(note)]


def latent_section(study: Study) -> list[Part]:
    """Section 6."""
    e = study.evidence
    blocks: list[Part] = [study.section("Latent space", "latent")]
    blocks += study.measures((*tables.LATENT, *tables.trustworthiness(e)), "measures of the latent space", "latent", "attributes")
    blocks += [study.section("Clusters against a null", "clusters", 3)]
    blocks += [study.plot(latent.clusters(e), "clustering", "hopkins", "latent")]
    blocks += [
        study.section("Attributes read by probes", "probes", 3),
        study.plot(latent.probes(e), "probes", "attributes", "probes", "latent"),
    ]
    blocks += _not_probed(e)
    blocks += [study.section("Information by dimension", "information", 3)]
    blocks += [study.plot(latent.kl_by_dimension(e), "KL by dimension", "kl_per_dim", "latent")]
    blocks += [study.section("Disentanglement", "disentanglement", 3)]
    return [*blocks, *study.measures(tables.DISENTANGLEMENT, "disentanglement", "factors", "disentanglement", "attributes")]


def _not_probed(e: Evidence) -> list[Part]:
    found = {
        f"{name.replace('_', ' ')} ({reason})"
        for t in e.trials
        for name, reason in (t.get("analysis.latent.not_probed") or {}).items()
    }
    return [Paragraph(f"Not probed: {'; '.join(sorted(found))}.")] if found else []


def traversal_section(study: Study) -> list[Part]:
    """Section 7."""
    e, arrays = study.evidence, study.arrays
    blocks: list[Part] = [study.section("Traversals of single dimensions", "traversals")]
    blocks += study.measures(tables.TRAVERSAL, "traversals", "traversal")
    for arm in look.PAIR:
        blocks += [
            study.strip(
                partial(strips.traversals, e, arrays, arm), f"strips of {arm}'s dimensions", "traversal", stem=f"traversal_{arm}"
            )
        ]
    blocks += [study.section("Attribute edits", "edits", 3), study.plot(pieces.edits(e), "attribute edits", "edits", "attributes")]
    blocks += study.measures(tables.EDITS, "means over edits", "edits", "attributes") if pieces.edits_of(e) else []
    for arm in look.PAIR:
        blocks += [
            study.strip(
                partial(strips.edit_strips, e, arrays, arm), f"strips of {arm}'s edits", "edits", "attributes", stem=f"edits_{arm}"
            )
        ]
    return blocks


def hypotheses_section(study: Study) -> list[Part]:
    """Section 8."""
    e = study.evidence
    blocks: list[Part] = [study.section("Toledo and Antonelo's ten losses and masks", "hypotheses")]
    blocks += [study.plot(pieces.hypotheses(e), "error inside the face under the ten losses", "hypotheses", "masks")]
    table = tables.hypotheses(e)
    blocks += [] if table is None else [table, Paragraph(f"{tables.PLUS_MINUS} {MASKED_PIXELS}")]
    return blocks


def cost_section(study: Study) -> list[Part]:
    """Section 9."""
    e, x = study.evidence, study.evidence.explanation
    blocks: list[Part] = [study.section("Cost and speed", "cost")]
    if x is None:
        blocks += [Missing(words.missing(e, "cost and latency of the paper's pair", "explanation", "latency"))]
        return [*blocks, *_training_speed(study)]
    blocks += [Paragraph(explain_answer.answer(x))]
    counts = [a for a in (explain_style.find(x, "params"), explain_style.find(x, "macs")) if a is not None]
    blocks += [explain_plots.shapley(x, counts, "cost_pieces", "What each piece adds and saves")] if counts else []
    ratio = explain_style.find(x, explain_style.LOG)
    blocks += [explain_plots.waterfall(x, ratio)] if ratio is not None else []
    pair = decomposed(x)
    blocks += [explain_machine.time_by_class(x, pair)] if pair is not None else []
    blocks += [Heading("Against batch size", 3), explain_sweep.sweep(x)] if x.sweep else []
    gone = {"the ratio by pieces": ratio is None, "where the time goes": pair is None, "other batch sizes": not x.sweep}
    absent = [name for name, is_gone in gone.items() if is_gone]
    blocks += [Missing(explain_words.missing(x, ", ".join(absent), explain_answer.REASONS["latency"]))] if absent else []
    blocks += [Paragraph("Everything else about cost, remedies included: `python -m studies.run explain original modified`.")]
    return [*blocks, *_training_speed(study)]


def _training_speed(study: Study) -> list[Part]:
    e, speed = study.evidence, study.evidence.speed
    blocks: list[Part] = [study.section("Training speed", "training-speed", 3)]
    if speed.get("original_ms") and speed.get("modified_ms"):
        ratio = explain_style.times_span(
            speed.get("ratio") or speed["modified_ms"] / speed["original_ms"],
            *((speed.get("low"), speed.get("high")) if (speed.get("sittings") or 0) >= LEAST_SITTINGS else (None, None)),
        )
        first, second = (explain_style.number(speed[f"{arm}_ms"]) for arm in look.PAIR)
        where = f"batch {speed.get('batch_size', 'unknown')}, {speed.get('device', 'device unknown')}"
        blocks.append(Paragraph(f"One training step, interleaved ({where}): original {first} ms, modified {second} ms, {ratio}."))
    else:
        blocks.append(Missing(words.missing(e, "interleaved training steps", "speed", "training step")))
    table = tables.training_speed(e)
    note = "As the trials ran, perhaps side by side with others; the interleaved steps are the fair comparison."
    return [
        *blocks,
        study.table(table, "training speed of the trials", "training speed"),
        *([Paragraph(note)] if table is not None else []),
    ]


def limits_section(study: Study) -> list[Part]:
    """Section 10."""
    e = study.evidence
    groups = {
        "Left out for lack of time": list(e.given_up), "Limits": [*e.limits, *([KEPT] if study.kept else [])],
        "Not computed": words.not_computed(e),
        "Trials that failed or were not finished": words.failures(e),
    }  # fmt: skip
    blocks: list[Part] = [study.section("Limits", "limits")]
    for text, items in groups.items():
        blocks += [Heading(text, 3), Bullets(items) if items else Paragraph("None.")]
    made = [f"{explain_style.plain(k).capitalize()}: {_plain(v)}" for k, v in e.provenance.items()]
    files = "Every number: `trials.csv`, `claims.csv`, `ledger.json`, and a CSV file beside each plot in `plots`."
    return [*blocks, Heading("Where the numbers come from", 3), Bullets([*made, files])]


# of a page that was made without the study's arrays
KEPT = (
    "Made from what is published of the study: pictures and t-SNE maps are those of its earlier page, unchanged, and left out "
    "where that had none."
)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
