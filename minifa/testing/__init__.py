"""Checks of user-defined layers and rules: `check_layer`, `check_rule`. Tests and `minifa doctor` share their examples
and their gradient check."""

from .layer_check import check_layer
from .rule_check import check_rule

__all__ = ["check_layer", "check_rule"]
