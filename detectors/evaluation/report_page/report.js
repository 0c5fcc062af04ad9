// The page itself: what was tested, metrics, curves and tables, drawn anew when a control changes.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const state = { criterion: data.criteria[0], hidden: new Set(), intervals: true };
  data.runs.forEach((run, place) => (run.color = COLORS[place % COLORS.length]));
  const visible = () => data.runs.filter((run) => !state.hidden.has(run.name));
  const swatch = (run) => {
    const mark = element("span", { className: "swatch" });
    mark.style.background = run.color;
    return mark;
  };
  const named = (run) => [swatch(run), run.name];
  const short = (hash) => (hash ? hash.slice(0, 16) : "n/a");

  // A plain table: one row a figure, one column a run.
  function byRun(runs, rows) {
    const head = element("tr", {}, element("th", {}, ""), ...runs.map((run) => element("th", {}, ...named(run))));
    const body = rows.map(([label, cell, kind]) =>
      element("tr", {}, element("td", {}, label), ...runs.map((run) => {
        const shown = cell(run);
        return element("td", { className: kind || "" }, ...(Array.isArray(shown) ? shown : [shown]));
      })));
    return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  }

  function tested() {
    const on = (name, digits = 0) => (run) => number(run.tested_on[name], digits);
    get("tested").replaceChildren(byRun(visible(), [
      ["ground truth", (run) => (run.tested_on.source || "n/a").split("/").slice(-2).join("/"), "text"],
      ["its SHA-256", (run) => short(run.tested_on.sha256), "hash"],
      ["radiographs (defect-free ones)", (run) => `${run.tested_on.images} (${run.tested_on.defect_free_images})`],
      ["objects", on("objects")],
      ["series", on("series")],
      ["classes", (run) => run.tested_on.classes.join(", ")],
      ["weights, SHA-256", (run) => short(run.weights_sha256), "hash"],
      ["detections, SHA-256", (run) => short(run.detections_sha256), "hash"],
      ["seconds a radiograph", (run) => number(run.seconds_per_image)],
    ]));
  }

  function headline() {
    const metric = (name) => (run) => {
      const { metrics, intervals } = run.criteria[state.criterion];
      const interval = intervals[name] && state.intervals ? `${number(intervals[name][0])} to ${number(intervals[name][1])}` : "";
      return [number(metrics[name]), element("small", {}, interval)];
    };
    get("headline").replaceChildren(byRun(visible(), [
      [`AP, ${state.criterion}`, metric("ap")],
      ...Object.entries(data.sensitivities).map(([name, title]) => [title, metric(name)]),
      ["recall at the threshold", metric("recall")],
      ["precision at the threshold", metric("precision")],
      ["F1 at the threshold", metric("f1")],
      ["false calls a radiograph", metric("false_calls")],
      ["threshold", (run) => [number(run.threshold), element("small", {}, run.threshold === null ? "" : run.threshold_origin)]],
      ["AP, all points", (run) => number(run.criteria[state.criterion].ap_all_points)],
      ["AP, 11 points", (run) => number(run.criteria[state.criterion].ap_11_points)],
      ["ROC area of radiographs", (run) => number(run.criteria[state.criterion].image_auc)],
    ]));
    const units = [...new Set(visible().map((run) => run.criteria[state.criterion].interval_unit))].join(", ");
    get("headline-note").textContent =
      `95 % confidence intervals from bootstrap draws of ${units}: how much the metrics may vary with other radiographs ` +
      "of the same kind; near-equal frames of one part make them too narrow. Defect-free radiographs count in false calls.";
  }

  const KIND_COLORS = { "localization error": "#5a9bd4", "low score": "#e0a030", "not detected": "#c0392b", duplicate: "#9a7fb8",
    "classification error": "#4f9d87", background: "#d9603b", "defect-free image": "#8c2d19" };

  function bar(counts) {
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    const parts = Object.entries(counts).filter(([, count]) => count).map(([kind, count]) => {
      const part = element("span", { title: `${kind}: ${count}` }, String(count));
      part.style.cssText = `background:${KIND_COLORS[kind]};flex:${count} 1 0`;
      return part;
    });
    return element("div", { className: "bar" }, ...(total ? parts : [element("i", {}, " none")]));
  }

  function errors() {
    const runs = visible();
    const area = get("errors");
    const columns = data.criteria.map((criterion) => [`AP, ${criterion}`, (run) => number(run.criteria[criterion].metrics.ap)]);
    area.replaceChildren(element("div", { className: "wide" }, byRun(runs, columns)));
    for (const [name, key] of [["misses", "miss"], ["false_calls", "false call"]]) {
      const bars = element("div", { className: "bars" });
      for (const run of runs) {
        const counts = run.criteria[state.criterion].errors[name];
        bars.append(element("span", {}, ...named(run)), bar(counts));
      }
      const legend = element("div", { className: "legend" });
      for (const [kind, meaning] of Object.entries(data.kinds[key])) {
        const mark = element("i");
        mark.style.background = KIND_COLORS[kind];
        legend.append(element("span", {}, mark, element("b", {}, kind), `: ${meaning}`));
      }
      const what = name === "misses" ? "Missed objects" : "False calls";
      area.append(element("h3", {}, `${what}, a hit is ${state.criterion}`), bars, legend);
    }
    for (const run of runs) area.append(element("p", {}, verdict(run)));
  }

  function verdict(run) {
    const missed = Object.values(run.criteria["IoU 0.5"].errors.misses).reduce((sum, count) => sum + count, 0);
    const center = Object.values(run.criteria["center point"].errors.misses).reduce((sum, count) => sum + count, 0);
    const differs = run.criteria["IoU 0.5"].errors.misses["localization error"];
    if (!missed) return `${run.name} misses nothing at IoU 0.5.`;
    const boxes = differs === 0
      ? "No call lies on any of them: they were not detected, or with too low a score."
      : `On ${differs} of the first a call lies, drawn differently from the annotation: a localization error. ` +
        "The others were not detected, or with too low a score.";
    return `${run.name} misses ${missed} objects at IoU 0.5, and ${center} by center point. ${boxes}`;
  }

  function curves() {
    const area = get("curves");
    area.replaceChildren();
    const unit = { low: 0, high: 1 };
    const line = (run, name, extra) => ({
      name: run.name, color: run.color, ...run.criteria[state.criterion][name],
      band: state.intervals ? run.criteria[state.criterion][`${name}_band`] : null, ...extra(run),
    });
    const lines = (name, extra = () => ({})) => visible().map((run) => line(run, name, extra));
    const at = (run) => run.criteria[state.criterion].metrics;
    chart(area, { title: `Precision and recall, ${state.criterion}`, x: { label: "recall", ...unit }, y: { label: "precision", ...unit },
      lines: lines("pr", (run) => ({ path: "stairs", dot: run.tested_on.classes.length === 1 ? [at(run).recall, at(run).precision] : null })) });
    const rates = visible().flatMap((run) => run.criteria[state.criterion].froc.x).filter((value) => value > 0);
    const images = Math.max(1, ...visible().map((run) => run.tested_on.images));
    chart(area, { title: `FROC, ${state.criterion}`, y: { label: "sensitivity", ...unit },
      x: { label: "false calls a radiograph", low: Math.min(1 / images, 0.1), high: Math.max(1, ...rates), log: true },
      lines: lines("froc", (run) => ({ dot: [at(run).false_calls, at(run).recall] })) });
    const scores = visible().flatMap((run) => run.criteria[state.criterion].f1.x);
    chart(area, { title: `F1 against threshold, ${state.criterion}`, thresholdIs: "", y: { label: "F1", ...unit },
      x: { label: "threshold", low: Math.min(0, ...scores), high: Math.max(1, ...scores) },
      lines: lines("f1", (run) => ({ dot: [run.threshold, at(run).f1] })) });
    chart(area, { title: "ROC of radiographs, any defect or none", diagonal: true, thresholdIs: "highest score",
      x: { label: "defect-free ones called", ...unit }, y: { label: "defective ones called", ...unit }, lines: lines("roc") });
  }

  function pod() {
    const fitted = visible().filter((run) => !run.pod[state.criterion].refused);
    const area = get("pod-charts");
    area.replaceChildren();
    for (const axis of new Set(fitted.map((run) => run.pod[state.criterion].axis))) {
      const runs = fitted.filter((run) => run.pod[state.criterion].axis === axis);
      const sizes = runs.flatMap((run) => run.pod[state.criterion].curve.x);
      chart(area, { title: `POD, ${state.criterion}`, thresholdIs: "", x: { label: axis, low: Math.min(...sizes), high: Math.max(...sizes), log: true },
        y: { label: "probability of detection", low: 0, high: 1 },
        lines: runs.map((run) => {
          const { curve, band, found, missed } = run.pod[state.criterion];
          const marks = [...found.map((value) => ({ at: value, up: true })), ...missed.map((value) => ({ at: value, up: false }))];
          return { name: run.name, color: run.color, ...curve, band: state.intervals ? band : null, marks };
        }) });
    }
    const size = (name) => (run) => {
      const value = run.pod[state.criterion][name];
      return value === null || value === undefined ? "n/a" : `${value.toPrecision(4)} ${run.pod[state.criterion].unit}`;
    };
    const rate = (name) => (run) => {
      const rates = run.pod[state.criterion].rates;
      if (!rates || rates[name] === null) return "n/a";
      const bounds = rates[name.replace("_share", "") + "_bounds"];
      return [number(rates[name]), element("small", {}, `${number(bounds[0])} to ${number(bounds[1])}`)];
    };
    get("pod-table").replaceChildren(byRun(visible(), [
      ["defects (found)", (run) => (run.pod[state.criterion].refused ? "n/a" : `${run.pod[state.criterion].defects} (${run.pod[state.criterion].hits})`)],
      ["a50", size("a50")], ["a90", size("a90")],
      ["a90/95, likelihood ratio", size("a90_95")], ["a90/95, Wald", size("a90_95_wald")],
      ["Hosmer-Lemeshow p", (run) => number(run.pod[state.criterion].hosmer_lemeshow_p)],
      ["false calls a radiograph", rate("false_calls_per_image")],
      ["share of defect-free radiographs with false calls", rate("defect_free_images_called_share")],
    ]));
    const notes = [element("p", { className: "quiet" },
      "Logit on log size. a90/95 is the one-sided 95 % upper bound of the size found nine times in ten; the band is two-sided 90 %. " +
      "Rates have exact bounds, each one-sided 95 %. Views of one and the same defect count as several here, which makes bounds too narrow.")];
    for (const run of visible()) {
      const { refused, warnings } = run.pod[state.criterion];
      for (const text of refused ? [refused] : warnings)
        notes.push(element("p", { className: "warning" }, `${run.name}: ${text}`));
    }
    get("pod-notes").replaceChildren(...notes);
  }

  function groups() {
    const rows = visible().flatMap((run) => run.criteria[state.criterion].groups[get("group").value].map((row, place) => ({ ...row, run, place })));
    get("groups").replaceChildren(sortableTable([
      { label: get("group").selectedOptions[0].textContent, text: true, value: (row) => (get("group").value === "size" ? row.place : row.name), show: (row) => row.name },
      { label: "run", text: true, value: (row) => row.run.name, show: (row) => named(row.run) },
      { label: "objects", value: (row) => row.objects },
      { label: "found", value: (row) => row.found },
      { label: "recall", value: (row) => row.recall, show: (row) => number(row.recall) },
      { label: "95 % bounds", value: (row) => row.bounds && row.bounds[0], show: (row) => (row.bounds ? `${number(row.bounds[0], 2)} to ${number(row.bounds[1], 2)}` : "n/a") },
      { label: "false calls", value: (row) => row.false_calls },
      { label: "radiographs", value: (row) => row.images, show: (row) => number(row.images, 0) },
      { label: "AP", value: (row) => row.ap, show: (row) => number(row.ap) },
    ], rows));
  }

  function confusion() {
    get("confusion").replaceChildren(...visible().map((run) => {
      const names = run.tested_on.classes;
      const head = element("tr", {}, element("th", {}, "true \\ called"), ...[...names, "missed"].map((name) => element("th", {}, name)));
      const body = run.criteria[state.criterion].confusion.map((row, place) =>
        element("tr", {}, element("td", {}, names[place] ?? "background"),
          ...row.map((count, called) => element("td", {}, place === names.length && called === names.length ? "" : String(count)))));
      return element("table", {}, element("caption", {}, ...named(run)), element("thead", {}, head), element("tbody", {}, ...body));
    }));
  }

  function overrides() {
    const names = ["number", "time", "radiograph", "from", "to", "inspector", "reason"];
    const rows = data.runs.flatMap((run) => (run.overrides || []).map((row) => [run.name, ...names.map((name) => row[name])]));
    get("overrides-section").hidden = rows.length === 0;
    const cells = (tag, values) => element("tr", {}, ...values.map((value) => element(tag, {}, value)));
    get("overrides").replaceChildren(element("table", {}, cells("th", ["run", ...names]), ...rows.map((row) => cells("td", row))));
  }

  function configs() {
    get("configs").replaceChildren(...data.runs.map((run) =>
      element("details", {}, element("summary", {}, ...named(run)), element("pre", {}, run.config ?? "not stored with the run"))));
  }

  function refresh() {
    tested();
    headline();
    errors();
    curves();
    pod();
    groups();
    confusion();
  }

  document.title = data.title;
  get("title").textContent = data.title;
  get("made").textContent = `Made ${data.made} from ${data.runs.length === 1 ? "one run" : `${data.runs.length} runs`}.`;
  for (const criterion of data.criteria) {
    const input = element("input", { type: "radio", name: "criterion", value: criterion, checked: criterion === state.criterion });
    input.addEventListener("change", () => {
      state.criterion = criterion;
      refresh();
    });
    get("criterion").append(element("label", {}, input, ` ${criterion}`));
  }
  for (const run of data.runs) {
    const input = element("input", { type: "checkbox", checked: true, value: run.name });
    input.addEventListener("change", () => {
      state.hidden[input.checked ? "delete" : "add"](run.name);
      refresh();
    });
    get("runs").append(element("label", {}, input, " ", ...named(run)));
  }
  get("intervals").addEventListener("change", () => {
    state.intervals = get("intervals").checked;
    refresh();
  });
  get("group").addEventListener("change", groups);
  configs();
  overrides();
  refresh();
  makeGallery(data);
})();
