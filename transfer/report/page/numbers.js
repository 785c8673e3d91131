// The embedded rows: every distinct text once, rows as indices into the texts.
const data = JSON.parse(document.getElementById("data").textContent);
const FIELD = new Map(data.fields.map(([name], index) => [name, index]));
const numbers = new Map(data.numbers.map(([id, first, count, value, shown, extra, std, published, planned, repeats, low, high, kind]) =>
  [id, { id, rows: data.rows.slice(first, first + count), value, shown, extra, std, published: published === 1, planned, repeats,
    low, high, kind }]));

const textOf = (row, name) => data.strings[row[FIELD.get(name)]];
const nameOf = (kind, id) => (Object.hasOwn(data.names[kind], id) ? data.names[kind][id] : id);

function make(tag, properties = {}, ...children) {
  // Text only: whatever stands in a row is never read as markup.
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const numberOf = (link) => numbers.get(link.getAttribute("href").slice(1));
