// Tables that sort by any column, and numbers that arrow keys reach.
const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

function keyOf(cell) {
  const link = cell.querySelector("a.n");
  if (link) return numberOf(link).value;
  const text = (cell.firstElementChild ?? cell).textContent.trim();
  return text === "" ? null : text;
}

function compare(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : collator.compare(String(a), String(b));
}

function makeSortable(table) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.querySelectorAll("th[data-col]")];

  function sort(head) {
    const column = Number(head.dataset.col);
    const order = "high" in head.dataset ? ["descending", "ascending", ""] : ["ascending", "descending", ""];
    const next = order[(order.indexOf(head.getAttribute("aria-sort") ?? "") + 1) % order.length];
    for (const other of heads) other.removeAttribute("aria-sort");
    let rows = original;
    if (next) {
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const keyed = original.map((row) => [keyOf(row.cells[column]), row]);
      const present = keyed.filter(([key]) => key !== null).sort(([a], [b]) => sign * compare(a, b));
      rows = [...present, ...keyed.filter(([key]) => key === null)].map(([, row]) => row);
    }
    body.replaceChildren(...rows);
    table.classList.toggle("sorted", next !== "");
    say(next ? `Sorted by ${head.textContent.trim()}, ${next}` : "In the printed order");
  }

  for (const head of heads) {
    const button = make("button", { type: "button", onclick: () => sort(head) }, ...head.childNodes);
    head.replaceChildren(button);
  }
}

const isShown = (link) => link.offsetParent !== null && !link.classList.contains("off");

function moveBetweenNumbers(event) {
  const link = event.target.closest(".chapter a.n");
  const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
  if (!link || !step || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  // The grid of links: two numbers in one cell are two columns.
  const grid = [...link.closest("tbody").rows].map((row) => [...row.cells].flatMap((cell) => {
    const links = [...cell.querySelectorAll("a.n")];
    return links.length ? links : [null];
  }));
  let row = grid.findIndex((links) => links.includes(link));
  let column = grid[row].indexOf(link);
  for (;;) {
    row += step[0];
    column += step[1];
    if (row < 0 || row >= grid.length || column < 0 || column >= grid[row].length) return;
    const next = grid[row][column];
    if (next && isShown(next)) {
      takeFocus(next);
      return;
    }
  }
}

function takeFocus(link) {
  for (const other of link.closest("tbody").querySelectorAll('a.n[tabindex="0"]')) other.tabIndex = -1;
  link.tabIndex = 0;
  link.focus();
  link.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
}

function oneTabStop(table) {
  // Thousands of numbers would bury the page in tab stops: one a table, arrow keys for the rest.
  let first = true;
  for (const link of table.tBodies[0].querySelectorAll("a.n")) {
    const reachable = first && !link.closest("tr").hidden && !link.closest("td").hidden
      && !link.classList.contains("off");
    link.tabIndex = reachable ? 0 : -1;
    if (reachable) first = false;
  }
}

function say(text) {
  document.getElementById("said").textContent = text;
}
