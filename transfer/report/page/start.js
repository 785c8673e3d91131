// Everything that listens.
const root = document.documentElement;
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const themeButton = document.getElementById("theme");

function showTheme() {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches;
  themeButton.textContent = dark ? "Light" : "Dark";
  themeButton.setAttribute("aria-label", `Switch to the ${dark ? "light" : "dark"} theme`);
  themeButton.setAttribute("aria-pressed", String(dark));
  return dark;
}

function switchTheme() {
  const wanted = showTheme() ? "light" : "dark";
  const system = systemDark.matches ? "dark" : "light";
  // Back at the system's theme, follow the system again.
  if (wanted === system) delete root.dataset.theme;
  else root.dataset.theme = wanted;
  try {
    if (wanted === system) localStorage.removeItem("mec-transfer-theme");
    else localStorage.setItem("mec-transfer-theme", wanted);
  } catch { /* storage is refused: the choice lasts as long as the page */ }
  showTheme();
}

function followHash() {
  if (location.hash.startsWith("#?")) {
    restoreFilters(location.hash);
    return;
  }
  const id = location.hash.slice(1);
  if (!numbers.has(id)) return;
  const link = document.getElementById(id);
  if (!isShown(link)) {
    for (const name of FILTERS) form.elements[name].value = "";
    filterAll();
  }
  link.scrollIntoView({ block: "center", inline: "nearest", behavior: "instant" });
  takeFocus(link);
  openNumber(id);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#n-"]');
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  openNumber(numberOf(link).id);
});
document.addEventListener("keydown", moveBetweenNumbers);
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("close", () => replaceHash(filterHash()));
form.addEventListener("input", filterSoon);
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filterSoon));
themeButton.addEventListener("click", switchTheme);
systemDark.addEventListener("change", showTheme);
window.addEventListener("hashchange", followHash);

for (const table of document.querySelectorAll(".chapter .sheet table")) {
  makeSortable(table);
  oneTabStop(table);
}
showTheme();
followHash();
