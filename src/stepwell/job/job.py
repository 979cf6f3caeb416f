"""A job: a name, its steps, its parameters, and who may run it beside itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.job.flow import Element
from stepwell.job.parameters import Parameters
from stepwell.job.resource import PoolNames, Resources


@dataclass(frozen=True)
class Job:
    """A job is a value: a name and the steps that run one after the other.

    >>> job = Job("nightly", steps=[TaskletStep("tidy", tidy), load])

    Args:
        name: What ``stepwell run`` calls it; part of every instance's identity (S1, S4).
        steps: Steps, flows, splits and decisions. Each but the last goes on to its successor when
            it is COMPLETED, a failed one fails the job, transitions are asked first (S53).
        parameters: The model of its parameters; without one any name is taken, as text (S8).
        identity: ``"parameters"``: equal identifying parameters are the same instance, which
            completes once; ``"each-start"``: every start is a new instance (S4, S5).
        run_lock: Refuses a start while an execution of the same job and parameters
            (``"parameters"``), or of the same job (``"job"``), has not ended (S184).
        restartable: Whether a failed or stopped execution may be restarted.
        listeners: Job listeners (S78).
        resources: Paths of files, of folders with all below them, or globs, that no two executions
            have at the same time; a list, or a function of the parameters. Relative ones start at
            the folder of ``stepwell.toml`` (S197).
        pool: The name of a pool, which limits how many executions run at a time; or several
            names, or a function of the parameters (S197).
        properties: Text that the JobContext shows (S76).
        implied_next: False: only ``next`` and transitions lead on, as in job files (S43).
        timeout_s: After so many seconds an execution is asked to stop (S186).
        attempts: How often a worker runs an instance that fails by itself (S186). Deaths of the
            worker do not count, see the setting ``max_recoveries``.
        backoff: Seconds before the next attempt, or a function of the number of failures so far.
        on_completion: Names of jobs that are registered when an execution is COMPLETED, with those
            of its parameters that they take.
        evidence: Whether the outputs of an execution exist: a function of the JobExecution and a
            connection that reads. The doctor asks it when it must choose between COMPLETED and
            FAILED.
    """

    name: str
    steps: Sequence[Element]
    parameters: type[Parameters] | None = None
    identity: Literal["parameters", "each-start"] = "parameters"
    run_lock: Literal["parameters", "job"] | None = "parameters"
    restartable: bool = True
    listeners: Sequence[Any] = ()
    resources: Resources = None
    pool: PoolNames = None
    properties: Mapping[str, str] = field(default_factory=dict)
    implied_next: bool = True
    timeout_s: float | None = None
    attempts: int = 1
    backoff: float | Callable[[int], float] = 0.0
    on_completion: Sequence[str] = ()
    description: str = ""
    evidence: Callable[..., bool] | None = None
