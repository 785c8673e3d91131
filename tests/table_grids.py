"""Read rendered tables back into cells: ``*`` before a bold number, ``_`` before an underlined one."""

from __future__ import annotations

import re


def markdown_grid(text: str, title: str) -> list[list[str]]:
    """Head and lines of the section whose title begins so; the column of groups is left out."""
    section = _one([part for part in text.split("\n## ") if part.startswith(title)])
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    grid = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    grid = [cells for cells in grid if not set("".join(cells)) <= set("-: ")]
    if grid[0][0] == "group":
        grid = [cells[1:] for cells in grid]
    return [[_marks_of_markdown(cell) for cell in cells] for cells in grid]


def latex_grid(text: str, title: str) -> tuple[list[list[str]], list[str]]:
    """Head and lines of the table whose caption begins so, and the lines above rules within the body."""
    tables = re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.S)
    table = _one([found for found in tables if rf"\caption{{{title}" in found])
    body = table.split(r"\toprule")[1].split(r"\bottomrule")[0]
    head, *blocks = body.split("\\midrule\n")
    head_lines = [line for line in head.splitlines() if line.endswith(r"\\")]
    names = _cells(head_lines[-1])
    if len(head_lines) == 2:
        groups: list[str] = []
        for span in re.findall(r"\\multicolumn\{(\d+)\}\{\w\}\{([^{}]*)\}", head_lines[0]):
            groups += [span[1]] * int(span[0])
        names = [f"{group} {name}".strip() for group, name in zip(groups, names, strict=True)]
    lines = [[_cells(line) for line in block.splitlines() if line.strip()] for block in blocks]
    above = [block[-1][0] for block in lines[:-1]]
    return [[_plain(name) for name in names], *(cells for block in lines for cells in block)], above


def _cells(line: str) -> list[str]:
    return [_marks_of_latex(cell.strip()) for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


def _marks_of_markdown(cell: str) -> str:
    cell = re.sub(r"<u>\*\*([^*]*)\*\*</u>", r"*_\1", cell)
    cell = re.sub(r"\*\*([^*]*)\*\*", r"*\1", cell)
    return _plain(re.sub(r"<u>(.*?)</u>", r"_\1", cell))


def _marks_of_latex(cell: str) -> str:
    cell = re.sub(r"\\underline\{\\textbf\{([^{}]*)\}\}", r"*_\1", cell)
    cell = re.sub(r"\\textbf\{([^{}]*)\}", r"*\1", cell)
    return _plain(re.sub(r"\\underline\{([^{}]*)\}", r"_\1", cell))


def _plain(text: str) -> str:
    return text.replace(r"$\downarrow$", "↓").replace(r"\%", "%")


def _one(found: list[str]) -> str:
    assert len(found) == 1, found
    return found[0]
