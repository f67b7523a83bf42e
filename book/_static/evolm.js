// Draws the interactive figures of `evolm.plotting.interactive` with the book's own copy of plotly.js.
// The script is fetched only on pages that have such a figure; until it runs, the static figure stays.
(() => {
  "use strict";
  const plotly = new URL("plotly/plotly-basic.min.js", document.currentScript.src).href;

  const mode = () => (document.documentElement.dataset.theme === "dark" ? "dark" : "light");

  function draw(figure) {
    const spec = figure.evolmSpec[mode()];
    const plot = figure.querySelector(".evolm-plot");
    plot.style.display = "block";
    const layout = { ...structuredClone(spec.layout), autosize: true };
    return Plotly.react(plot, structuredClone(spec.data), layout, { responsive: true, displaylogo: false }).then(() => {
      figure.querySelector(".evolm-fallback").style.display = "none";
    });
  }

  function start(figures) {
    for (const figure of figures) {
      figure.evolmSpec = JSON.parse(figure.querySelector(".evolm-spec").textContent);
      draw(figure);
    }
    new MutationObserver(() => figures.forEach(draw)).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
  }

  const figures = [...document.querySelectorAll(".evolm-interactive")];
  if (figures.length) {
    const script = document.createElement("script");
    script.src = plotly;
    script.onload = () => start(figures);
    document.head.append(script);
  }
})();
