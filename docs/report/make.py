"""The technical report and the slides, as PDF, from the pages and figures of the documentation.

python docs/report/make.py [FOLDER]

Pandoc reads Markdown and the bibliography, typst sets the pages; both come as Python packages, and
neither asks the network. A line ``<<page NAME>>`` in a source stands for that page.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pypandoc
import typst

DOCS = Path(__file__).resolve().parents[1]
PAGE = re.compile(r"^<<page ([\w-]+)>>$", re.MULTILINE)
EQUATION = re.compile(r"^```\{math\}\n(.*?)^```$", re.DOTALL | re.MULTILINE)
IMAGE = re.compile(r"(!\[[^\]]*\]\()(?!https?:)([^)]+)\)")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]+\)")
DIGITS = re.compile(r"(\\[dt]?frac)\s*(\d)\s*(\d)")
READ = "markdown-implicit_figures+lists_without_preceding_blankline"


def markdown(text: str) -> str:
    """Turn a page into what pandoc reads: equations in dollars, no links to other pages.

    Pictures are told from the folder of the documentation, which is the root for typst.
    """
    text = EQUATION.sub(lambda found: f"$$\n{found[1].strip()}\n$$", text)
    text = LINK.sub(r"\1", text)
    text = DIGITS.sub(r"\1{\2}{\3}", text)
    return IMAGE.sub(lambda found: f"{found[1]}/{found[2].removeprefix('../').lstrip('/')})", text)


def whole(source: str) -> str:
    """Put pages in the place of their marks.

    Raises
    ------
    FileNotFoundError
        If there is no such page.
    """
    return PAGE.sub(
        lambda mark: markdown((DOCS / f"{mark[1]}.md").read_text(encoding="utf-8")),
        markdown(source),
    )


def typeset(source: Path, template: Path, folder: Path, *, extra: tuple[str, ...] = ()) -> Path:
    """Make a PDF of a source; what typst reads stays beside it.

    Parameters
    ----------
    source
        Markdown with a title block.
    template
        Pandoc's template for typst.
    folder
        Where to write.
    extra
        Further arguments of pandoc.

    Returns
    -------
    pathlib.Path
        The PDF.
    """
    text = pypandoc.convert_text(
        whole(source.read_text(encoding="utf-8")),
        "typst",
        format=READ,
        extra_args=[
            f"--template={template}",
            f"--bibliography={DOCS / 'references.bib'}",
            "--citeproc",
            "--columns=10000",  # columns of tables are as wide as what stands in them
            f"--metadata=version:{version('ogive').split('+')[0]}",
            *extra,
        ],
    )
    folder.mkdir(parents=True, exist_ok=True)
    typ = folder / f"{source.stem}.typ"
    typ.write_text(text, encoding="utf-8")
    made = typ.with_suffix(".pdf")
    typst.compile(str(typ), output=str(made), root=str(DOCS))
    return made


def make(folder: Path) -> list[Path]:
    """Make the report and the slides."""
    here = DOCS / "report"
    slides = DOCS / "slides"
    return [
        typeset(here / "report.md", here / "report.typ", folder, extra=("--number-sections",)),
        typeset(slides / "slides.md", slides / "slides.typ", folder),
    ]


def main() -> None:
    """Make both in the folder given, ``docs/_build`` by default; it lies inside of the root."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "_build"
    for made in make(folder.resolve()):
        print(f"{made}: {made.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
