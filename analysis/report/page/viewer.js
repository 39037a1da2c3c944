/* viewer.js - slices of a pictured case: planes, overlays, isodose lines, contours, cursor, one or two doses linked.
 * SPDX-License-Identifier: Apache-2.0 */
"use strict";

const WINDOWS = { "soft tissue": [400, 40], bone: [1800, 400], lung: [1500, -600], brain: [80, 40], "full range": [3000, 500] };
const OVERLAYS = { dose: "dose", difference: "difference", gamma: "gamma", none: "none" };
const KEYS = [["\u2191 \u2193, wheel", "one slice on or back"], ["Page \u2191, Page \u2193", "ten slices"], ["Home, End", "first, last slice"],
  ["Shift + arrows", "move the cursor by one voxel"], ["1, 2, 3", "axial, coronal, sagittal"], ["L", "next layout"],
  ["D, E, G, 0", "overlay: dose, difference, gamma, none"], ["I, C, X", "isodose lines, contours, cross-hair on or off"],
  ["W", "jump to the worst gamma"], ["H", "jump to the hottest voxel"], ["N, P", "next, previous case"], ["S", "next dose (prediction, reference, other run)"],
  ["[ ]", "overlay fainter, stronger"], ["+ \u2212", "zoom"], ["?", "this list"]];

class Viewer {
  constructor(data, root, onCase) {
    this.data = data;
    this.onCase = onCase;
    this.loaded = new Map();
    this.state = { pic: -1, orientation: "axial", position: [0, 0, 0], overlay: "dose", opacity: 0.45, isodose: true, contours: true,
      cross: true, layout: "planes", source: 1, width: 400, level: 40, zoom: 1, hidden: new Set() };
    this.build(root);
  }

  /* ---- controls ---- */

  build(root) {
    this.root = root;
    this.caseSelect = make("select", { id: "viewer-case", onchange: () => this.select(Number(this.caseSelect.value)) },
      this.data.pictured.map((p, i) => make("option", { value: i }, `${p.id} \u2013 ${p.why}`)));
    this.layoutSelect = this.choice("viewer-layout", this.layouts(), "layout");
    this.sourceSelect = this.choice("viewer-source", {}, "source", Number);
    this.orientationSelect = this.choice("viewer-orientation", { axial: "axial", coronal: "coronal", sagittal: "sagittal" }, "orientation");
    this.overlaySelect = this.choice("viewer-overlay", OVERLAYS, "overlay");
    this.windowSelect = make("select", { id: "viewer-window", onchange: () => this.preset(this.windowSelect.value) },
      Object.keys(WINDOWS).map((name) => make("option", { value: name }, name)), make("option", { value: "", disabled: true }, "custom"));
    const bar = make("div", { class: "controls" }, this.labelled("Case", this.caseSelect), this.labelled("Layout", this.layoutSelect),
      this.labelled("Plane", this.orientationSelect), this.labelled("Dose", this.sourceSelect), this.labelled("Overlay", this.overlaySelect),
      this.range("viewer-opacity", "Opacity", "opacity", 0, 1, 0.05), this.toggle("viewer-isodose", "Isodose lines", "isodose"),
      this.toggle("viewer-contours", "Contours", "contours"), this.toggle("viewer-cross", "Cross-hair", "cross"));
    const second = make("div", { class: "controls" }, this.labelled("CT window", this.windowSelect),
      this.range("viewer-width", "Width", "width", 20, 4000, 10), this.range("viewer-level", "Level", "level", -1000, 2000, 10),
      this.slider = make("input", { type: "range", id: "viewer-slice", min: 0, max: 1, step: 1, value: 0,
        oninput: () => this.toSlice(Number(this.slider.value)) }),
      make("button", { type: "button", id: "jump-gamma", onclick: () => this.jumpGamma() }, "Worst gamma"),
      make("button", { type: "button", id: "jump-hottest", onclick: () => this.jumpHottest() }, "Hottest voxel"));
    this.slider.before(make("label", { for: "viewer-slice" }, "Slice"));
    this.sliceLabel = make("output", { id: "viewer-slice-label", for: "viewer-slice" });
    this.slider.after(this.sliceLabel);
    this.panes = make("div", { class: "panes" });
    this.stage = make("div", { id: "viewer", class: "stage", tabindex: "0", role: "application", "aria-describedby": "readout",
      "aria-label": "slice viewer; press question mark for its keys", onkeydown: (event) => this.key(event) }, this.panes);
    this.readout = make("dl", { id: "readout", class: "readout", "aria-live": "polite" });
    this.legend = make("div", { class: "legend" });
    this.note = make("p", { class: "note", id: "viewer-note" });
    this.keys = make("dl", { id: "viewer-keys", class: "keys", hidden: true }, KEYS.map(([k, what]) => [make("dt", {}, k), make("dd", {}, what)]));
    root.append(bar, second, this.stage, this.readout, this.legend, this.note,
      make("button", { type: "button", class: "plain", id: "viewer-help", "aria-controls": "viewer-keys", onclick: () => this.help() }, "Keys of the viewer (?)"), this.keys);
    new ResizeObserver(() => this.draw()).observe(this.panes);
  }
  labelled(text, input) { return make("label", {}, `${text} `, input); }
  choice(id, options, field, convert = String) {
    const select = make("select", { id, onchange: () => this.set({ [field]: convert(select.value) }) });
    this.fillChoice(select, options);
    return select;
  }
  fillChoice(select, options) {
    select.replaceChildren(...Object.entries(options).map(([value, text]) => make("option", { value }, text)));
  }
  toggle(id, text, field) {
    const box = make("input", { type: "checkbox", id, onchange: () => this.set({ [field]: box.checked }) });
    (this.toggles ||= []).push([box, field]);
    return make("label", {}, box, ` ${text}`);
  }
  range(id, text, field, min, max, step) {
    const input = make("input", { type: "range", id, min, max, step, oninput: () => this.set({ [field]: Number(input.value) }) });
    (this.ranges ||= []).push([input, field]);
    return make("label", {}, `${text} `, input);
  }
  layouts() {
    const all = { planes: "three planes", pair: "reference | prediction" };
    if (this.data.sources.length > 2) all.runs = "two runs";
    return all;
  }
  preset(name) {
    if (!Object.prototype.hasOwnProperty.call(WINDOWS, name)) return;
    this.set({ width: WINDOWS[name][0], level: WINDOWS[name][1] });
  }
  help() {
    this.keys.hidden = !this.keys.hidden;
    byId("viewer-help").setAttribute("aria-expanded", String(!this.keys.hidden));
  }

  set(change) {
    Object.assign(this.state, change);
    this.refresh();
  }
  refresh() {
    const s = this.state;
    this.layoutSelect.value = s.layout;
    this.orientationSelect.value = s.orientation;
    this.overlaySelect.value = s.overlay;
    this.sourceSelect.value = String(s.source);
    this.sourceSelect.disabled = s.layout !== "planes";
    for (const [box, field] of this.toggles) box.checked = s[field];
    for (const [input, field] of this.ranges) input.value = String(s[field]);
    const preset = Object.entries(WINDOWS).find(([, [w, l]]) => w === s.width && l === s.level);
    this.windowSelect.value = preset ? preset[0] : "";
    this.draw();
  }

  /* ---- a case ---- */

  async select(pic) {
    this.state.pic = pic;
    this.caseSelect.value = String(pic);
    this.stage.dataset.ready = "false";
    const pictured = this.data.pictured[pic];
    let scene;
    try {
      if (typeof DecompressionStream === "undefined") {
        throw new Error("this browser cannot unpack the volumes (it has no DecompressionStream): use one from 2023 or later");
      }
      if (!this.loaded.has(pic)) this.loaded.set(pic, this.load(pictured));
      scene = await this.loaded.get(pic);
    } catch (error) {
      this.note.textContent = `The volumes of this case could not be shown: ${error.message}`;
      return;
    }
    if (this.state.pic !== pic) return; /* another was chosen meanwhile */
    this.scene = scene;
    this.fillChoice(this.sourceSelect, Object.fromEntries(this.data.sources.map((name, i) => [i, name]).filter(([i]) => scene.dose[i])));
    if (!scene.dose[this.state.source]) this.state.source = scene.dose[1] ? 1 : 0;
    this.state.position = scene.start.slice();
    this.state.hidden = new Set(pictured.structures.flatMap((t, k) => (t.role === "possible_dose" || t.role === "support" ? [k] : [])));
    this.note.textContent = pictured.note;
    this.fillLegend();
    this.onCase(pic);
    this.refresh();
    this.stage.dataset.ready = "true";
  }

  async load(p) {
    const voxels = p.shape[0] * p.shape[1] * p.shape[2];
    const read = (entry) => (entry ? readVolume(entry, voxels) : Promise.resolve(null));
    const [ct, masks, ...rest] = await Promise.all([read(p.volumes.ct), read(p.volumes.masks), ...p.volumes.dose.map(read), ...p.volumes.gamma.map(read)]);
    const scene = { info: p, shape: p.shape, spacing: p.spacing_mm, axes: patientAxes(p.direction), ct, masks,
      dose: rest.slice(0, p.volumes.dose.length), gamma: rest.slice(p.volumes.dose.length) };
    scene.full = p.prescription_gy > 0 ? p.prescription_gy : p.reference_max_gy;
    scene.start = p.start.slice();
    return scene;
  }

  /* ---- moving ---- */

  plane() { return planeOf(this.scene, this.state.orientation); }
  toSlice(display) {
    const through = this.plane().through;
    this.state.position[through.axis] = alongIndex(through, Math.max(0, Math.min(through.count - 1, display)));
    this.draw();
  }
  scroll(by) { this.toSlice(this.displaySlice() + by); }
  displaySlice() {
    const through = this.plane().through;
    return alongIndex(through, this.state.position[through.axis]);
  }
  moveCursor(across, down) {
    const plane = this.plane();
    for (const [walk, by] of [[plane.across, across], [plane.down, down]]) {
      const at = Math.max(0, Math.min(walk.count - 1, alongIndex(walk, this.state.position[walk.axis]) + by));
      this.state.position[walk.axis] = alongIndex(walk, at);
    }
    this.draw();
  }
  indexOf(position) { return (position[0] * this.scene.shape[1] + position[1]) * this.scene.shape[2] + position[2]; }
  positionOf(index) {
    const [, ny, nx] = this.scene.shape;
    return [Math.floor(index / (ny * nx)), Math.floor(index / nx) % ny, index % nx];
  }
  /* The dose that gamma and difference are about: the shown one, or the prediction where the reference is shown. */
  judged() { return this.state.source === 0 || this.state.layout !== "planes" ? 1 : this.state.source; }
  jumpGamma() {
    const source = this.judged(), gamma = this.scene.gamma[source];
    if (!gamma) return;
    const [dose, reference] = [this.scene.dose[source], this.scene.dose[0]];
    let best = -1, bestQ = -1, bestError = -1;
    for (let i = 0; i < gamma.q.length; i++) {
      const q = gamma.q[i];
      if (q === gamma.unknown || q < bestQ) continue;
      const error = Math.abs(valueAt(dose, i) - valueAt(reference, i));
      if (q > bestQ || error > bestError) [best, bestQ, bestError] = [i, q, error];
    }
    if (best >= 0) this.set({ position: this.positionOf(best), overlay: "gamma" });
  }
  jumpHottest() {
    const dose = this.scene.dose[this.state.layout === "planes" ? this.state.source : 1];
    let best = -1, bestQ = -1;
    for (let i = 0; i < dose.q.length; i++) if (dose.q[i] !== dose.unknown && dose.q[i] > bestQ) [best, bestQ] = [i, dose.q[i]];
    if (best >= 0) this.set({ position: this.positionOf(best) });
  }

  key(event) {
    if (!this.scene || event.ctrlKey || event.altKey || event.metaKey) return;
    const s = this.state, next = (list, value) => list[(list.indexOf(value) + 1) % list.length];
    const shifted = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    const actions = {
      ArrowUp: () => this.scroll(1), ArrowDown: () => this.scroll(-1), PageUp: () => this.scroll(10), PageDown: () => this.scroll(-10),
      Home: () => this.toSlice(0), End: () => this.toSlice(Infinity),
      1: () => this.set({ orientation: "axial" }), 2: () => this.set({ orientation: "coronal" }), 3: () => this.set({ orientation: "sagittal" }),
      l: () => this.set({ layout: next(Object.keys(this.layouts()), s.layout) }),
      d: () => this.set({ overlay: "dose" }), e: () => this.set({ overlay: "difference" }), g: () => this.set({ overlay: "gamma" }),
      0: () => this.set({ overlay: "none" }), i: () => this.set({ isodose: !s.isodose }), c: () => this.set({ contours: !s.contours }),
      x: () => this.set({ cross: !s.cross }), w: () => this.jumpGamma(), h: () => this.jumpHottest(),
      n: () => this.select((s.pic + 1) % this.data.pictured.length),
      p: () => this.select((s.pic + this.data.pictured.length - 1) % this.data.pictured.length),
      s: () => this.set({ source: next(this.scene.dose.map((_, i) => i).filter((i) => this.scene.dose[i]), s.source) }),
      "[": () => this.set({ opacity: Math.max(0, s.opacity - 0.05) }), "]": () => this.set({ opacity: Math.min(1, s.opacity + 0.05) }),
      "+": () => this.set({ zoom: Math.min(8, s.zoom * 1.25) }), "-": () => this.set({ zoom: Math.max(1, s.zoom / 1.25) }), "?": () => this.help(),
    };
    const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const shiftedMove = event.shiftKey && Object.prototype.hasOwnProperty.call(shifted, name);
    if (!shiftedMove && !Object.prototype.hasOwnProperty.call(actions, name)) return;
    event.preventDefault();
    if (shiftedMove) this.moveCursor(...shifted[name]);
    else actions[name]();
  }

  /* ---- drawing ---- */

  wantedPanes() {
    const s = this.state;
    if (s.layout === "planes") return ["axial", "coronal", "sagittal"].map((orientation) => ({ orientation, source: s.source }));
    const sources = s.layout === "runs" && this.scene.dose[2] ? [1, 2] : [0, 1];
    return sources.map((source) => ({ orientation: s.orientation, source }));
  }
  draw() {
    if (!this.scene || this.pending) return;
    this.pending = true;
    queueMicrotask(() => { this.pending = false; this.drawNow(); });
  }
  drawNow() {
    const wanted = this.wantedPanes();
    while (this.panes.children.length > wanted.length) this.panes.lastChild.remove();
    while (this.panes.children.length < wanted.length) this.panes.append(this.newPane());
    this.panes.className = `panes ${this.state.layout}`;
    wanted.forEach((pane, i) => this.drawPane(this.panes.children[i], pane));
    const through = this.plane().through, slice = this.displaySlice();
    this.slider.max = String(through.count - 1);
    this.slider.value = String(slice);
    this.sliceLabel.textContent = `${slice + 1} / ${through.count}`;
    const original = this.originalIndex(this.state.position);
    Object.assign(this.stage.dataset, { case: this.scene.info.id, slice: String(slice), voxel: original.join(","), overlay: this.state.overlay,
      orientation: this.state.orientation, layout: this.state.layout, isodose: String(this.state.isodose), contours: String(this.state.contours) });
    this.tell();
    this.scaleBar();
  }
  originalIndex(position) {
    const { crop_start, stride } = this.scene.info;
    return position.map((v, a) => crop_start[a] + v * stride);
  }

  newPane() {
    const canvas = make("canvas", { "aria-hidden": "true" });
    const figure = make("figure", { class: "pane" }, make("figcaption", {}), make("div", { class: "canvas" }, canvas,
      ["left", "right", "top", "bottom"].map((side) => make("span", { class: `side ${side}` }))));
    const follow = (event) => this.point(figure, event);
    canvas.addEventListener("mousemove", (event) => this.hover(figure, event));
    canvas.addEventListener("mouseleave", () => this.tell());
    canvas.addEventListener("mousedown", (event) => {
      this.stage.focus({ preventScroll: true });
      if (event.button === 0 && !event.shiftKey) follow(event);
      if (event.shiftKey || event.button === 2) this.dragWindow(event);
    });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.state.orientation = figure.pane.orientation;
      this.orientationSelect.value = this.state.orientation;
      this.scroll(event.deltaY > 0 ? -1 : 1);
    }, { passive: false });
    return figure;
  }
  /* Right button, or shift: across changes the width, down the level. */
  dragWindow(event) {
    event.preventDefault();
    const { width, level } = this.state, x = event.clientX, y = event.clientY;
    const move = (e) => this.set({ width: Math.max(20, width + 4 * (e.clientX - x)), level: level + 2 * (e.clientY - y) });
    const up = () => { window.removeEventListener("mousemove", move); window.removeEventListener("mouseup", up); };
    window.addEventListener("mousemove", move);
    window.addEventListener("mouseup", up);
  }
  /* Voxel under the pointer, as a stored position, or null. */
  under(figure, event) {
    const { view, plane } = figure, box = event.target.getBoundingClientRect();
    const i = Math.floor((event.clientX - box.left - view.left) / view.scaleX), j = Math.floor((event.clientY - box.top - view.top) / view.scaleY);
    if (i < 0 || j < 0 || i >= plane.across.count || j >= plane.down.count) return null;
    const position = this.state.position.slice();
    position[plane.across.axis] = alongIndex(plane.across, i);
    position[plane.down.axis] = alongIndex(plane.down, j);
    return position;
  }
  point(figure, event) {
    const position = this.under(figure, event);
    if (position) this.set({ position, orientation: figure.pane.orientation });
  }
  hover(figure, event) {
    const position = this.under(figure, event);
    this.tell(position || undefined);
  }

  drawPane(figure, pane) {
    const scene = this.scene, s = this.state, plane = planeOf(scene, pane.orientation);
    const holder = figure.querySelector(".canvas"), canvas = figure.querySelector("canvas");
    const w = Math.max(80, holder.clientWidth), h = Math.max(80, holder.clientHeight), dpr = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(w * dpr) || canvas.height !== Math.round(h * dpr)) {
      canvas.width = Math.round(w * dpr);
      canvas.height = Math.round(h * dpr);
    }
    const wide = plane.across.count * plane.across.mm, high = plane.down.count * plane.down.mm;
    const mm = Math.min(w / wide, h / high) * s.zoom;
    const view = { scaleX: mm * plane.across.mm, scaleY: mm * plane.down.mm, left: (w - wide * mm) / 2, top: (h - high * mm) / 2, mm };
    if (s.zoom > 1) this.centre(view, plane, w, h, wide * mm, high * mm);
    Object.assign(figure, { plane, view, pane });
    figure.classList.toggle("active", pane.orientation === s.orientation);
    const slice = sliceStrides(scene, plane, s.position);
    const g = canvas.getContext("2d");
    g.setTransform(dpr, 0, 0, dpr, 0, 0);
    g.fillStyle = "#000";
    g.fillRect(0, 0, w, h);
    g.translate(view.left, view.top);
    this.drawVoxels(g, plane, slice, view, pane);
    if (s.contours && scene.masks) this.drawContours(g, plane, slice, view);
    if (s.isodose) this.drawIsodose(g, plane, slice, view, scene.dose[pane.source]);
    if (s.cross) this.drawCross(g, plane, view);
    g.setTransform(dpr, 0, 0, dpr, 0, 0);
    this.drawRuler(g, w, h, view);
    this.writeSides(figure, plane, pane);
  }
  /* Zoomed in, the cursor stays in sight. */
  centre(view, plane, w, h, wide, high) {
    const x = (alongIndex(plane.across, this.state.position[plane.across.axis]) + 0.5) * view.scaleX;
    const y = (alongIndex(plane.down, this.state.position[plane.down.axis]) + 0.5) * view.scaleY;
    if (wide > w) view.left = Math.min(0, Math.max(w - wide, w / 2 - x));
    if (high > h) view.top = Math.min(0, Math.max(h - high, h / 2 - y));
  }
  /* What the colours of a pane show: the wanted overlay, or the dose where it would be nothing (the reference's own). */
  overlayOf(pane) {
    const wanted = this.state.overlay;
    if (wanted === "difference" && (pane.source === 0 || !this.scene.dose[0])) return "dose";
    if (wanted === "gamma" && !this.scene.gamma[pane.source]) return "dose";
    return wanted;
  }
  doseTop() { return 1.1 * this.scene.full; }
  differenceTop() { return 0.1 * this.scene.full; }

  drawVoxels(g, plane, slice, view, pane) {
    const { scene, state } = this, nx = plane.across.count, ny = plane.down.count;
    const base = new ImageData(nx, ny), cover = new ImageData(nx, ny);
    const low = state.level - state.width / 2, gain = 255 / state.width;
    const overlay = this.overlayOf(pane), colour = this.colourer(overlay, pane.source);
    for (let j = 0, k = 0; j < ny; j++) {
      for (let i = 0; i < nx; i++, k += 4) {
        const at = slice.start + i * slice.dx + j * slice.dy;
        const grey = scene.ct ? Math.max(0, Math.min(255, (valueAt(scene.ct, at) - low) * gain)) : 0;
        base.data[k] = base.data[k + 1] = base.data[k + 2] = grey;
        base.data[k + 3] = 255;
        if (colour) colour(at, cover.data, k);
      }
    }
    this.paint(g, base, view, true);
    if (colour) this.paint(g, cover, view, overlay !== "gamma");
  }
  paint(g, image, view, smooth) {
    const small = new OffscreenCanvas(image.width, image.height);
    small.getContext("2d").putImageData(image, 0, 0);
    g.imageSmoothingEnabled = smooth;
    g.drawImage(small, 0, 0, image.width * view.scaleX, image.height * view.scaleY);
  }
  /* Writes colour and opacity of one voxel. */
  colourer(overlay, source) {
    const { scene, state } = this, alpha = Math.round(255 * state.opacity);
    const put = (table, t, strength, out, k) => {
      const c = 3 * Math.max(0, Math.min(255, Math.round(255 * t)));
      out[k] = table[c];
      out[k + 1] = table[c + 1];
      out[k + 2] = table[c + 2];
      out[k + 3] = strength;
    };
    const dose = scene.dose[source], reference = scene.dose[0], gamma = scene.gamma[source];
    const top = this.doseTop(), least = 0.1 * scene.full, difference = this.differenceTop();
    if (overlay === "dose") return (at, out, k) => { const v = valueAt(dose, at); if (v >= least) put(COLOURS.dose, v / top, alpha, out, k); };
    if (overlay === "gamma") return (at, out, k) => { const v = valueAt(gamma, at); if (v >= 0) put(COLOURS.gamma, v <= 1 ? v * 0.498 : 0.5 + (v - 1) / 2, alpha, out, k); };
    if (overlay !== "difference") return null;
    return (at, out, k) => {
      const v = (valueAt(dose, at) - valueAt(reference, at)) / difference;
      if (Math.abs(v) >= 0.02) put(COLOURS.difference, 0.5 + v / 2, Math.round(alpha * Math.min(1, 0.35 + 2 * Math.abs(v))), out, k);
    };
  }

  drawIsodose(g, plane, slice, view, dose) {
    const sample = (i, j) => valueAt(dose, slice.start + i * slice.dx + j * slice.dy);
    for (const { percent, colour, dash } of ISODOSE) {
      const path = new Path2D();
      isoLine(path, plane.across.count, plane.down.count, percent / 100 * this.scene.full, sample, view.scaleX, view.scaleY, 0);
      this.stroke(g, path, colour, 1.4, dash);
    }
  }
  drawContours(g, plane, slice, view) {
    const { masks, info } = this.scene, nx = plane.across.count, ny = plane.down.count;
    info.structures.forEach((structure, k) => {
      if (this.state.hidden.has(k)) return;
      const inside = info.combinations.map((list) => list.includes(k));
      const sample = (i, j) => (i < 0 || j < 0 || i >= nx || j >= ny ? 0 : inside[masks.q[slice.start + i * slice.dx + j * slice.dy]] ? 1 : 0);
      const path = new Path2D();
      isoLine(path, nx, ny, 0.5, sample, view.scaleX, view.scaleY, 1);
      this.stroke(g, path, structure.role === "body" ? "#ffffff" : structureColour(k), structure.role === "target" ? 2 : 1.2, structure.role === "target" ? [] : [5, 2]);
    });
  }
  stroke(g, path, colour, width, dash) {
    g.lineCap = "round";
    g.setLineDash([]);
    g.strokeStyle = "rgba(0,0,0,0.55)";
    g.lineWidth = width + 1.4;
    g.stroke(path);
    g.setLineDash(dash);
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.stroke(path);
    g.setLineDash([]);
  }
  drawCross(g, plane, view) {
    const x = (alongIndex(plane.across, this.state.position[plane.across.axis]) + 0.5) * view.scaleX;
    const y = (alongIndex(plane.down, this.state.position[plane.down.axis]) + 0.5) * view.scaleY;
    const wide = plane.across.count * view.scaleX, high = plane.down.count * view.scaleY, gap = 7;
    const path = new Path2D();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, wide, y], [x, 0, x, y - gap], [x, y + gap, x, high]]) {
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
    }
    g.strokeStyle = "rgba(255,255,255,0.75)";
    g.lineWidth = 0.8;
    g.stroke(path);
  }
  drawRuler(g, w, h, view) {
    const long = 50 * view.mm;
    g.fillStyle = "#fff";
    g.fillRect(w - long - 10, h - 9, long, 2);
    g.font = "11px sans-serif";
    g.textAlign = "right";
    g.fillText("5 cm", w - 10, h - 13);
  }
  writeSides(figure, plane, pane) {
    const oblique = plane.across.oblique ? ", oblique" : "", names = ["left", "right", "top", "bottom"];
    const overlay = this.overlayOf(pane), on = overlay === "none" ? "" : ` \u2013 ${overlay}`;
    const walk = plane.through, number = alongIndex(walk, this.state.position[walk.axis]) + 1;
    figure.querySelector("figcaption").textContent = `${this.data.sources[pane.source]}${on} \u2013 ${pane.orientation}${oblique} ${number}/${walk.count}`;
    names.forEach((name, i) => {
      const span = figure.querySelector(`.side.${name}`);
      span.textContent = plane.sides[i];
      span.title = SIDE_NAMES[plane.sides[i]];
    });
  }

  /* ---- read-out and legend ---- */

  tell(position = this.state.position) {
    if (!this.scene) return;
    const { scene } = this, { info } = scene, at = this.indexOf(position), index = this.originalIndex(position);
    const percent = (v) => (isNumber(v) ? `${fixed(v, 2)} Gy (${fixed(100 * v / scene.full, 1)} %)` : DASH);
    const items = [["voxel z, y, x", index.join(", ")], ["patient L, P, H", `${this.patientPoint(index).map((v) => fixed(v, 1)).join(", ")} mm`],
      ["CT", scene.ct ? `${fixed(valueAt(scene.ct, at), 0)} HU` : DASH]];
    const reference = valueAt(scene.dose[0], at);
    scene.dose.forEach((dose, i) => {
      if (!dose) return;
      items.push([this.data.sources[i], percent(valueAt(dose, at))]);
      if (i > 0) items.push([`${this.data.sources[i]} \u2212 reference`, `${fixed(valueAt(dose, at) - reference, 2)} Gy`]);
      if (scene.gamma[i]) items.push([`gamma, ${this.data.sources[i]}`, isNumber(valueAt(scene.gamma[i], at)) ? fixed(valueAt(scene.gamma[i], at), 2) : "not evaluated"]);
    });
    if (scene.masks) items.push(["in", info.combinations[scene.masks.q[at]].map((k) => info.structures[k].name).join(", ") || DASH]);
    this.readout.replaceChildren(...items.map(([key, value]) => make("div", {}, make("dt", {}, key), make("dd", {}, value))));
  }
  patientPoint(index) {
    const { origin_mm, grid_spacing_mm, direction } = this.scene.info;
    return [0, 1, 2].map((row) => {
      let v = origin_mm[2 - row];
      for (let c = 0; c < 3; c++) v += direction[3 * row + c] * grid_spacing_mm[2 - c] * index[2 - c];
      return v;
    });
  }
  fillLegend() {
    const { info, full } = this.scene;
    const line = (colour, dash) => {
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      svg.setAttribute("viewBox", "0 0 30 8");
      const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
      for (const [k, v] of Object.entries({ x1: 0, y1: 4, x2: 30, y2: 4, stroke: colour, "stroke-width": 3, "stroke-dasharray": dash.join(" ") })) stroke.setAttribute(k, String(v));
      svg.append(stroke);
      return svg;
    };
    const isodose = ISODOSE.map(({ percent, colour, dash }) => make("li", {}, line(colour, dash), ` ${percent} % = ${fixed(percent / 100 * full, 1)} Gy`));
    const structures = info.structures.map((structure, k) => {
      const box = make("input", { type: "checkbox", checked: !this.state.hidden.has(k), onchange: () => {
        if (box.checked) this.state.hidden.delete(k); else this.state.hidden.add(k);
        this.draw();
      } });
      return make("li", {}, make("label", {}, box, line(structure.role === "body" ? "#bbbbbb" : structureColour(k), structure.role === "target" ? [] : [5, 2]), ` ${structure.name}`));
    });
    this.bar = make("div", { class: "scale" });
    const basis = info.prescription_gy > 0 ? "of the prescription" : "of the reference\u2019s maximum (no prescription is known)";
    this.legend.replaceChildren(make("div", {}, make("h4", {}, "Colours"), this.bar), make("div", {}, make("h4", {}, `Isodose lines, ${basis}`), make("ul", {}, isodose)),
      make("div", {}, make("h4", {}, "Contours"), make("ul", { class: "wide" }, structures)));
  }
  scaleBar() {
    if (!this.bar) return;
    const shown = { dose: [DOSE_STOPS, [0, 0.25, 0.5, 0.75, 1].map((t) => `${fixed(t * this.doseTop(), 0)}`), "Gy"],
      difference: [DIFFERENCE_STOPS, [-1, -0.5, 0, 0.5, 1].map((t) => fixed(t * this.differenceTop(), 1)), "Gy, prediction \u2212 reference"],
      gamma: [GAMMA_STOPS, ["0", "0.5", "1", "1.5", "2"], `gamma ${this.scene.info.gamma_label}; at most 1 passes (blue)`] }[this.state.overlay];
    if (!shown) return this.bar.replaceChildren("no overlay");
    const ramp = make("div", { class: "ramp" });
    ramp.style.background = gradientCss(shown[0]);
    this.bar.replaceChildren(ramp, make("div", { class: "ticks" }, shown[1].map((t) => make("span", {}, t))), make("div", {}, shown[2]));
  }
}
