"""``jobs check``: every fault of a job file at once, for people and for programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepwell import Node
from stepwell.errors import JobStartError
from stepwell.jsl.source import JobFile
from tests.cli.program import Folder
from tests.conformance.stories import counts

JAKARTA = "https://jakarta.ee/xml/ns/jakartaee"
MODULE = '''
from warnings import warn

from stepwell import Job, TaskletStep
from stepwell.jsl import batch_property

def tidy():
    """Nothing to do."""

def three(a, b, c):
    """Wants more than a tasklet is given."""

class Days:
    def map_partitions(self): ...

class Old:
    __deprecated__ = "use recalculate"
    day: str = batch_property()
    def process(self): ...

class New:
    day: str = batch_property()
    def process(self): ...

taken = Job("taken", [TaskletStep("a", tidy)])
artifacts = {"tidy": tidy, "days": Days, "recalculateOld": Old, "recalculate": New}
'''
GOOD = "job: good\nsteps: [{step: a, tasklet: tidy}]\n"
STEP = '<step id="a"><batchlet ref="tidy"/></step>'


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Settings that name a module and the files of a folder; no database."""
    (tmp_path / "stepwell.toml").write_text('jobs = ["steps"]\njob_files = ["jobs/*.*ml"]\n')
    (tmp_path / "steps.py").write_text(MODULE)
    (tmp_path / "jobs").mkdir()
    return Folder(tmp_path)


def put(folder: Folder, name: str, text: str | bytes) -> str:
    (folder.path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def xml(body: str, *, before: str = "", name: str = "night") -> str:
    """The body stands on line 2."""
    return f'{before}<job id="{name}" xmlns="{JAKARTA}" version="2.0">\n{body}\n</job>\n'


P = "#{jobParameters['p']}"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
DOCTYPE = "a document with a DOCTYPE is refused"
NO_XML, NO_YAML = "this is no well-formed XML", "this is no YAML that can be read"
BOTH = """job: both.yaml
steps:
  - step: a
    tasklet: tidy
    partition:
      plan: [1]
      mapper: days
"""
ARGUMENTS = """job: arguments.yaml
steps:
  - step: a
    tasklet: tidy
  - step: b
    tasklet: steps:three
"""
AROUND = """<step id="a" next="b"><batchlet ref="tidy"/></step>
<step id="b" next="a"><batchlet ref="tidy"/></step>"""

# File, content, line and message. What can be read of a job has the name of its file.
BAD: list[tuple[str, str | bytes, int | None, str]] = [
    ("no-xml.xml", "job: night\n", 1, NO_XML),
    ("no-yaml.yaml", "job: [\n", 2, NO_YAML),
    ("tab.yaml", "job: night\n\tsteps:\n", 2, NO_YAML),
    ("empty.xml", "", 1, f"{NO_XML}: no element found"),
    ("void.yaml", "", 1, "the file is empty"),
    ("zeros.yaml", b"\0" * 100, 1, NO_YAML),
    ("huge.yaml", "# " + "x" * 2**20, None, "the file is too large: at most 1024 KiB are read"),
    ("large.xml", xml("<!--" + "x" * 2**20 + "-->"), None, "the file is too large"),
    ("latin.xml", xml("<!-- é -->").encode("latin-1"), 2, NO_XML),
    ("accent.yaml", "job: café\n".encode("latin-1"), 1, NO_YAML),
    ("dtd.xml", xml(STEP, before="<!DOCTYPE job>\n"), 1, DOCTYPE),
    ("laughs.xml", xml("&l9;", before=f'<!DOCTYPE job [<!ENTITY l0 "ha">{LAUGHS}]>'), 1, DOCTYPE),
    (
        "entity.xml",
        xml("&e;", before='<!DOCTYPE job [<!ENTITY e SYSTEM "/etc/passwd">]>'),
        1,
        DOCTYPE,
    ),
    (
        "remote.xml",
        xml(STEP, before='<!DOCTYPE job SYSTEM "http://127.0.0.1:9/j.dtd">'),
        1,
        DOCTYPE,
    ),
    ("undefined.xml", xml("&nbsp;"), 2, f"{NO_XML}: undefined entity"),
    (
        "laughing.yaml",
        "job: a\nx: &a [b, b]\ny: [*a, *a]\n",
        3,
        f"{NO_YAML}: aliases are refused here",
    ),
    ("deep.yaml", "job: a\nsteps: " + "[" * 500, 2, f"{NO_YAML}: it is nested too deep"),
    ("nested.xml", xml("<flow id='f'>" * 500), 2, "elements are nested more than 100 deep"),
    (
        "cycle.xml",
        xml(AROUND, name="cycle.xml"),
        3,
        "elements must not lead back to themselves: a → b → a",
    ),
    (
        "target.xml",
        xml(STEP.replace(">", " next='x'>", 1), name="target.xml"),
        2,
        "step 'a': there is no 'x' beside it",
    ),
    (
        "decision.yaml",
        "job: decision.yaml\nsteps: [{decision: d, decider: tidy}]\n",
        2,
        "job 'decision.yaml' must not begin with a decision",
    ),
    ("both.yaml", BOTH, 7, "step 'a': a partition has a plan or a mapper, not both"),
    (
        "number.xml",
        xml(STEP.replace(">", f' start-limit="{P}?:x;">', 1), name="number.xml"),
        2,
        "step 'a': start-limit must be a whole number",
    ),
    (
        "artifact.yaml",
        "job: artifact.yaml\nsteps: [{step: a, tasklet: recalcluate}]\n",
        2,
        "tasklet of step 'a': there is no artifact 'recalcluate'",
    ),
    ("arguments.yaml", ARGUMENTS, 5, "step 'b': function must take at most 1 arguments"),
    ("ids.xml", xml(STEP + STEP, name="ids.xml"), 2, "step 'a': the id stands twice"),
    ("element.xml", xml("<steps/>", name="element.xml"), 2, "<steps> is unknown in <job>"),
    ("key.yaml", "job: key.yaml\nstep: []\n", 2, "the job: 'step' is unknown"),
]


def test_what_is_wrong_is_told_with_its_line(folder: Folder) -> None:
    """S183. Method: a folder full of bad files, looked at in one go; no database is made for it."""
    for name, content, _, _ in BAD:
        put(folder, f"jobs/{name}", content)

    ended = folder.call("jobs", "check")
    files = {f["file"]: f for f in folder.call("jobs", "check", "--json").json["files"]}

    assert (5, "", len(BAD)) == (ended.code, ended.err, len(files))
    for name, _, line, message in BAD:
        place = f"jobs/{name}:{line}" if line else f"jobs/{name}"
        assert f"\n{place}: error: {message}" in f"\n{ended.out}"
        file = files[f"jobs/{name}"]
        [fault] = [f for f in file["faults"] if f["message"].startswith(message)]
        assert (False, line, "error") == (file["can_start"], fault["line"], fault["severity"])
    assert not list(folder.path.glob("*.db"))


def test_a_start_is_refused_with_the_same_words_and_nothing_is_recorded(folder: Folder) -> None:
    """S183. Method: in this process, each of the bad files in turn."""
    with Node.open(f"sqlite:///{folder.path}/refused.db") as node:
        node.registry.artifacts.add("tidy", print, origin="the test")
        before = counts(node)
        for name, content, _, message in BAD:
            put(folder, f"jobs/{name}", content)
            file = JobFile(folder.path / "jobs" / name, artifacts=node.registry.artifacts)
            if name in ("both.yaml", "arguments.yaml"):
                continue  # They need the module of the folder.
            node.registry.add(file, origin=file.origin)
            with pytest.raises(JobStartError) as refused:
                node.operator.run(file.name, {})
            assert message in refused.value.message
        after = counts(node)

    assert before == after


@pytest.mark.parametrize(
    ("name", "fact", "hint"),
    [
        ("jobs/missing.yaml", "there is no such file", "did you mean 'jobs/missed.yaml'?"),
        ("jobs", "it is a folder", "name one of its files"),
        ("steps.py", "its name must end in .xml, .yaml, .yml", "rename it"),
        ("good", "there is no such file", ""),
    ],
)
def test_what_is_no_job_file_is_a_wrong_call(
    name: str, fact: str, hint: str, folder: Folder
) -> None:
    put(folder, "jobs/missed.yaml", GOOD)

    folder.call("jobs", "check", name).refused(2, f"cannot read job file {name!r}: {fact}", hint)


def test_all_faults_are_told_at_once(folder: Folder) -> None:
    """By check and by a refused start, in the same words."""
    put(
        folder,
        "jobs/night.xml",
        xml(
            '<decision id="d" ref="none"/>\n<step id="a" next="x"/>\n<stp id="a"/>\n'
            '<step id="a"><batchlet ref="#{x}"/></step>'
        ),
    )
    expected = [
        (2, "decider of decision 'd': there is no artifact 'none'"),
        (2, "job 'night' must not begin with a decision, 'd' does"),
        (3, "step 'a' must have a tasklet (batchlet) or a chunk"),
        (3, "step 'a': there is no 'x' beside it to go to"),
        (4, "<stp> is unknown in <job>"),
        (5, "step 'a': the id stands twice"),
        (5, "tasklet of step 'a': ref: malformed expression '#{x}'"),
    ]

    [file] = folder.call("jobs", "check", "jobs/night.xml", "--json").json["files"]
    refused = folder.call("run", "night", "--json").json

    assert sorted(expected) == sorted((f["line"], f["message"]) for f in file["faults"])
    assert sorted(expected) == sorted(
        (f["line"], f["message"]) for f in refused["fields"]["faults"]
    )
    assert "`stepwell jobs check jobs/night.xml`" in refused["hint"]
    assert "job 'night' cannot start, 7 errors" in folder.call("jobs", "check").out


def test_a_good_file_can_start_and_without_a_name_all_are_checked(folder: Folder) -> None:
    put(folder, "jobs/good.yaml", GOOD)
    put(folder, "jobs/night.xml", xml(STEP))

    assert (
        "jobs/good.yaml: job 'good' can start, no faults\n"
        "jobs/night.xml: job 'night' can start, no faults\n"
    ) == folder.done("jobs", "check").out
    put(folder, "jobs/bad.yaml", "job: bad\n")
    ended = folder.call("jobs", "check", "--json")
    assert (5, [False, True, True]) == (
        ended.code,
        [file["can_start"] for file in ended.json["files"]],
    )


def test_without_job_files_it_says_how_to_name_some(folder: Folder) -> None:
    out = folder.done("jobs", "check").out

    assert "no job files: the settings name none" in out
    assert "hint: `job_files" in out


def test_what_is_deprecated_is_told_with_its_replacement(folder: Folder) -> None:
    put(folder, "jobs/night.xml", xml(STEP.replace("tidy", "recalculateOld")))

    out = folder.done("jobs", "check", "jobs/night.xml").out

    assert (
        "jobs/night.xml:2: warning: tasklet of step 'a': 'recalculateOld' is deprecated\n"
        "  hint: use recalculate\n"
        "jobs/night.xml: job 'night' can start, 1 warning\n"
    ) == out


def test_parameters_are_checked_as_a_start_would(folder: Folder) -> None:
    """S85: without them nobody knows, and nothing is guessed."""
    name = put(
        folder,
        "jobs/night.xml",
        xml(f'<step id="a" start-limit="{P}" next="{P}"><batchlet ref="tidy"/></step>'),
    )

    assert "no faults" in folder.done("jobs", "check", name).out
    out = folder.call("jobs", "check", name, "p=x").out
    assert "start-limit must be a whole number, 0 or more, got 'x'" in out
    assert "there is no 'x' beside it" in out
    folder.call("jobs", "check", name, "p").refused(
        2, "a parameter must be written name=value, got 'p'"
    )


def test_parameters_of_a_model_are_checked_too(folder: Folder) -> None:
    put(folder, "jobs/good.yaml", f"{GOOD}parameters: {{day: date}}\n")

    folder.done("jobs", "check", "jobs/good.yaml", "day=2026-11-20")
    folder.call("jobs", "check", "jobs/good.yaml", "day=soon").refused(2, "'day'")


def test_two_files_of_one_job_and_a_file_that_nobody_knows(folder: Folder) -> None:
    put(folder, "jobs/good.yaml", GOOD)
    put(folder, "jobs/again.yaml", "# again\n" + GOOD)
    put(folder, "draft.yaml", GOOD.replace("good", "draft"))

    ended = folder.call("jobs", "check", "jobs/good.yaml")
    put(folder, "jobs/again.yaml", "job: taken\nsteps: [{step: a, tasklet: tidy}]\n")
    taken = folder.call("jobs", "check", "jobs/again.yaml")

    assert (5, 5) == (ended.code, taken.code)
    assert (
        "jobs/again.yaml:1: error: job 'taken' is defined in module steps (steps.py:" in taken.out
    )
    assert "jobs/good.yaml:1: error: job 'good' is defined in jobs/again.yaml:2, too" in ended.out
    out = folder.done("jobs", "check", "draft.yaml").out
    assert "draft.yaml: warning: no command knows this file: `job_files` in stepwell.toml" in out
    assert 'hint: `job_files = ["draft.yaml"]`' in out


def test_a_file_is_checked_without_any_settings(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    name = put(folder, "good.yaml", "job: good\nsteps: [{step: a, tasklet: 'math:floor'}]\n")

    assert "good.yaml: job 'good' can start, no faults\n" == folder.done("jobs", "check", name).out


def test_a_pipe_is_refused_instead_of_waited_for(folder: Folder) -> None:
    os.mkfifo(folder.path / "jobs" / "pipe.yaml")

    folder.call("jobs", "check", "jobs/pipe.yaml").refused(
        2, "it is no file that can be read twice"
    )


def test_the_settings_supply_system_properties(folder: Folder) -> None:
    """S83."""
    where = "#{systemProperties['tasklet']}"
    put(folder, "jobs/good.yaml", GOOD.replace("tidy", f'"steps:{where}"'))
    toml = folder.path / "stepwell.toml"
    text = toml.read_text()
    toml.write_text(f'{text}[system_properties]\ntasklet = "tidy"\n')

    assert 0 == folder.call("run", "good").code
    toml.write_text(f"{text}[system_properties]\ntasklet = 3\n")
    folder.call("run", "good").refused(2, "system_properties must be a section")


IN_XML = xml(
    f'<properties><property name="day" value="{P}?:today;"/></properties>'
    '<step id="a" next="b"><batchlet ref="tidy"/></step>\n'
    '<step id="b"><batchlet ref="recalculate"><properties>'
    '<property name="day" value="#{jobProperties[\'day\']}"/></properties></batchlet></step>'
)


def test_a_job_from_xml_is_shown_as_yaml_that_runs_in_its_place(folder: Folder) -> None:
    put(folder, "jobs/night.xml", IN_XML)

    out = folder.done("jobs", "show", "night").out
    shown = folder.json("jobs", "show", "night")

    assert out.startswith("# defined in: jobs/night.xml:1\n# parameters: any, as text\n")
    assert "    tasklet:\n      ref: recalculate\n      properties:\n        day: " in out
    assert ["tidy", "recalculate"] == [step["options"]["function"] for step in shown["steps"]]
    assert str(folder.path / "jobs/night.xml") == shown["file"]
    assert "recalculate" == shown["document"]["steps"][1]["tasklet"]["ref"]
    (folder.path / "jobs/night.xml").unlink()
    put(folder, "jobs/night.yaml", out)
    assert "can start, no faults" in folder.done("jobs", "check", "jobs/night.yaml").out
    again = folder.done("jobs", "show", "night").out
    assert out[out.index("job: night") :] == again[again.index("job: night") :]
    folder.done("run", "night", "p=2026-11-20")


def test_a_faulty_file_is_shown_with_the_first_of_its_faults(folder: Folder) -> None:
    put(folder, "jobs/night.xml", xml('<step id="a" next="x"><batchlet ref="tidy"/></step>'))

    out = folder.done("jobs", "show", "night").out

    assert "# It cannot start: line 2: step 'a': there is no 'x' beside it to go to\n" in out
    assert "#   `stepwell jobs check jobs/night.xml` says all\n" in out
    put(folder, "jobs/night.xml", "job: night")
    folder.call("jobs", "show", "night").refused(2, "this is no well-formed XML", "jobs check")


def test_the_hint_of_a_restart_gives_an_xml_job_its_parameters_again(folder: Folder) -> None:
    """S10: from `run`, `status` and `recover`, quoted for a shell; a YAML job remembers them."""
    put(folder, "jobs/night.xml", xml('<step id="a"><batchlet ref="steps:fail"/></step>'))
    put(folder, "jobs/good.yaml", "job: good\nsteps: [{step: a, tasklet: 'steps:fail'}]\n")
    with (folder.path / "steps.py").open("a") as file:
        file.write("\ndef fail():\n    raise RuntimeError('no')\n")

    run = folder.call("run", "night", "day=20", "name=Ada's").out
    status = folder.done("status", "1").out
    good = folder.call("run", "good", "day=20").out

    command = """stepwell restart 1 day=20 'name=Ada'"'"'s'"""
    assert f"hint: `{command}` goes on where it stopped" in run
    assert f"hint: `{command}` goes on where it stopped" in status
    assert "hint: `stepwell restart 2` goes on where it stopped" in good
