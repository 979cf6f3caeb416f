"""``status``: what runs, waits and failed lately; one execution in full; both as they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from stepwell.cli.output import Output
    from stepwell.cli.session import Session
    from stepwell.looks.reading import Look, Watch

SKIPS_SHOWN = 20
PARTITIONS_SHOWN = 20
WATCH_S = 0.5  # Between two looks.
PROGRESS_S = 0.5  # Between two lines of progress, off a terminal.


def status(
    context: typer.Context,
    execution_id: Annotated[
        int | None, typer.Argument(metavar="ID", help="An execution, to be shown in full.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again and again; with an ID, until it ends.")
    ] = False,
    partitions: Annotated[
        bool,
        typer.Option("--partitions", help="Every partition, not only the failed and partial ones."),
    ] = False,
    wants_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what runs, waits and failed lately, or one execution in full.

    It imports none of your job modules and writes nothing. Ctrl-C ends a watch.
    """
    from stepwell.cli.output import Output
    from stepwell.looks.reading import Watch
    from stepwell.looks.restarting import restart_in

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    with session.open_database() as database:
        eyes = Watch(database, session.clock, restart=restart_in(session.settings))
        if not watch:
            _show(eyes, output, execution_id, all_partitions=partitions)
            return
        try:
            _watch(session, eyes, output, execution_id, all_partitions=partitions)
        except KeyboardInterrupt:
            if output.is_terminal:  # What was drawn is gone; its last state stays.
                _show(eyes, output, execution_id, all_partitions=partitions)


def _show(eyes: Watch, output: Output, execution_id: int | None, *, all_partitions: bool) -> None:
    if execution_id is None:
        overview = eyes.overview()
        if output.wants_json:
            from stepwell.looks.representation import overview_json

            output.json(overview_json(overview))
        else:
            from stepwell.cli.pages import overview_page

            output.page(overview_page(overview))
        return
    details = eyes.details(
        execution_id,
        partitions_max=None if all_partitions else PARTITIONS_SHOWN,
        skips_max=SKIPS_SHOWN,
    )
    if output.wants_json:
        from stepwell.looks.representation import details_json

        output.json(details_json(details))
    else:
        from stepwell.cli.pages import details_page

        output.page(details_page(details, all_partitions=all_partitions))


def _watch(
    session: Session,
    eyes: Watch,
    output: Output,
    execution_id: int | None,
    *,
    all_partitions: bool,
) -> None:
    if output.is_terminal:
        _draw(session, eyes, output, execution_id)
    elif output.wants_json:
        _stream(session, eyes, output, execution_id)
    else:
        _tell(session, eyes, output, execution_id)
    if execution_id is not None and not output.wants_json:
        _show(eyes, output, execution_id, all_partitions=all_partitions)


def _draw(session: Session, eyes: Watch, output: Output, execution_id: int | None) -> None:
    """Draw the page in place until it ends."""
    from stepwell.cli.pages import overview_page
    from stepwell.cli.running import running_page

    with output.display() as display:
        while not output.reader_has_gone:
            if execution_id is None:
                display.show(overview_page(eyes.overview()))
            else:
                look = eyes.look(execution_id)
                display.show(running_page(look))
                if not look.execution.batch_status.is_running:
                    return
            session.clock.sleep(WATCH_S)


def _tell(session: Session, eyes: Watch, output: Output, execution_id: int | None) -> None:
    """Print a line when something changes until it ends."""
    from stepwell.cli.changes import Changes
    from stepwell.cli.pages import overview_page

    changes = Changes(progress_s=PROGRESS_S, names_execution=True)
    known: set[int] | None = None
    while not output.reader_has_gone:
        if execution_id is not None:
            looks = [eyes.look(execution_id)]
        else:
            overview = eyes.overview()
            ended_ids = {e.execution_id for e in (*overview.failed, *overview.completed)}
            if known is None:
                known = ended_ids
                output.page(overview_page(overview))
            # What began and ended between two looks is told too.
            ended = (changes.told - {look.execution_id for look in overview.running}) | (
                ended_ids - known
            )
            known |= ended
            looks = [*map(eyes.look, sorted(ended)), *overview.running]
        for look in looks:
            for line in changes.of(look):
                output.line(line)
        if execution_id is not None and not looks[0].execution.batch_status.is_running:
            return
        session.clock.sleep(WATCH_S)


def _stream(session: Session, eyes: Watch, output: Output, execution_id: int | None) -> None:
    """Print a JSON document a line whenever what is recorded has changed."""
    from stepwell.looks.representation import look_json, overview_json

    printed: object = None
    while not output.reader_has_gone:
        if execution_id is None:
            overview = eyes.overview()
            looks = (*overview.running, *overview.waiting)
            document = overview_json(overview)
            recorded: object = (
                [_recorded(look) for look in looks],
                overview.waiting_count,
                overview.failed,
            )
        else:
            looks = (eyes.look(execution_id),)
            document = look_json(looks[0])
            recorded = _recorded(looks[0])
        if recorded != printed:
            output.json(document, one_line=True)
            printed = recorded
        if execution_id is not None and not looks[0].execution.batch_status.is_running:
            return
        session.clock.sleep(WATCH_S)


def _recorded(look: Look) -> object:
    """What the database holds; rates and durations change always."""
    return look.execution, [progress.step for progress in look.steps]
