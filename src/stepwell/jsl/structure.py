"""How the elements of a job file hang together: ids, content, first element, targets, cycles.

Reads the document and the job made of it side by side: the one has the lines, the other the
substituted names (S85).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stepwell.job.check import NAME_PATTERN, NAME_RULE, job_faults
from stepwell.job.flow import Decision, Flow, Split, cycle_of, next_of, transitions_of
from stepwell.job.job import Job
from stepwell.jsl.fault import Faults, did_you_mean
from stepwell.jsl.model import (
    Element,
    FlowElement,
    JobElement,
    SplitElement,
    StepElement,
)


def check_structure(document: JobElement, job: Job, faults: Faults) -> None:
    """Everything that is wrong between the elements (S183)."""
    _check_ids(document, faults)
    if not document.elements:
        faults.error(document.id.line, f"job {job.name!r} must hold at least one step")
    restarts = [element.name for element in job.steps if not isinstance(element, Decision)]
    container = Container(f"job {job.name!r}", document.elements, job.steps, restarts)
    container.check(faults, implied_next=job.implied_next)


def check_definition(document: JobElement, job: Job, faults: Faults) -> None:
    """What is checked of every job, whatever its origin, each fault with the element's line.

    Only where the file itself is without fault: most of it has been told already.
    """
    if faults.has_errors:
        return
    lines = {f"{_kind(one)} {one.id.text!r}: ": one.id.line for one in _all(document.elements)}
    for message in job_faults(job):
        # The innermost element that the message names.
        named = max(lines, key=message.rfind, default="")
        line = lines[named] if named and named in message else document.id.line
        faults.error(line, message)


def _all(elements: Sequence[Element]) -> Iterator[Element]:
    for element in elements:
        yield element
        if isinstance(element, FlowElement):
            yield from _all(element.elements)
        elif isinstance(element, SplitElement):
            yield from _all(element.flows)


def _check_ids(document: JobElement, faults: Faults) -> None:
    """Ids are unique in the document, across kinds (S181)."""
    ids = [(_kind(one), one.id) for one in _all(document.elements)]
    if document.language == "xml":
        ids.insert(0, ("job", document.id))
    lines: dict[str, int] = {}
    for kind, name in ids:
        if not name.text:
            continue  # The reader has said so.
        if NAME_PATTERN.fullmatch(name.text) is None:
            faults.error(name.line, f"the name of a {kind} must be {NAME_RULE}, got {name.text!r}")
        elif "#{" in name.text:
            faults.warn(name.line, f"{kind} {name.text!r}: nothing is substituted in an id (S81)")
        if name.text in lines:
            faults.error(
                name.line,
                f"{kind} {name.text!r}: the id stands twice",
                f"first on line {lines[name.text]}; ids are unique across kinds",
            )
        lines.setdefault(name.text, name.line)
    if document.language == "yaml" and NAME_PATTERN.fullmatch(document.id.text or "-") is None:
        faults.error(
            document.id.line, f"the name of a job must be {NAME_RULE}, got {document.id.text!r}"
        )


def _kind(element: Element) -> str:
    return type(element).__name__.removesuffix("Element").lower()


class Container:
    """The elements of a job or flow, as they are written and as they were made."""

    def __init__(
        self,
        what: str,
        written: Sequence[Element],
        made: Sequence[Any],
        restarts: Sequence[str],
    ) -> None:
        self._what = what
        self._pairs = list(zip(written, made, strict=True))
        self._names = [element.name for element in made]
        self._restarts = restarts

    def check(self, faults: Faults, *, implied_next: bool) -> None:
        """Content, first element, targets and cycles, here and further in."""
        for number, (written, made) in enumerate(self._pairs):
            if number == 0 and isinstance(made, Decision):
                faults.error(
                    written.id.line,
                    f"{self._what} must not begin with a decision, {made.name!r} does",
                    "a decision follows a step, a flow or a split",
                )
            self._check_content(written, made, faults)
            self._check_targets(written, made, faults)
        self._check_cycles(faults, implied_next=implied_next)

    def _check_content(self, written: Element, made: Any, faults: Faults) -> None:
        line = written.id.line
        what = f"{_kind(written)} {made.name!r}"
        if isinstance(written, StepElement):
            if written.tasklet is None and written.chunk is None:
                faults.error(line, f"{what} must have a tasklet (batchlet) or a chunk")
            if written.tasklet is not None and written.chunk is not None:
                faults.error(
                    written.chunk.line,
                    f"{what} has a tasklet and a chunk",
                    f"remove one; the tasklet stands on line {written.tasklet.line}",
                )
        elif isinstance(made, Flow):
            self._check_flow(written, made, faults)
        elif isinstance(made, Split) and isinstance(written, SplitElement):
            if not made.flows:
                faults.error(line, f"{what} must hold at least one flow")
            for flow, made_flow in zip(written.flows, made.flows, strict=True):
                self._check_flow(flow, made_flow, faults)
                self._check_split_flow(flow, made_flow, faults)

    def _check_flow(self, written: Any, made: Flow, faults: Faults) -> None:
        if not made.elements:
            faults.error(written.id.line, f"flow {made.name!r} must hold at least one step")
        inner = Container(f"flow {made.name!r}", written.elements, made.elements, self._restarts)
        inner.check(faults, implied_next=made.implied_next)

    def _check_split_flow(self, written: FlowElement, made: Flow, faults: Faults) -> None:
        """Beside a flow of a split there is nothing to go to; it may end the job (S56)."""
        if made.next is not None and written.next is not None:
            faults.error(
                written.next.line,
                f"flow {made.name!r} is in a split: it cannot go to {made.next!r}",
                "the split has the `next`",
            )
        alone = Container("the split", (written,), (made,), self._restarts)
        alone._check_transitions(written, made, faults)

    def _check_targets(self, written: Any, made: Any, faults: Faults) -> None:
        following = next_of(made)
        if following is not None:
            self._check_target(written.next.line, written, following, faults)
        self._check_transitions(written, made, faults)

    def _check_transitions(self, written: Any, made: Any, faults: Faults) -> None:
        pairs = zip(getattr(written, "transitions", ()), transitions_of(made), strict=True)
        for element, transition in pairs:
            if transition.to is not None:
                self._check_target(element.to.line, written, transition.to, faults)
            if transition.restart is not None and transition.restart not in self._restarts:
                faults.error(
                    element.restart.line,
                    f"{_kind(written)} {made.name!r}: a restart cannot begin at"
                    f" {transition.restart!r}",
                    f"{did_you_mean(transition.restart, self._restarts)} it begins at a step, flow"
                    " or split of the job".strip(),
                )

    def _check_target(self, line: int, written: Any, target: str, faults: Faults) -> None:
        if target in self._names:
            return
        others = [name for name in self._names if name != written.id.text]
        faults.error(
            line,
            f"{_kind(written)} {written.id.text!r}: there is no {target!r} beside it to go to",
            f"{did_you_mean(target, others)} in {self._what} there are"
            f" {', '.join(self._names)}".strip(),
        )

    # --- cycles -------------------------------------------------------------------------------

    def _check_cycles(self, faults: Faults, *, implied_next: bool) -> None:
        cycle = cycle_of([made for _, made in self._pairs], implied_next=implied_next)
        if cycle is not None:
            lines = {made.name: written.id.line for written, made in reversed(self._pairs)}
            faults.error(
                lines[cycle[-2]],
                f"elements must not lead back to themselves: {' → '.join(cycle)} (S47)",
                "a repetition is a new start of the job",
            )
