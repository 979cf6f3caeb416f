"""The chunk of a job file as a ChunkStep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from stepwell.errors import JobStartError
from stepwell.job.artifact import ArtifactRegistry, Scope
from stepwell.job.importable import chunk_parts, require_portable
from stepwell.job.policy import ExceptionFilter, Retry, Skip
from stepwell.job.step import ChunkStep
from stepwell.jsl.artifact import CHECKPOINT, PROCESSOR, READER, WRITER
from stepwell.jsl.fault import Faults
from stepwell.jsl.model import ChunkElement, ExceptionsElement, Text
from stepwell.jsl.reading import Reading
from stepwell.jsl.surroundings import Surroundings

ITEM_COUNT = {"xml": 10, "yaml": 1_000}  # S101
WRITE_SKIP: Mapping[str, Literal["item", "chunk"]] = {"xml": "chunk", "yaml": "item"}  # S130

Classes = tuple[type[BaseException], ...]


def build_chunk(
    chunk: ChunkElement, name: str, reading: Reading, **of_the_step: Any
) -> ChunkStep[Any, Any]:
    """The step; what is faulty or waits for its partition has its default."""
    what = f"step {name!r}"
    for part, missing in (("reader", chunk.reader), ("writer", chunk.writer)):
        if missing is None:
            reading.faults.error(chunk.line, f"{what}: a chunk must have a {part}")
    processors = [reading.artifact(one, PROCESSOR, what) for one in chunk.processors]
    item_count = reading.named("item-count", "chunk_size")
    time_limit = reading.named("time-limit", "time_limit_s")
    size = reading.whole_number(chunk.item_count, f"{what}: {item_count}", at_least=1)
    reader: Any = reading.artifact(chunk.reader, READER, what) if chunk.reader else None
    writer: Any = reading.artifact(chunk.writer, WRITER, what) if chunk.writer else None
    return ChunkStep(
        name,
        reader,
        (processors[0] if len(processors) == 1 else processors) or None,
        writer,
        chunk_size=size or ITEM_COUNT[reading.language],
        time_limit_s=reading.seconds(chunk.time_limit, f"{what}: {time_limit}") or None,
        checkpoint=_checkpoint(chunk, reading, what),
        skip=_skip(chunk, reading, what),
        retry=_retry(chunk, reading, what),
        write_skip=reading.one_of(chunk.write_skip, f"{what}: write_skip", ("item", "chunk"))
        or WRITE_SKIP[reading.language],
        **of_the_step,
    )


def _checkpoint(chunk: ChunkElement, reading: Reading, what: str) -> Any:
    policy = reading.one_of(
        chunk.checkpoint_policy, f"{what}: checkpoint-policy", ("item", "custom")
    )
    algorithm = chunk.checkpoint_algorithm
    if policy == "custom" and algorithm is None:
        assert chunk.checkpoint_policy is not None
        reading.faults.error(
            chunk.checkpoint_policy.line,
            f"{what}: checkpoint-policy 'custom' needs a <checkpoint-algorithm>",
        )
    if algorithm is None:
        return None
    made = reading.artifact(algorithm, CHECKPOINT, what)
    if policy == "custom":
        return made
    if chunk.checkpoint_policy is None or policy == "item":
        reading.faults.warn(
            algorithm.line,
            f"{what}: the checkpoint-algorithm is not used, the policy is 'item'",
            'write `checkpoint-policy="custom"` on the chunk',
        )
    return None


def _skip(chunk: ChunkElement, reading: Reading, what: str) -> Skip | None:
    name = reading.named("skip-limit", "skip limit")
    limit = reading.whole_number(chunk.skip_limit, f"{what}: {name}", at_least=0)
    if chunk.skippable is None:
        return None
    include, exclude = _classes(chunk.skippable, reading, f"{what}: skip")
    return Skip(*include, limit=limit, exclude=exclude)


def _retry(chunk: ChunkElement, reading: Reading, what: str) -> Retry | None:
    name = reading.named("retry-limit", "retry limit")
    limit = reading.whole_number(chunk.retry_limit, f"{what}: {name}", at_least=0)
    backoff_s = reading.seconds(chunk.retry_backoff, f"{what}: retry backoff_s")
    no_rollback = ExceptionFilter(())
    if chunk.no_rollback is not None:
        no_rollback = ExceptionFilter(*_classes(chunk.no_rollback, reading, f"{what}: no rollback"))
    if chunk.retryable is None:
        return None
    if chunk.retry_limit is None:
        reading.faults.warn(
            # The limit is an attribute of the chunk in XML, a key of the policy in YAML.
            chunk.line if reading.language == "xml" else chunk.retryable.line,
            f"{what}: it retries without a limit (S114)",
            "add `" + reading.named('retry-limit="3"', "limit: 3") + "`",
        )
    include, exclude = _classes(chunk.retryable, reading, f"{what}: retry")
    retry = Retry(*include, limit=limit, backoff=backoff_s or 0.0, exclude=exclude)
    retry.no_rollback = no_rollback  # A job file may exclude here too (S181).
    return retry


def _classes(exceptions: ExceptionsElement, reading: Reading, what: str) -> tuple[Classes, Classes]:
    def found(names: tuple[Text, ...]) -> Classes:
        classes = (reading.exception_class(name, what) for name in names)
        return tuple(one for one in classes if one is not None)

    return found(exceptions.include), found(exceptions.exclude)


# --- in a partition -----------------------------------------------------------------------------


@dataclass(frozen=True)
class WaitingChunk:
    """An ArtifactFactory of a ChunkStep whose numbers or classes wait for the partition."""

    chunk: ChunkElement
    name: str
    surroundings: Surroundings
    registry: ArtifactRegistry
    language: Literal["xml", "yaml"]

    def create_artifact(self, scope: Scope) -> ChunkStep[Any, Any]:
        """The step for one partition.

        Raises:
            JobStartError: a text is not what it must be; the partition fails.
        """
        faults = Faults()
        surroundings = replace(self.surroundings, partition=scope.partition or {})
        reading = Reading(surroundings, self.registry, faults, self.language)
        step = build_chunk(self.chunk, self.name, reading)
        if faults.has_errors:
            listed = "; ".join(str(fault) for fault in faults.sorted() if fault.is_error)
            raise JobStartError(f"cannot run a partition of step {self.name!r}: {listed}")
        return step

    def require_portable(self) -> None:
        """Refuse artifacts and classes that another process does not find again (S193).

        Raises:
            NotImportable: names the first of them.
        """
        reading = Reading(self.surroundings, self.registry, Faults(), self.language)
        require_portable(chunk_parts(build_chunk(self.chunk, self.name, reading)))


def build_partition_chunk(chunk: ChunkElement, name: str, reading: Reading) -> Any:
    """The ChunkStep of a partitioned step, or what makes one for each partition."""
    step = build_chunk(chunk, name, reading)
    if any(reading.waits(text) for text in _texts(chunk)):
        return WaitingChunk(chunk, name, reading.surroundings, reading.registry, reading.language)
    return step


def _texts(chunk: ChunkElement) -> Iterator[Text]:
    """Everything that is read when the step is built; artifacts wait by themselves."""
    attributes = (
        chunk.checkpoint_policy,
        chunk.item_count,
        chunk.time_limit,
        chunk.skip_limit,
        chunk.retry_limit,
        chunk.retry_backoff,
        chunk.write_skip,
    )
    yield from (text for text in attributes if text is not None)
    for exceptions in (chunk.skippable, chunk.retryable, chunk.no_rollback):
        if exceptions is not None:
            yield from (*exceptions.include, *exceptions.exclude)
