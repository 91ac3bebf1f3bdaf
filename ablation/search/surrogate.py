"""A Gaussian process for the loss of networks that were not trained: levels of factors and known costs in, mean and sd out."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = NDArray[np.float64]
LEAST_FITTED = 4  # losses, from which hyperparameters are fitted; fewer keep the first ones


def encoded(codes: NDArray[np.int64], sizes: Sequence[int], costs: Values | None = None) -> Values:
    """Rows of features: factors one-hot, two levels of a factor at distance 1, and costs in units of their spread.

    >>> import numpy as np
    >>> (encoded(np.array([[0, 1]]), (2, 3)) > 0).astype(int).tolist()
    [[1, 0, 0, 1, 0]]
    """
    factors = [(codes[:, [f]] == np.arange(size)) / np.sqrt(2) for f, size in enumerate(sizes)]
    spread = [] if costs is None else [(costs - costs.mean(axis=0)) / np.maximum(costs.std(axis=0), 1e-9)]
    return np.concatenate([*factors, *spread], axis=1)


@dataclass(kw_only=True)
class Surrogate:
    """Posterior of the loss without the noise of its seed, by scikit-learn's regressor (Rasmussen and Williams 2006, chapter 2).

    Kernel: Matern 5/2 of one length scale, for interactions, plus noise; and where `linear` the effects of levels one by one.
    Hyperparameters maximise the marginal likelihood of the first losses, as many as there are whole times `refit_every`, so that
    they follow from the losses alone.
    """

    linear: bool = True
    refit_every: int = 1
    _fitted: tuple[bytes, Any] = field(default=(b"", None), repr=False)

    def posterior(self, features: Values, losses: Values, queries: Values) -> tuple[Values, Values]:
        """Mean and standard deviation of the loss of each query, given N losses (N >= 1) and the features of their networks."""
        from sklearn.gaussian_process import GaussianProcessRegressor

        middle, scale = losses.mean(), losses.std() or 1.0
        targets = (losses - middle) / scale
        regressor = GaussianProcessRegressor(self._kernel(features, targets), optimizer=None).fit(features, targets)
        mean, sd = regressor.predict(queries, return_std=True)
        noise = regressor.kernel_.k2.noise_level
        return mean * scale + middle, np.sqrt(np.maximum(sd**2 - noise, 0)) * scale

    def _kernel(self, features: Values, targets: Values) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor

        num = len(targets) - len(targets) % self.refit_every
        if num < LEAST_FITTED:
            return _first_kernel(self.linear)
        mark = features[:num].tobytes() + targets[:num].tobytes()
        if self._fitted[0] != mark:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # a hyperparameter at its bound is an answer
                fit = GaussianProcessRegressor(_first_kernel(self.linear)).fit(features[:num], targets[:num])
            self._fitted = mark, fit.kernel_
        return self._fitted[1]


def _first_kernel(linear: bool) -> Any:
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern, WhiteKernel

    def size() -> Any:
        return ConstantKernel(0.5, (1e-3, 1e2))

    kernel = size() * Matern(2.0, (0.3, 30), nu=2.5)
    if linear:
        kernel = size() * DotProduct(0.3, (1e-2, 10)) + kernel
    return kernel + WhiteKernel(0.05, (1e-4, 1.0))
