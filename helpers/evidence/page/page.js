/* Draws each figure from the JSON beside it. */
for (const holder of document.querySelectorAll(".figure")) {
  const figure = JSON.parse(holder.querySelector("script").textContent);
  const layout = Object.assign({}, figure.layout, { autosize: true });
  delete layout.width;
  const place = holder.querySelector(".plot");
  Plotly.newPlot(place, figure.data, layout, { responsive: true, displaylogo: false, displayModeBar: "hover" });
  window.addEventListener("beforeprint", () => Plotly.relayout(place, { width: 640 }));
  window.addEventListener("afterprint", () => Plotly.relayout(place, { width: null, autosize: true }));
}
