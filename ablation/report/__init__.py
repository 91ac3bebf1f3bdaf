"""Tables, plots and plain sentences from records alone: no torch, and matplotlib only when a plot is drawn."""

from __future__ import annotations

from ablation.report.study.pictures import draw_curves, write_gallery
from ablation.report.study.rows import StudyInfo
from ablation.report.study.tables import print_table
from ablation.report.study.writer import write_report

__all__ = ["StudyInfo", "draw_curves", "print_table", "write_gallery", "write_report"]
