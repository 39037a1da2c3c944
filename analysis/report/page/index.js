/* index.js - the page over experiments. SPDX-License-Identifier: Apache-2.0 */
"use strict";

function scoreColumns(data) {
  return data.columns.map((column, i) => ({ label: column.label, unit: column.unit, title: column.key, number: true, value: (row) => row.values[i],
    cell: column.target ? (row) => passBar(row.values[i], column.target) : undefined }));
}

function experimentTable(data) {
  const known = (key) => data.experiments.some((row) => row[key] !== null && row[key] !== "");
  const columns = [{ label: "experiment", value: (row) => row.title, cell: (row) => make("a", { href: row.page }, row.title) }];
  if (known("condition")) columns.push({ label: "condition", value: (row) => row.condition });
  if (known("seed")) columns.push({ label: "seed", number: true, value: (row) => row.seed });
  columns.push({ label: "cases", number: true, value: (row) => row.n_cases }, { label: "failed", number: true, value: (row) => row.n_failed }, ...scoreColumns(data),
    { label: "commit", value: (row) => row.commit });
  return new SortTable({ id: "experiments", caption: "Experiments", quiet: true, rows: data.experiments, columns, attributes: (row) => ({ "data-experiment": row.title }),
    search: (row) => `${row.title} ${row.condition || ""} ${plainValue(row.seed)} ${row.commit || ""} ${commandText(row.command)}` }).node;
}

/* Settings in which the runs differ, a column for each run. */
function differences(data) {
  const runs = data.experiments.filter((row) => row.config);
  if (runs.length < 2) return null;
  const keys = [...new Set(runs.flatMap((row) => Object.keys(row.config)))].sort();
  const text = (row, key) => plainValue(Object.prototype.hasOwnProperty.call(row.config, key) ? row.config[key].value : null);
  const rows = keys.filter((key) => new Set(runs.map((row) => text(row, key))).size > 1).map((key) => [key, ...runs.map((row) => text(row, key))]);
  if (rows.length === 0) return make("p", { class: "note" }, "All runs have the same settings.");
  return plainTable("Settings in which the runs differ", ["setting", ...runs.map((row) => row.title)], rows, runs.length + 1);
}

function details(row, i) {
  const parts = [make("p", {}, make("a", { href: row.page }, "report"), " \u2013 exact command:"), make("pre", { class: "command" }, commandText(row.command))];
  if (row.environment) parts.push(make("details", {}, make("summary", {}, "Environment"), factTable("Environment", flatten(row.environment))));
  if (row.config) parts.push(make("details", {}, make("summary", {}, "Resolved configuration, with the origin of every value"), configTable(row.config, `config-${i}`)));
  return make("article", { class: "experiment" }, make("h3", {}, row.title), parts);
}

function start() {
  const data = pageData(), main = byId("main");
  byId("title").textContent = data.title;
  byId("subtitle").textContent = data.subtitle;
  byId("footer").textContent = `Made by dosegrid ${data.program.version} (${data.program.commit}).`;
  tellAssumed([...new Set(data.experiments.filter((row) => row.assumed).map((row) => `${row.title}: ${row.assumed}`))].join("; "));
  main.append(make("section", { id: "table" }, make("h2", {}, "Experiments"), experimentTable(data), make("p", { class: "note" }, data.note)));
  const differ = differences(data);
  if (differ) main.append(make("section", { id: "differences" }, make("h2", {}, "What differs"), differ));
  main.append(make("section", { id: "commands" }, make("h2", {}, "Commands, environment, configuration"), data.experiments.map(details)));
  document.body.dataset.ready = "true";
}
start();
