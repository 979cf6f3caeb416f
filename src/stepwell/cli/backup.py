"""``backup``: copies of the database, made, proven, listed, pruned and put back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stepwell.backup.folder import BackupFolder
    from stepwell.backup.manifest import Found
    from stepwell.backup.restore import Proof
    from stepwell.cli.session import Session
    from stepwell.database.copies import Copies
    from stepwell.finding import Finding

commands = typer.Typer(no_args_is_help=True)

WantsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Folder = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Instead of the setting backup_folder.")
]
What = Annotated[
    str, typer.Argument(metavar="NAME-OR-PATH", help="A backup, or the file of a stopped node.")
]
Unverified = Annotated[
    bool,
    typer.Option("--unverified", help="Take a database file without manifest and log as it is."),
]


@commands.callback()
def backup() -> None:
    """Copy the database while it is used, prove copies, and put them back."""


@commands.command("create")
def create(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Without one: database and time.")
    ] = None,
    folder: Folder = None,
    wants_json: WantsJson = False,
) -> None:
    """Copy the database, check the copy, and write its manifest; nobody is kept waiting.

    NAME.backup is complete in itself: it may be carried anywhere, with NAME.manifest.json.
    """
    from stepwell.backup.copy import create_backup, name_for
    from stepwell.cli.output import Output, Page
    from stepwell.doctor.examine import examine_copy
    from stepwell.looks.backups import manifest_json
    from stepwell.looks.text import count, size

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    copies = _copies(session)
    where = _folder(session, folder)
    manifest = create_backup(
        where,
        copies,
        name if name is not None else name_for(copies.location, session.clock.now()),
        clock=session.clock,
        examine=examine_copy,
    )
    if wants_json:
        output.json({"path": str(where.copy_path(manifest.name)), **manifest_json(manifest)})
        return
    page = Page()
    page.line(
        f"backup {manifest.name} is made and checked: {size(manifest.copy_bytes)},"
        f" {count(manifest.rows)} rows in {len(manifest.tables)} tables"
    )
    page.block(f"{where.copy_path(manifest.name)}")
    _tell_findings(page, manifest.findings, manifest.findings_count)
    output.page(page)


@commands.command("list")
def list_backups(
    context: typer.Context, folder: Folder = None, wants_json: WantsJson = False
) -> None:
    """List the copies of the folder, the oldest first."""
    from stepwell.cli.output import Output, Page
    from stepwell.looks.backups import backup_json
    from stepwell.looks.text import count, local_time, size

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    where = _folder(session, folder)
    found = where.backups()
    if wants_json:
        backups = [backup_json(one) for one in found]
        output.json({"folder": str(where.path), "backups": backups})
        return
    page = Page()
    page.table(
        ["BACKUP", "MADE", ">SIZE", ">ROWS", "SCHEMA", ">FINDINGS", "DATABASE", "PROBLEM"],
        [
            [
                one.name,
                local_time(one.created_at),
                size(one.size_bytes),
                count(one.manifest.rows) if one.manifest else "",
                (one.manifest.schema_version or "") if one.manifest else "",
                str(one.manifest.findings_count or "") if one.manifest else "",
                one.manifest.database if one.manifest else "",
                one.problem,
            ]
            for one in found
        ],
    )
    if not found:
        page = Page()
        page.line(f"no backups in {str(where.path)!r}")
        page.hint("`stepwell backup create NAME` makes one")
    output.page(page)


@commands.command("verify")
def verify(
    context: typer.Context,
    what: What,
    folder: Folder = None,
    unverified: Unverified = False,
    wants_json: WantsJson = False,
) -> None:
    """Rehearse a restore: unfold the copy, check it, compare it with its manifest, examine it.

    Nothing is changed. Exit status 5: the copy is sound, and the doctor has findings in it.
    """
    from stepwell.backup.restore import verify_backup
    from stepwell.cli.output import DONE, FINDINGS, Output, Page
    from stepwell.doctor.examine import examine_copy
    from stepwell.looks.backups import proof_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    proof = verify_backup(
        _folder(session, folder),
        _copies(session),
        what,
        examine=examine_copy,
        unverified=unverified,
    )
    if wants_json:
        output.json(proof_json(proof))
    else:
        page = Page()
        page.line(f"{what} can be restored: {_contents_text(proof)}")
        _tell_proof(page, proof)
        output.page(page)
    raise typer.Exit(FINDINGS if proof.findings else DONE)


@commands.command("restore")
def restore(
    context: typer.Context,
    what: What,
    to: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Another database than the one of the settings."),
    ] = None,
    folder: Folder = None,
    unverified: Unverified = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Although an owner lives; fence it. Needs --reason."),
    ] = False,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why; stays with the new epoch.")
    ] = None,
    wants_json: WantsJson = False,
) -> None:
    """Put a copy in the place of the database; what was there is kept.

    It is refused while anybody works. Whoever worked before can write nothing afterwards: a new
    epoch begins. A kill at any moment leaves the old state or the new one.
    """
    from stepwell.backup.restore import restore_backup
    from stepwell.cli.output import Output, Page
    from stepwell.doctor.examine import examine_copy
    from stepwell.looks.backups import proof_json

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    restored = restore_backup(
        _folder(session, folder),
        _copies(session, to),
        what,
        clock=session.clock,
        examine=examine_copy,
        unverified=unverified,
        force=force,
        reason=reason or "",
    )
    if wants_json:
        output.json(
            {
                "database": restored.location,
                "epoch": restored.epoch,
                "kept": restored.kept or None,
                **proof_json(restored.proof),
            }
        )
        return
    page = Page()
    page.line(f"{restored.location} is what {what} holds: {_contents_text(restored.proof)}")
    page.block(f"epoch {restored.epoch} begins: what ran before can write nothing any more")
    if restored.kept:
        page.block(f"the state from before is kept as {restored.kept}")
    _tell_proof(page, restored.proof)
    page.hint("`stepwell status` shows what is to be recovered")
    output.page(page)


@commands.command("prune")
def prune(
    context: typer.Context,
    keep: Annotated[
        int | None, typer.Option(metavar="N", help="The newest N copies are kept.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Younger ones are kept: 30d, 12h, 2w."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete them; without it they are only shown.")
    ] = False,
    folder: Folder = None,
    wants_json: WantsJson = False,
) -> None:
    """Show, or delete, the copies of this database that are too many and too old.

    With both options a copy must be too many and too old. The newest one is always kept.
    """
    from stepwell.backup.retention import Retention, prune_backups
    from stepwell.cli.age import age
    from stepwell.cli.output import Output, Page
    from stepwell.looks.backups import backup_json
    from stepwell.looks.text import how_many, local_time, size

    session: Session = context.obj
    output = Output(wants_json=wants_json)
    found = prune_backups(
        _folder(session, folder),
        _copies(session).location,
        Retention(keep, age("--older-than", older_than)),
        now=session.clock.now(),
        delete=delete,
    )
    if wants_json:
        output.json({"deleted": delete, "backups": [backup_json(one) for one in found]})
        return
    page = Page()
    for one in found:
        page.line(f"{one.name}  {local_time(one.created_at)}  {size(one.size_bytes)}")
    if delete:
        page.line(f"deleted {how_many(len(found), 'backup')}")
    elif found:
        page.line(f"{how_many(len(found), 'backup')} would be deleted")
        page.hint("`--delete` deletes them")
    else:
        page.line("nothing to delete: all are kept")
    output.page(page)


def _copies(session: Session, url: str | None = None) -> Copies:
    session.prefer_newer_sqlite()
    from stepwell.database.copies import copies_of

    return copies_of(
        url or session.settings.database_url,
        clock=session.clock,
        options=session.database_options(),
    )


def _folder(session: Session, given: Path | None) -> BackupFolder:
    from stepwell.backup.folder import BackupFolder
    from stepwell.doctor.copy import folder_of

    return BackupFolder(given) if given is not None else folder_of(session.settings)


def _contents_text(proof: Proof) -> str:
    from stepwell.looks.text import count

    tables = proof.contents.tables
    return f"{count(sum(tables.values()))} rows in {len(tables)} tables"


def _tell_proof(page: Any, proof: Proof) -> None:
    if proof.source.manifest is None:
        page.block("there was no manifest: what it should hold is not known")
    if proof.migrations:
        page.block(f"a restore brings its tables up to date: {', '.join(proof.migrations)}")
    _tell_findings(page, proof.findings, len(proof.findings))


def _tell_findings(page: Any, findings: Sequence[Finding | Found], found: int) -> None:
    from stepwell.looks.text import how_many

    if not findings:
        return
    page.block(f"the doctor has {how_many(found, 'finding')} in it, the first ones:")
    for finding in findings[:3]:
        page.block(f"  {finding.severity} {finding.code}: {finding.where}: {finding.what}")
