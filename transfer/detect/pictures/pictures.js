"use strict";
(() => {
  document.documentElement.classList.add("js");
  const totals = JSON.parse(document.getElementById("totals").textContent);
  const slider = document.getElementById("score");
  const controls = document.getElementById("controls");
  const objects = Number(document.querySelector('[data-total="objects"]').textContent.replaceAll(",", ""));
  const scenes = [...document.querySelectorAll("svg.scene")];
  const pictures = [...document.querySelectorAll(".picture")].map((picture) => ({
    picture,
    predictions: [...picture.querySelectorAll(".p")].map((element) => [element, Number(element.dataset.at)]),
    // What does not count is never found nor missed.
    truths: [...picture.querySelectorAll(".t:not(.aside)")].map((element) =>
      [element, element.dataset.at === "" ? -1 : Number(element.dataset.at)]),
    counts: new Map([...picture.querySelectorAll("[data-n]")].map((element) => [element.dataset.n, element])),
  }));

  function showTotals(score) {
    const step = Math.round(score * 100);
    const right = totals.right[step];
    const shown = { found: right, missed: objects - right, false: totals.false[step],
      predictions: right + totals.false[step] + totals.ignored[step] };
    for (const [name, value] of Object.entries(shown)) {
      document.querySelector(`[data-total="${name}"]`).textContent = value.toLocaleString("en");
    }
  }

  function showPicture({ picture, predictions, truths, counts }, score) {
    for (const [element, at] of predictions) element.toggleAttribute("hidden", at < score);
    for (const [element, at] of truths) {
      element.classList.toggle("found", at >= score);
      element.classList.toggle("missed", at < score);
    }
    const of = (selector) => picture.querySelectorAll(`svg ${selector}`).length;
    counts.get("predictions").textContent = of(".p:not([hidden])");
    counts.get("false").textContent = of(".false:not([hidden])");
    counts.get("found").textContent = of(".found");
    counts.get("missed").textContent = of(".missed");
  }

  function show() {
    const score = Number(slider.value);
    document.getElementById("score-now").textContent = score.toFixed(2);
    document.querySelector(".at").textContent = score.toFixed(2);
    showTotals(score);
    for (const picture of pictures) showPicture(picture, score);
    const left = pictures.filter(({ picture }) => getComputedStyle(picture).display !== "none").length;
    document.getElementById("said").textContent = `${left} of ${pictures.length} images`;
    document.getElementById("nothing").hidden = left > 0;
  }

  // Labels keep their size on the screen whatever the size of their image.
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const scale = target.getScreenCTM()?.a;
      if (scale) target.style.setProperty("--u", String(1 / scale));
    }
  });
  scenes.forEach((scene) => observer.observe(scene));

  let waiting = 0;
  controls.addEventListener("input", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(show);
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  show();
})();
