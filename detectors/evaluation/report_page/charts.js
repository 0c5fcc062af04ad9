"use strict";

// Elements, numbers and line charts. A chart is plain SVG; its hover reads the nearest point of a visible line.

const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#B8860B", "#56B4E9", "#000000"];
const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in node && name !== "list") node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function drawn(parent, tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "n/a";
  return Number.isInteger(value) && digits === 0 ? String(value) : value.toFixed(digits);
}

function niceTicks(low, high) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((k) => k >= rough);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) ticks.push(k * step);
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1)
    for (const k of [1, 2, 5]) {
      const tick = k * 10 ** power;
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  return ticks.length > 7 ? ticks.filter((tick) => /^1/.test(tick.toExponential())) : ticks;
}

function axisScale(low, high, from, to, log) {
  const map = log ? Math.log10 : (value) => value;
  const [a, b] = [map(low), map(high)];
  return (value) => from + ((map(Math.min(Math.max(value, low), high)) - a) / (b - a || 1)) * (to - from);
}

// `lines`: {name, color, x, y, t, path: "line" | "stairs", band, marks, dot}; `x`, `y`: {label, low, high, log}.
function chart(parent, { title, x, y, lines, diagonal, thresholdIs = "threshold" }) {
  const figure = element("figure", { className: "chart" }, element("figcaption", {}, title));
  const box = { left: 52, right: 452, top: 10, bottom: 268 };
  const svg = drawn(figure, "svg", { viewBox: "0 0 462 312", role: "img", "aria-label": title });
  const toX = axisScale(x.low, x.high, box.left, box.right, x.log);
  const toY = axisScale(y.low, y.high, box.bottom, box.top, y.log);
  drawAxes(svg, box, x, y, toX, toY);
  if (diagonal)
    drawn(svg, "line", { x1: toX(0), y1: toY(0), x2: toX(1), y2: toY(1), stroke: "#aab4bd", "stroke-dasharray": "4 4" });
  const empty = lines.every((line) => !line.x.length);
  if (empty) drawn(svg, "text", { x: 250, y: 140, "text-anchor": "middle", fill: "#5c6975", "font-size": 14 }, "n/a");
  for (const line of lines) if (line.band) drawBand(svg, line, toX, toY);
  for (const line of lines) drawLine(svg, box, line, toX, toY);
  const marker = drawn(svg, "circle", { r: 5, fill: "none", "stroke-width": 2, visibility: "hidden", class: "marker" });
  const tip = element("div", { className: "tip", hidden: true });
  figure.append(tip);
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const px = ((event.clientX - frame.left) / frame.width) * 462;
    const py = ((event.clientY - frame.top) / frame.height) * 312;
    const near = nearest(lines, px, py, toX, toY);
    tip.hidden = !near;
    marker.setAttribute("visibility", near ? "visible" : "hidden");
    if (!near) return;
    const { line, place, cx, cy } = near;
    for (const [name, value] of Object.entries({ cx, cy, stroke: line.color })) marker.setAttribute(name, value);
    const rows = [line.name, `${x.label} ${number(line.x[place])}`, `${y.label} ${number(line.y[place])}`];
    if (line.t && line.t[place] !== null && thresholdIs) rows.push(`${thresholdIs} ${number(line.t[place])}`);
    tip.replaceChildren(...rows.map((row, k) => element(k ? "div" : "strong", {}, row)));
    const across = (cx / 462) * frame.width;
    tip.style.left = cx > 300 ? "" : `${across + 12}px`;
    tip.style.right = cx > 300 ? `${frame.width - across + 12}px` : "";
    tip.style.top = `${(cy / 312) * frame.height + 4}px`;
  });
  svg.addEventListener("pointerleave", () => {
    tip.hidden = true;
    marker.setAttribute("visibility", "hidden");
  });
  parent.append(figure);
}

function drawAxes(svg, box, x, y, toX, toY) {
  const label = { "font-size": 12, fill: "#5c6975" };
  for (const tick of x.log ? logTicks(x.low, x.high) : niceTicks(x.low, x.high)) {
    drawn(svg, "line", { x1: toX(tick), x2: toX(tick), y1: box.top, y2: box.bottom, stroke: "#e6eaee" });
    drawn(svg, "text", { x: toX(tick), y: box.bottom + 16, "text-anchor": "middle", ...label }, +tick.toPrecision(3));
  }
  for (const tick of niceTicks(y.low, y.high)) {
    drawn(svg, "line", { x1: box.left, x2: box.right, y1: toY(tick), y2: toY(tick), stroke: "#e6eaee" });
    drawn(svg, "text", { x: box.left - 7, y: toY(tick) + 4, "text-anchor": "end", ...label }, +tick.toPrecision(3));
  }
  drawn(svg, "path", { d: `M${box.left} ${box.top}V${box.bottom}H${box.right}`, fill: "none", stroke: "#8a96a1" });
  drawn(svg, "text", { x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle", ...label }, x.label);
  const turn = `rotate(-90 14 ${(box.top + box.bottom) / 2})`;
  drawn(svg, "text", { x: 14, y: (box.top + box.bottom) / 2, "text-anchor": "middle", transform: turn, ...label }, y.label);
}

function drawBand(svg, line, toX, toY) {
  const { x, low, high } = line.band;
  const rows = x.map((_, k) => k).filter((k) => low[k] !== null && high[k] !== null);
  if (!rows.length) return;
  const up = rows.map((k) => `${toX(x[k])} ${toY(high[k])}`);
  const down = rows.reverse().map((k) => `${toX(x[k])} ${toY(low[k])}`);
  drawn(svg, "path", { d: `M${[...up, ...down].join("L")}Z`, fill: line.color, opacity: 0.14, class: "band" });
}

function drawLine(svg, box, line, toX, toY) {
  const points = line.x.map((value, k) => [value, line.y[k]]).filter(([a, b]) => a !== null && b !== null);
  if (!points.length) return;
  let path = `M${toX(points[0][0])} ${toY(points[0][1])}`;
  if (line.path === "stairs") {
    path = `M${box.left} ${toY(points[0][1])}`;
    for (const [a, b] of points) path += `V${toY(b)}H${toX(a)}`;
    path += `V${toY(0)}`;
  } else for (const [a, b] of points.slice(1)) path += `L${toX(a)} ${toY(b)}`;
  drawn(svg, "path", { d: path, fill: "none", stroke: line.color, "stroke-width": 2, "stroke-linejoin": "round", class: "line" });
  for (const { at, up } of line.marks || []) {
    const end = toY(up ? 1 : 0);
    drawn(svg, "line", { x1: toX(at), x2: toX(at), y1: end, y2: end + (up ? 7 : -7), stroke: line.color, opacity: 0.45 });
  }
  if (line.dot && line.dot[0] !== null && line.dot[1] !== null)
    drawn(svg, "circle", { cx: toX(line.dot[0]), cy: toY(line.dot[1]), r: 4.5, fill: line.color, stroke: "#fff" });
}

function nearest(lines, px, py, toX, toY) {
  let best = null;
  for (const line of lines)
    line.x.forEach((value, place) => {
      if (value === null || line.y[place] === null) return;
      const [cx, cy] = [toX(value), toY(line.y[place])];
      const away = (cx - px) ** 2 + (cy - py) ** 2;
      if (!best || away < best.away) best = { line, place, cx, cy, away };
    });
  return best;
}

// A table whose headers sort it. `columns`: {label, text, value(row), show(row)}; an absent value goes last.
function sortableTable(columns, rows) {
  const body = element("tbody");
  const fill = (ordered) =>
    body.replaceChildren(
      ...ordered.map((row) =>
        element("tr", {}, ...columns.map((column) => {
          const shown = column.show ? column.show(row) : column.value(row);
          const cell = element("td", { className: column.text ? "text" : "" });
          cell.append(...(Array.isArray(shown) ? shown : [shown]));
          return cell;
        }))));
  const headers = columns.map((column) => {
    const header = element("th", { className: column.text ? "text" : "", "aria-sort": "none" });
    const button = element("button", { type: "button" }, column.label);
    button.addEventListener("click", () => {
      const direction = header.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
      headers.forEach((other) => other.setAttribute("aria-sort", "none"));
      header.setAttribute("aria-sort", direction);
      const sign = direction === "ascending" ? 1 : -1;
      fill([...rows].sort((a, b) => {
        const [one, two] = [column.value(a), column.value(b)];
        if (one === null || two === null) return (one === null) - (two === null);
        return sign * (typeof one === "string" ? one.localeCompare(two, "en", { numeric: true }) : one - two);
      }));
    });
    header.append(button);
    return header;
  });
  fill(rows);
  return element("table", {}, element("thead", {}, element("tr", {}, ...headers)), body);
}
