"""Job files: Jakarta Batch XML and YAML, read into the values of ``job/`` at each start.

``batch_property``, ``job_context`` and ``step_context`` are how a class says what it wants to be
given; ``docs/job-files.md`` describes the files.
"""

from stepwell.jsl.injection import batch_property, job_context, step_context

__all__ = ["batch_property", "job_context", "step_context"]
