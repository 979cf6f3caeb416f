from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.database import filesystem
from stepwell.database.connect import open_database
from stepwell.database.dialect import DatabaseOptions
from stepwell.database.filesystem import filesystem_in, filesystem_of, why_unsafe
from stepwell.errors import UnsafeFilesystem

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
31 27 0:30 / /mnt/share rw,relatime shared:2 master:1 - nfs4 server:/export rw
32 27 0:31 / /mnt/with\040space\134and rw - virtiofs host rw
33 27 0:32 / /mnt/share/inside rw - xfs /dev/vdb rw
34 27 0:33 / /mnt/over rw - ext4 /dev/vdc rw
35 27 0:34 / /mnt/over rw - tmpfs tmpfs rw
36 27 0:35 / /media rw - fuse.sshfs user@host:/ rw
a line of another kind
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/x.db", "ext4"),
        ("/mnt/share/x.db", "nfs4"),
        ("/mnt/sharex/x.db", "ext4"),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/inside/deep/x.db", "xfs"),
        ("/mnt/with space\\and/x.db", "virtiofs"),
        ("/mnt/over/x.db", "tmpfs"),
        ("/media/x.db", "fuse.sshfs"),
    ],
)
def test_the_longest_mount_point_holds_the_file(path: str, expected: str) -> None:
    assert expected == filesystem_in(MOUNTS, path)


def test_where_nothing_is_mounted_the_type_is_unknown() -> None:
    assert not filesystem_in("", "/data/x.db")


@pytest.mark.parametrize(
    "kind",
    ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "vboxsf", "fuse.sshfs", "fuse.s3fs"],
)
def test_what_corrupts_without_an_error_has_a_reason(kind: str) -> None:
    assert why_unsafe(kind)


@pytest.mark.parametrize(
    "kind",
    ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk", "fuse.fuse-overlayfs", ""],
)
def test_local_filesystems_are_fine(kind: str) -> None:
    assert not why_unsafe(kind)


def test_this_machine_can_tell_its_own(tmp_path: Path) -> None:
    assert filesystem_of(str(tmp_path))
    assert "proc" == filesystem_of("/proc/self")


def test_an_unsafe_filesystem_is_refused_before_anything_is_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystem, "filesystem_of", lambda path: "virtiofs")
    with pytest.raises(UnsafeFilesystem) as caught:
        open_database(f"sqlite:///{tmp_path}/x.db")

    assert (
        f"cannot open database '{tmp_path}/x.db': it lies on filesystem 'virtiofs', which"
        in str(caught.value)
    )
    assert "named volume" in caught.value.hint
    assert "virtiofs" == caught.value.fields["filesystem"]
    assert [] == list(tmp_path.iterdir())

    options = DatabaseOptions(allow_unsafe_filesystem=True)
    open_database(f"sqlite:///{tmp_path}/x.db", options=options).close()
    assert (tmp_path / "x.db").exists()
