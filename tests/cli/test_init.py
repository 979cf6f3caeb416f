"""``init``: a folder in which ``stepwell run first`` works, and nothing of yours is touched."""

from __future__ import annotations

from pathlib import Path

from tests.cli.program import Folder


def test_init_makes_what_run_first_needs(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    made = folder.done("init")
    run = folder.done("run", "first")

    assert ["made stepwell.toml", "made jobs.py"] == made.out.splitlines()[:2]
    assert "`stepwell run first` runs the first job" in made.out
    assert "5 read · 4 written · 1 filtered" in run.out
    assert [("Lima", 10152000)] == folder.rows(
        "SELECT name, population FROM city ORDER BY name LIMIT 1"
    )
    assert "COMPLETED" in folder.done("run", "first", "--again").out


def test_init_makes_a_folder_elsewhere_and_tells_it_in_json(tmp_path: Path) -> None:
    new = tmp_path / "new"

    document = Folder(tmp_path).json("init", "--folder", "new")

    assert str(new) == document["folder"]
    assert ["new/stepwell.toml", "new/jobs.py", f"{new}/stepwell.db"] == document["made"]
    assert [] == document["kept"]
    assert "first" in Folder(new).done("jobs").out


def test_a_second_init_keeps_everything(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.done("init")
    (tmp_path / "jobs.py").write_text("# mine\n")
    tables = folder.rows("SELECT name FROM sqlite_master")

    again = folder.done("init")

    assert 3 == again.out.count(", it was there already")
    assert "# mine\n" == (tmp_path / "jobs.py").read_text()
    assert tables == folder.rows("SELECT name FROM sqlite_master")


def test_init_writes_no_jobs_for_settings_that_name_others(tmp_path: Path) -> None:
    (tmp_path / "stepwell.toml").write_text('jobs = ["mine"]\ndatabase = "sqlite:///own.db"\n')
    (tmp_path / "mine.py").write_text("")

    document = Folder(tmp_path).json("init")

    assert [f"{tmp_path}/own.db"] == document["made"]
    assert not (tmp_path / "jobs.py").exists()


def test_init_keeps_jobs_that_are_there(folder: Folder) -> None:
    (folder.path / "stepwell.toml").unlink()

    out = folder.done("init").out

    assert "made stepwell.toml" in out
    assert "kept jobs.py" in out
    assert "load" in folder.done("jobs").out


def test_init_writes_the_database_that_it_is_given(tmp_path: Path) -> None:
    folder = Folder(tmp_path)

    folder.done("init", "--database", "sqlite:///other.db")

    assert 'database = "sqlite:///other.db"' in (tmp_path / "stepwell.toml").read_text()
    assert (tmp_path / "other.db").exists()


def test_init_refuses_what_it_cannot_do(folder: Folder) -> None:
    (folder.path / "file").touch()

    folder.call("init", "--folder", "file").refused(2, "cannot write into folder 'file'")
    folder.call("init", "--config", "stepwell.toml").refused(2, "cannot init with settings")
