"""Write state.json as the old program left it: 200 items, some done, some failed, some under way.

    python examples/workflow/make_state.py

The file is in the repository; this program tells how it came about.
"""

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHAPTERS, PAGES, EDITIONS = 10, 8, 4


def items():
    """A book of ten chapters: each page is written, then reviewed; each chapter is published."""
    for chapter in range(1, CHAPTERS + 1):
        for page in range(1, PAGES + 1):
            file = f"chapter-{chapter}/{page}.md"
            title = f"Chapter {chapter}, page {page}"
            yield {"id": f"write-{chapter}-{page}", "agent": "writer", "files": [file]}, title
            yield {"id": f"review-{chapter}-{page}", "agent": "reviewer", "files": [file]}, title
        for edition in range(1, EDITIONS + 1):
            files = [f"chapter-{chapter}/*.md", f"site/chapter-{chapter}.html"]
            item = {"id": f"publish-{chapter}-{edition}", "agent": "publisher", "files": files}
            yield item, f"Chapter {chapter}, edition {edition}"


def status(number, item):
    """The first chapter was done; the program died within the second."""
    if item["id"] in ("review-1-3", "publish-1-4"):
        return {"status": "failed", "error": "the agent did not answer"}
    if number < 20:
        return {"status": "done"}
    if number < 23:
        return {"status": "running", "started": "2026-11-19T23:12:08"}
    return {"status": "pending"}


def main():
    lines = [
        json.dumps({**item, **status(number, item), "title": title})
        for number, (item, title) in enumerate(items())
    ]
    text = (
        '{"version": 3, "saved": "2026-11-19T23:12:09", "owner": "the old program",\n"items": [\n'
        + ",\n".join(lines)
        + "\n]}\n"
    )
    (HERE / "state.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
