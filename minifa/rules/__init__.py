"""Learning rules, by file. To add a rule, add a module and an entry in `RULES`."""

from __future__ import annotations

from ..registry import make_described, register_table
from ..rng import check_seed
from ..validation import check_str
from .alignment_penalties import ActivationAlignment, InformationAlignment, SymmetricAlignment
from .asap import ASAP
from .backprop import BP, Shallow
from .base import Rule
from .burst import Burst
from .dense_feedback import Dense
from .difference_reconstruction import DDTP, DRL
from .difference_targets import DTP, FWDTP, TP
from .direct import DFA, DRTP, SignDFA
from .dual_propagation import DualProp
from .dynamic_inversion import DI, PBP
from .feedback_alignment import FA, Sham
from .feedback_control import DFC
from .forward_forward import ForwardForward
from .gevb import GEVB
from .hsic import HSIC, PHSIC
from .kolen_pollack import DirectKolenPollack, KolenPollack
from .local import Local
from .local_difference_reconstruction import LDRL
from .mdfa import MDFA
from .pal import PAL
from .pepita import PEPITA
from .perturbation import NodePerturbation, WeightPerturbation
from .perturbed_feedback import PerturbedFeedback
from .predictive_coding import PC, ZIL
from .product import Product
from .rdd import RDD
from .recirculation import Recirculation
from .sal import SAL
from .sign_concordant import BRSF, FRSF, USF
from .stale import Stale
from .stdwi import STDWI
from .synthetic import Synthetic
from .weight_mirror import WeightMirror

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        BP,
        Shallow,
        Sham,
        Stale,
        FA,
        USF,
        FRSF,
        BRSF,
        KolenPollack,
        WeightMirror,
        RDD,
        STDWI,
        SAL,
        PAL,
        Product,
        SymmetricAlignment,
        ActivationAlignment,
        InformationAlignment,
        DFA,
        SignDFA,
        DRTP,
        DirectKolenPollack,
        Dense,
        PEPITA,
        NodePerturbation,
        WeightPerturbation,
        FWDTP,
        DTP,
        TP,
        LDRL,
        DRL,
        DDTP,
        DI,
        PBP,
        DFC,
        ZIL,
        PC,
        DualProp,
        Local,
        Synthetic,
        ForwardForward,
        PHSIC,
        HSIC,
        GEVB,
        PerturbedFeedback,
        MDFA,
        ASAP,
        Burst,
        Recirculation,
    )
}
register_table("rule", RULES)


def make(description: str, seed: int = 0) -> Rule:
    """Make a rule from its name and options, as on the command line: ``"fa"``, ``"usf:scale=init"``,
    ``"fa:conv=dense,sparsity=0.5"``.

    Args:
        description: a name in `RULES`; after a colon, options ``key=value`` separated by commas.
        seed: as for the rule.

    Raises:
        ValueError: an unknown rule or option (with the nearest known ones), or an invalid value.

    >>> mf.rules.make("usf:scale=init", seed=3)
    <USF(seed=3, scale='init'), not attached>
    >>> mf.rules.make("usf:scales=init")
    Traceback (most recent call last):
    ValueError: unknown option of rule 'usf' 'scales': did you mean scale?
    """
    return make_described(RULES, description, "rule", seed=check_seed(seed))


def split(text: str) -> list[str]:
    """The rules in an option, separated by commas or spaces; an item ``key=value`` belongs to the preceding rule.

    Args:
        text: ``"bp,fa:sparsity=0.5,normalise=strict"``, or ``"all"`` for every rule in `RULES`.

    Raises:
        TypeError: not a str.
        ValueError: an unknown rule or option, no rule, or a rule given twice.

    >>> mf.rules.split("bp,fa:sparsity=0.5,normalise=strict usf")
    ['bp', 'fa:sparsity=0.5,normalise=strict', 'usf']
    """
    names: list[str] = list(RULES) if check_str(text, "a list of rules") == "all" else []
    for piece in text.replace(",", " ").split() if text != "all" else []:
        if "=" in piece and ":" not in piece and names:
            names[-1] += f",{piece}"  # a further option of the preceding rule
        else:
            names.append(piece)
    for name in names:
        make(name)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"--rules names no rule, or one twice: {text!r}")
    return names


__all__ = [
    "ASAP",
    "ActivationAlignment",
    "BP",
    "BRSF",
    "Burst",
    "DDTP",
    "DFA",
    "DFC",
    "DI",
    "DRL",
    "DRTP",
    "DTP",
    "Dense",
    "DirectKolenPollack",
    "DualProp",
    "FA",
    "FRSF",
    "FWDTP",
    "GEVB",
    "ForwardForward",
    "HSIC",
    "InformationAlignment",
    "KolenPollack",
    "LDRL",
    "Local",
    "MDFA",
    "NodePerturbation",
    "PAL",
    "PBP",
    "PC",
    "PEPITA",
    "PerturbedFeedback",
    "PHSIC",
    "Product",
    "RDD",
    "RULES",
    "Recirculation",
    "Rule",
    "SAL",
    "STDWI",
    "Sham",
    "Shallow",
    "SignDFA",
    "Stale",
    "SymmetricAlignment",
    "Synthetic",
    "TP",
    "USF",
    "WeightMirror",
    "WeightPerturbation",
    "ZIL",
    "make",
    "split",
]
