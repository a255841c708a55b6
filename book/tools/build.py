"""Run the book: every chapter and solution in a fresh kernel, into executed copies and HTML.

``make book`` runs this file. With ``--in-place`` the outputs go back into the notebooks, which is
how a chapter's committed outputs are made. ``--badges`` runs nothing and only rewrites the badge
links.
"""

from __future__ import annotations

import argparse
import base64
import html
import re
import shutil
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from nbformat import NotebookNode

BOOK = Path(__file__).resolve().parents[1]
ROOT = BOOK.parent
OUTPUT = ROOT / "build" / "book"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

BINDER_IMAGE = "[![Binder](images/binder.svg)]"
COLAB_IMAGE = "[![Colab](images/colab.svg)]"
BADGE_LINE = re.compile(rf"^{re.escape(BINDER_IMAGE)}.*$", re.MULTILINE)
TITLE_LINE = re.compile(r"^# .+$", re.MULTILINE)


def chapter_paths(book: Path = BOOK) -> list[Path]:
    """The chapters in reading order."""
    return sorted(book.glob("[0-9]*.ipynb"))


def solution_paths(book: Path = BOOK) -> list[Path]:
    """The solutions to the chapters' exercises."""
    return sorted((book / "solutions").glob("*.ipynb"))


def read_notebook(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


# --- badges -------------------------------------------------------------------------------------


def repository_setting(root: Path = ROOT) -> tuple[str, str]:
    """The repository ("owner/name") and branch, from pyproject.toml, the only place with them."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = settings["tool"]["rlbook"]
    return address["repository"], address["branch"]


def badge_line(file_name: str, repository: str, branch: str) -> str:
    """The line of a chapter's header that opens it on Binder and on Colab."""
    binder = f"https://mybinder.org/v2/gh/{repository}/{branch}?labpath=book%2F{file_name}"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{branch}/book/{file_name}"
    return f"{BINDER_IMAGE}({binder}) {COLAB_IMAGE}({colab})"


def update_badges(path: Path, repository: str, branch: str) -> bool:
    """Rewrite the badge line in the chapter's first cell, or add it below the title.

    True if the file changed.
    """
    notebook = read_notebook(path)
    header = notebook.cells[0]
    line = badge_line(path.name, repository, branch)
    # Functions, not strings, so that nothing in a line is read as a reference to a group.
    if BADGE_LINE.search(header.source):
        updated = BADGE_LINE.sub(lambda _: line, header.source, count=1)
    else:
        updated = TITLE_LINE.sub(lambda title: f"{title[0]}\n\n{line}", header.source, count=1)
    if updated == header.source:
        return False
    header.source = updated
    write_notebook(notebook, path)
    return True


def update_all_badges(paths: list[Path]) -> None:
    repository, branch = repository_setting()
    for path in paths:
        state = "updated" if update_badges(path, repository, branch) else "unchanged"
        print(f"{name_of(path):<34} {state}")


# --- running ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One notebook after it was run; ``failure`` is one line, empty when every cell passed."""

    path: Path
    notebook: NotebookNode
    seconds: float
    failure: str


def one_line(text: str, limit: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def run_notebook(path: Path, timeout: int) -> Run:
    """Run one notebook in its own folder, in a fresh kernel of this very interpreter."""
    notebook = read_notebook(path)
    code_cells = 0

    def count_code_cells(cell: NotebookNode, cell_index: int) -> None:
        nonlocal code_cells
        code_cells += 1

    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name=KERNEL["name"],
        # What a kernel has to say of itself is not about the book; a failing cell still tells all.
        extra_arguments=["--log-level=CRITICAL"],
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=count_code_cells,
    )
    failure = ""
    began = time.perf_counter()
    try:
        client.execute()
    except CellExecutionError as error:
        failure = f"cell {code_cells}: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        failure = f"cell {code_cells}: took longer than {timeout} s"
    except DeadKernelError:
        failure = f"cell {code_cells}: the kernel died"
    return Run(path, notebook, time.perf_counter() - began, one_line(failure))


def tidy_metadata(notebook: NotebookNode) -> None:
    """Remove what differs from run to run and between machines, so that diffs show the book."""
    notebook.metadata["kernelspec"] = dict(KERNEL)
    notebook.metadata.get("language_info", {}).pop("version", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


# --- HTML ---------------------------------------------------------------------------------------

LINK_TO_NOTEBOOK = re.compile(r'(href="(?![a-z]+:)[^"#]*)\.ipynb(?=["#])')


def to_html(run: Run) -> str:
    """The notebook as one HTML file: local images inside it, links leading to the other pages."""
    exporter = HTMLExporter(embed_images=True)
    resources = {
        "metadata": {"path": str(run.path.parent), "name": title_of(run.notebook, run.path)}
    }
    body, _ = exporter.from_notebook_node(run.notebook, resources=resources)
    return LINK_TO_NOTEBOOK.sub(r"\1.html", body)


def title_of(notebook: NotebookNode, path: Path) -> str:
    """The first heading of the notebook, or else its file's name."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and (heading := TITLE_LINE.search(cell.source)):
            return heading[0].removeprefix("# ").strip()
    return path.stem


INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>rlbook</title>
<style>
body {{ font: 17px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; }}
a {{ color: #1a5fb4; }}
</style>
<h1>rlbook</h1>
<ol start="0">
{chapters}
</ol>
<h2>Solutions</h2>
<ul>
{solutions}
</ul>
</html>
"""


def index_html(output: Path = OUTPUT) -> str:
    """The page that lists every chapter and solution that lies in ``output``."""
    chapters, solutions = (
        "\n".join(index_item(path, output) for path in paths)
        for paths in (chapter_paths(output), solution_paths(output))
    )
    return INDEX.format(chapters=chapters, solutions=solutions)


def index_item(path: Path, output: Path) -> str:
    address = path.relative_to(output).with_suffix(".html").as_posix()
    title = title_of(read_notebook(path), path)
    return f'<li><a href="{html.escape(address)}">{html.escape(title)}</a></li>'


# --- the command --------------------------------------------------------------------------------


def name_of(path: Path) -> str:
    """How a notebook is called on the command line: its path in the book without the suffix."""
    return path.relative_to(BOOK).with_suffix("").as_posix()


def select(paths: list[Path], name: str) -> list[Path]:
    """The notebooks so called: ``03`` is a chapter and its solutions, ``solutions/03`` those."""
    name = name.removesuffix(".ipynb")
    return [path for path in paths if name_of(path).startswith(name) or path.stem.startswith(name)]


def save(run: Run, in_place: bool) -> None:
    """Write the executed copy and the page; the book itself changes only if every cell passed."""
    tidy_metadata(run.notebook)
    copy = OUTPUT / run.path.relative_to(BOOK)
    write_notebook(run.notebook, copy)
    copy.with_suffix(".html").write_text(to_html(run), encoding="utf-8")
    if in_place and not run.failure:
        write_notebook(run.notebook, run.path)
        save_header_picture(run)


def save_header_picture(run: Run) -> None:
    """The picture of the cell tagged ``header-picture``, which the chapter's first cell shows."""
    for cell in run.notebook.cells:
        if "header-picture" in cell.metadata.get("tags", []):
            images = [output.data["image/png"] for output in cell.outputs if "data" in output]
            target = run.path.parent / "images" / f"{run.path.stem}.png"
            target.write_bytes(base64.b64decode(images[0]))


def build(paths: list[Path], timeout: int, in_place: bool) -> bool:
    """Run and write every notebook, one line each; True if all of them passed."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    passed = True
    for path in paths:
        print(f"{name_of(path):<34} ", end="", flush=True)
        run = run_notebook(path, timeout)
        print(f"{run.seconds:6.1f} s  {run.failure or 'pass'}", flush=True)
        save(run, in_place)
        passed = passed and not run.failure
    (OUTPUT / "index.html").write_text(index_html(), encoding="utf-8")
    print(f"The pages are in {OUTPUT.relative_to(ROOT)}/; begin with index.html.")
    return passed


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Run every chapter and solution; executed copies and HTML go to build/book/."
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        default="",
        help="only notebooks whose name begins so: 03, solutions/03",
    )
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="save the outputs back into the notebooks that passed",
    )
    parser.add_argument(
        "--timeout",
        type=int,
        default=300,
        metavar="S",
        help="seconds that one cell may take (%(default)s)",
    )
    parser.add_argument(
        "--badges",
        action="store_true",
        help="run nothing; rewrite the chapters' badge links from [tool.rlbook] in pyproject.toml",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    candidates = chapter_paths() + ([] if options.badges else solution_paths())
    paths = select(candidates, options.only)
    if options.only and not paths:
        print(f"error: no notebook's name begins with {options.only!r}", file=sys.stderr)
        return 2
    if options.badges:
        update_all_badges(paths)
        return 0
    if not options.only:
        shutil.rmtree(OUTPUT, ignore_errors=True)  # so that no page of a chapter now gone stays
    return 0 if build(paths, options.timeout, options.in_place) else 1


if __name__ == "__main__":
    sys.exit(main())
