"""Artifacts that the job files of these tests name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from stepwell import PartitionResult
from stepwell.job.partition import PartitionPlan
from stepwell.jsl import batch_property, job_context, step_context

SEEN: list[Any] = []


class Busy(Exception):
    """Worth another try."""


def prepare() -> None:
    SEEN.append("prepare")


class Audit:
    to: str = batch_property()
    job = job_context()

    def before_job(self) -> None:
        SEEN.append(("before_job", self.to, self.job.job_name, self.job.properties["region"]))

    def after_job(self) -> None:
        SEEN.append("after_job")


class ChunkWatch:
    def before_step(self) -> None:
        SEEN.append("before_step")


class Recalculate:
    """The result-returning one."""

    shop: int = batch_property()
    rate: float = batch_property(1.0)
    step = step_context()

    def process(self) -> PartitionResult:
        SEEN.append(("recalculate", self.shop, self.rate, self.step.partition))
        return PartitionResult.success(shop=self.shop)


class OldRecalculate:
    """The original."""

    __deprecated__ = "use userSalaryDayRecalcBatchlet"
    shop: int = batch_property()

    def process(self) -> str:
        return f"SHOP {self.shop}"


class CountCollector:
    step = step_context()

    def collect_partition_data(self) -> int:
        return self.step.partition or 0


class CountAnalyzer:
    def __init__(self) -> None:
        self.payloads: list[int] = []

    def analyze_collector_data(self, payload: int) -> None:
        self.payloads.append(payload)
        SEEN.append(("payload", payload))

    def analyze_status(self, batch_status: Any, exit_status: str) -> None:
        SEEN.append(("ended", exit_status))


class CountReducer:
    def begin_partitioned_step(self) -> None:
        SEEN.append("begin")


class Chooser:
    answer: str = batch_property("NOTHING")

    def decide(self, step_executions: Any) -> str:
        return self.answer


class BudgetReader:
    count: int = batch_property(3)

    def open(self, checkpoint: Any) -> None:
        self.position = checkpoint or 0

    def read(self) -> int | None:
        if self.position >= self.count:
            return None
        self.position += 1
        return self.position

    def checkpoint(self) -> int:
        return self.position

    def close(self) -> None: ...


def double(item: int) -> int:
    return 2 * item


def scale(item: int, factor: float = 1.0, round_to: int | None = None) -> float:
    return round(item * factor, round_to)


class BudgetWriter:
    def write(self, items: list[int], step: Any) -> None:
        SEEN.append(("written", len(items)))

    def open(self, checkpoint: Any) -> None: ...

    def checkpoint(self) -> None: ...

    def close(self) -> None: ...


class Report:
    file: str = batch_property("nowhere")
    step = step_context()
    job = job_context()

    def process(self) -> str:
        SEEN.append(("report", self.file))
        return "REPORTED"


class Mapper:
    shops: int = batch_property(2)

    def map_partitions(self) -> PartitionPlan:
        return PartitionPlan(
            self.shops, threads=1, properties=[{"shop": str(n)} for n in range(self.shops)]
        )


def days(parameters: Any) -> list[date]:
    return [parameters.start_date, parameters.end_date]


def recalculate_day(day: date) -> PartitionResult:
    SEEN.append(day)
    return PartitionResult.success(day=day.day)


def items() -> list[int]:
    return [1, 2, 3]


def write(items: list[Any]) -> None: ...


def choose(step_executions: Any) -> str:
    return "MORE"


def prepare_shop(shop: dict[str, Any]) -> None: ...


class TakesArguments:
    """What a ready-made reader looks like: everything in the constructor."""

    def __init__(self, path: str, columns: list[str] | None = None, rate: float = 1.0) -> None:
        self.path = path
        self.columns = columns
        self.rate = rate

    def read(self) -> None: ...


@dataclass(frozen=True)
class FrozenMail:
    to: str = batch_property("nobody")
    retries: int = batch_property(3, name="mail.retries")

    def process(self) -> None: ...


class Everything:
    """One property of each type that S87 and the documentation name."""

    text: str = batch_property()
    flag: bool = batch_property()
    whole: int = batch_property(7)
    number: float | None = batch_property()
    day: date | None = batch_property()
    plain = batch_property("default")

    def process(self) -> None: ...


class AsyncWriter:
    async def write(self, items: list[Any]) -> None: ...


async def async_write(items: list[Any]) -> None: ...


class AsyncTasklet:
    async def process(self) -> None: ...


class EveryTen:
    def is_ready_to_checkpoint(self) -> bool:
        return True


artifacts = {
    "prepare": prepare,
    "audit": Audit,
    "chunkWatch": ChunkWatch,
    "userSalaryDayRecalcBatchlet": Recalculate,
    "oldSalaryBatchlet": OldRecalculate,
    "countCollector": CountCollector,
    "countAnalyzer": CountAnalyzer,
    "countReducer": CountReducer,
    "chooser": Chooser,
    "budgetReader": BudgetReader,
    "double": double,
    "budgetWriter": BudgetWriter,
    "report": Report,
    "mapper": Mapper,
}
