"""What every notebook of the book must keep to, read from its file: nothing is run here.

nbval runs the notebooks (see `make test`); these tests hold their shape, their header, their links
and their saved outputs. The last ones hold requirements.txt and pyproject.toml together.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]


def load_build() -> ModuleType:
    """book/tools/build.py, which is a script and not part of a package."""
    spec = importlib.util.spec_from_file_location(
        "rlbook_book_build", ROOT / "book" / "tools" / "build.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Before it runs, because a dataclass looks its own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


build = load_build()
CHAPTERS: list[Path] = build.chapter_paths()
SOLUTIONS: list[Path] = build.solution_paths()

each_notebook = pytest.mark.parametrize("path", CHAPTERS + SOLUTIONS, ids=build.name_of)
each_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=build.name_of)

MAX_LINES = 30
MAX_MEDIAN_LINES = 8
CODE_CELLS = range(20, 41)
WORDS = range(1500, 4501)
HEADER_LABELS = [
    "**The question.**",
    "**Before you start.**",
    "**Run time.**",
    "**What you will build.**",
]


# --- reading ------------------------------------------------------------------------------------


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def cells(notebook: NotebookNode, kind: str) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == kind]


def code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    """The code cells with their numbers from 1, the counts that a fresh run gives them."""
    return list(enumerate(cells(notebook, "code"), start=1))


def markdown_text(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in cells(notebook, "markdown"))


def output_texts(notebook: NotebookNode) -> Iterator[tuple[int, str]]:
    """Each text that a code cell left behind, with its number; embedded pictures left out."""
    for number, cell in code_cells(notebook):
        for output in cell.outputs:
            texts = [output.get("text", ""), *output.get("traceback", [])]
            for kind, value in output.get("data", {}).items():
                if isinstance(value, str) and (not kind.startswith("image/") or "svg" in kind):
                    texts.append(value)
            for text in texts:
                yield number, without_embedded_data(text)


def without_embedded_data(text: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=\s\\]*", "base64,", text)


FENCED_CODE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
INLINE_CODE = re.compile(r"(`+).+?\1", re.DOTALL)
DISPLAY_MATHS = re.compile(r"\$\$.+?\$\$|\\begin\{(\w+\*?)\}.+?\\end\{\1\}", re.DOTALL)
INLINE_MATHS = re.compile(r"(?<![\\$])\$(?!\s)[^$]+?(?<!\s)\$")
HTML_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^>]*>", re.DOTALL)
IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
LINK_TARGET = re.compile(r"(?<=\])\([^)]*\)")
WORD = re.compile(r"[^\W\d_][\w'’-]*")


def count_words(markdown: str) -> int:
    """The words of the prose: code, maths, tags, images and link targets are not prose."""
    for ignored in (
        FENCED_CODE,
        INLINE_CODE,
        DISPLAY_MATHS,
        INLINE_MATHS,
        IMAGE,
        LINK_TARGET,
        HTML_TAG,
    ):
        markdown = ignored.sub(" ", markdown)
    return len(WORD.findall(markdown))


IMAGE_TARGET = re.compile(r"!\[[^\]]*\]\(\s*<?([^)\s>]+)|<img\b[^>]*?\bsrc\s*=\s*[\"']([^\"']+)")
# The first folders of absolute paths, and a Windows drive; a path in an address does not count.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|tmp|Users|var|opt|usr|mnt|work|srv|private|content)/[\w.-]"
    r"|\b[A-Z]:\\+\w"
)


def image_targets(text: str) -> list[str]:
    return [markdown or tag for markdown, tag in IMAGE_TARGET.findall(text)]


def checkers(*sources: str) -> set[str]:
    """The checkers that are named, as in `rlbook.check.q_learning_update(mine)`."""
    return set(re.findall(r"\brlbook\.check\.([a-zA-Z]\w*)", "\n".join(sources)))


def exercises(chapter: NotebookNode) -> set[str]:
    """The checkers of a chapter's exercises: those in a cell with a stub."""
    return checkers(
        *(cell.source for cell in chapter.cells if "NotImplementedError" in cell.source)
    )


# --- every notebook -----------------------------------------------------------------------------


@each_notebook
def test_saved_outputs_hold_no_error_and_nothing_from_stderr(path: Path) -> None:
    for number, cell in code_cells(read(path)):
        for output in cell.outputs:
            assert output.output_type != "error", f"cell {number} failed: {output.get('evalue')}"
            assert output.get("name") != "stderr", f"cell {number} wrote to stderr: {output.text}"


@each_notebook
def test_cells_were_run_once_in_order_from_a_fresh_kernel(path: Path) -> None:
    notebook = read(path)
    for number, cell in code_cells(notebook):
        assert cell.source.strip(), f"code cell {number} is empty"
    counts = [cell.execution_count for _, cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1)), "run it with `make book ARGS=--in-place`"


@each_notebook
def test_code_cells_are_short(path: Path) -> None:
    notebook = read(path)
    for number, cell in code_cells(notebook):
        lines = len(cell.source.splitlines())
        assert lines <= MAX_LINES, f"cell {number} has {lines} lines, more than {MAX_LINES}"
    sizes = [
        sum(bool(line.strip()) for line in cell.source.splitlines())
        for _, cell in code_cells(notebook)
    ]
    assert statistics.median(sizes) <= MAX_MEDIAN_LINES, f"lines in the cells: {sizes}"


@each_notebook
def test_no_absolute_paths(path: Path) -> None:
    notebook = read(path)
    for index, cell in enumerate(notebook.cells, start=1):
        found = ABSOLUTE_PATH.search(without_embedded_data(cell.source))
        assert not found, f"cell {index} of all names the path {found}"
    for number, text in output_texts(notebook):
        found = ABSOLUTE_PATH.search(text)
        assert not found, f"the output of code cell {number} names the path {found}"


@each_notebook
def test_images_are_local_and_exist(path: Path) -> None:
    notebook = read(path)
    for cell in cells(notebook, "markdown"):
        for target in image_targets(cell.source):
            assert not re.match(r"(?:https?:)?//", target), f"remote image {target}"
            if target.startswith("attachment:"):
                name = target.removeprefix("attachment:")
                assert name in cell.get("attachments", {}), f"no attachment {name}"
            elif not target.startswith("data:"):
                assert (path.parent / target).is_file(), f"no file {target} beside the notebook"
    for number, cell in code_cells(notebook):
        remote = re.search(r"\bImage\(\s*(?:url\s*=\s*)?[\"']https?:", cell.source)
        assert not remote, f"code cell {number} shows a remote image"
    for number, text in output_texts(notebook):
        shown = [target for target in image_targets(text) if target.startswith(("http", "//"))]
        assert not shown, f"the output of code cell {number} shows {shown}"


# --- chapters -----------------------------------------------------------------------------------


@each_chapter
def test_chapter_has_the_measure_of_a_chapter(path: Path) -> None:
    notebook = read(path)
    number = len(code_cells(notebook))
    assert number in CODE_CELLS, f"{number} code cells; {CODE_CELLS[0]} to {CODE_CELLS[-1]} wanted"
    words = count_words(markdown_text(notebook))
    assert words in WORDS, f"{words} words of prose; {WORDS[0]} to {WORDS[-1]} wanted"


@each_chapter
def test_chapter_opens_with_its_header(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown", "the first cell is the header"
    assert first.source.startswith("# "), "the header starts with the chapter's title"
    places = [first.source.find(label) for label in HEADER_LABELS]
    missing = [label for label, place in zip(HEADER_LABELS, places, strict=True) if place < 0]
    assert not missing, f"the header lacks {missing}"
    assert places == sorted(places), f"the header's parts stand in this order: {HEADER_LABELS}"
    run_time = first.source.split("**Run time.**")[1].split("**")[0]
    assert re.search(r"\d", run_time), "the run time is a measured number"


@each_chapter
def test_chapter_badges_open_this_file_in_this_repository(path: Path) -> None:
    line = build.badge_line(path.name, *build.repository_setting())
    assert line in read(path).cells[0].source.splitlines(), (
        "run `python book/tools/build.py --badges`; the header wants this line:\n" + line
    )


@each_chapter
def test_each_exercise_has_its_solution(path: Path) -> None:
    asked = exercises(read(path))
    if not asked:
        return
    solution = path.parent / "solutions" / path.name
    assert solution.is_file(), f"{path.name} sets {sorted(asked)} and has no solutions/{path.name}"
    unsolved = asked - checkers(*(cell.source for cell in read(solution).cells))
    assert not unsolved, f"solutions/{path.name} does not check {sorted(unsolved)}"


@pytest.mark.parametrize("path", SOLUTIONS, ids=build.name_of)
def test_each_solution_belongs_to_a_chapter(path: Path) -> None:
    chapter = path.parents[1] / path.name
    assert chapter.is_file(), f"no chapter {path.name}"
    unasked = checkers(*(cell.source for cell in read(path).cells)) - exercises(read(chapter))
    assert not unasked, f"{path.name} solves {sorted(unasked)}, which its chapter does not set"


# --- the rules themselves -----------------------------------------------------------------------


def test_counting_words_leaves_out_what_is_not_prose() -> None:
    markdown = (
        "# The *value* of a state\n\n"  # five
        "It's $v(s) = r + \\gamma v(s')$, see [the notes](notes.md#here).\n\n"  # four
        "$$\nq(s, a) = \\text{many words of maths}\n$$\n\n"
        "```python\nfor state in states: pass\n```\n"
        "<details><summary>Answer</summary>\n\nUse `numpy.argmax` <!-- not\nthis --> here.\n"  # 3
        "</details>\n![a picture of it](images/it.svg)\n"
        "It costs 5\\$ and 10 % more."  # four
    )
    assert count_words(markdown) == 5 + 4 + 3 + 4


@pytest.mark.parametrize("folder", ["root", "home", "tmp", "Users"])
def test_absolute_paths_are_seen(folder: str) -> None:
    assert ABSOLUTE_PATH.search(f"saved in '/{folder}/someone/model.rlbook'")
    assert not ABSOLUTE_PATH.search(f"https://example.org/{folder}/page, data/{folder}/a.csv")


def test_a_windows_path_is_seen_and_a_formula_is_not() -> None:
    assert ABSOLUTE_PATH.search(r"C:\Users\someone")
    assert not ABSOLUTE_PATH.search(r"$Q: \mathcal{S} \to \mathbb{R}$, a/b/c, 3/4, and/or")


def test_image_targets_are_found_in_markdown_and_in_tags() -> None:
    text = '[![B](images/b.svg)](https://example.org) <img alt="x" src="images/c.png"> ![](d.png)'
    assert image_targets(text) == ["images/b.svg", "images/c.png", "d.png"]


def test_badges_are_rewritten_from_the_one_setting(tmp_path: Path) -> None:
    path = tmp_path / "03_q_learning.ipynb"
    old = build.badge_line(path.name, "someone/else", "old")
    for source in (f"# Title\n\n{old}\n\nText", "# Title\n\nText"):
        cell = nbformat.v4.new_markdown_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
        assert build.update_badges(path, "rlbook/rlbook", "main")
        new = build.badge_line(path.name, "rlbook/rlbook", "main")
        assert read(path).cells[0].source == f"# Title\n\n{new}\n\nText"
        assert not build.update_badges(path, "rlbook/rlbook", "main")


def sound_notebook(name: str) -> NotebookNode:
    """A notebook that keeps every rule of a chapter."""
    new = nbformat.v4
    badges = build.badge_line(name, *build.repository_setting())
    labels = " ".join(f"{label} 12 words." for label in HEADER_LABELS)
    header = f"# Title\n\n{badges}\n\n{labels}\n\n" + "word " * WORDS[0]
    code = [
        new.new_code_cell(f"print({number})", execution_count=number) for number in range(1, 21)
    ]
    code[2].source = "# a stub: NotImplementedError; rlbook.check.update(mine)"
    code[4].outputs = [new.new_output("stream", name="stdout", text="5")]
    return new.new_notebook(cells=[new.new_markdown_cell(header), *code])


def write_book(folder: Path, chapter: NotebookNode) -> Path:
    """A book in ``folder`` of one chapter, its images and its solutions; returns the chapter."""
    path = folder / "03_q_learning.ipynb"
    (folder / "images").mkdir()
    for badge in ("binder.svg", "colab.svg"):
        (folder / "images" / badge).touch()
    (folder / "solutions").mkdir()
    nbformat.write(sound_notebook(path.name), folder / "solutions" / path.name)
    nbformat.write(chapter, path)
    return path


NOTEBOOK_RULES = [
    test_saved_outputs_hold_no_error_and_nothing_from_stderr,
    test_cells_were_run_once_in_order_from_a_fresh_kernel,
    test_code_cells_are_short,
    test_no_absolute_paths,
    test_images_are_local_and_exist,
]
CHAPTER_RULES = [
    test_chapter_has_the_measure_of_a_chapter,
    test_chapter_opens_with_its_header,
    test_chapter_badges_open_this_file_in_this_repository,
    test_each_exercise_has_its_solution,
]


def test_a_sound_notebook_passes_every_rule(tmp_path: Path) -> None:
    path = write_book(tmp_path, sound_notebook("03_q_learning.ipynb"))
    for rule in NOTEBOOK_RULES + CHAPTER_RULES:
        rule(path)
    test_each_solution_belongs_to_a_chapter(tmp_path / "solutions" / path.name)


def error_output() -> NotebookNode:
    return nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])


def stderr_output() -> NotebookNode:
    return nbformat.v4.new_output("stream", name="stderr", text="careful")


# Put together here, so that no file of the book holds such a path.
A_PATH = "/".join(["", "home", "me", "a"])

# What is done to the sound notebook's cells, and a part of the message that turns it down.
PLANTED = {
    "error": (lambda cells: cells[5].update(outputs=[error_output()]), "cell 5 failed"),
    "stderr": (lambda cells: cells[5].update(outputs=[stderr_output()]), "cell 5 wrote to stderr"),
    "not run": (lambda cells: cells[5].update(execution_count=None), "make book"),
    "out of order": (lambda cells: cells[5].update(execution_count=7), "make book"),
    "empty": (lambda cells: cells[5].update(source=""), "code cell 5 is empty"),
    "long": (lambda cells: cells[5].update(source="x = 1\n" * 31), "cell 5 has 31 lines"),
    "median": (
        lambda cells: [cell.update(source="x = 1\n" * 9) for cell in cells[1:]],
        "lines in the cells",
    ),
    "path in source": (lambda cells: cells[5].update(source=f"open('{A_PATH}')"), "cell 6 of all"),
    "path in output": (
        lambda cells: cells[5].outputs[0].update(text=f"saved as {A_PATH}"),
        "output of code cell 5",
    ),
    "no such image": (
        lambda cells: cells[0].update(source=cells[0].source + "\n![](images/none.svg)"),
        "no file images/none.svg",
    ),
    "remote image": (
        lambda cells: cells[0].update(source=cells[0].source + "\n![](https://example.org/a.svg)"),
        "remote image",
    ),
    "too few words": (
        lambda cells: cells[0].update(source=cells[0].source.replace("word word", "word")),
        "words of prose",
    ),
    "too few cells": (lambda cells: cells.pop(), "19 code cells"),
    "header part": (
        lambda cells: cells[0].update(source=cells[0].source.replace("**Run time.**", "")),
        "header lacks",
    ),
    "run time": (
        lambda cells: cells[0].update(
            source=cells[0].source.replace("**Run time.** 12", "**Run time.** Some")
        ),
        "measured number",
    ),
    "badge": (
        lambda cells: cells[0].update(source=cells[0].source.replace("03_q", "04_q")),
        "--badges",
    ),
    "unsolved": (
        lambda cells: cells[5].update(source="# NotImplementedError: rlbook.check.another(mine)"),
        "does not check ['another']",
    ),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_turned_down(fault: str, tmp_path: Path) -> None:
    plant, message = PLANTED[fault]
    notebook = sound_notebook("03_q_learning.ipynb")
    plant(notebook.cells)
    path = write_book(tmp_path, notebook)
    failures = []
    for rule in NOTEBOOK_RULES + CHAPTER_RULES:
        try:
            rule(path)
        except AssertionError as error:
            failures.append(str(error))
    assert len(failures) == 1, failures
    assert message in failures[0]


# --- notation and glossary ------------------------------------------------------------------------

# Bold words that begin a paragraph or name an exercise, and introduce no term.
NOT_TERMS = re.compile(r"^[0-9]|[.?!:]$|^Bonus|^Hint")
GREEK = re.compile(
    r"\\(?:alpha|beta|gamma|delta|varepsilon|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma"
    r"|tau|phi|psi|omega|pi|Gamma|Delta|Theta|Lambda|Pi|Sigma|Phi|Psi|Omega)\b"
)


def prose_of(path: Path) -> str:
    notebook = read(path)
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def plain(term: str) -> str:
    """A term without capitals and plural."""
    return " ".join(word.rstrip("s") for word in term.lower().replace("-", " ").split())


def glossary_terms() -> set[str]:
    text = (ROOT / "book" / "glossary.md").read_text()
    found = re.findall(r"\*\*([^*]+)\*\*", text) + re.findall(r"\*([^*]+)\*", text)
    return {plain(part) for term in found for part in term.split(",")}


@each_chapter
def test_every_new_term_is_in_the_glossary(path: Path) -> None:
    bold = re.findall(r"\*\*([^*\n]+)\*\*", prose_of(path))
    terms = {term for term in bold if not NOT_TERMS.search(term)}
    known = glossary_terms()
    assert not {term for term in terms if plain(term) not in known}


@each_chapter
def test_every_symbol_is_on_the_notation_page(path: Path) -> None:
    page = (ROOT / "book" / "notation.md").read_text()
    assert not {symbol for symbol in GREEK.findall(prose_of(path)) if symbol not in page}


def test_glossary_is_in_order_and_says_nothing_twice() -> None:
    entries = re.findall(
        r"^\*\*([^*]+)\*\* \(\d\d\)\.", (ROOT / "book" / "glossary.md").read_text(), re.M
    )
    keys = [entry.lower().replace("-", " ") for entry in entries]
    assert len(keys) > 50
    assert keys == sorted(set(keys))


def test_the_index_lists_every_chapter() -> None:
    index = prose_of(ROOT / "book" / "index.ipynb")
    assert re.findall(r"\((\d\d_\w+\.ipynb)\)", index) == [path.name for path in CHAPTERS]
    for target in re.findall(r"\]\(([^)#]+)\)", index):
        assert target.startswith("https://") or (ROOT / "book" / target).exists(), target


# --- the packages -------------------------------------------------------------------------------


def declared_requirements() -> list[Requirement]:
    """What pyproject.toml asks for: core, every extra, and what builds the package."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    lines = [*pyproject["build-system"]["requires"], *project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    requirements = [Requirement(line) for line in lines]
    return [requirement for requirement in requirements if requirement.name != project["name"]]


def pinned_versions() -> dict[str, str]:
    """The one version that requirements.txt gives each package."""
    pins: dict[str, str] = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        specifiers = list(requirement.specifier)
        assert len(specifiers) == 1 and specifiers[0].operator == "==", f"not one version: {text}"
        name = canonicalize_name(requirement.name)
        assert name not in pins, f"{name} is pinned twice"
        pins[name] = specifiers[0].version
    return pins


@pytest.mark.parametrize("requirement", declared_requirements(), ids=lambda r: r.name)
def test_requirement_is_pinned_within_its_range(requirement: Requirement) -> None:
    version = pinned_versions().get(canonicalize_name(requirement.name))
    assert version is not None, f"requirements.txt does not pin {requirement.name}"
    assert version in requirement.specifier, f"{version} is outside {requirement}"


def test_requirements_pin_nothing_that_is_not_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in declared_requirements()}
    assert set(pinned_versions()) <= declared
