/* cohort.js - the contact sheet: what came in, and what did not. SPDX-License-Identifier: Apache-2.0 */
"use strict";

const PLANES = "Pictures: planes through the centroid of the targets; without targets, of the high dose, of all structures or of the scan. CT from \u2212200 to 300 HU, a scan that is no CT over its own range. "
  + "Dose in colours from 10 to 110 % of the prescription (of the largest dose where that is not known); black lines: isodoses of 95 % (thick) and 50 % (thin). Body and supports are outlined in grey.";

function summary(data) {
  const parts = [tile("cases", short(data.cards.length)), tile("with dose", short(data.with_dose)), tile("not imported", short(data.skipped.length))];
  if (data.n_assumed > 0) parts.push(tile("assumed prescriptions", short(data.n_assumed)));
  if (data.n_damaged > 0) parts.push(tile("damaged", short(data.n_damaged)));
  return make("div", { class: "tiles" }, parts);
}

function structureTable(data) {
  if (data.structures.length === 0) return null;
  const all = data.cards.length;
  return new SortTable({ id: "structures", caption: "In how many cases a structure is", quiet: true, rows: data.structures, search: (row) => row.name,
    columns: [{ label: "structure", value: (row) => row.name }, { label: "cases", number: true, value: (row) => row.cases, cell: (row) => `${row.cases} of ${all}` }] }).node;
}

function prescription(card) {
  if (!isNumber(card.prescription_gy)) return "not known";
  const fractions = card.fractions > 0 ? ` in ${card.fractions} fractions` : "";
  const text = `${short(card.prescription_gy)} Gy${fractions}`;
  return card.assumed ? [text, " ", assumedBadge(card.assumed)] : `${text} (${card.source === "plan" ? "said by the plan" : plainValue(card.source)})`;
}

function structureText(s) {
  const level = isNumber(s.level_gy) ? `, ${short(s.level_gy)} Gy` : "";
  return `${s.name} (${s.role}${level}, ${s.cc > 0 ? `${short(s.cc)} cc` : "empty"})`;
}

function facts(card) {
  const dose = card.has_dose ? `largest ${fixed(card.max_gy, 1)} Gy` : "none";
  const rows = [["prescription", prescription(card)], ["dose", dose], ["voxels (z, y, x)", card.shape.join(" \u00d7 ")],
    ["spacing (z, y, x)", `${card.spacing.map(short).join(" \u00d7 ")} mm`], ["site, source", `${card.site || DASH}, ${card.format || DASH}`],
    [card.labels ? "labels" : "structures", card.structures.length ? card.structures.map(structureText).join(", ") : "none"]];
  if (card.absent.length) rows.push(["absent", card.absent.join(", ")]);
  return make("dl", { class: "facts" }, rows.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));
}

function picture(card) {
  if (card.image) {
    const image = make("img", { alt: card.caption, decoding: "async" });
    image.src = `data:image/png;base64,${byId(card.image).textContent}`;
    return make("figure", { class: "plot" }, image);
  }
  return card.file ? make("p", { class: "note" }, make("a", { href: card.file }, "picture"), " (left out of this page to bound its size)") : null;
}

function cardNode(card) {
  const marks = [];
  if (card.damaged) marks.push(make("span", { class: "badge" }, "DAMAGED"));
  else if (!card.has_dose) marks.push(make("span", { class: "badge plain" }, card.labels ? "LABELS, NO DOSE" : "NO DOSE"));
  if (card.assumed) marks.push(assumedBadge(card.assumed));
  const parts = [make("h3", {}, card.id, " ", marks)];
  if (card.damaged) parts.push(make("p", { class: "damage" }, card.damaged));
  else parts.push(picture(card), facts(card));
  if (card.findings.length) parts.push(make("ul", { class: "findings" }, card.findings.map((f) => make("li", {}, make("b", {}, f.rule), ` ${f.text}`))));
  parts.push(...card.notes.map((text) => make("p", { class: "note" }, text)));
  return make("article", { class: "card", "data-case": card.id }, parts.filter(Boolean));
}

/* Which cards are shown: those whose words hold what is searched. */
function searchField(cards, nodes) {
  const words = cards.map((c) => JSON.stringify([c.id, c.site, c.format, c.structures.map((s) => s.name), c.findings, c.notes, c.damaged || "", c.has_dose ? "" : "no dose", c.assumed || ""]).toLowerCase());
  const count = make("span", { class: "count", role: "status" });
  const input = make("input", { type: "search", id: "card-search", placeholder: "id, structure, rule, no dose ...", autocomplete: "off" });
  const show = () => {
    const needle = input.value.toLowerCase();
    nodes.forEach((node, i) => { node.hidden = !words[i].includes(needle); });
    count.textContent = ` ${nodes.filter((node) => !node.hidden).length} of ${nodes.length} cases`;
  };
  input.addEventListener("input", show);
  show();
  return make("label", { class: "search" }, "Search ", input, count);
}

function skippedTable(data) {
  return new SortTable({ id: "skipped-cases", caption: "Cases that were not imported", quiet: true, rows: data.skipped, search: (row) => `${row.id} ${row.rule} ${row.reason}`,
    columns: [{ label: "case", value: (row) => row.id }, { label: "rule", value: (row) => row.rule }, { label: "reason", value: (row) => row.reason }] }).node;
}

function start() {
  const data = pageData(), nodes = data.cards.map(cardNode);
  byId("title").textContent = data.title;
  byId("subtitle").textContent = data.subtitle;
  byId("footer").textContent = `Made by dosegrid ${data.program.version} (${data.program.commit}).`;
  tellAssumed(data.assumed);
  section("summary", "What came in", summary(data), data.notes.map((text) => make("p", { class: "note" }, text)));
  if (nodes.length > 0) section("cards", "Cases", data.cards.some((card) => card.file) ? make("p", { class: "note" }, PLANES) : null, searchField(data.cards, nodes), make("div", { class: "cards" }, nodes));
  if (data.skipped.length > 0) section("skipped", `Not imported (${data.skipped.length})`, skippedTable(data));
  section("structures-section", "Structures", structureTable(data));
  document.body.dataset.ready = "true";
}
start();
