// Where a number comes from: all fields of its rows, what the seeds agree on once, the rest seed by seed.
const dialog = document.getElementById("provenance");

async function copy(text, button) {
  const before = button.textContent;
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No clipboard without permission or a secure page: the old way.
    const area = make("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    dialog.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  button.textContent = done ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}

function copyButton(label, what, text) {
  return make("button", { type: "button", class: "copy", "aria-label": `${label} ${what}`,
    onclick: (event) => copy(text(), event.currentTarget) }, label);
}

function headline(number) {
  const row = number.rows[0];
  const unit = textOf(row, "unit");
  const sign = Object.hasOwn(data.units, unit) ? data.units[unit] : unit;
  const title = number.value === null ? ["No number"]
    : [`${number.shown} ${sign}`.trim(), ...(number.extra ? [" ", make("small", {}, number.extra)] : [])];
  const place = [nameOf("dataset", textOf(row, "dataset")), textOf(row, "split")].filter(Boolean).join(", split ");
  return make("header", {},
    make("p", { class: "eyebrow" }, number.published ? "Published" : "Measured with this repository"),
    make("h2", { id: "provenance-h" }, ...title),
    make("p", {}, `${nameOf("method", textOf(row, "method"))} · ${nameOf("task", textOf(row, "task"))} · ${place} · `
      + nameOf("metric", textOf(row, "metric"))));
}

function line(label, ...content) {
  return make("div", {}, make("dt", {}, label), make("dd", {}, ...content));
}

function summary(number) {
  const seeds = number.rows.length;
  const list = make("dl", { class: "fields", id: "summary" });
  if (seeds > 1 && number.value !== null) {
    list.append(line(`mean of ${seeds} seeds`, make("span", {}, String(number.value))));
  }
  if (number.std) {
    list.append(line(number.published ? "stated spread" : "sample standard deviation", make("span", {}, number.std)));
  }
  if (number.low) list.append(line(`95 % interval, ${number.kind}`, make("span", {}, `${number.low} to ${number.high}`)));
  if (number.planned) list.append(line("seeds", `${seeds} of ${number.planned} that other lines of the column have`));
  if (number.repeats.length) {
    const [id, difference, lies] = number.repeats;
    list.append(line("repeats", make("a", { href: `#${id}` }, `the published ${numbers.get(id).shown}`),
      ` (difference ${difference}${lies ? `, ${lies} its stated spread` : ""})`));
  }
  return list;
}

function fieldLists(number) {
  // Under each heading what all seeds agree on; where they differ is the table's matter.
  const lists = [];
  const absent = [];
  for (const heading of new Set(data.fields.map(([, , heading]) => heading))) {
    const list = make("dl", { class: "fields" });
    for (const [name, label, , copied] of data.fields.filter((field) => field[2] === heading)) {
      const texts = [...new Set(number.rows.map((row) => textOf(row, name)))];
      if (texts.length > 1) continue;
      if (texts[0] === "") {
        absent.push(label);
        continue;
      }
      const failed = name === "status" && texts[0] !== "ok";
      const value = make(copied ? "code" : "span", { "data-field": name, ...(failed ? { class: "failed" } : {}) }, texts[0]);
      list.append(line(label, value, ...(copied ? [" ", copyButton("Copy", label, () => texts[0])] : [])));
    }
    if (list.children.length) lists.push(make("h3", {}, heading), list);
  }
  if (absent.length) lists.push(make("p", { class: "remark" }, `Not stated: ${absent.join(", ")}.`));
  return lists;
}

function seedTable(number) {
  const names = data.fields.filter(([name]) => new Set(number.rows.map((row) => textOf(row, name))).size > 1);
  if (number.rows.length < 2) return "";
  const head = make("tr", {}, ...names.map(([, label]) => make("th", { scope: "col" }, label)));
  const body = number.rows.map((row) =>
    make("tr", {}, ...names.map(([name]) => make("td", { "data-field": name }, textOf(row, name)))));
  return make("section", {}, make("h3", {}, "Seed by seed"),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Seed by seed" },
      make("table", { class: "seeds" }, make("thead", {}, head), make("tbody", {}, ...body))));
}

function rowsAsJson(number) {
  const rows = number.rows.map((row) => Object.fromEntries(data.fields.map(([name]) => [name, textOf(row, name)])));
  return JSON.stringify(rows, null, 1);
}

function openNumber(id) {
  const number = numbers.get(id);
  if (!number) return;
  const close = make("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => dialog.close() }, "×");
  dialog.replaceChildren(
    close, headline(number), summary(number),
    ...fieldLists(number), seedTable(number),
    make("footer", {},
      copyButton("Copy link", "to this number", () => `${location.href.split("#")[0]}#${id}`),
      copyButton("Copy all as JSON", "fields of this number", () => rowsAsJson(number))),
  );
  replaceHash(`#${id}`);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  close.focus();
}
