"""The paper's page, section by section: lists of blocks, plots and strips, with what is missing said in its place. No torch."""

from __future__ import annotations

from collections.abc import Mapping

from ablation.report.explain import answer as explain_answer
from ablation.report.explain import machine as explain_machine
from ablation.report.explain import plots as explain_plots
from ablation.report.explain import style as explain_style
from ablation.report.explain import sweep as explain_sweep
from ablation.report.explain import words as explain_words
from ablation.report.explain.mechanism import decomposed
from ablation.report.explain.style import plain
from ablation.report.kit.numbers import joined, significant, times_span
from ablation.report.kit.page import Bullets, Heading, Missing, Paragraph
from ablation.stats import LEAST_SITTINGS
from studies.paper.evidence.evidence import MAIN_ARMS, Evidence
from studies.paper.page import curves, latent, maps, pieces, quality, strips, style, tables, words
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
# of a page that was made without the study's arrays
KEPT = (
    "Made from what is published of the study: pictures and t-SNE maps are those of its earlier page, unchanged, and left out "
    "where that had none."
)
CONTROLS = "Controls in the table of quality: a plain network with as few parameters as modified, and original with a pooled head."
FACE = {"mask": "the exact mask of the face", "ellipse": "a central ellipse, for there are no masks"}
FILES = "Every number: `trials.csv`, `claims.csv`, `ledger.json`, and a CSV file beside each plot in `plots`."


def table_1(study: Study) -> list[Part]:
    """Section 3, first half."""
    e = study.evidence.explanation
    where = f"Ours: {explain_style.place_text(explain_style.main_place(e)).split(',')[0]}, 144 px" if e is not None else "Ours"
    note = f"Paper: its own GPU, which it does not name; mean ± standard deviation of runs. {where}; losses at this study's scale. "
    note += f"{tables.PLUS_MINUS} '-': not measured here, or not in the paper."
    lacking = [study.part(None, "parameters at 144 px and latency", "explanation", "latency")] if e is None else []
    table = tables.table_1(study.evidence)
    return study.section("Table 1 of the paper, and ours", "table-1", table, Paragraph(note), *lacking)


def figures(study: Study) -> list[Part]:
    """Section 3, second half: figures 1 to 6 of the paper again."""
    e, arrays = study.evidence, study.arrays
    samples = study.strip(strips.samples(e, arrays), "figure_1_samples", "samples of the data", "samples")
    beside = study.strip(strips.reconstructions(e, arrays), "figure_2_reconstructions", "reconstructions", "reconstructions")
    traversal = study.strip(strips.paper_traversal(e, arrays), "figure_4_5_traversal", "the paper's traversal", "traversal")
    curve = study.part(curves.loss_curves(e), "loss curves", "curves", "epochs")
    note = Paragraph("Losses of the best weights, all in evaluation mode, so that the two splits are comparable:")
    losses = study.measures(tables.LOSSES, "losses in evaluation mode", "eval_losses")
    return [
        *study.section("The paper's figures again", "figures", Paragraph(PICTURES) if study.images_allowed else Missing(WITHHELD)),
        *study.section("Figure 1: samples of the data", "figure-1", samples, level=3),
        *study.section("Figure 2: originals beside reconstructions", "figure-2", beside, level=3),
        *study.section("Figure 3: t-SNE of the posterior means", "figure-3", *_maps(study), level=3),
        *study.section("Figures 4 and 5: latent dimension 20 from −3 to 3", "figure-4-5", traversal, level=3),
        *study.section("Figure 6: loss by epoch", "figure-6", curve, note, *losses, level=3),
    ]


def _maps(study: Study) -> list[Part]:
    e, arrays = study.evidence, study.arrays
    parts = [study.tsne(maps.tsne_attributes(e, arrays), "tsne_attributes", "t-SNE maps", "tsne", "t-SNE", "latent")]
    more = study.tsne(maps.tsne_perplexities(e, arrays), "tsne_perplexities", "t-SNE maps by perplexity")
    parts += [] if isinstance(more, Missing) else [more]
    drawn = maps.maps_of(e, arrays)
    uncoloured = drawn and not maps.colouring(e, drawn)
    return [*parts, *([study.part(None, "attributes to colour the maps by", "attributes")] if uncoloured else [])]


def quality_section(study: Study) -> list[Part]:
    """Section 4."""
    e = study.evidence
    bands = study.part(curves.frequency_bands(e), "power by spatial frequency", "high_frequency", "quality")
    paired = study.part(quality.paired_differences(e), "differences image by image", "per_image", "quality")
    return [
        *study.section("Quality of reconstructions", "quality", *_quality_tables(study)),
        *study.section("Fine detail by spatial frequency", "frequency", bands, level=3),
        *study.section("Image by image", "paired", paired, level=3),
    ]


def _quality_tables(study: Study) -> list[Part]:
    e = study.evidence
    gone = {name: metric.label for name, metric in style.QUALITY.items() if not style.arms_of(e, metric.path)}
    if "ssim" in gone:
        return [study.part(None, "quality of reconstructions", "quality")]
    labels = ", ".join(gone[name] for name in (*tables.RECONSTRUCTION, *tables.WHERE) if name in gone)
    return [
        tables.quality(e, tables.RECONSTRUCTION),
        Heading("Where the error is", 3),
        tables.quality(e, tables.WHERE),
        Paragraph(_quality_note(e)),
        *([study.part(None, labels, *gone, "masks")] if gone else []),
        *([] if style.references(e) else [study.part(None, "references (mean face, PCA)", "references")]),
        study.part(quality.quality_params(e), "quality against parameters", "quality"),
    ]


def _quality_note(e: Evidence) -> str:
    regions = sorted({str(region) for t in e.trials if (region := t.get("analysis.quality.reporting.region")) is not None})
    region = joined([FACE.get(name, name) for name in regions]) if regions else "not stored"
    rest = sum(arm not in MAIN_ARMS for arm in style.arms_of(e))
    more = f" {rest} further networks, between the paper's two, are in the plot and in `trials.csv`." if rest else ""
    return (
        f"Means over test images, from the posterior mean, then over seeds. {tables.PLUS_MINUS} Inside and outside: {region}. ΔE: "
        "CIE 1976, mean over pixels. Above 1/4 cycle per pixel, high-frequency power: the reconstruction's over the original's, "
        "whatever it is of; matched detail: how much of the original's own waves is shown, 1 for all, 0 for none, however much "
        f"noise there is.{more}"
    )


def pieces_section(study: Study) -> list[Part]:
    """Section 5."""
    e = study.evidence
    parts = [study.part(pieces.loss_pieces(e), "loss given to the pieces", "loss_attribution", "pieces", "factorial")]
    if e.loss_attribution:
        first = e.loss_attribution[0]
        of = f"{first.num_variants} of {first.num_possible} combinations of their pieces were trained, both networks among them"
        of += f", {first.place} each" if first.place else ""
        parts += [tables.pieces(e.loss_attribution), Paragraph(f"Shapley values with 95 % intervals over seeds; {of}.")]
    return study.section("Quality given to the pieces, and controls", "pieces", *parts, Paragraph(CONTROLS))


def latent_section(study: Study) -> list[Part]:
    """Section 6."""
    e = study.evidence
    measures = (*tables.LATENT, *tables.trustworthiness(e))
    not_probed = [Paragraph(f"Not probed: {'; '.join(names)}.")] if (names := words.not_probed(e)) else []
    clusters = study.part(latent.clusters(e), "clustering", "hopkins", "latent")
    probes = study.part(latent.probes(e), "probes", "attributes", "probes", "latent")
    kl = study.part(curves.kl_by_dimension(e), "KL by dimension", "kl_per_dim", "latent")
    factors = study.measures(tables.DISENTANGLEMENT, "disentanglement", "factors", "disentanglement", "attributes")
    return [
        *study.section("Latent space", "latent", *study.measures(measures, "measures of the latent space", "latent", "attributes")),
        *study.section("Clusters against a null", "clusters", clusters, level=3),
        *study.section("Attributes read by probes", "probes", probes, *not_probed, level=3),
        *study.section("Information by dimension", "information", kl, level=3),
        *study.section("Disentanglement", "disentanglement", *factors, level=3),
    ]


def traversal_section(study: Study) -> list[Part]:
    """Section 7."""
    e, arrays = study.evidence, study.arrays
    moved = [
        study.strip(strips.traversals(e, arrays, arm), f"traversal_{arm}", f"strips of {arm}'s dimensions", "traversal")
        for arm in style.PAIR
    ]
    edited = [
        study.strip(strips.edit_strips(e, arrays, arm), f"edits_{arm}", f"strips of {arm}'s edits", "edits", "attributes")
        for arm in style.PAIR
    ]
    means = study.measures(tables.EDITS, "means over edits", "edits", "attributes") if pieces.edit_rows(e) else []
    edits = study.part(pieces.edits(e), "attribute edits", "edits", "attributes")
    table = study.measures(tables.TRAVERSAL, "traversals", "traversal")
    return [
        *study.section("Traversals of single dimensions", "traversals", *table, *moved),
        *study.section("Attribute edits", "edits", edits, *means, *edited, level=3),
    ]


def hypotheses_section(study: Study) -> list[Part]:
    """Section 8."""
    e = study.evidence
    plot = study.part(pieces.hypotheses(e), "error inside the face under the ten losses", "hypotheses", "masks")
    table = tables.hypotheses(e)
    rest = [] if table is None else [table, Paragraph(f"{tables.PLUS_MINUS} {MASKED_PIXELS}")]
    return study.section("Toledo and Antonelo's ten losses and masks", "hypotheses", plot, *rest)


def cost_section(study: Study) -> list[Part]:
    """Section 9."""
    return [*study.section("Cost and speed", "cost", *_cost(study)), *_training_speed(study)]


def _cost(study: Study) -> list[Part]:
    x = study.evidence.explanation
    if x is None:
        return [study.part(None, "cost and latency of the paper's pair", "explanation", "latency")]
    counts = [a for a in (explain_style.find(x, "params"), explain_style.find(x, "macs")) if a is not None]
    ratio, pair = explain_style.find(x, explain_style.LOG), decomposed(x)
    gone = {"the ratio by pieces": ratio is None, "where the time goes": pair is None, "other batch sizes": not x.sweep}
    absent = ", ".join(name for name, is_gone in gone.items() if is_gone)
    sweep: list[Part] = [Heading("Against batch size", 3), explain_sweep.sweep(x)] if x.sweep else []
    return [
        Paragraph(explain_answer.answer(x)),
        *([explain_plots.shapley(x, counts, "cost_pieces", "What each piece adds and saves")] if counts else []),
        *([explain_plots.waterfall(x, ratio)] if ratio is not None else []),
        *([explain_machine.time_by_class(pair)] if pair is not None else []),
        *sweep,
        *([Missing(explain_words.missing(x, absent, explain_answer.REASONS["latency"]))] if absent else []),
        Paragraph("Everything else about cost, remedies included: `python -m studies.run explain original modified`."),
    ]


def _training_speed(study: Study) -> list[Part]:
    e, speed = study.evidence, study.evidence.speed
    steps = study.part(None, "interleaved training steps", "speed", "training step")
    if speed.get("original_ms") and speed.get("modified_ms"):
        interval = (speed.get("low"), speed.get("high")) if (speed.get("sittings") or 0) >= LEAST_SITTINGS else (None, None)
        ratio = times_span(speed.get("ratio") or speed["modified_ms"] / speed["original_ms"], *interval)
        first, second = (significant(speed[f"{arm}_ms"]) for arm in style.PAIR)
        where = f"batch {speed.get('batch_size', 'unknown')}, {speed.get('device', 'device unknown')}"
        steps = Paragraph(f"One training step, interleaved ({where}): original {first} ms, modified {second} ms, {ratio}.")
    table = tables.training_speed(e)
    note = "As the trials ran, perhaps side by side with others; the interleaved steps are the fair comparison."
    parts = [steps, study.part(table, "training speed of the trials", "training speed")]
    return study.section("Training speed", "training-speed", *parts, *([Paragraph(note)] if table is not None else []), level=3)


def limits_section(study: Study) -> list[Part]:
    """Section 10."""
    e = study.evidence
    groups = {
        "Left out for lack of time": list(e.given_up), "Limits": [*e.limits, *([KEPT] if study.kept else [])],
        "Not computed": words.not_computed(e),
        "Trials that failed or were not finished": words.failures(e),
        "Where the numbers come from": [*(f"{plain(k).capitalize()}: {_text(v)}" for k, v in e.provenance.items()), FILES],
    }  # fmt: skip
    parts: list[Part] = []
    for text, items in groups.items():
        parts += [Heading(text, 3), Bullets(items) if items else Paragraph("None.")]
    return study.section("Limits", "limits", *parts)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    return ", ".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


SECTIONS = (
    table_1, figures, quality_section, pieces_section, latent_section, traversal_section, hypotheses_section, cost_section,
    limits_section,
)  # fmt: skip
