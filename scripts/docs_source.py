#!/usr/bin/env python3
"""The pages of the documentation site as MkDocs reads them: docs_source.py FOLDER.

Copies the repository's pages and pictures into FOLDER, which is emptied, in the same folders, so that relative links
hold. Each folder of examples becomes a page with their sources, and a link to a file that is not a page leads to a
copy of it.
"""

import pathlib
import re
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/*", "docs/study/*.md", "docs/study/results/*.svg", "docs/study/results/*.csv",
         "data/README.md", "bench/results/**/*.md", "bench/results/**/*.svg", "include/octavo/*", "examples/*.py",
         "LICENSE")
LANGUAGES = {".py": "python", ".c": "c", ".cpp": "cpp", ".txt": "cmake"}


def examples(folder):
    """A page with every source file of the folder."""
    parts = [f"# Examples: {folder.name}\n"]
    for path in sorted(folder.iterdir()):
        if path.suffix in LANGUAGES:
            parts.append(f"## {path.name}\n\n````{LANGUAGES[path.suffix]}\n{path.read_text().rstrip()}\n````\n")
    return "\n".join(parts)


def main():
    target = pathlib.Path(sys.argv[1])
    shutil.rmtree(target, ignore_errors=True)
    for pattern in PAGES:
        for path in ROOT.glob(pattern):
            if path.is_file():
                copy = target / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
    folders = [folder for folder in sorted((ROOT / "examples").iterdir()) if folder.is_dir()]
    for folder in folders:
        page = target / "examples" / folder.name / "index.md"
        page.parent.mkdir(parents=True)
        page.write_text(examples(folder))
    # MkDocs links files, not folders.
    names = "|".join(folder.name for folder in folders)
    for page in target.rglob("*.md"):
        text = page.read_text()
        page.write_text(re.sub(rf"\]\(((?:\.\./)*examples/(?:{names}))/?\)", r"](\1/index.md)", text))


if __name__ == "__main__":
    main()
