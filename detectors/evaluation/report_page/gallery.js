// The gallery of errors, and the dialog that zooms into a radiograph.

function makeGallery(data) {
  const get = (id) => document.getElementById(id);
  const loaded = new Map();
  const zoom = { items: [], place: 0, view: null };

  function load(index) {
    if (!loaded.has(index)) {
      const image = new Image();
      image.src = data.pictures[index].uri;
      loaded.set(index, image.decode().then(() => image, () => null));
    }
    return loaded.get(index);
  }

  const available = (item) => item.picture !== null && data.pictures[item.picture].uri !== null;

  // The part of a radiograph to begin with: the box with its surroundings, of the canvas's proportions.
  function viewOf(item, canvas, room) {
    const [x, y, w, h] = item.box;
    const height = Math.max(room * Math.max(h, (w * canvas.height) / canvas.width), 72);
    return { x: x + w / 2, y: y + h / 2, scale: canvas.height / height };
  }

  // Draws the radiograph with its gray values stretched to those in view, then the boxes.
  function paint(canvas, image, item, view, contrast, boxes) {
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const [left, top] = [canvas.width / 2 - view.x * view.scale, canvas.height / 2 - view.y * view.scale];
    const [x, y, w, h] = data.pictures[item.picture].window;
    context.fillStyle = "#1a1a1a";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, left + x * view.scale, top + y * view.scale, w * view.scale, h * view.scale);
    stretch(context, canvas, contrast, {
      x0: Math.max(0, Math.floor(left + x * view.scale)), y0: Math.max(0, Math.floor(top + y * view.scale)),
      x1: Math.min(canvas.width, Math.ceil(left + (x + w) * view.scale)),
      y1: Math.min(canvas.height, Math.ceil(top + (y + h) * view.scale)),
    });
    if (!boxes) return;
    const shown = item.run.shown[item.image];
    const rectangle = ([bx, by, bw, bh], color, dash, grow) => {
      context.strokeStyle = color;
      context.setLineDash(dash);
      context.lineWidth = Math.max(2.5, canvas.width / 400);
      context.strokeRect(left + bx * view.scale - grow, top + by * view.scale - grow, bw * view.scale + 2 * grow, bh * view.scale + 2 * grow);
    };
    for (const truth of shown.ground_truth) rectangle(truth, truth[4] ? "#56B4E9" : "#F0E442", [6, 4], canvas.width / 150);
    context.font = `${Math.max(15, canvas.width / 75)}px sans-serif`;
    for (const call of shown.calls) {
      const color = call[5] ? "#00C08A" : "#FF5A3C";
      rectangle(call, color, [], 0);
      context.fillStyle = color;
      context.fillText(call[4].toFixed(2), left + call[0] * view.scale, top + call[1] * view.scale - 4);
    }
    context.setLineDash([]);
  }

  function stretch(context, canvas, contrast, { x0, y0, x1, y1 }) {
    if (x1 <= x0 || y1 <= y0 || contrast <= 0) return;
    const pixels = context.getImageData(x0, y0, x1 - x0, y1 - y0);
    const values = pixels.data;
    const counts = new Uint32Array(256);
    for (let k = 0; k < values.length; k += 4) counts[values[k]] += 1;
    const total = values.length / 4;
    const percentile = (share) => {
      let sum = 0;
      for (let gray = 0; gray < 256; gray += 1) if ((sum += counts[gray]) >= share * total) return gray;
      return 255;
    };
    const low = contrast * percentile(0.01);
    const high = 255 - contrast * (255 - percentile(0.99));
    const factor = 255 / Math.max(high - low, 8);
    for (let k = 0; k < values.length; k += 4)
      values[k] = values[k + 1] = values[k + 2] = (values[k] - low) * factor;
    context.putImageData(pixels, x0, y0);
  }

  const describe = (item) =>
    `${item.error}, ${item.kind}: ${data.kinds[item.error][item.kind]}. Class ${item.class}, size ${number(item.size, 1)} px, ` +
    `${item.error === "miss" ? "best" : "nearest"} IoU ${number(item.iou, 2)}, score ${number(item.score)}.`;

  function card(item) {
    const canvas = element("canvas", { width: 400, height: 300 });
    const button = element("button", { type: "button", className: "error", title: "zoom" }, canvas,
      element("span", {}, element("b", {}, `${item.error}: ${item.kind}`), element("br"),
        `${number(item.size, 0)} px, score ${number(item.score, 2)}, IoU ${number(item.iou, 2)}`, element("br"),
        `${item.file}${data.runs.length > 1 ? ` (${item.run.name})` : ""}`));
    if (!available(item)) {
      const context = canvas.getContext("2d");
      context.fillStyle = "#ddd";
      context.font = "20px sans-serif";
      context.fillText("radiograph not in this page", 70, 155);
      button.disabled = true;
      return button;
    }
    button.painted = load(item.picture).then((image) => image && paint(canvas, image, item, viewOf(item, canvas, 4), 1, true));
    button.addEventListener("click", () => {
      zoom.place = zoom.items.indexOf(item);
      show();
    });
    return button;
  }

  function refresh() {
    const [run, error, kind, sort] = ["run", "error", "kind", "sort"].map((name) => get(`gallery-${name}`).value);
    const items = data.runs
      .flatMap((record) => record.gallery.map((item) => Object.assign(item, { run: record })))
      .filter((item) => (!run || item.run.name === run) && (!error || item.error === error) && (!kind || item.kind === kind));
    const worth = { rank: (item) => -item.rank, score: (item) => item.score ?? -1, size: (item) => item.size, iou: (item) => item.iou };
    items.sort(sort === "file" ? (a, b) => a.file.localeCompare(b.file, "en", { numeric: true }) : (a, b) => worth[sort](b) - worth[sort](a));
    zoom.items = items.filter(available);
    get("gallery").replaceChildren(...items.map(card));
    get("gallery-count").textContent = `${items.length} shown`;
  }

  async function redraw() {
    const item = zoom.items[zoom.place];
    const image = await load(item.picture);
    if (!image) return;
    paint(get("zoom-canvas"), image, item, zoom.view, get("zoom-contrast").value / 100, get("zoom-boxes").checked);
    get("zoom-canvas").dataset.scale = zoom.view.scale.toFixed(3);
  }

  function show() {
    const item = zoom.items[zoom.place];
    zoom.view = viewOf(item, get("zoom-canvas"), 6);
    get("zoom-title").textContent = `${item.file} (${item.run.name}), ${zoom.place + 1} of ${zoom.items.length}`;
    get("zoom-text").textContent = describe(item);
    if (!get("zoom").open) get("zoom").showModal();
    return redraw();
  }

  function step(by) {
    zoom.place = (zoom.place + by + zoom.items.length) % zoom.items.length;
    show();
  }

  function scaleBy(factor) {
    zoom.view.scale = Math.min(Math.max(zoom.view.scale * factor, 0.1), 40);
    redraw();
  }

  function whole() {
    const canvas = get("zoom-canvas");
    const [x, y, w, h] = data.pictures[zoom.items[zoom.place].picture].window;
    zoom.view = { x: x + w / 2, y: y + h / 2, scale: Math.min(canvas.width / w, canvas.height / h) };
    redraw();
  }

  function drag(canvas) {
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const share = canvas.width / canvas.getBoundingClientRect().width / zoom.view.scale;
      zoom.view.x -= (event.clientX - last[0]) * share;
      zoom.view.y -= (event.clientY - last[1]) * share;
      last = [event.clientX, event.clientY];
      redraw();
    });
    canvas.addEventListener("pointerup", () => (last = null));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      scaleBy(event.deltaY < 0 ? 1.2 : 1 / 1.2);
    }, { passive: false });
  }

  const option = (value, text) => element("option", { value }, text);
  get("gallery-run").append(option("", "all"), ...data.runs.map((run) => option(run.name, run.name)));
  const kinds = new Set([...Object.keys(data.kinds.miss), ...Object.keys(data.kinds["false call"])]);
  get("gallery-kind").append(option("", "all"), ...[...kinds].map((kind) => option(kind, kind)));
  for (const name of ["run", "error", "kind", "sort"]) get(`gallery-${name}`).addEventListener("change", refresh);
  const presses = { previous: () => step(-1), next: () => step(1), in: () => scaleBy(1.5), out: () => scaleBy(1 / 1.5), whole, close: () => get("zoom").close() };
  for (const [name, action] of Object.entries(presses)) get(`zoom-${name}`).addEventListener("click", action);
  get("zoom-contrast").addEventListener("input", redraw);
  get("zoom-boxes").addEventListener("change", redraw);
  get("zoom").addEventListener("keydown", (event) => {
    if (event.target.matches("input")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  drag(get("zoom-canvas"));
  refresh();
}
