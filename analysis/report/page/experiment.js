/* experiment.js - the page of one experiment. SPDX-License-Identifier: Apache-2.0 */
"use strict";

function summaryTiles(data) {
  const tiles = data.tiles.map((t) => {
    const spread = isNumber(t.low) ? `95 % interval ${short(t.low)} to ${short(t.high)}` : isNumber(t.std) ? `\u00b1 ${short(t.std)} (std over cases)` : null;
    return tile(t.label, t.target ? passBar(t.value, t.target) : short(t.value), t.unit, [spread, t.note].filter(Boolean).join("; "));
  });
  return tiles.length === 0 ? null : make("div", { class: "tiles" }, tiles);
}

/* ---- cases ---- */

function caseColumns(data, openCase) {
  const columns = [{ label: "case", value: (row) => row.id, cell: (row) => (row.assumed ? [row.id, " ", assumedBadge(row.assumed)] : row.id) },
    { label: "picture", title: "opens the case in the viewer", value: (row) => (row.pictured >= 0 ? row.pictured : null),
      cell: (row) => (row.pictured < 0 ? DASH : make("button", { type: "button", class: "link open-case", "data-pictured": row.pictured, title: data.pictured[row.pictured].why, onclick: () => openCase(row.pictured) }, data.pictured[row.pictured].why.split(":")[0])) }];
  data.columns.forEach((column, i) => columns.push({ label: column.label, unit: column.unit, title: column.key, number: true, value: (row) => row.values[i],
    cell: column.target ? (row) => passBar(row.values[i], column.target) : undefined }));
  if (data.constraint_rows.length > 0) {
    columns.push({ label: "constraints, prediction", title: "verdict over all rows of the constraint table", value: (row) => row.verdict, cell: (row) => verdict(row.verdict) },
      { label: "met", title: "rows met / evaluated / in the table", value: (row) => row.passed, cell: (row) => (isNumber(row.passed) ? `${row.passed}/${row.evaluated}/${row.total}` : DASH), number: true },
      { label: "constraints, plan", value: (row) => row.target_verdict, cell: (row) => verdict(row.target_verdict) });
  }
  return columns;
}
function casesSection(data, openCase) {
  if (data.cases.length === 0) return;
  const table = new SortTable({ id: "cases", caption: "Evaluated cases", quiet: true, rows: data.cases, columns: caseColumns(data, openCase),
    search: (row) => `${row.id} ${row.group} ${row.verdict || ""}`, attributes: (row) => ({ "data-case": row.id }) });
  const note = data.columns.some((c) => c.target) ? `Mark on the bars: project target of ${data.target_percent} %. It is a target of this project for predictions, not a tolerance limit: those of AAPM TG-218 are for measured plan verification.` : null;
  const gone = data.cases_left_out > 0 ? `${data.cases_left_out} cases are left out to bound the size of this file; the results file holds all.` : null;
  section("per-case", "Cases", [note, gone].filter(Boolean).map((text) => make("p", { class: "note" }, text)), table.node);
}

/* ---- constraints of the selected case ---- */

function constraintTable(pictured) {
  const c = pictured.constraints;
  if (!c || !Array.isArray(c.rows)) return [];
  const number = (v, unit) => (isNumber(v) ? `${short(v)} ${unit}` : DASH);
  const rows = c.rows.map((r) => [`${r.structure} ${r.metric}`, `${r.comparison} ${short(r.limit)} ${r.unit}`, number(r.pred_value, r.unit), verdict(r.pred),
    number(r.target_value, r.unit), verdict(r.target), plainValue(r.reason || ""), plainValue(r.source || "")]);
  return [plainTable(`Constraints of ${pictured.id}: prediction and clinical plan`, ["row", "limit", "prediction", "", "clinical plan", "", "reason", "source"], rows, 8),
    make("p", {}, "Overall: prediction ", verdict(c.verdict), ", clinical plan ", verdict(c.target_verdict), `. Met ${plainValue(c.passed)} of ${plainValue(c.evaluated)} evaluated, ${plainValue(c.total)} in the table.`)];
}

/* ---- aggregates ---- */

function spreadText(value, std) {
  return isNumber(std) ? `${short(value)} \u00b1 ${short(std)}` : short(value);
}
/* "mae_oar_Larynx" in words. */
function errorLabel(key) {
  const known = { mae: "MAE, every voxel", mae_body: "MAE, body", mae_possible: "MAE, possible dose", mae_gt10: "MAE, reference above 10 %", rmse: "RMSE, every voxel",
    max_error: "largest error", mean_error: "mean error, prediction \u2212 reference" };
  if (Object.prototype.hasOwnProperty.call(known, key)) return known[key];
  return key.startsWith("mae_") ? `MAE, ${regionLabel(key.slice(4))}` : key.replaceAll("_", " ");
}
function errorTable(aggregate) {
  const rows = Object.keys(aggregate).filter((key) => key.endsWith("_gy_mean"))
    .map((key) => [errorLabel(key.slice(0, -8)), spreadText(aggregate[key], aggregate[key.replace(/_mean$/, "_std")])]);
  return rows.length ? plainTable("Dose errors in Gy, mean \u00b1 standard deviation over cases", ["error", "Gy"], rows) : null;
}
function gammaTable(data) {
  const gamma = data.aggregate.gamma || {}, regions = new Map(), criteria = new Set();
  for (const [key, entry] of Object.entries(gamma)) {
    const cut = key.lastIndexOf("_");
    if (cut < 0 || entry === null || typeof entry !== "object") continue;
    criteria.add(key.slice(cut + 1));
    if (!regions.has(key.slice(0, cut))) regions.set(key.slice(0, cut), {});
    regions.get(key.slice(0, cut))[key.slice(cut + 1)] = entry;
  }
  if (regions.size === 0) return null;
  const label = (c) => { const m = /^([\d.]+)mm([\d.]+)pct$/.exec(c); return m ? `${m[2]} %/${m[1]} mm` : c; };
  const rows = [...regions].map(([region, entries]) => [regionLabel(region), ...[...criteria].map((c) => {
    const e = entries[c];
    return e ? make("span", {}, passBar(e.gamma_pass_rate_mean, data.target_percent), isNumber(e.gamma_pass_rate_std) ? ` \u00b1 ${fixed(e.gamma_pass_rate_std, 1)}` : "", ` (n = ${plainValue(e.n_cases)})`) : DASH;
  })]);
  return plainTable("Gamma pass rate in %, mean \u00b1 standard deviation over cases; mark: project target", ["region", ...[...criteria].map(label)], rows);
}
function ensembleTable(aggregate) {
  const ensemble = aggregate.ensemble;
  if (!ensemble || !ensemble.regions) return null;
  const percent = (share) => (isNumber(share) ? fixed(100 * share, 1) : DASH);
  const rows = Object.entries(ensemble.regions).map(([region, r]) => [regionLabel(region), short(r.n_voxels), fixed(r.crps_gy, 3), percent(r.coverage_50), percent(r.coverage_90),
    fixed(r.spread_gy, 3), fixed(r.true_spread_gy, 3), fixed(r.spread_ratio, 3), fixed(r.mean_error_gy, 3)]);
  return plainTable(`Ensemble of ${plainValue(ensemble.members)}, over the voxels of all cases: coverage in % of the members' middle 50 % and 90 %, the rest in Gy; of phantoms the spread and mean that are true`,
    ["region", "voxels", "CRPS", "50 %", "90 %", "spread", "true spread", "ratio", "mean's error"], rows);
}
function dvhTable(aggregate) {
  const structures = Object.entries(aggregate.dvh_metrics || {}), suffix = "_mean_abs_error_";
  const names = [...new Set(structures.flatMap(([, v]) => Object.keys(v || {}).filter((k) => k.includes(suffix))))];
  if (names.length === 0) return null;
  const rows = structures.map(([name, v]) => [name, short(v.n_cases), ...names.map((k) => fixed(v[k], 2))]);
  return plainTable("DVH metrics: mean absolute error over cases", ["structure", "cases", ...names.map((k) => k.replace(suffix, ", ").replace("_percent", " %").replace("percent", "%").replace("gy", "Gy"))], rows);
}
function constraintAggregate(aggregate) {
  const all = aggregate.clinical_constraints;
  if (!all || !Array.isArray(all.rows)) return null;
  const counts = (c) => (c ? `${plainValue(c.passed)} / ${plainValue(c.failed)} / ${plainValue(c.not_evaluated)}` : DASH);
  const rows = all.rows.map((r) => { const a = r.agreement || {}; return [`${r.structure} ${r.metric} ${r.comparison || ""} ${short(r.limit)} ${r.unit || ""}`,
    counts(r.pred), counts(r.target), plainValue(a.both_pass), plainValue(a.both_fail), plainValue(a.missed), plainValue(a.false_alarm),
    make("span", { class: "source" }, r.source || DASH)]; });
  const total = all.agreement ? make("p", { class: "note" }, `Over all rows: agreement with the clinical plan in ${plainValue(all.agreement.both_pass)} met and ${plainValue(all.agreement.both_fail)} not met; ` +
    `${plainValue(all.agreement.missed)} violations of the plan missed, ${plainValue(all.agreement.false_alarm)} seen where the plan has none; sensitivity to true violations ${short(all.agreement.sensitivity)}.`) : null;
  return [plainTable("Constraints over cases: met / not met / not evaluated, and agreement with the clinical plan", ["row", "prediction", "clinical plan", "both met", "neither met", "violation missed", "false alarm", "source"], rows, 1, 1), total];
}
function scoreTable(aggregate) {
  const contenders = [["network", aggregate.openkbp], ...Object.entries(aggregate.baselines || {}).filter(([, v]) => v && v.openkbp).map(([k, v]) => [k.replaceAll("_", " "), v.openkbp])];
  const cell = (o, key) => {
    const interval = o[`${key}_interval_95`];
    return Array.isArray(interval) ? `${short(o[key])} [${short(interval[0])}, ${short(interval[1])}]` : short(o[key]);
  };
  const rows = contenders.filter(([, o]) => o && isNumber(o.dose_score)).map(([name, o]) => [name, cell(o, "dose_score"), cell(o, "dvh_score")]);
  return rows.length ? plainTable("OpenKBP scores in Gy with 95 % bootstrap interval over patients (lower is better)", ["dose from", "dose score", "DVH score"], rows) : null;
}

/* ---- perturbed input ---- */

function robustnessSection(data) {
  const all = (Array.isArray(data.perturbations) ? data.perturbations : []).filter((p) => p && p.metrics);
  if (all.length === 0) return;
  const metrics = [...new Set(all.flatMap((p) => Object.keys(p.metrics)))];
  const first = (metric) => all.map((p) => p.metrics[metric]).find(Boolean) || {};
  const signed = (value) => (isNumber(value) && value > 0 ? `+${short(value)}` : short(value));
  const cell = (m) => {
    if (!m) return DASH;
    const range = m.change_interval_95;
    return Array.isArray(range) ? `${signed(m.change)} [${signed(range[0])}, ${signed(range[1])}]` : signed(m.change);
  };
  const rows = metrics.map((metric) => [metric, short(first(metric).n), short(first(metric).unperturbed), ...all.map((p) => cell(p.metrics[metric]))]);
  section("robustness", "Robustness", plainTable("Change of the means over cases when the network sees a perturbed scan (CT numbers off, noise, larger voxels), with 95 % bootstrap interval over patients",
    ["metric", "cases", "as it is", ...all.map((p) => `${plainValue(p.perturbation)} ${plainValue(p.unit)}`)], rows));
}

/* ---- figures and run ---- */

function figureNodes(data) {
  if (data.figures.length === 0) return [];
  return make("div", { class: "figures" }, data.figures.map((figure) => {
    const image = figure.image ? make("img", { alt: figure.caption || figure.name, decoding: "async" }) : null;
    if (image) image.src = `data:image/png;base64,${byId(figure.image).textContent}`;
    return make("figure", { class: "plot" }, image, make("figcaption", {}, figure.caption || figure.name, " ", figure.pdf ? make("a", { href: figure.pdf }, "PDF") : null,
      figure.image || !figure.pdf ? null : " (left out of this page to bound its size)"));
  }));
}
function runSection(data) {
  const run = data.run || {}, environment = run.environment || {};
  const facts = [["experiment", data.title], ["condition", data.experiment.condition || DASH], ["seed", data.experiment.seed], ["program", `dosegrid ${plainValue(environment.version)}, commit ${plainValue(environment.commit)}, ${plainValue(environment.build_type)} build`],
    ["weights", (run.summary || {}).weights_sha256], ["page made by", `dosegrid ${data.program.version}, commit ${data.program.commit}`]];
  const parts = [factTable("Experiment", facts.filter(([, v]) => v !== null && v !== undefined))];
  if (data.run) {
    parts.push(make("h3", {}, "Command"), make("pre", { id: "command" }, commandText(environment.command)));
    if (run.summary) parts.push(make("details", {}, make("summary", {}, "Training summary"), factTable("Training summary", flatten(run.summary))));
    parts.push(make("details", {}, make("summary", {}, "Environment"), factTable("Environment", flatten(environment))));
    if (run.config) parts.push(make("details", { id: "config-details" }, make("summary", {}, "Resolved configuration, with the origin of every value"), configTable(run.config, "config")));
  }
  if (data.settings) parts.push(make("details", {}, make("summary", {}, "Settings of the evaluation"), factTable("Settings of the evaluation", flatten(data.settings))));
  section("run", "Run", parts);
}

/* What the rules of a run did and its detectors found (doc/training.md). */
function detectorsSection(data) {
  const summary = (data.run || {}).summary;
  if (!summary || !Array.isArray(summary.detectors)) return;
  const words = { conflict: "losses pull apart", uniform: "uniform output", foreground: "foreground", overfitting: "over-fitting" };
  const rows = summary.detectors.filter((d) => d !== null && typeof d === "object")
    .map((d) => [words[d.kind] || plainValue(d.kind), `${plainValue(d.first_step)} to ${plainValue(d.last_step)}`, plainValue(d.times), d.at_the_end ? "yes" : "no", plainValue(d.advice)]);
  const acted = [["reductions of the learning rate", summary.lr_reductions], ["interventions on plateaus", summary.interventions], ["times the best weights were brought back", summary.best_restored],
    ["weights averaged from step", summary.averaged_from_step]].filter(([, v]) => isNumber(v) && v > 0);
  if (rows.length === 0 && acted.length === 0 && !isNumber(summary.val_dice_error)) return;
  section("detectors", "Detectors", rows.length > 0 ? plainTable("What was found while the run learned", ["finding", "steps", "times", "at the end", "advice"], rows) : make("p", {}, "Nothing was found: no losses that pull apart, no uniform output, no one-sided foreground, no over-fitting."),
    acted.length > 0 ? factTable("What rules did", acted) : null);
}

function failedSection(data) {
  if (data.n_failed === 0) return;
  const table = new SortTable({ id: "failed-cases", caption: "Cases that could not be evaluated", quiet: true, rows: data.failed, search: (row) => `${row.case_id} ${row.reason}`,
    columns: [{ label: "case", value: (row) => row.case_id }, { label: "reason", value: (row) => row.reason }] });
  section("failed", `Failed cases (${data.n_failed})`, table.node);
}

function start() {
  const data = pageData();
  byId("title").textContent = data.title;
  byId("subtitle").textContent = data.subtitle;
  byId("footer").textContent = `Made by dosegrid ${data.program.version} (${data.program.commit}).`;
  tellAssumed(data.assumed);
  section("summary", "Summary", summaryTiles(data), data.notes.map((text) => make("p", { class: "note" }, text)));

  let viewer = null, dvh = null;
  const openCase = (pictured) => {
    viewer.select(pictured);
    byId("viewer-section").scrollIntoView();
    byId("viewer").focus({ preventScroll: true });
  };
  if (data.pictured.length > 0) {
    const stage = make("div", {}), plot = make("div", { class: "plots" }), limits = make("div", { id: "case-constraints" });
    section("viewer-section", "Viewer", stage);
    section("dvh", "DVH", plot, limits);
    dvh = new DvhPlot(data, plot);
    viewer = new Viewer(data, stage, (pic) => {
      const pictured = data.pictured[pic];
      dvh.show(pictured);
      byId("dvh-title").textContent = `Dose-volume histograms of ${pictured.id}`;
      limits.replaceChildren(...constraintTable(pictured));
    });
  }
  casesSection(data, openCase);
  if (data.aggregate) section("aggregate", "Over all cases", [make("div", { class: "columns" }, scoreTable(data.aggregate), errorTable(data.aggregate)), gammaTable(data), ensembleTable(data.aggregate), dvhTable(data.aggregate), constraintAggregate(data.aggregate)].flat());
  robustnessSection(data);
  detectorsSection(data);
  failedSection(data);
  section("figures", "Figures", figureNodes(data));
  runSection(data);
  document.body.dataset.ready = "true";
  if (viewer) viewer.select(0);
}
start();
