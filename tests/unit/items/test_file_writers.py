"""What the writers of files promise together: no line lost, none doubled, whatever fails."""

from __future__ import annotations

import errno
import gzip
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import ItemError, ItemSourceMissing, MalformedItem
from stepwell.items import CsvWriter, JsonLinesWriter, LinesReader, LinesWriter
from tests.unit.items.support import Step, all_items, opened, stored


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.txt"


def test_a_first_start_makes_the_file_anew(path: Path) -> None:
    path.write_text("of yesterday\n")
    with opened(LinesWriter(path)) as writer:
        assert path.read_text() == ""
        writer.write(["a", "b"], Step())

        assert writer.checkpoint() == {"offset": 4}
    assert path.read_text() == "a\nb\n"


def test_a_restart_cuts_what_was_not_committed(path: Path) -> None:
    with opened(LinesWriter(path)) as writer:
        writer.write(["a"], Step(idempotency_key="1"))
        checkpoint = stored(writer.checkpoint())
        writer.write(["b"], Step(idempotency_key="2"))
    assert path.read_text() == "a\nb\n"

    with opened(LinesWriter(path), checkpoint) as writer:
        assert path.read_text() == "a\n"
        writer.write(["c"], Step(idempotency_key="2"))
    assert path.read_text() == "a\nc\n"


def test_a_restart_without_a_committed_chunk_begins_with_an_empty_file(path: Path) -> None:
    with opened(LinesWriter(path)) as writer:
        writer.write(["a"], Step())
    with opened(LinesWriter(path)):
        assert path.read_text() == ""


@pytest.mark.parametrize("name", ["out.txt", "out.txt.gz"])
@given(
    history=st.lists(
        st.sampled_from(["write", "repeat", "drop", "empty", "crash", "rollback"]), max_size=20
    )
)
def test_after_any_history_the_file_holds_the_committed_chunks(
    tmp_path_factory: pytest.TempPathFactory, name: str, history: list[str]
) -> None:
    """Goal: S94, S118 to S122. Method: the calls of an engine whose commits fail at random.

    write: a chunk commits. repeat: its commit fails, the list is written again and commits (S121).
    drop: its commit fails and the list is left out (S118). empty: a chunk without items (S98).
    crash: written, not committed, then a restart. rollback: the same, with a close first (S122).
    """
    path = tmp_path_factory.mktemp("out") / name
    committed: list[str] = []
    checkpoint: Any = None
    chunk_number = 1
    writer = LinesWriter(path)
    writer.open(None)
    for event in history:
        step = Step(idempotency_key=f"1/load//{chunk_number}")
        items = [f"{event} {chunk_number}.{n}" for n in range(3)]
        if event != "empty":
            writer.write(items, step)
        if event in ("repeat", "drop", "rollback"):
            writer.checkpoint()
        if event == "repeat":
            writer.write(items, step)
        if event in ("crash", "rollback"):
            writer.close()  # What a dead process wrote is in the file as well.
            writer = LinesWriter(path)
            writer.open(checkpoint)
            continue
        if event == "empty":
            writer._step = step  # The engine's step is one object, whose key moves on.
        checkpoint = stored(writer.checkpoint())
        chunk_number += 1
        if event in ("write", "repeat"):
            committed += items
    writer.close()

    assert all_items(LinesReader(path)) == committed


def test_a_list_that_is_written_again_under_its_key_is_not_doubled(path: Path) -> None:
    step = Step(idempotency_key="1/load//1")
    with opened(LinesWriter(path)) as writer:
        for _ in range(3):
            writer.write(["a"], step)
            assert writer.checkpoint() == {"offset": 2}

    assert path.read_text() == "a\n"


def test_a_list_that_is_dropped_after_a_failed_commit_leaves_the_file(path: Path) -> None:
    step = Step(idempotency_key="1/load//1")
    with opened(LinesWriter(path)) as writer:
        writer.write(["a"], step)
        writer.checkpoint()
        step.idempotency_key = "1/load//2"
        writer.write(["b"], step)
        assert writer.checkpoint() == {"offset": 4}

        assert writer.checkpoint() == {"offset": 2}
        step.idempotency_key = "1/load//3"
        assert writer.checkpoint() == {"offset": 2}
    assert path.read_text() == "a\n"


def test_an_empty_chunk_takes_nothing_away(path: Path) -> None:
    step = Step(idempotency_key="1/load//1")
    with opened(LinesWriter(path)) as writer:
        writer.write(["a"], step)
        writer.checkpoint()
        step.idempotency_key = "1/load//2"

        assert writer.checkpoint() == {"offset": 2}
    assert path.read_text() == "a\n"


class FullDisk:
    """A file that takes some bytes of a write and then has no room."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self._room = room

    def write(self, data: bytes) -> int:
        if not self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: self._room])
        self._room -= written
        return int(written)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_part_of_a_failed_write_does_not_stay(path: Path) -> None:
    with opened(LinesWriter(path)) as writer:
        writer.write(["a"], Step())
        writer.checkpoint()
        real = writer._file
        writer._file = FullDisk(real, room=3)
        with pytest.raises(ItemError, match=r"cannot write .*: no space left on device"):
            writer.write(["bcd"], Step())
        writer._file = real
        assert path.read_text() == "a\nbcd"

        assert writer.checkpoint() == {"offset": 2}
        assert path.read_text() == "a\n"
        writer.write(["e"], Step())
    assert path.read_text() == "a\ne\n"


def test_a_checkpoint_is_on_the_disk_before_it_is_given(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    with opened(LinesWriter(path)) as writer:
        synced.clear()
        writer.write(["a"], Step())
        offset = writer.checkpoint()["offset"]
        assert synced == [offset]
        writer.checkpoint()  # Nothing new: nothing to pay.

        assert synced == [offset]


def test_a_file_that_was_cut_since_the_checkpoint_is_refused(path: Path) -> None:
    path.write_text("a\n")
    with pytest.raises(ItemError) as refused:
        LinesWriter(path).open({"offset": 4})

    assert str(refused.value) == (
        f"cannot go on at byte 4 of {str(path)!r}: it has only 2 bytes, so the file was changed"
        " since the checkpoint"
    )
    assert path.read_text() == "a\n"


def test_a_file_of_the_checkpoint_that_is_gone_is_missing(path: Path) -> None:
    with pytest.raises(ItemSourceMissing, match="the file of the checkpoint is gone"):
        LinesWriter(path).open({"offset": 4})
    assert not path.exists()


def test_a_missing_folder_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    folder = tmp_path / "no-such"
    with pytest.raises(ItemSourceMissing, match=f"there is no folder '{folder}'") as missing:
        LinesWriter(folder / "out.txt").open(None)
    assert missing.value.hint == f"mkdir -p {folder}"

    with pytest.raises(ItemError, match=r"cannot open .*: is a directory"):
        LinesWriter(tmp_path).open(None)


@pytest.mark.parametrize("checkpoint", [7, "x", {"file": 3}, {"offset": "3"}, {"offset": -1}])
def test_the_checkpoint_of_another_writer_is_refused(path: Path, checkpoint: Any) -> None:
    with pytest.raises(ItemError, match="LinesWriter wrote no such checkpoint"):
        LinesWriter(path).open(checkpoint)


def test_the_path_may_come_from_the_parameters(path: Path) -> None:
    step = SimpleNamespace(parameters={"out": path})
    with opened(LinesWriter(lambda step: step.parameters["out"]), None, step) as writer:
        writer.write(["a"], step)

    assert path.read_text() == "a\n"


@pytest.mark.parametrize(
    "make", [LinesWriter, JsonLinesWriter, lambda p: CsvWriter(p, header=False)]
)
def test_a_compressed_file_is_cut_between_chunks(tmp_path: Path, make: Callable[..., Any]) -> None:
    path = tmp_path / "out.gz"
    chunk: list[Any] = [{"a": 1}]
    if make is LinesWriter:
        chunk = ["1"]
    with opened(make(path)) as writer:
        writer.write(chunk, Step())
        checkpoint = stored(writer.checkpoint())
        writer.write(chunk, Step())
    with opened(make(path), checkpoint) as writer:
        writer.write(chunk, Step())

    assert len(gzip.decompress(path.read_bytes()).splitlines()) == 2


KILLED = """
import os, sys
from stepwell.items import LinesWriter
writer = LinesWriter(sys.argv[1])
writer.open(None)
writer.write([f"a{n}" for n in range(1000)], None)
print(writer.checkpoint()["offset"], flush=True)
writer.write([f"b{n}" for n in range(1000)], None)
os.kill(os.getpid(), 9)
"""


def test_after_a_kill_the_file_goes_on_at_the_last_checkpoint(path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)], capture_output=True, check=False
    )
    assert killed.returncode == -9
    with opened(LinesWriter(path), {"offset": int(killed.stdout)}) as writer:
        writer.write(["c"], Step())

    assert all_items(LinesReader(path)) == [*(f"a{n}" for n in range(1000)), "c"]


# --- what each of them writes


def test_lines_end_in_a_line_feed_and_hold_none(path: Path) -> None:
    with opened(LinesWriter(path)) as writer:
        writer.write(["a", "", "é"], Step())
        for item, fact in [
            ("x\ny", "it holds a line end"),
            ("x\r", "it holds a line end"),
            (7, "it is a int, not text"),
        ]:
            with pytest.raises(MalformedItem, match=f"cannot write item 2 of the chunk .*: {fact}"):
                writer.write(["b", item], Step())
        assert writer.checkpoint() == {"offset": 6}
    assert path.read_bytes() == "a\n\né\n".encode()

    match = "ascii has no character 'é'"
    with (
        opened(LinesWriter(path, encoding="ascii")) as writer,
        pytest.raises(ItemError, match=match),
    ):
        writer.write(["a", "é"], Step())


def test_json_lines_hold_whatever_msgspec_encodes(path: Path) -> None:
    with opened(JsonLinesWriter(path)) as writer:
        writer.write([{"a": [1, None]}, "x\ny", (1.5, True)], Step())
        writer.checkpoint()
        with pytest.raises(MalformedItem) as refused:
            writer.write([{"a": 1}, {"a": object()}], Step())
    assert path.read_text() == '{"a":[1,null]}\n"x\\ny"\n[1.5,true]\n'
    assert str(refused.value) == (
        f"cannot write item 2 of the chunk to {str(path)!r}: object is no JSON type"
    )


def test_an_error_names_its_file_and_item_for_programs(path: Path) -> None:
    with opened(LinesWriter(path)) as writer, pytest.raises(MalformedItem) as refused:
        writer.write([None], Step())

    assert refused.value.fields == {"file": str(path), "item": 1}
    assert re.search("processor", refused.value.hint)
