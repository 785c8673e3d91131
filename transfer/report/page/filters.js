// Filters work number by number; a line, column, table or chapter without any number left goes too.
const form = document.getElementById("filters");
const FILTERS = ["q", "task", "protocol", "method", "origin"];

const sheets = [...document.querySelectorAll(".chapter .sheet")].map((sheet) => {
  const table = sheet.querySelector("table");
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    cells: [...row.cells].slice(row.querySelectorAll("th, td.who").length)
      .map((cell) => ({ cell, links: [...cell.querySelectorAll("a.n")].map((link) => [link, numberOf(link)]) })),
  }));
  const heads = [...table.querySelectorAll("th.num")];
  let start = 0;
  const groups = [...table.querySelectorAll("th.group")].map((head) => {
    const from = start;
    start += head.colSpan;
    return { head, from, to: start };
  });
  return { sheet, table, rows, heads, groups, chapter: sheet.closest(".chapter") };
});

const haystacks = new Map();

function haystackOf(number) {
  let text = haystacks.get(number.id);
  if (text === undefined) {
    const names = Object.keys(data.names).map((kind) => nameOf(kind, textOf(number.rows[0], kind)));
    const fields = number.rows.flatMap((row) => row.map((index) => data.strings[index]));
    text = [...new Set([...names, ...fields])].join("\n").toLowerCase();
    haystacks.set(number.id, text);
  }
  return text;
}

function matcher(state) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return (number) => {
    const row = number.rows[0];
    if (state.origin && number.published !== (state.origin === "published")) return false;
    for (const name of ["task", "protocol", "method"]) {
      if (state[name] && textOf(row, name) !== state[name]) return false;
    }
    return words.length === 0 || words.every((word) => haystackOf(number).includes(word));
  };
}

function readForm() {
  return Object.fromEntries(FILTERS.map((name) => [name, form.elements[name].value.trim()]));
}

function filterAll() {
  const state = readForm();
  const matches = matcher(state);
  const filtered = FILTERS.some((name) => state[name]);
  const chapters = new Map();
  const shown = new Set();
  for (const { sheet, table, rows, heads, groups, chapter } of sheets) {
    const columns = heads.map(() => !filtered);
    let any = false;
    for (const { row, cells } of rows) {
      let alive = false;
      cells.forEach(({ links }, index) => {
        for (const [link, number] of links) {
          const on = matches(number);
          link.classList.toggle("off", !on);
          if (!on) continue;
          alive = columns[index] = true;
          shown.add(number.id);
        }
      });
      row.hidden = !alive && filtered;
      any ||= alive;
    }
    heads.forEach((head, index) => { head.hidden = !columns[index]; });
    for (const { cells } of rows) cells.forEach(({ cell }, index) => { cell.hidden = !columns[index]; });
    for (const { head, from, to } of groups) {
      const left = columns.slice(from, to).filter(Boolean).length;
      head.hidden = left === 0;
      if (left) head.colSpan = left;
    }
    sheet.hidden = !any;
    chapters.set(chapter, chapters.get(chapter) || any);
    oneTabStop(table);
  }
  for (const [chapter, any] of chapters) {
    chapter.hidden = !any;
    document.querySelector(`.contents [data-chapter="${chapter.id}"]`).hidden = !any;
  }
  const total = numbers.size.toLocaleString("en");
  document.getElementById("count").textContent =
    filtered ? `${shown.size.toLocaleString("en")} of ${total} numbers` : `${total} numbers`;
  document.getElementById("nothing").hidden = shown.size > 0;
  form.classList.toggle("active", filtered);
}

function filterHash() {
  const given = Object.entries(readForm()).filter(([, value]) => value);
  return given.length ? `#?${new URLSearchParams(given)}` : "";
}

function replaceHash(hash) {
  history.replaceState(null, "", hash || location.pathname + location.search);
}

let waiting = 0;
function filterSoon() {
  cancelAnimationFrame(waiting);
  waiting = requestAnimationFrame(() => {
    filterAll();
    replaceHash(filterHash());
  });
}

function restoreFilters(hash) {
  const given = new URLSearchParams(hash.slice(2));
  for (const name of FILTERS) form.elements[name].value = given.get(name) ?? "";
  filterAll();
}
