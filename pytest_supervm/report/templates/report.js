"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // The table: sort by a column, show only some verdicts, search.
  const table = document.getElementById("table");
  if (table) {
    const body = table.tBodies[0], rows = [...body.rows], heads = all("thead th", table);
    const chips = all(".chip"), search = document.getElementById("search"), shown = document.getElementById("shown");
    const value = (row, column) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === "");
      return isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    };
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !head.classList.contains("number");
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const sorted = rows.slice().sort((a, b) => {
        const [x, y] = [value(a, column), value(b, column)];
        return compare(x, y) * (ascending || x === "" || y === "" ? 1 : -1);
      });
      body.append(...sorted);
    }));
    const text = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
    const filter = () => {
      const verdicts = chips.filter((chip) => chip.ariaPressed === "true").map((chip) => chip.dataset.verdict);
      const words = search.value.toLowerCase().split(/\s+/);
      let left = 0;
      for (const row of rows) {
        const fits = (!verdicts.length || verdicts.includes(row.dataset.verdict)) && words.every((word) => text.get(row).includes(word));
        row.hidden = !fits;
        left += fits;
      }
      shown.textContent = left === rows.length ? "" : `${left} of ${rows.length} rows`;
    };
    chips.forEach((chip) => chip.addEventListener("click", () => {
      chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") !== "true");
      filter();
    }));
    search.addEventListener("input", filter);
    document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
    document.getElementById("controls").hidden = false;
  }

  // A link to a case unfolds it.
  const reveal = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);

  // The charts: Plotly starts with the first one that comes into view.
  const runs = JSON.parse(document.getElementById("runs").textContent);
  const plain = (text) => String(text).replace(/[&<>]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[sign]);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const faded = (name, alpha) => `${color(name)}${Math.round(alpha * 255).toString(16).padStart(2, "0")}`;
  const start = () => {
    if (window.Plotly) return;
    const script = document.createElement("script");
    script.textContent = document.getElementById("plotly").textContent;
    document.head.append(script);
  };
  const draw = (plot) => {
    start();
    const { unit, kept, now, band, changes } = JSON.parse(plot.nextElementSibling.textContent);
    const end = kept.run.length, edge = Math.max(0.6, 0.03 * end);
    const points = (name, columns, positions, marker) => ({
      name, type: "scatter", mode: "markers", x: positions.map((at) => (columns === now ? end : at)),
      y: positions.map((at) => columns.value[at]),
      error_y: {
        type: "data", symmetric: false, thickness: 1, width: end > 60 ? 0 : 3, color: marker.color,
        array: positions.map((at) => columns.high[at] - columns.value[at]),
        arrayminus: positions.map((at) => columns.value[at] - columns.low[at]),
      },
      marker, hoverinfo: "text", hovertext: positions.map((at) => {
        const run = runs[columns.run[at]];
        return [columns.text[at], `${run.commit}, ${run.time}`, run.machine].map(plain).join("<br>");
      }),
    });
    const positions = kept.run.map((_, at) => at), ours = (at) => runs[kept.run[at]].here;
    const traces = [
      points("kept runs of this machine", kept, positions.filter(ours), { color: color("quiet"), size: end > 60 ? 5 : 7 }),
      points("other machines", kept, positions.filter((at) => !ours(at)), { color: color("quiet"), size: 9, symbol: "diamond-open" }),
      points("this run", now, now.run.map((_, at) => at), { color: color("link"), size: 12, symbol: "square" }),
    ].filter((trace) => trace.x.length);
    const heights = [kept.low, kept.high, now.low, now.high, band ?? []].flat(), lowest = Math.min(...heights), highest = Math.max(...heights);
    const room = 0.06 * (highest - lowest || Math.abs(highest) || 1);
    const step = Math.max(1, Math.ceil(end / Math.max(2, plot.clientWidth / 110)));
    const ticks = positions.filter((at) => (end - at) % step === 0);
    const prefixed = /^(s|B)(\/|$)/.test(unit), font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: color("quiet") };
    const axis = { fixedrange: true, zeroline: false, gridcolor: color("line"), linecolor: color("line") };
    Plotly.react(plot, traces, {
      font, autosize: true, dragmode: false, hovermode: "closest", showlegend: true,
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", margin: { l: 10, r: 28, t: 10, b: 10 },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", itemclick: false, itemdoubleclick: false },
      hoverlabel: { bgcolor: color("card"), bordercolor: color("line"), font: { ...font, color: color("text") }, align: "left" },
      xaxis: {
        ...axis, showgrid: false, automargin: true, range: [-edge, end + edge], tickangle: 0, tickvals: [...ticks, ...(now.run.length ? [end] : [])],
        ticktext: [...ticks.map((at) => plain(runs[kept.run[at]].commit) + "<br>" + plain(runs[kept.run[at]].time.slice(0, 10))), ...(now.run.length ? ["this run"] : [])],
      },
      yaxis: {
        ...axis, automargin: true, range: [lowest - room, highest + room], nticks: 6, exponentformat: "SI", minexponent: prefixed ? 0 : 3,
        ticksuffix: unit === "ratio" ? "" : plain(prefixed ? unit : ` ${unit}`),
      },
      shapes: [
        ...(band ? [{
          type: "rect", xref: "paper", x0: 0, x1: 1, y0: band[0], y1: band[1], layer: "below", line: { width: 0 },
          fillcolor: faded("link", 0.16), showlegend: true, name: "expected if nothing changed",
        }] : []),
        ...changes.map(({ at }) => ({
          type: "line", x0: at - 0.5, x1: at - 0.5, yref: "paper", y0: 0, y1: 1, line: { color: color("text"), width: 1, dash: "dash" },
        })),
      ],
      annotations: changes.map(({ at, text }) => ({
        x: at - 0.5, yref: "paper", y: 1, yanchor: "top", xanchor: "left", xshift: 3, showarrow: false,
        text: plain(text), font: { ...font, color: color("text") }, bgcolor: faded("card", 0.8),
      })),
    }, { displayModeBar: false, responsive: true });
  };
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) { seen.unobserve(target); draw(target); }
    }
  }, { rootMargin: "300px" });
  all(".plot").forEach((plot) => seen.observe(plot));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all(".plot.js-plotly-plot").forEach(draw));
  reveal();
})();
