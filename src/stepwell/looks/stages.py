"""The stages of a running job: the steps that are recorded, and those that its definition adds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stepwell.execution.status import Result
from stepwell.looks.progress import StepProgress
from stepwell.looks.reading import Look

NOT_BEGUN = "not begun"
NOT_RUN_HERE = "not run here"  # Kept from an earlier execution, or gone around.


@dataclass(frozen=True)
class Stage:
    """One step of a job as it stands in one execution.

    Attributes:
        status: Its status, PARTIAL, or ``not begun`` or ``not run here`` when nothing is recorded.
        progress: None when nothing is recorded.
    """

    name: str
    status: str
    progress: StepProgress | None = None


def stages_of(look: Look, step_names: Sequence[str]) -> list[Stage]:
    """Every recorded step, among the steps of the definition, in the order of the latter.

    ``step_names`` is empty when the definition is not known here. One that stands behind the last
    recorded step has not begun; whether it will is for the job to decide.
    """
    found = {progress.step.step_name: progress for progress in look.steps}
    others = [name for name in found if name not in step_names]
    begun = [number for number, name in enumerate(step_names) if name in found]
    last = begun[-1] if begun else -1
    stages = [
        _recorded(found[name])
        if name in found
        else Stage(name, NOT_BEGUN if number > last else NOT_RUN_HERE)
        for number, name in enumerate(step_names)
    ]
    return [*(_recorded(found[name]) for name in others), *stages]


def _recorded(progress: StepProgress) -> Stage:
    step = progress.step
    word = str(step.result if step.result is Result.PARTIAL else step.batch_status)
    return Stage(step.step_name, word, progress)
