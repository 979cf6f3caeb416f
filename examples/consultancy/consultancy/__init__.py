"""A consultancy's nightly recalculations, five jobs in files (scenario E).

    stepwell run bi-date-update startDate=2025-09-01 endDate=2025-09-05      in this folder

The folder `jobs/` defines them. The names that the files refer to stand below.
"""

from pathlib import Path

from consultancy.budget import BudgetReader, budget_processor, budget_writer
from consultancy.days import DayAnalyzer, DayCollector, DayMapper
from consultancy.generate import generate
from consultancy.original import (
    BiDateUpdateBatchlet,
    ContractConsultantDayRecalcBatchlet,
    UserSalaryDayRecalcBatchlet,
    UserStatusDayRecalcBatchlet,
)
from consultancy.recalculate import (
    BiDateUpdateBatchletEnhanced,
    ContractConsultantDayRecalcBatchletEnhanced,
    UserSalaryDayRecalcBatchletEnhanced,
    UserStatusDayRecalcBatchletEnhanced,
)
from stepwell import MigrationTasklet

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"

artifacts = {
    "migrateBatchlet": MigrationTasklet(MIGRATIONS),
    "generateBatchlet": generate,
    "dayMapper": DayMapper,
    "dayCollector": DayCollector,
    "dayAnalyzer": DayAnalyzer,
    "biDateUpdateBatchletEnhanced": BiDateUpdateBatchletEnhanced,
    "contractConsultantDayRecalcBatchletEnhanced": ContractConsultantDayRecalcBatchletEnhanced,
    "userSalaryDayRecalcBatchletEnhanced": UserSalaryDayRecalcBatchletEnhanced,
    "userStatusDayRecalcBatchletEnhanced": UserStatusDayRecalcBatchletEnhanced,
    "budgetReader": BudgetReader,
    "budgetProcessor": budget_processor,
    "budgetWriter": budget_writer,
    # deprecated: `stepwell jobs check` says what replaces them
    "biDateUpdateBatchlet": BiDateUpdateBatchlet,
    "contractConsultantDayRecalcBatchlet": ContractConsultantDayRecalcBatchlet,
    "userSalaryDayRecalcBatchlet": UserSalaryDayRecalcBatchlet,
    "userStatusDayRecalcBatchlet": UserStatusDayRecalcBatchlet,
}
