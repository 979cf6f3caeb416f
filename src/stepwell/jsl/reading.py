"""Read substituted text as what it must be, and say where it is not (S85, S183)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from stepwell.job.artifact import ArtifactRegistry
from stepwell.jsl.artifact import (
    ReferencedArtifact,
    Role,
    argument_faults,
    deprecation_of,
    property_warnings,
    role_faults,
)
from stepwell.jsl.expression import MalformedExpression, Template, parse
from stepwell.jsl.fault import Faults, did_you_mean
from stepwell.jsl.injection import is_function
from stepwell.jsl.model import ArtifactElement, Properties, Text
from stepwell.jsl.references import NotFound, find_artifact, find_exception
from stepwell.jsl.surroundings import (
    NoPartitionHere,
    Surroundings,
    assumed,
    waits_for_parameters_alone,
)

Word = TypeVar("Word", bound=str)

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class Reading:
    """Reads the texts of one element in its surroundings; every fault goes to ``faults``.

    What is read is None when it is absent, faulty, or not known yet; a caller that goes on with a
    default builds a job that is refused, or only shown.
    """

    surroundings: Surroundings
    registry: ArtifactRegistry
    faults: Faults
    language: Literal["xml", "yaml"]
    implied_next: bool = True

    def named(self, xml: str, yaml: str) -> str:
        """What an attribute is called in this document."""
        return xml if self.language == "xml" else yaml

    def with_partitions(self) -> Reading:
        """For what lives where a partition runs: ``partitionPlan`` may stand there."""
        return replace(self, surroundings=replace(self.surroundings, partitions_here=True))

    def within(self, properties: Properties, what: str) -> tuple[Reading, dict[str, Template]]:
        """The reading of what stands inside an element with these properties; and they."""
        templates = []
        for one in properties:
            # YAML has no expressions in names (S81).
            name = one.name.text if self.language == "yaml" else self._parse(one.name, what)
            value = self._parse(one.value, f"{what}: property {one.name.text!r}")
            if name is not None and value is not None:
                templates.append((name, value, one))
        level: dict[str, Template] = {}
        inside = replace(self, surroundings=self.surroundings.within(level))
        for name_template, value_template, one in templates:
            # One by one: each sees those before it (S83), and has its own line.
            name = inside.filled(name_template, one.name, what)
            value = inside.filled(value_template, one.value, f"{what}: property {one.name.text!r}")
            if isinstance(name, str):
                level[name] = "" if value is None else value
            elif name is not None and not waits_for_parameters_alone(name):
                self.faults.error(
                    one.name.line,
                    f"{what}: the name of a property cannot wait for its partition",
                )
        return inside, level

    # --- texts --------------------------------------------------------------------------------

    def template(self, text: Text, what: str) -> Template | None:
        """The text as far as it is known."""
        parsed = self._parse(text, what)
        return None if parsed is None else self.filled(parsed, text, what)

    def text(self, text: Text | None, what: str) -> str | None:
        """The whole text."""
        if text is None:
            return None
        template = self.template(text, what)
        if template is None or isinstance(template, str):
            return template
        if waits_for_parameters_alone(template):
            return assumed(template)
        if not self.surroundings.partitions_here:
            self._no_partition(text, what)
        return None

    def waits(self, text: Text) -> bool:
        """Whether the text is known only when a partition starts."""
        quiet = replace(self, faults=Faults())
        template = quiet.template(text, "")
        return template is not None and not waits_for_parameters_alone(template)

    def _parse(self, text: Text, what: str) -> Template | None:
        try:
            return parse(text.text)
        except MalformedExpression as error:
            self.faults.error(text.line, f"{what}: {error.fact}", error.hint)
            return None

    def filled(self, template: Template, text: Text, what: str) -> Template | None:
        """``template``, which was parsed from ``text``, as far as it is known."""
        try:
            return self.surroundings.fill(template)
        except NoPartitionHere:
            self._no_partition(text, what)
            return None

    def _no_partition(self, text: Text, what: str) -> None:
        self.faults.error(
            text.line,
            f"{what}: partitionPlan is not known here, in {text.text!r}",
            "it is known where a partition runs: in the tasklet or chunk, the collector and the"
            " listeners of a partitioned step",
        )

    # --- numbers, booleans, words -------------------------------------------------------------

    def whole_number(self, text: Text | None, what: str, *, at_least: int) -> int | None:
        """A whole number."""
        read = self.text(text, what)
        if text is None or read is None:
            return None
        if _WHOLE_NUMBER.fullmatch(read.strip()) and int(read) >= at_least:
            return int(read)
        self._must_be(text, what, f"a whole number, {at_least} or more", read)
        return None

    def seconds(self, text: Text | None, what: str) -> float | None:
        """A number that is not negative."""
        read = self.text(text, what)
        if text is None or read is None:
            return None
        number = _number(read)
        if number is None or not 0 <= number < float("inf"):
            self._must_be(text, what, "seconds, 0 or more", read)
            return None
        return number

    def tolerance(self, text: Text | None, what: str) -> int | float | None:
        """A count, or a fraction from 0.0 to 1.0 (S163)."""
        read = self.text(text, what)
        if text is None or read is None:
            return None
        is_count = _WHOLE_NUMBER.fullmatch(read.strip()) is not None
        number = _number(read)
        if number is None or number < 0 or (not is_count and not number <= 1):
            self._must_be(text, what, "a count, or a fraction from 0.0 to 1.0", read)
            return None
        return int(read) if is_count else number

    def boolean(self, text: Text | None, what: str) -> bool | None:
        """``true`` or ``false``, in any case."""
        read = self.text(text, what)
        if text is None or read is None:
            return None
        if read.strip().lower() not in ("true", "false"):
            self._must_be(text, what, "true or false", read)
            return None
        return read.strip().lower() == "true"

    def one_of(self, text: Text | None, what: str, words: tuple[Word, ...]) -> Word | None:
        """One of some words."""
        read = self.text(text, what)
        if text is None or read is None:
            return None
        for word in words:
            if word == read:
                return word
        listed = ", ".join(repr(word) for word in words)
        self._must_be(text, what, f"one of {listed}", read, did_you_mean(read, words))
        return None

    def _must_be(self, text: Text, what: str, rule: str, read: str, hint: str = "") -> None:
        written = "" if text.text == read else f" from {text.text!r}"
        self.faults.error(text.line, f"{what} must be {rule}, got {read!r}{written}", hint)

    # --- artifacts and exception classes ------------------------------------------------------

    def artifact(self, element: ArtifactElement, role: Role, of: str) -> Any:
        """What stands for the artifact in the job's value: a function itself, else a factory."""
        what = f"{role.name} of {of}"
        inside, properties = self.within(element.properties, what)
        ref = inside.template(element.ref, f"{what}: ref")
        target = None
        if ref is not None and element.ref.text:
            name = inside.text(element.ref, f"{what}: ref")
            if name is not None:
                target = inside.target(name, element, what)
                if target is not None:
                    self._check_target(target, name, role, element, properties, what)
        if is_function(target) and not properties:
            return target
        return ReferencedArtifact(ref or "", tuple(properties.items()), target, self.registry)

    def target(self, name: str, element: ArtifactElement, what: str) -> Any:
        """What a ``ref`` means."""
        try:
            return find_artifact(name, self.registry)
        except NotFound as error:
            self.faults.error(element.line, f"{what}: {error.fact}", error.hint)
            return None

    def _check_target(
        self,
        target: Any,
        ref: str,
        role: Role,
        element: ArtifactElement,
        properties: Mapping[str, Template],
        what: str,
    ) -> None:
        for message, hint in role_faults(target, role):
            self.faults.error(element.line, f"{what}: {message}", hint)
        for message, hint in argument_faults(target, set(properties)):
            self.faults.error(element.line, f"{what}: {message}", hint)
        lines = {one.name.text: one.name.line for one in element.properties}
        texts = {name: assumed(value) for name, value in properties.items()}
        for name, message, hint in property_warnings(target, texts):
            self.faults.warn(lines.get(name, element.line), f"{what}: {message}", hint)
        deprecation = deprecation_of(target)
        if deprecation:
            self.faults.warn(element.line, f"{what}: {ref!r} is deprecated", deprecation)

    def exception_class(self, text: Text, what: str) -> type[BaseException] | None:
        """An exception class (S182)."""
        name = self.text(text, what)
        if name is None:
            return None
        try:
            return find_exception(name)
        except NotFound as error:
            self.faults.error(text.line, f"{what}: {error.fact}", error.hint)
            return None


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None
    except ValueError:
        return None
