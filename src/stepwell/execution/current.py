"""What runs now, for whoever is below the runner and for code that nobody hands a context (S75)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

# The innermost JobContext or StepContext; of Any, because those stand above. ``runner/current.py``
# sets it.
CURRENT: ContextVar[Any] = ContextVar("stepwell_current", default=None)


def current_run() -> dict[str, Any]:
    """Job, execution, step and partition of what runs here; None where there is none."""
    context = CURRENT.get()
    job = getattr(context, "job", context)
    return {
        "job": getattr(job, "job_name", None),
        "execution_id": getattr(job, "execution_id", None),
        "step": getattr(context, "step_name", None),
        "partition": getattr(context, "partition", None),
    }
