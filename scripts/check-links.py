#!/usr/bin/env python3
"""Checks that the relative links of the Markdown pages lead to files and headings.

scripts/check-links.py [FILE or FOLDER...]; without arguments, every page of the repository.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Without the folders that builds write to.
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "examples", "judge/README.md", "peers/README.md"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page):
    """The page without its blocks of code."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return kept


def anchors(page):
    made = set()
    for line in text_of(page):
        if heading := re.match(r"#+ (.*)", line):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            made.add(words.strip().replace(" ", "-"))
    return made


def wrong_links(page):
    for line in text_of(page):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            to = (page.parent / path).resolve() if path else page
            if not to.exists():
                yield f"{page}: {target} leads nowhere"
            elif anchor and to.suffix == ".md" and anchor not in anchors(to):
                yield f"{page}: {target}: no such heading"


def main():
    pages = []
    for name in map(Path, sys.argv[1:] or [ROOT / page for page in PAGES]):
        pages += sorted(name.rglob("*.md")) if name.is_dir() else [name]
    wrong = [what for page in pages for what in wrong_links(page)]
    print("\n".join(wrong) or f"the links of {len(pages)} pages lead somewhere", file=sys.stderr)
    sys.exit(bool(wrong))


main()
