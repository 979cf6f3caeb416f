"""An XML document as a tree of elements with their lines; hostile documents are refused.

A DOCTYPE is refused where it begins (S180), so no entity is ever defined, expanded or fetched, and
nothing is read but the bytes at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler, feature_namespaces
from xml.sax.xmlreader import InputSource

import defusedxml.sax
from defusedxml.common import DefusedXmlException

from stepwell.jsl.fault import Faults

DEPTH_MAX = 100  # Flows in flows in flows; far beyond what a person writes.


@dataclass
class Node:
    """One element.

    Attributes:
        namespace: Its URI, or "".
        attributes: Those without a namespace; the others (``xsi:schemaLocation``) mean nothing.
        text: The first words between its tags; an element of a job file holds none.
        text_line: Where they stand.
    """

    tag: str
    namespace: str
    line: int
    attributes: dict[str, str]
    children: list[Node] = field(default_factory=list)
    text: str = ""
    text_line: int = 0


class _TooDeep(Exception):
    """The document is nested beyond ``DEPTH_MAX``."""


class _TreeHandler(ContentHandler):
    def __init__(self) -> None:
        super().__init__()
        self.root: Node | None = None
        self._open: list[Node] = []
        self._locator: Any = None

    def setDocumentLocator(self, locator: Any) -> None:  # noqa: N802 - the name is SAX's
        self._locator = locator

    @property
    def line(self) -> int:
        return self._locator.getLineNumber() or 0 if self._locator else 0

    def startElementNS(self, name: Any, qname: Any, attrs: Any) -> None:  # noqa: N802
        namespace, tag = name
        attributes = {key: value for (uri, key), value in attrs.items() if not uri}
        node = Node(tag, namespace or "", self.line, attributes)
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        if len(self._open) >= DEPTH_MAX:
            raise _TooDeep
        self._open.append(node)

    def endElementNS(self, name: Any, qname: Any) -> None:  # noqa: N802
        self._open.pop()

    def characters(self, content: str) -> None:
        # No more than the first: whoever sends megabytes of text shall not have them copied.
        if self._open and not self._open[-1].text and (words := content.split()):
            self._open[-1].text = " ".join(words)
            self._open[-1].text_line = self.line


def read_tree(document: bytes, faults: Faults) -> Node | None:
    """The root element; None, with a fault, when the document cannot be read."""
    handler = _TreeHandler()
    parser = defusedxml.sax.make_parser()
    parser.forbid_dtd = True
    parser.setFeature(feature_namespaces, True)  # noqa: FBT003 - as SAX has it
    parser.setContentHandler(handler)
    source = InputSource()
    source.setByteStream(BytesIO(document))
    try:
        parser.parse(source)
    except SAXParseException as error:
        faults.error(
            error.getLineNumber() or 0,
            f"this is no well-formed XML: {error.getMessage()}",
            "an XML editor shows the place; a job file begins with `<job`",
        )
    except DefusedXmlException:
        faults.error(
            handler.line,
            "a document with a DOCTYPE is refused",
            "remove the DOCTYPE and write out what its entities stand for",
        )
    except _TooDeep:
        faults.error(handler.line, f"elements are nested more than {DEPTH_MAX} deep")
    except (LookupError, ValueError) as error:  # An encoding that nobody knows, or wrong bytes.
        faults.error(1, f"this is no XML that can be decoded: {error}", "save it as UTF-8")
    else:
        return handler.root
    return None
