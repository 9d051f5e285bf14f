"""The settings of the training loop, and how a YAML file becomes dataclasses; errors name the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import cattrs
import yaml

from facelift.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class LoopConfig:
    """How a model is trained.

    Attributes:
        batch: samples a step.
        lr: peak learning rate of AdamW.
        muon_lr: of Muon on the weights of hidden layers (Jordan et al., 2024); 0 leaves them to AdamW.
        lr_factors: factors on both, for the parameters whose names begin so.
        warmup: steps over which the rate rises.
        cooldown: the last fraction of the time box, over which the rate falls to a twentieth.
        betas, weight_decay: of AdamW.
        adam_8bit: AdamW keeps its moments in 8 bits (Dettmers et al., 2022), a quarter of their memory; on
            NVIDIA GPUs, with the extra `bitsandbytes`.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, reached gradually.
        log_every, save_every, picture_every, validate_every: minutes.
        validation_samples: on which the losses on held-out heads are measured, always the same ones.
        max_failures: steps in a row without a finite loss or gradient after which the training stops.
        max_steps: the end, if the time box does not come first.
        threads: of the CPU; 0 is all.
        seed: of everything random.
    """

    batch: int = 8
    lr: float = 1e-3
    muon_lr: float = 0.0
    lr_factors: dict[str, float] = field(default_factory=dict)
    warmup: int = 100
    cooldown: float = 0.25
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    adam_8bit: bool = False
    clip: float = 1.0
    ema: float = 0.999
    log_every: float = 0.5
    save_every: float = 3.0
    picture_every: float = 5.0
    validate_every: float = 5.0
    validation_samples: int = 16
    max_failures: int = 10
    max_steps: int = 1_000_000
    threads: int = 0
    seed: int = 0


def read_yaml(path: Path) -> dict[str, Any]:
    """A file's parts by name.

    Raises:
        UserError: it cannot be read, or is no YAML of named parts.
    """
    try:
        parts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path} cannot be read: give the path of a training configuration.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        raise UserError(f"{path} is not a training configuration: give it `training`, `model` and `loop`.")
    return parts


def structured(cls: type[T], values: dict[str, Any], path: Path, part: str) -> T:
    """A dataclass with these values, which `path` has under `part`.

    Raises:
        UserError: a name is unknown or missing, a value has another type or is refused by the class.
    """
    try:
        return _CONVERTER.structure(values, cls)
    except cattrs.BaseValidationError as error:  # whatever went wrong, all of it
        faults = (fault.rsplit(" @ ", 1) for fault in cattrs.transform_error(error, part, _reason))
        raise UserError(f"{path}: {'; '.join(f'{where}: {what}' for what, where in faults)}.") from None


def _scalar(value: Any, cls: type[Any]) -> Any:
    """The value as it is; a whole number is a float as well."""
    if type(value) is cls or (cls is float and type(value) is int):
        return cls(value)
    raise TypeError(f"{value!r} is not {_KINDS[cls]}")


def _reason(error: BaseException, kind: type | None) -> str:
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown {', '.join(sorted(error.extra_fields))}"
    if isinstance(error, KeyError):
        return "it is missing"
    if isinstance(error, AttributeError):
        return "named values are wanted"
    return str(error)


_KINDS = {bool: "true or false", int: "a whole number", float: "a number (write 1.0e-3)", str: "a text"}
_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
for _kind in _KINDS:
    _CONVERTER.register_structure_hook(_kind, _scalar)
