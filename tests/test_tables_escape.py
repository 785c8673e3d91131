"""Whatever stands in a file stays text: in Markdown, in LaTeX (compiled), in the long CSV."""

from __future__ import annotations

import csv
import io
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from transfer.report.aggregate import to_cells
from transfer.report.latex import escape
from transfer.report.layout import Note
from transfer.report.render import render_all
from transfer.report.rows import Row
from transfer.report.tables import build_tables

TABLES = Path(__file__).resolve().parent.parent / "results" / "tables"
HOSTILE = (
    "<script>alert(1)</script>",
    "50%_a&b",
    "back\\slash {brace} }} {{ #hash $x^2$ ~tilde~ \"quoted\" 'single' `tick`",
    r"\input{/etc/passwd} \write18{ls} \end{document}",
    "± … µ μ ü é ñ å ç ß ø Ł – — “ ” ’ × · ≤ ↓ ° α ě ő í",
    "中文 emoji 😀 \u200b zero width, \x01 control, e\u0301 combined",
    "*bold* _it_ **b** [link](javascript:alert(1)) ![i](x) [a][b] <http://x.y> &lt;b&gt; | pipe ~~s~~",
    "%",
    "^^41 ^",
    "- [x] task",
)
ROW = Row(
    *("mec", "resnet18", "mini", "40", "ab" * 32, "online", "linear", "mini", "val", "linear-cached-lars"),
    *("torch", "top1", 45.2, "percent", True, 0, 1000, "last", "ok", "python -m transfer linear c.yaml"),
    *("cd" * 32, "0.1.0", "2 cores", 12.0),
)


def hostile_tables(texts: tuple[str, ...]) -> dict[str, str]:
    """Every text as method, network, dataset, status, hardware and note."""
    rows = []
    for i, text in enumerate(texts):
        who = {"method": text, "arch": text, "backbone_sha256": f"{i:064}", "hardware": text}
        rows.append(replace(ROW, **who))  # type: ignore[arg-type]
        rows.append(replace(ROW, **who, dataset=text, value=None, status=f"failed: {text}"))  # type: ignore[arg-type]
    published = replace(
        ROW, method=texts[0], dataset="another", backbone_sha256="", config_sha256="", code_version="",
        hardware="", source=f"{texts[0]}, p. 1", seed=None, wall_s=None, std=0.5, reported="own",
    )  # fmt: skip
    notes = [Note("*", "mini", text) for text in texts]
    return render_all(build_tables(to_cells([published], rows), notes))


def compile_tables(folder: Path, sources: list[str]) -> str:
    """Compile a document of tables; the text of the log. Fails the test where pdflatex does."""
    body = "\\clearpage\n".join(sources)
    (folder / "all.tex").write_text(
        "\\documentclass{article}\n\\usepackage[margin=2cm]{geometry}\n"
        f"\\usepackage{{booktabs,graphicx,textcomp}}\n\\begin{{document}}\n{body}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=300)
    log = done.stdout.decode(errors="replace")
    assert done.returncode == 0, log[-3000:]
    return log


@pytest.mark.latex
def test_all_committed_tables_compile_in_one_document(tmp_path: Path) -> None:
    sources = [path.read_text(encoding="utf-8") for path in sorted(TABLES.glob("*.tex"))]
    assert len(sources) == 11
    log = compile_tables(tmp_path, sources)
    assert "Overfull \\hbox" not in log  # nothing sticks out of the page
    assert "Float too large" not in log
    pages = re.search(r"\((\d+) pages", log)
    assert pages
    assert int(pages[1]) > 10


@pytest.mark.latex
def test_hostile_names_compile(tmp_path: Path) -> None:
    compile_tables(
        tmp_path, [text for name, text in hostile_tables(HOSTILE).items() if name.endswith(".tex")]
    )


@pytest.mark.latex
def test_the_compilation_can_fail(tmp_path: Path) -> None:
    (text,) = [text for name, text in hostile_tables(("50%_a&b",)).items() if name == "linear.tex"]
    with pytest.raises(AssertionError, match=r"Runaway argument"):
        compile_tables(tmp_path, [text.replace(escape("50%_a&b"), "50%_a&b")])


def test_latex_prints_what_its_fonts_have_and_names_the_code_point_of_the_rest() -> None:
    assert escape("50%_a&b") == r"50\%\_a\&b"
    assert escape("a\\b{c}") == r"a\textbackslash{}b\{c\}"
    assert escape("±µüí ě") == r"$\pm$\textmu{}\"{u}\'{\i{}} \v{e}"
    assert escape("中\u200b") == "[U+4E2D][U+200B]"
    assert escape("a\n\n b") == "a b"
    assert escape("--seed 0") == "-{}-seed 0"
    assert all(escape(chr(point)).isascii() for point in range(0x2500))


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_renders_a_hostile_name_as_that_very_text(text: str) -> None:
    files = hostile_tables((text,))
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(files["linear.md"])
    plain = " ".join(text.split())
    shown = [_text(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", html, re.S)]
    assert plain in shown
    for tag in ("<script", "<a ", "<img", "<s>", "<code", "<input"):
        assert tag not in html
    assert plain in [_text(item) for item in re.findall(r"<li>(.*?)</li>", html, re.S)]


def test_the_long_csv_holds_every_text_as_it_is() -> None:
    records = list(csv.DictReader(io.StringIO(hostile_tables(HOSTILE)["linear.csv"])))
    assert set(HOSTILE) <= {record["method"] for record in records}


def _text(html: str) -> str:
    """The text of an element without the marks of the tables themselves."""
    import html as entities

    return entities.unescape(re.sub(r"</?(em|strong|u)>", "", html)).strip()
