"""The vocabulary of the suite: `Finding`, `Claim`, `Params`, `Preset`, and the registry of findings.

A finding is discovered, never listed by hand: every sub-package of `evolm.findings` that exposes
`FINDING` is one. This module imports neither torch nor pandas, so that the command line can list and
describe findings in a fraction of a second; code that computes is named by dotted path and imported
when it is needed.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Kind = Literal["superiority", "equivalence", "non_inferiority", "form", "event", "single_model"]
PRESET_NAMES = ("smoke", "cpu", "gpu", "paper")
MAX_CORE_CLAIMS = 4
#: Report seeds start here; seeds below are for development and never enter a reported verdict.
FIRST_REPORT_SEED = 1000


class ParameterError(ValueError):
    """A parameter that no run can start with: unknown, of the wrong type, or out of bounds."""


def parameter(default: Any, description: str, *, unit: str, **bounds: Any) -> Any:
    """Declare one field of a `Params` model with its description, unit and bounds (`ge`, `le`, ...)."""
    return Field(default, description=description, json_schema_extra={"unit": unit}, **bounds)


class Params(BaseModel):
    """Base of every finding's parameters: frozen, strict, bounded; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    seeds: int = parameter(5, "number of independent repetitions of everything random", unit="seeds", ge=1, le=256)
    first_seed: int = parameter(
        FIRST_REPORT_SEED,
        f"first seed; those below {FIRST_REPORT_SEED} are for development",
        unit="seed",
        ge=0,
        le=10**6,
    )

    @model_validator(mode="before")
    @classmethod
    def _lists_become_tuples(cls, values: Any) -> Any:
        # JSON, YAML and papermill know lists only; the models hold tuples so that they stay frozen.
        if isinstance(values, Mapping):
            return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return values

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.seeds))


class Preset(BaseModel):
    """A coherent scale in one word: overrides of the defaults, and what a run of it costs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    overrides: dict[str, Any] = {}
    cpu_seconds: float | None = Field(None, description="expected CPU seconds, measured")
    gpu_seconds: float | None = Field(None, description="expected seconds on one data-centre GPU")
    note: str = ""


class Citation(BaseModel):
    """The paper that a finding documents; `key` is its entry in `book/references.bib`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    authors: str
    year: int
    title: str
    url: str


class Claim(BaseModel):
    """One checkable statement of a paper, fixed before the report seeds are run.

    `measure` names a function of the finding's estimands module, `(tables, params) -> DataFrame`;
    what columns the frame has depends on `kind` (see `evolm.verdict`). `delta` is the smallest effect
    that counts, `margin` the half-width of an equivalence region, both in `unit`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    statement: str
    paper: str = Field(description="what the paper reported, and where")
    paper_value: float | None = None
    kind: Kind
    measure: str
    estimand: str = Field(description="what is estimated, in words")
    unit: str
    delta: float = Field(ge=0)
    margin: float | None = Field(None, gt=0)
    predicted: float | None = Field(None, description="for kind 'form': the exponent the theory predicts")
    arm: str = "arm"
    controls: dict[str, str] = Field({}, description="arm name -> why the effect must not appear there")
    scope: str = Field(description="what the verdict speaks about, and what it does not")
    core: bool
    asks: Literal["paper", "us"] = Field("paper", description="whose statement it is; ours hold or do not hold")
    cannot_speak: Callable[[Any], str | None] = Field(
        lambda params: None, exclude=True, description="resolved params -> why such a record cannot speak, or None"
    )

    @model_validator(mode="after")
    def _complete(self) -> Claim:
        needs_margin = self.kind in ("equivalence", "non_inferiority", "form")
        if needs_margin and self.margin is None:
            raise ValueError(f"claim {self.name!r}: kind {self.kind!r} needs a margin")
        if self.kind == "form" and self.predicted is None:
            raise ValueError(f"claim {self.name!r}: kind 'form' needs the predicted exponent")
        if self.kind in ("superiority", "non_inferiority", "event") and not self.controls:
            raise ValueError(f"claim {self.name!r}: kind {self.kind!r} needs at least one control")
        return self


class Finding(BaseModel):
    """One documented result: parameters, presets, claims, and where its code lives.

    `experiment` names a module with `units(params, device) -> list[Unit]` and
    `run_unit(params, unit, device) -> dict[str, DataFrame]`; `estimands` one with the functions that
    the claims name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    title: str
    sentence: str = Field(description="the finding in one sentence")
    citations: tuple[Citation, ...] = Field(min_length=1)
    params: type[Params]
    presets: dict[str, Preset]
    claims: tuple[Claim, ...]
    experiment: str
    estimands: str
    instrument: str | None = None
    deviations: tuple[str, ...] = Field((), description="where this differs from the paper, one sentence each")
    scale: Callable[[Any], str] = Field(
        lambda params: "", description="resolved params -> the scale of a run, in words"
    )
    expected: dict[str, dict[str, str]] = Field({}, description="preset -> claim -> verdict last seen and accepted")

    @model_validator(mode="after")
    def _consistent(self) -> Finding:
        if set(self.presets) != set(PRESET_NAMES):
            raise ValueError(f"{self.name}: presets must be exactly {PRESET_NAMES}")
        if sum(c.core for c in self.claims) > MAX_CORE_CLAIMS:
            raise ValueError(f"{self.name}: at most {MAX_CORE_CLAIMS} core claims (they share one Holm correction)")
        names = [c.name for c in self.claims]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: two claims share a name")
        for name in PRESET_NAMES:
            self.resolve(name)
        return self

    def resolve(self, preset: str = "smoke", **overrides: Any) -> Params:
        """Validated parameters of one run: the preset's, then the overrides.

        Raises `ParameterError`, naming the mistake and the nearest valid name.
        """
        if preset not in self.presets:
            raise ParameterError(f"{self.name} has no preset {preset!r}{nearest(preset, self.presets)}")
        for name in overrides:
            if name not in self.params.model_fields:
                raise ParameterError(f"{self.name} has no parameter {name!r}{nearest(name, self.params.model_fields)}")
        try:
            return self.params.model_validate({**self.presets[preset].overrides, **overrides})
        except ValidationError as error:
            raise ParameterError(_readable(self.name, error)) from None

    def claim(self, name: str) -> Claim:
        for claim in self.claims:
            if claim.name == name:
                return claim
        raise KeyError(f"{self.name} has no claim {name!r}{nearest(name, [c.name for c in self.claims])}")

    def module(self, which: Literal["experiment", "estimands"]) -> ModuleType:
        return importlib.import_module(getattr(self, which))

    @property
    def package(self) -> str:
        return f"evolm.findings.{self.name.replace('-', '_')}"


def findings() -> dict[str, Finding]:
    """Every finding there is, by name, in the order of the book."""
    import evolm.findings as package

    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if info.ispkg:
            finding: Finding = importlib.import_module(f"{package.__name__}.{info.name}").FINDING
            found[finding.name] = finding
    return found


def get(name: str) -> Finding:
    """The finding called `name`; raises `KeyError` with the nearest valid name."""
    known = findings()
    if name not in known:
        raise KeyError(f"there is no finding {name!r}{nearest(name, known)}")
    return known[name]


def nearest(name: str, known: Any) -> str:
    """` - did you mean 'x'?`, or the list of what there is when nothing is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" - did you mean {close[0]!r}?" if close else f" (there are: {', '.join(sorted(known))})"


def _readable(name: str, error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        message = item["msg"].removeprefix("Value error, ")
        where = ".".join(str(part) for part in item["loc"])
        lines.append(f"{name}: {where} = {item['input']!r} is refused: {message}" if where else f"{name}: {message}")
    return "\n".join(lines)
