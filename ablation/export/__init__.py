"""A trained network as a folder that stands alone: weights, the formats that people deploy, each checked, and a card."""

from ablation.export.folder import load as load
