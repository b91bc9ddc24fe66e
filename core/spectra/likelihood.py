"""Is the tail of a spectrum a power law at all? What else could it be, and which is likelier."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

from jaxtyping import Float

from core.lazy import torch
from core.spectra.hill import Tail

SIGNIFICANT = 0.1
"""p below which the sign of a likelihood ratio is taken to be meant (Clauset et al., arXiv 0706.1062, section 5)."""
_ALIKE = 1e-3  # parameters end where an alternative's log-density differs by about this little from a power law's
_DIGITS = 300  # powers of ten, to either side, within which float64 has all its digits


class Comparison(NamedTuple):
    """The power law against one alternative, both fitted to the same tail."""

    alternative: str
    ratio: float | None
    """``sum d / sqrt(n var d)`` with ``d`` the log-likelihoods under the power law less those under the alternative.

    Above 0 where the power law is likelier; None, as ``p``, where the alternative cannot be fitted.
    """
    p: float | None
    """How likely chance alone is to give a ratio as far from 0, were both equally good."""

    @property
    def verdict(self) -> str:
        """Who wins, for people."""
        if self.ratio is None or self.p is None:
            return f"the {self.alternative} cannot be fitted to this tail"
        if self.p >= SIGNIFICANT:
            return "no clear difference"
        return "the power law fits better" if self.ratio > 0 else f"the {self.alternative} fits better"


def compare_tail(values: Float[torch.Tensor, " n"], tail: Tail) -> list[Comparison]:
    """The fitted power law against the lognormal, the exponential and the truncated power law ``x^-a e^(-b x)``.

    ``values``: ascending eigenvalues to which ``tail`` was fitted. Every alternative is fitted to the eigenvalues of that tail
    by maximum likelihood, on ``x >= xmin``. p: Vuong's for the first two; the chi-squared of ``2 sum d`` with one degree of
    freedom for the third, of which the power law is the case b = 0.

    Source: Clauset et al. (arXiv 0706.1062), section 5 and appendix C, by the package ``powerlaw``. Deviations from its fits:
    alpha may be above 3; the truncated power law starts from the fitted power law, since from its own start the search gets
    stuck; and the lognormal and the truncated power law, which become power laws in a limit, end shortly before it, where
    their densities run out of digits and that passes for a better fit. For tails steeper than about ``x^-100`` this leaves
    nothing of the truncated power law.
    """
    import numpy as np

    x = (values[-tail.size :].double() / tail.xmin).cpu().numpy()  # ratios do not depend on the unit
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", UserWarning)
        return [
            _compare("lognormal", _lognormal(x, tail.alpha), x, tail.alpha),
            _compare("exponential", _exponential(x), x, tail.alpha),
            _compare("truncated power law", _truncated(x, tail.alpha), x, tail.alpha, nested=True),
        ]


def _lognormal(x: Any, alpha: float) -> Any:
    """Becomes ``x^-alpha`` as mu falls and sigma^2 = -mu / (alpha - 1) grows."""
    from powerlaw.distributions import Lognormal

    ranges = {"mu": [-1 / (_ALIKE * (alpha - 1)), None]}
    return Lognormal(data=x, xmin=1.0, parameter_ranges=ranges, verbose=0)


def _exponential(x: Any) -> Any:
    from powerlaw.distributions import Exponential

    return Exponential(xmin=1.0, parameters=[1 / (x.mean() - 1)])  # the likeliest, exactly


def _truncated(x: Any, alpha: float) -> Any | None:
    """Becomes a power law as b falls to 0; its normalisation holds ``b^(1 - a)`` and ``e^-b``. None for too steep a tail."""
    from powerlaw.distributions import Truncated_Power_Law

    lowest = _ALIKE / x[-1]
    steepest = 1 - _DIGITS / math.log10(lowest)
    if alpha >= steepest:
        return None
    ranges = {"alpha": [0, steepest], "Lambda": [lowest, _DIGITS * math.log(10)]}
    return Truncated_Power_Law(data=x, xmin=1.0, parameters=[alpha, 1 / x[-1]], parameter_ranges=ranges, verbose=0)


def _compare(name: str, fitted: Any | None, x: Any, alpha: float, nested: bool = False) -> Comparison:
    """``fitted``: a distribution of ``powerlaw``; ``x``: the tail as a numpy array, in units of xmin."""
    import numpy as np
    from powerlaw.statistics import loglikelihood_ratio

    if fitted is None:
        return Comparison(name, None, None)
    power_law = math.log(alpha - 1) - alpha * np.log(x)
    ratio, p = loglikelihood_ratio(power_law, fitted.loglikelihoods(x), nested=nested, normalized_ratio=True)
    possible = math.isfinite(ratio) and math.isfinite(p)
    return Comparison(name, float(ratio), float(p)) if possible else Comparison(name, None, None)
