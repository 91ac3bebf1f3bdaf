"""Rendered faces: the data set that this project draws itself."""

from ablation.data.faces.rendered import render_faces

__all__ = ["render_faces"]
