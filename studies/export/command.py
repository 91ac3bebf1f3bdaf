"""`export`: a trained network in the formats that people deploy, each checked and timed, in a folder that stands alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from rich.console import Console

from ablation.design.compose import VAE
from ablation.export.any import export_any
from ablation.export.folder import check_folder
from ablation.export.write import Written, export_network
from studies.export.options import ExportOptions
from studies.export.source import source_of
from studies.work.progress import print_line


def run_export(options: ExportOptions) -> int:
    """Write the folder; 1 where a format could not be written, which is said."""
    check_folder(options.to)
    source = source_of(options)
    torch.set_num_threads(options.threads)
    say = partial(print_line, Console(stderr=True))
    say(f"Export    {source.origin.source}{'' if source.origin.trained else ' (not trained)'}")
    if source.call is not None:
        written = export_any(
            source.call, source.model, options.to, source.origin, plain=options.plain, batches=options.latency_batches,
            budget_s=options.budget, say=say,
        )  # fmt: skip
        return _print(written, options)
    assert isinstance(source.model, VAE)
    written = export_network(
        source.model, options.to, source.origin, images=source.images, sample=options.sample, plain=options.plain,
        calibration=source.calibration, test_images=source.test_images, batches=options.latency_batches, budget_s=options.budget,
        say=say,
    )  # fmt: skip
    return _print(written, options)


def _print(written: Mapping[str, Written], options: ExportOptions) -> int:
    for title, each in written.items():
        if each.reason:
            print(f"{title:<16} not written: {each.reason}")
            continue
        gains = [f"{row['ms']:.2f} ms ({row['gain']:.2f} x eager) at batch {b}" for b, row in each.latency.items() if row["gain"]]
        print(f"{title:<16} largest error {each.largest_error:.1e}; {', '.join(gains)}")
    print(f"The card: {options.to / 'README.md'}")
    return int(any(each.reason for each in written.values()))
