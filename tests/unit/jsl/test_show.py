"""A job of any origin as YAML: read again it is the same job, and what is lost is said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell import (
    ChunkStep,
    Decision,
    Flow,
    Job,
    MigrationTasklet,
    PartitionedStep,
    Retry,
    Skip,
    Split,
    TaskletStep,
    on,
)
from stepwell.items import CsvReader, SqlWriter
from stepwell.job.artifact import ArtifactRegistry
from stepwell.jsl.fault import Faults
from stepwell.jsl.model import (
    ArtifactElement,
    ChunkElement,
    ExceptionsElement,
    JobElement,
    ParameterElement,
    PartitionElement,
    PlanElement,
    PlanEntry,
    PropertyElement,
    StepElement,
    Text,
    TransitionElement,
)
from stepwell.jsl.show import job_document, show_job
from stepwell.jsl.source import JobFile
from stepwell.jsl.yaml_reader import read_yaml
from stepwell.jsl.yaml_text import yaml_data, yaml_of
from tests.unit.job.test_definitions import Range
from tests.unit.jsl import artifacts
from tests.unit.jsl.support import FILES, job_file, known_artifacts, yaml_file
from tests.unit.jsl.test_yaml import WHOLE

HERE = "tests.unit.jsl.test_show"
S10 = "a restart without parameters runs with none in XML, with the same in YAML (S10)"


def again(folder: Path, text: str, **parameters: object) -> Job:
    """The job that a shown text makes."""
    return job_file(folder / "again.yaml", text).load(parameters)


def document(job: Job) -> JobElement:
    """What makes two jobs the same: everything that can be said of them."""
    return job_document(job, known_artifacts(), [])


def with_lists(value: Any) -> Any:
    """The same value, however its sequences are spelt."""
    if isinstance(value, (list, tuple)):
        return [with_lists(one) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return type(value), {f.name: with_lists(getattr(value, f.name)) for f in fields(value)}
    return value


# --- jobs in Python -------------------------------------------------------------------------------


def test_a_job_of_functions_is_equal_when_it_is_read_again(tmp_path: Path) -> None:
    """S53: the implied next too."""
    job = Job(
        "night",
        description="every night: all of it",
        parameters=Range,
        identity="each-start",
        run_lock="job",
        restartable=False,
        resources=["data/*.csv", "out"],
        pool=["cpu", "mail"],
        properties={"region": "north", "empty": "", "odd": "null"},
        steps=[
            TaskletStep(
                "first",
                artifacts.prepare,
                transitions=[
                    on("NO").to("last"),
                    on("*").stop("WAITING", restart="first"),
                    on("OFF").end(),
                    on("ON").fail("BROKEN"),
                ],
                start_limit=3,
                allow_start_if_complete=True,
                properties={"a": "1"},
            ),
            Flow("inner", [TaskletStep("i", artifacts.prepare)], next="both"),
            Split("both", [Flow("l", [TaskletStep("t", artifacts.prepare)])], next="days"),
            PartitionedStep(
                "days",
                artifacts.days,
                artifacts.recalculate_day,
                workers=3,
                executor="inline",
                tolerated_failures=0.25,
                collector=artifacts.prepare,
                partition_override=True,
                replan_on_restart=True,
            ),
            Decision("choose", artifacts.choose, [on("MORE").to("last")]),
            TaskletStep("last", artifacts.prepare),
        ],
    )
    shown = show_job(job)
    read = again(tmp_path, shown.yaml, start_date="2026-11-20")

    assert () == shown.losses
    assert with_lists(job) == with_lists(read)


def test_policies_and_limits_are_shown(tmp_path: Path) -> None:
    step = ChunkStep(
        "chunk",
        artifacts.items,
        [artifacts.double, artifacts.scale],
        artifacts.write,
        chunk_size=7,
        time_limit_s=1.5,
        skip=Skip(ValueError, artifacts.Busy, limit=0, exclude=(UnicodeError,)),
        retry=Retry(OSError, limit=2, backoff=0.5, no_rollback=(ConnectionError,)),
        write_skip="chunk",
    )
    shown = show_job(Job("night", [step]))
    [read] = again(tmp_path, shown.yaml).steps

    assert () == shown.losses
    assert (7, 1.5, "chunk", 0, 2, 0.5) == (
        *(read.chunk_size, read.time_limit_s, read.write_skip),
        *(read.skip.limit, read.retry.limit, read.retry.backoff),
    )
    assert ((ValueError, artifacts.Busy), (UnicodeError,)) == (read.skip.include, read.skip.exclude)
    assert (ConnectionError,) == read.retry.no_rollback.include
    assert (artifacts.items, artifacts.write) == (read.reader, read.writer)
    assert [artifacts.double, artifacts.scale] == list(read.processor)


def test_objects_are_shown_with_what_they_were_made_with(tmp_path: Path) -> None:
    mail = artifacts.FrozenMail()
    object.__setattr__(mail, "retries", 5)
    job = Job(
        "night",
        [
            TaskletStep("migrate", MigrationTasklet(tmp_path / "migrations")),
            TaskletStep("mail", mail),
            TaskletStep("scaled", partial(artifacts.scale, 3, factor=2.5)),
            ChunkStep("c", artifacts.items, None, SqlWriter("t", columns=["a", "b"], key=["a"])),
        ],
    )
    shown = show_job(job)
    read = again(tmp_path, shown.yaml)
    [migrate, mailing, _, chunk] = read.steps

    assert ("tasklet of step 'scaled': the arguments (3,) of a partial",) == shown.losses
    assert document(job).elements[3] == document(read).elements[3]
    assert "ref: stepwell.items:SqlWriter" in shown.yaml
    made = migrate.function.create_artifact(None_scope())
    assert tmp_path / "migrations" == made.folder
    assert 5 == mailing.function.create_artifact(None_scope()).retries
    writer = chunk.writer.create_artifact(None_scope())
    assert ("t", ("a", "b"), ("a",)) == (writer.table, tuple(writer.columns), tuple(writer.key))


def None_scope() -> Any:  # noqa: N802 - it reads as a constant
    from stepwell.job.artifact import Scope

    return Scope(job=None)


def test_an_artifact_has_the_name_that_it_is_registered_under(tmp_path: Path) -> None:
    migrations = MigrationTasklet(tmp_path)
    registry = ArtifactRegistry()
    registry.add("migrate", migrations, origin="the test")

    shown = show_job(Job("night", [TaskletStep("a", migrations)]), registry)

    assert ("job: night\nsteps:\n  - step: a\n    tasklet: migrate\n", ()) == (
        shown.yaml,
        shown.losses,
    )


@dataclass
class Hidden:
    """Keeps nothing of what it was made with under the same name."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self) -> None: ...


def _local() -> Any:
    def tasklet() -> None: ...

    return tasklet


@pytest.mark.parametrize(
    ("element", "loss"),
    [
        (TaskletStep("a", lambda: None), "tasklet of step 'a': <lambda> in"),
        (TaskletStep("a", _local()), "tasklet of step 'a': _local.<locals>.tasklet in"),
        (TaskletStep("a", Hidden("x")), "tasklet of step 'a': the argument 'path', if Hidden was"),
        (ChunkStep("a", range(3), None, artifacts.write), "reader of step 'a': range(0, 3)"),
        (ChunkStep("a", [1, 2], None, artifacts.write), "reader of step 'a': [1, 2]"),
        (
            ChunkStep("a", CsvReader(print, types={"a": int}), None, artifacts.write),
            "reader of step 'a': the argument path of CsvReader, function print",
        ),
        (
            ChunkStep("a", artifacts.items, None, print, retry=Retry(OSError, backoff=float)),
            "step 'a': retry: a function as backoff",
        ),
        (
            PartitionedStep("a", {"x": 1}, artifacts.double),
            "step 'a': the names of its partitions",
        ),
        (
            PartitionedStep("a", [{"x": 1}], artifacts.prepare_shop),
            "step 'a': inputs of partitions that are no text",
        ),
        (
            PartitionedStep("a", ["x"], print, executor=ThreadPoolExecutor(1)),
            "step 'a': the executor ThreadPoolExecutor",
        ),
        (
            PartitionedStep(
                "a", ["x"], ChunkStep("b", artifacts.items, None, print, listeners=[print])
            ),
            "step 'a': listeners and properties of the ChunkStep inside",
        ),
        (
            Flow("f", [TaskletStep("a", artifacts.prepare)], implied_next=False),
            "flow 'f': an implied_next that is not the job's",
        ),
    ],
)
def test_what_no_file_can_say_is_said_beside(element: Any, loss: str) -> None:
    shown = show_job(Job("night", [element]))

    assert any(one.startswith(loss) for one in shown.losses), shown.losses
    assert "0x" not in "".join(shown.losses)  # The same each time.


@pytest.mark.parametrize(("option", "loss"), [("resources", "resources: a fu"), ("pool", "pool: ")])
def test_functions_of_the_parameters_are_no_text(option: str, loss: str) -> None:
    options: Any = {option: lambda parameters: ["a"]}
    [found] = show_job(Job("night", [TaskletStep("a", artifacts.prepare)], **options)).losses

    assert found.startswith(loss)


def test_inputs_are_shown_as_text_where_the_function_gets_the_same(tmp_path: Path) -> None:
    """S195: a number in a file is text, which the annotation makes a number again."""
    step = PartitionedStep("a", [date(2026, 11, 20), date(2026, 11, 21)], artifacts.recalculate_day)
    shown = show_job(Job("night", [step]))

    assert ((), ["2026-11-20", "2026-11-21"]) == (
        shown.losses,
        again(tmp_path, shown.yaml).steps[0].partitions,
    )


# --- jobs from files ------------------------------------------------------------------------------

GIVEN = [
    {},
    {"region": "south", "day": "2026-11-20", "size": "3", "answer": "NO"},
    {"salary": "oldSalaryBatchlet"},
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_document_in_xml_makes_the_same_job_as_its_yaml(
    given: dict[str, str], tmp_path: Path
) -> None:
    file = JobFile(FILES / "nightly.xml", artifacts=known_artifacts())
    shown = file.show()

    assert (S10,) == shown.losses
    assert document(file.load(given)) == document(again(tmp_path, shown.yaml, **given))
    assert "#{jobParameters['region']}?:north;" in shown.yaml


def test_what_xml_can_say_and_yaml_cannot_is_said_beside(tmp_path: Path) -> None:
    path = tmp_path / "names.xml"
    name = "#{jobParameters['name']}"
    path.write_text(
        '<job id="names" xmlns="https://jakarta.ee/xml/ns/jakartaee" version="2.0"><properties>'
        f'<property name="{name}" value="x"/>'
        '<property name="stepwell.pool" value="cpu, mail"/>'
        '<property name="stepwell.resources" value="a, #{jobParameters[\'b\']}"/>'
        '</properties><step id="a"><batchlet ref="prepare"/></step></job>'
    )
    file = JobFile(path, artifacts=known_artifacts())
    shown = file.show()
    job = file.load({"name": "n", "b": "b, c"})

    assert [
        S10,
        f"the name {name!r} of a property is not substituted in YAML",
        "resources: commas that an expression inserts separate nothing in YAML",
    ] == list(shown.losses)
    assert (["a", "b", "c"], ["cpu", "mail"]) == (job.resources, job.pool)
    assert ["cpu", "mail"] == again(tmp_path, shown.yaml).pool


def test_a_document_in_yaml_is_shown_as_it_is_meant(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, WHOLE)
    shown = file.show()
    read = read_yaml(shown.yaml.encode(), Faults())

    assert () == shown.losses
    assert document(file.load({})) == document(again(tmp_path, shown.yaml))
    assert read is not None
    assert shown.yaml == yaml_of(yaml_data(read))


def test_a_faulty_file_is_shown_as_far_as_it_can_be_read() -> None:
    shown = JobFile(FILES / "faulty.xml").show()

    assert shown.yaml.startswith("job: faulty\n")
    assert "- step: planned" in shown.yaml


# --- any document ---------------------------------------------------------------------------------

TEXTS = st.builds(Text, st.text(max_size=8) | st.sampled_from(["null", "~", "on", "007", "[1,2]"]))
WORDS = st.builds(Text, st.text("abcxyz.:-", min_size=1, max_size=6))
NAMES = st.text(min_size=1, max_size=5)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3).map(tuple)


PROPERTIES = st.dictionaries(NAMES, TEXTS, max_size=3).map(
    lambda one: tuple(PropertyElement(Text(name), value) for name, value in one.items())
)
ARTIFACTS = st.builds(ArtifactElement, WORDS, PROPERTIES)
CLASSES = st.builds(
    ExceptionsElement, st.lists(WORDS, min_size=1, max_size=2).map(tuple), several(WORDS)
)
TRANSITIONS = st.one_of(
    st.builds(TransitionElement, st.just("next"), TEXTS, WORDS),
    st.builds(TransitionElement, st.just("end"), TEXTS, exit_status=maybe(WORDS)),
    st.builds(TransitionElement, st.just("fail"), TEXTS, exit_status=maybe(WORDS)),
    st.builds(
        TransitionElement, st.just("stop"), TEXTS, exit_status=maybe(WORDS), restart=maybe(WORDS)
    ),
)


@st.composite
def chunks(draw: st.DrawFn) -> ChunkElement:
    algorithm = draw(maybe(ARTIFACTS))
    retryable = draw(maybe(CLASSES))
    return ChunkElement(
        reader=draw(ARTIFACTS),
        processors=draw(several(ARTIFACTS)),
        writer=draw(ARTIFACTS),
        checkpoint_policy=Text("custom") if algorithm else None,
        checkpoint_algorithm=algorithm,
        item_count=draw(maybe(WORDS)),
        skippable=(skippable := draw(maybe(CLASSES))),
        skip_limit=draw(maybe(WORDS)) if skippable else None,
        retryable=retryable,
        retry_limit=draw(maybe(WORDS)) if retryable else None,
        no_rollback=draw(maybe(CLASSES)) if retryable else None,
        write_skip=draw(maybe(WORDS)),
    )


@st.composite
def plans(draw: st.DrawFn) -> PlanElement:
    if draw(st.booleans()):
        values = draw(st.lists(TEXTS | PROPERTIES, min_size=1, max_size=3))
        entries = [
            PlanEntry(Text(str(n)), value=v) if isinstance(v, Text) else PlanEntry(Text(str(n)), v)
            for n, v in enumerate(values)
        ]
        return PlanElement(Text(str(len(values))), tuple(entries))
    numbered = draw(st.dictionaries(WORDS, PROPERTIES, max_size=2))
    entries = [PlanEntry(number, value) for number, value in numbered.items()]
    return PlanElement(draw(WORDS), tuple(entries))


STEPS = st.builds(
    StepElement,
    id=WORDS,
    next=maybe(WORDS),
    start_limit=maybe(WORDS),
    properties=PROPERTIES,
    listeners=several(ARTIFACTS),
    tasklet=maybe(ARTIFACTS),
    chunk=maybe(chunks()),
    partition=maybe(
        st.builds(
            PartitionElement,
            plan=plans(),
            mapper=maybe(ARTIFACTS),
            threads=maybe(WORDS),
            collector=maybe(ARTIFACTS),
            replan_on_restart=maybe(WORDS),
        )
    ),
    transitions=several(TRANSITIONS),
)
PARAMETERS = st.builds(
    ParameterElement,
    st.builds(Text, NAMES),
    WORDS,
    default=maybe(TEXTS),
    identifying=maybe(WORDS),
    description=st.text(max_size=5),
)
DOCUMENTS = st.builds(
    JobElement,
    id=WORDS,
    language=st.just("yaml"),
    description=st.text(max_size=12),
    run_lock=maybe(WORDS),
    resources=several(WORDS),
    parameters=maybe(
        WORDS | st.lists(PARAMETERS, max_size=3, unique_by=lambda one: one.name.text).map(tuple)
    ),
    properties=PROPERTIES,
    listeners=several(ARTIFACTS),
    elements=st.lists(STEPS, max_size=3).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(DOCUMENTS)
def test_whatever_is_written_is_read_as_it_was(written: JobElement) -> None:
    """Method: any text, in any place where one may stand."""
    text = yaml_of(yaml_data(written))
    faults = Faults()
    read = read_yaml(text.encode(), faults)

    assert ([], written) == (faults.sorted(), read), text
