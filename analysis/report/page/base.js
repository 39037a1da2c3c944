/* base.js - elements, numbers and sortable tables. Text of a case reaches the page through textContent alone.
 * SPDX-License-Identifier: Apache-2.0 */
"use strict";

/* The data of the page: JSON in a script element, which a browser neither runs nor reads as HTML. */
function pageData() {
  return JSON.parse(document.getElementById("data").textContent);
}

/* make("td", {class: "n", title: t}, child | text ...): attributes are set, never parsed. */
function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}
const byId = (id) => document.getElementById(id);
const isNumber = (v) => typeof v === "number" && Number.isFinite(v);
const DASH = "\u2013";

/* A number with `digits` decimals, a dash where there is none; minus is the real sign. */
function fixed(value, digits) {
  if (!isNumber(value)) return DASH;
  return value.toFixed(digits).replace(/^-(?=0\.?0*$)/, "").replace("-", "\u2212");
}
/* Three to four significant digits, for columns of mixed size. */
function short(value) {
  if (!isNumber(value)) return DASH;
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 100 ? fixed(value, 1) : size >= 1 || size === 0 ? fixed(value, 2) : fixed(value, 3);
}
function plainValue(value) {
  if (value === null || value === undefined) return DASH;
  return typeof value === "string" ? value : JSON.stringify(value);
}

/* A region's key in words. */
function regionLabel(key) {
  const known = { global: "whole dose grid", ptv_region: "PTV + margin", low_dose: "low dose, 10\u201350 %",
    mid_dose: "mid dose, 50\u201390 %", high_dose: "high dose, > 90 %", no_mans_land: "no man\u2019s land" };
  if (Object.prototype.hasOwnProperty.call(known, key)) return known[key];
  return key.startsWith("oar_") ? key.slice(4) : key;
}

/* What a column sorts by: numbers by value, missing ones last in either direction, texts by locale with numbers in them. */
function compareValues(a, b, falling) {
  const missing = (v) => v === null || v === undefined || v === "" || Number.isNaN(v);
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const order = isNumber(a) && isNumber(b) ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true, sensitivity: "base" });
  return falling ? -order : order;
}

const ROWS_SHOWN = 200;

/* A table whose headings are buttons that sort, with a text filter.
 * columns: [{label, unit, title, value(row), cell(row) -> node or text, number}]; search(row) -> text the filter looks in. */
class SortTable {
  constructor(options) {
    Object.assign(this, { rows: [], columns: [], caption: "", search: null, empty: "nothing to show" }, options);
    this.sorted = -1;
    this.falling = false;
    this.needle = "";
    this.limit = ROWS_SHOWN;
    this.head = make("tr", {}, this.columns.map((column, i) => this.heading(column, i)));
    this.body = make("tbody", {});
    this.count = make("p", { class: "count", role: "status" });
    this.more = make("button", { type: "button", class: "more", onclick: () => { this.limit = Infinity; this.fill(); } });
    this.table = make("table", { class: "sortable", id: this.id },
      make("caption", { class: this.quiet ? "quiet" : null }, this.caption), make("thead", {}, this.head), this.body);
    this.node = make("div", { class: "table" });
    if (this.search) this.node.append(this.searchField());
    this.node.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": this.caption }, this.table),
      this.more, this.count);
    this.fill();
  }

  heading(column, i) {
    const button = make("button", { type: "button", title: column.title, onclick: () => this.sortBy(i) }, column.label,
      column.unit ? make("span", { class: "unit" }, ` ${column.unit}`) : null, make("span", { class: "arrow", "aria-hidden": "true" }));
    return make("th", { scope: "col", "aria-sort": "none", class: column.number ? "n" : null }, button);
  }

  searchField() {
    const input = make("input", { type: "search", id: `${this.id}-search`, placeholder: "search", autocomplete: "off" });
    input.addEventListener("input", () => { this.needle = input.value.toLowerCase(); this.fill(); });
    return make("label", { class: "search" }, "Search ", input);
  }

  sortBy(i) {
    this.falling = this.sorted === i ? !this.falling : false;
    this.sorted = i;
    this.fill();
  }

  fill() {
    let rows = this.rows.filter((row) => !this.needle || this.search(row).toLowerCase().includes(this.needle));
    const value = this.sorted >= 0 ? this.columns[this.sorted].value : null;
    if (value) {
      rows = rows.map((row, at) => ({ row, at, v: value(row) }))
        .sort((a, b) => compareValues(a.v, b.v, this.falling) || a.at - b.at).map((item) => item.row);
    }
    const shown = rows.slice(0, this.limit);
    this.body.replaceChildren(...shown.map((row) => this.line(row)));
    if (rows.length === 0) this.body.append(make("tr", {}, make("td", { colspan: this.columns.length }, this.empty)));
    this.count.textContent = this.search ? `${shown.length} of ${this.rows.length} rows` : "";
    this.more.hidden = shown.length === rows.length;
    this.more.textContent = `show all ${rows.length} rows`;
    [...this.head.children].forEach((th, i) => {
      const state = i !== this.sorted ? "none" : this.falling ? "descending" : "ascending";
      th.setAttribute("aria-sort", state);
    });
  }

  line(row) {
    const line = make("tr", this.attributes ? this.attributes(row) : {});
    this.columns.forEach((column, i) => {
      const content = column.cell ? column.cell(row) : column.number ? short(column.value(row)) : plainValue(column.value(row));
      line.append(make(i === 0 ? "th" : "td", { class: column.number ? "n" : null, scope: i === 0 ? "row" : null }, content));
    });
    return line;
  }
}

/* A plain table: headings, rows of texts or nodes; `left` columns at the start and `right` at the end are texts, the others
 * numbers. */
function plainTable(caption, headings, rows, left = 1, right = 0) {
  const kind = (i) => (i < left || i >= headings.length - right ? null : "n");
  return make("div", { class: "table" }, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make("table", {}, make("caption", {}, caption),
      make("thead", {}, make("tr", {}, headings.map((h, i) => make("th", { scope: "col", class: kind(i) }, h)))),
      make("tbody", {}, rows.map((row) => make("tr", {}, row.map((cell, i) =>
        make(i === 0 ? "th" : "td", { class: kind(i), scope: i === 0 ? "row" : null }, cell))))))));
}

/* Keys and values, two columns. */
function factTable(caption, pairs) {
  return plainTable(caption, ["", ""], pairs.map(([key, value]) => [key, plainValue(value)]), 2);
}

function flatten(object, prefix = "", out = []) {
  for (const [key, value] of Object.entries(object || {})) {
    const name = prefix ? `${prefix}.${key}` : key;
    if (value !== null && typeof value === "object" && !Array.isArray(value)) flatten(value, name, out);
    else out.push([name, value]);
  }
  return out;
}

/* A pass rate: the number, and a bar with a mark at the project target. */
function passBar(percent, target) {
  if (!isNumber(percent)) return DASH;
  const fill = make("span", { class: percent >= target ? "fill" : "fill below" });
  const mark = make("span", { class: "mark" });
  fill.style.width = `${Math.max(0, Math.min(100, percent))}%`;
  mark.style.left = `${target}%`;
  const note = percent >= target ? "at or above the project target" : "below the project target";
  return make("span", { class: "pass", title: `${fixed(percent, 2)} %: ${note} of ${target} %` },
    make("span", { class: "value" }, fixed(percent, 1)), make("span", { class: "bar", "aria-hidden": "true" }, fill, mark));
}

/* Doses that are judged against a prescription nobody planned: said at the top, and beside the case. */
function tellAssumed(text) {
  if (text) document.querySelector("header").after(make("p", { class: "banner assumed", role: "alert" }, text));
}
function assumedBadge(words) {
  return make("span", { class: "badge", title: "said by a preset, on the command line or by a default, not by a plan" }, words);
}

const VERDICTS = { PASS: ["pass", "\u2713 met"], FAIL: ["fail", "\u2717 not met"], INCOMPLETE: ["open", "\u25cb incomplete"],
  NOT_EVALUATED: ["open", "\u25cb not evaluated"] };
/* Sign and word beside the colour. */
function verdict(name) {
  if (!Object.prototype.hasOwnProperty.call(VERDICTS, name)) return name ? plainValue(name) : DASH;
  return make("span", { class: `verdict ${VERDICTS[name][0]}` }, VERDICTS[name][1]);
}

/* Configuration of a run: value and origin of every setting. */
function configTable(config, id) {
  const rows = Object.entries(config).map(([key, entry]) => ({ key, value: entry && entry.value, origin: entry && entry.origin }));
  return new SortTable({ id, caption: "Resolved configuration", rows,
    attributes: (row) => (row.origin === "default" ? {} : { class: "set" }),
    search: (row) => `${row.key} ${plainValue(row.value)} ${plainValue(row.origin)}`,
    columns: [{ label: "setting", value: (row) => row.key },
      { label: "value", value: (row) => plainValue(row.value) },
      { label: "origin", value: (row) => plainValue(row.origin) }] }).node;
}

/* Words of a command as they would be typed: quoted where a shell would split or expand them. */
function commandText(words) {
  if (!Array.isArray(words) || words.length === 0) return "not recorded";
  return words.map((w) => (/^[A-Za-z0-9_@%+=:,./-]+$/.test(w) ? w : `'${String(w).replaceAll("'", "'\\''")}'`)).join(" ");
}

/* A section with a heading; nothing is added for a section without content. */
function section(id, title, ...content) {
  const kept = content.flat().filter((item) => item !== null && item !== undefined);
  if (kept.length === 0) return;
  byId("main").append(make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, title), kept));
  byId("contents").append(make("li", {}, make("a", { href: `#${id}` }, title)));
}

function tile(label, value, unit, note) {
  return make("div", { class: "tile" }, make("div", { class: "label" }, label),
    make("div", { class: "number" }, value, unit ? make("span", { class: "unit" }, ` ${unit}`) : null), note ? make("div", { class: "note" }, note) : null);
}
