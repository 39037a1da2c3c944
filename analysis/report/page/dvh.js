/* dvh.js - cumulative dose-volume histograms of a pictured case, read by pointer or by the slider below them.
 * SPDX-License-Identifier: Apache-2.0 */
"use strict";

const DVH = { width: 860, height: 400, left: 56, right: 12, top: 12, bottom: 44 };
const DVH_DASH = ["", "7 4", "2 3"];

class DvhPlot {
  constructor(data, root) {
    this.data = data;
    this.hidden = new Set();
    this.svg = this.shape("svg", { viewBox: `0 0 ${DVH.width} ${DVH.height}`, class: "dvh", role: "img", "aria-label": "dose-volume histograms; values below" });
    this.slider = make("input", { type: "range", id: "dvh-dose", min: 0, max: 1, step: 1, value: 0, oninput: () => this.read(Number(this.slider.value)) });
    this.label = make("output", { id: "dvh-label", for: "dvh-dose" });
    this.table = make("div", { id: "dvh-values" });
    this.svg.addEventListener("mousemove", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.read(Math.round(this.binAt((event.clientX - box.left) * DVH.width / box.width)));
    });
    root.append(make("div", {}, this.svg, make("div", { class: "controls" }, make("label", { for: "dvh-dose" }, "Read at "), this.slider, this.label)), this.table);
  }
  shape(tag, attributes, text) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
    if (text !== undefined) node.textContent = text;
    return node;
  }
  binAt(x) { return (x - DVH.left) / (DVH.width - DVH.left - DVH.right) * (this.bins - 1); }
  x(bin) { return DVH.left + bin / (this.bins - 1) * (DVH.width - DVH.left - DVH.right); }
  y(percent) { return DVH.top + (1 - percent / 100) * (DVH.height - DVH.top - DVH.bottom); }

  show(pictured) {
    this.pictured = pictured;
    this.bins = pictured.dvh.bins;
    this.hidden = new Set(pictured.dvh.structures.flatMap((s, i) => (s.role === "body" || s.role === "possible_dose" || s.role === "support" ? [i] : [])));
    this.slider.max = String(this.bins - 1);
    this.draw();
    this.read(Math.min(this.bins - 1, Math.round((pictured.prescription_gy * 0.95 || pictured.reference_max_gy / 2) / pictured.dvh.step_gy)));
  }
  draw() {
    const { dvh } = this.pictured, nodes = [], top = (this.bins - 1) * dvh.step_gy;
    for (let percent = 0; percent <= 100; percent += 20) {
      nodes.push(this.shape("line", { x1: DVH.left, x2: DVH.width - DVH.right, y1: this.y(percent), y2: this.y(percent), class: "grid" }));
      nodes.push(this.shape("text", { x: DVH.left - 8, y: this.y(percent) + 4, "text-anchor": "end" }, String(percent)));
    }
    const tick = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200].find((t) => top / t <= 10) || 500;
    for (let gy = 0; gy <= top + 1e-9; gy += tick) {
      const x = this.x(gy / dvh.step_gy);
      nodes.push(this.shape("line", { x1: x, x2: x, y1: DVH.top, y2: DVH.height - DVH.bottom, class: "grid" }));
      nodes.push(this.shape("text", { x, y: DVH.height - DVH.bottom + 18, "text-anchor": "middle" }, String(Math.round(gy * 10) / 10)));
    }
    nodes.push(this.shape("text", { x: (DVH.left + DVH.width - DVH.right) / 2, y: DVH.height - 8, "text-anchor": "middle" }, "dose in Gy"));
    nodes.push(this.shape("text", { x: 14, y: DVH.height / 2 - 10, "text-anchor": "middle", transform: `rotate(-90 14 ${DVH.height / 2 - 10})` }, "volume in %"));
    dvh.structures.forEach((structure, i) => {
      if (this.hidden.has(i)) return;
      structure.curves.forEach((curve, source) => {
        if (!curve) return;
        const points = curve.map((percent, bin) => `${this.x(bin).toFixed(1)},${this.y(percent).toFixed(1)}`).join(" ");
        nodes.push(this.shape("polyline", { points, class: "curve", stroke: structureColour(structure.index), "stroke-dasharray": DVH_DASH[source] }));
      });
    });
    this.cursor = this.shape("line", { class: "cursor", y1: DVH.top, y2: DVH.height - DVH.bottom });
    this.svg.replaceChildren(...nodes, this.cursor);
  }
  read(bin) {
    const at = Math.max(0, Math.min(this.bins - 1, bin)), { dvh } = this.pictured;
    this.slider.value = String(at);
    this.label.textContent = `${fixed(at * dvh.step_gy, 2)} Gy`;
    this.cursor.setAttribute("x1", this.x(at));
    this.cursor.setAttribute("x2", this.x(at));
    const shown = this.data.sources.map((name, i) => i).filter((i) => dvh.structures.some((s) => s.curves[i]));
    const style = ["solid", "dashed", "dotted"];
    const headings = ["structure", "volume, cc", ...shown.map((i) => `${this.data.sources[i]} (${style[i]}), %`)];
    const rows = dvh.structures.map((structure, i) => [this.structureCell(structure, i), fixed(structure.volume_cc, 1),
      ...shown.map((k) => (structure.curves[k] ? fixed(structure.curves[k][at], 1) : DASH))]);
    const caption = `Volume that receives at least ${fixed(at * dvh.step_gy, 2)} Gy`;
    if (this.rows === dvh.structures && this.shown === shown.length) return this.refill(rows, caption);
    this.table.replaceChildren(plainTable(caption, headings, rows));
    this.rows = dvh.structures;
    this.shown = shown.length;
  }
  /* Numbers change, boxes keep the focus. */
  refill(rows, caption) {
    this.table.querySelector("caption").textContent = caption;
    this.table.querySelectorAll("tbody tr").forEach((line, i) => {
      [...line.children].slice(2).forEach((cell, k) => { cell.textContent = rows[i][k + 2]; });
    });
  }
  structureCell(structure, i) {
    const box = make("input", { type: "checkbox", checked: !this.hidden.has(i), onchange: () => {
      if (box.checked) this.hidden.delete(i); else this.hidden.add(i);
      const at = Number(this.slider.value);
      this.draw();
      this.read(at);
    } });
    const swatch = make("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = structureColour(structure.index);
    return make("label", {}, box, swatch, structure.name);
  }
}
