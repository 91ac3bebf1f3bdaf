"""How a network is laid out, one architecture a file. An architecture chooses and connects the pieces of the other families."""

from __future__ import annotations

# registered in the order in which they are listed
from blocks.architectures import stages as stages  # isort: skip
from blocks.architectures import chain as chain  # isort: skip
from blocks.architectures.base import ARCHITECTURES as ARCHITECTURES
from blocks.architectures.base import Architecture as Architecture
