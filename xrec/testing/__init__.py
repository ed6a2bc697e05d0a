"""The conformance kit that a plugin author runs."""

from xrec.testing.conformance import check_explainer, check_model
from xrec.testing.tracing import check_influence
from xrec.testing.world import small_data, small_model

__all__ = ["check_explainer", "check_influence", "check_model", "small_data", "small_model"]
