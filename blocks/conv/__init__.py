"""Convolutions of one kernel size that keep height and width, each also in the transposed form that decoders use."""

from __future__ import annotations

# registered in the order in which they are listed
from blocks.conv import basic as basic  # isort: skip
from blocks.conv import reparameterised as reparameterised  # isort: skip
from blocks.conv import light as light  # isort: skip
from blocks.conv.base import CONVS as CONVS
from blocks.conv.base import convolution as convolution
