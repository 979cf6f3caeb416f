"""A recap of articles in eight stages whose records cannot contradict each other (scenario B).

    stepwell run recap day=2026-03-01          in this folder; no database is needed
    python make_old_database.py old.db         what an older program has left behind
    stepwell doctor --database sqlite:///old.db

A stage is a step. Its end, the job's last step and the history commit in one transaction, so there
is no moment at which one is saved and the other is not.
"""

import json
from datetime import date
from pathlib import Path

import stages

from stepwell import (
    ChunkStep,
    Invariant,
    Job,
    MigrationTasklet,
    Parameters,
    PartitionedStep,
    PartitionResult,
    StepContext,
    TaskletStep,
)
from stepwell.items import JsonLinesReader

HERE = Path(__file__).resolve().parent
SELECTED_OF_A_GENRE = 3


class Recap(Parameters):
    day: date


def run_of(step: StepContext) -> str:
    """The key of everything that this run writes; a restart has the same one."""
    return f"run-{step.instance_id}"


# --- the stages ----------------------------------------------------------------------------------


def fetch(articles: list[dict], step: StepContext) -> None:
    run = run_of(step)
    step.connection.executemany(
        "INSERT INTO recap_article (run, id, title, body) VALUES (:run, :id, :title, :body)",
        [{"run": run, **article} for article in articles],
    )


def preprocess(step: StepContext) -> None:
    run = run_of(step)
    rows = step.query("SELECT id, body FROM recap_article WHERE run = :run", {"run": run})
    with step.transaction() as connection:
        for done, (key, body) in enumerate(rows, 1):
            connection.execute(
                "UPDATE recap_article SET text = :text WHERE run = :run AND id = :id",
                {"text": stages.clean(body), "run": run, "id": key},
            )
            step.progress(done, len(rows), "articles")


def dedup(step: StepContext) -> None:
    run = run_of(step)
    sql = "SELECT id, text FROM recap_article WHERE run = :run ORDER BY id"
    found = stages.originals(step.query(sql, {"run": run}))
    with step.transaction() as connection:
        connection.executemany(
            "UPDATE recap_article SET original = :original WHERE run = :run AND id = :id",
            [{"original": first, "run": run, "id": key} for key, first in found.items()],
        )
    step.context = {"duplicates": sum(key != first for key, first in found.items())}


def genre(step: StepContext) -> None:
    run = run_of(step)
    sql = "SELECT id, text FROM recap_article WHERE run = :run AND original = id"
    rows = step.query(sql, {"run": run})
    with step.transaction() as connection:
        for key, text in rows:
            found, score = stages.genre_of(text)
            connection.execute(
                "UPDATE recap_article SET genre = :genre, score = :score"
                " WHERE run = :run AND id = :id",
                {"genre": found, "score": score, "run": run, "id": key},
            )


def genres(_parameters: Recap) -> list[str]:
    """One partition a genre: that is the progress within a stage."""
    return list(stages.GENRES)


def select(name: str, step: StepContext) -> PartitionResult:
    of_genre = {"run": run_of(step), "genre": name, "count": SELECTED_OF_A_GENRE}
    with step.transaction() as connection:
        chosen = connection.execute(
            "UPDATE recap_article SET is_selected = 1 WHERE run = :run AND id IN ("
            " SELECT id FROM recap_article WHERE run = :run AND genre = :genre AND original = id"
            " ORDER BY score DESC, id LIMIT :count)",
            of_genre,
        ).rowcount
    return PartitionResult.success(f"{chosen} articles", articles=chosen)


def evidence(name: str, step: StepContext) -> PartitionResult:
    return each_selected(name, step, "evidence", lambda t: json.dumps(stages.evidence(t, name)))


def dispatch(name: str, step: StepContext) -> PartitionResult:
    return each_selected(name, step, "summary", stages.summary)


def each_selected(name, step, column, make) -> PartitionResult:
    of_genre = {"run": run_of(step), "genre": name}
    rows = step.query(
        "SELECT id, text FROM recap_article"
        " WHERE run = :run AND genre = :genre AND is_selected = 1 ORDER BY id",
        of_genre,
    )
    with step.transaction() as connection:
        for key, text in rows:
            connection.execute(
                f"UPDATE recap_article SET {column} = :value WHERE run = :run AND id = :id",
                {"value": make(text), "run": of_genre["run"], "id": key},
            )
    return PartitionResult.success(articles=len(rows))


def persist(step: StepContext) -> None:
    run = {"run": run_of(step)}
    with step.transaction() as connection:
        # A run that was killed behind this commit comes here again: twice is once.
        connection.execute("DELETE FROM recap_outputs WHERE job_id = :run", run)
        connection.execute(
            "INSERT INTO recap_outputs (job_id, genre, title, summary)"
            " SELECT run, genre, title, summary FROM recap_article"
            " WHERE run = :run AND is_selected = 1",
            run,
        )


def outputs_exist(execution, connection) -> bool:
    """The evidence: the doctor asks when the records of a run contradict each other."""
    found = connection.execute(
        "SELECT 1 FROM recap_outputs WHERE job_id = :id", {"id": f"run-{execution.instance_id}"}
    )
    return found.fetchone() is not None


job = Job(
    "recap",
    description="articles, cleaned, told apart, sorted by genre and summed up",
    parameters=Recap,
    run_lock="job",  # one at a time, whatever the day
    evidence=outputs_exist,
    steps=[
        TaskletStep("migrateMetadataStep", MigrationTasklet(HERE / "migrations")),
        ChunkStep(
            "fetch", JsonLinesReader(HERE / "corpus/articles.jsonl"), None, fetch, chunk_size=8
        ),
        TaskletStep("preprocess", preprocess),
        TaskletStep("dedup", dedup),
        TaskletStep("genre", genre),
        PartitionedStep("select", genres, select, workers=2),
        PartitionedStep("evidence", genres, evidence, workers=2),
        PartitionedStep("dispatch", genres, dispatch, workers=2),
        TaskletStep("persist", persist),
    ],
)


# --- what an older program has left --------------------------------------------------------------

STAGES = ["fetch", "preprocess", "dedup", "genre", "select", "evidence", "dispatch", "persist"]
NUMBERED = ", ".join(f"({number}, '{stage}')" for number, stage in enumerate(STAGES, 1))

OUTPUTS = "SELECT 1 FROM recap_outputs WHERE job_id = :id"
SETTLE = (
    "UPDATE recap_jobs SET status = '{}', updated_at = :now"
    " WHERE id = :id AND status = 'pending' AND last_stage = 'persist'"
)
MOVE = (
    "UPDATE recap_jobs SET last_stage = :saved_stage, updated_at = :now"
    " WHERE id = :id AND COALESCE(last_stage, '') <> :saved_stage"
)
FORGET = (
    "DELETE FROM recap_stage_state WHERE job_id = :job_id"
    " AND NOT EXISTS (SELECT 1 FROM recap_jobs j WHERE j.id = recap_stage_state.job_id)"
)

# It saved the stage in one transaction and the status in another one.
pending_persist = Invariant(
    "recap_pending_persist",
    breaches="SELECT id, status, last_stage FROM recap_jobs"
    " WHERE status = 'pending' AND last_stage = 'persist' ORDER BY id",
    explain="job {id} is {status}, and its last stage is {last_stage}",
    repairs=[(OUTPUTS, SETTLE.format("completed")), (None, SETTLE.format("failed"))],
    metric="recap_contradictions",
)

stage_ahead = Invariant(
    "recap_stage_ahead",
    breaches=f"""
        WITH stage (number, name) AS (VALUES {NUMBERED}),
        saved AS (SELECT s.job_id, MAX(stage.number) AS number FROM recap_stage_state s
                  JOIN stage ON stage.name = s.stage GROUP BY s.job_id)
        SELECT j.id, j.last_stage, n.name AS saved_stage FROM recap_jobs j
        JOIN saved ON saved.job_id = j.id JOIN stage n ON n.number = saved.number
        LEFT JOIN stage o ON o.name = j.last_stage
        WHERE n.number > COALESCE(o.number, 0) ORDER BY j.id""",
    explain="job {id} says {last_stage}, and the state of {saved_stage} is saved",
    repairs=[(None, MOVE)],
    cannot_know="whether the status was meant to change with the stage",
    metric="recap_stages_ahead",
)

stage_without_job = Invariant(
    "recap_stage_without_job",
    breaches="SELECT s.job_id, COUNT(*) AS stages FROM recap_stage_state s"
    " WHERE NOT EXISTS (SELECT 1 FROM recap_jobs j WHERE j.id = s.job_id)"
    " GROUP BY s.job_id ORDER BY s.job_id",
    explain="{stages} stages of job {job_id} are saved, and there is no such job",
    repairs=[(None, FORGET)],
    cannot_know="who deleted the job; its outputs, if it has any, stay",
    metric="recap_stages_without_job",
)
