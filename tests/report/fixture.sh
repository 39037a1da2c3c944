# fixture.sh - sourced after whole.sh: two evaluated predictions of made cases, and results and a run whose texts are hostile.
# SPDX-License-Identifier: Apache-2.0
report_fixture() { # cohort, p1, p2, truth.json, r1.json, r2.json
    run 0 "$DG_TEST_BUILD/tests/t770_report_page" --make .
    for k in 1 2; do dg 0 evaluate --cohort cohort --predictions p$k -o r$k.json; done
}
hostile_fixture() { # hostile-run/, hostile-results.json, and hostile.json: the texts that must be shown as they are
    python3 - <<'PY'
import json, os
script = "</script><script>window.hacked = 1</script>"
image = "<img src=x onerror='window.hacked = 1'>"
words = {"run": f"run {script}", "origin": f"\u2028 <u>{image}", "word": "$(touch hacked) `touch hacked`", "case": f"case {script} {image}",
         "reason": f"\"reason\" & {image} ]]> <!-- {{{{DATA}}}} {{{{SCRIPT}}}}", "run_stem": "run-script-script"}
json.dump(words, open("hostile.json", "w"))
os.mkdir("hostile-run")
json.dump({"run.name": {"value": words["run"], "origin": words["origin"]}, image: {"value": script, "origin": "default"}}, open("hostile-run/training_config.json", "w"))
json.dump({"command": ["dosegrid", "train", words["word"]], "commit": f"<u>{script}", image: image}, open("hostile-run/environment.json", "w"))
json.dump({"monitor": script, image: script}, open("hostile-run/training_summary.json", "w"))
open("hostile-run/metrics.csv", "w").write("step,loss,`touch hacked`\n1,2,3\n2,1,3\n")
results = json.load(open("r1.json"))
results["run"]["name"] = words["run"]
results["run"]["condition"] = image
results["per_case_results"][0]["case_id"] = words["case"]
results["per_case_results"][0]["group"] = image
for case in results["per_case_results"]:
    for row in case["clinical_constraints"]["rows"]:
        row["reason"] = row["structure"] = image
for row in results["aggregate"]["clinical_constraints"]["rows"]:
    row["source"] = row["metric"] = image
results["aggregate"]["dvh_metrics"][image] = {"n_cases": 1, f"{image}_mean_abs_error_gy": 1}
results["aggregate"]["gamma"][f"oar_{image}_3mm3pct"] = {"gamma_pass_rate_mean": 1, "gamma_pass_rate_std": 1, "n_cases": 1}
results["aggregate"]["ensemble"] = {"members": 16, "regions": {f"oar_{image}": {"n_voxels": 7, "crps_gy": 0.4321, "coverage_50": 0.475, "coverage_90": None,
    "spread_gy": 1.25, "spread_ratio": image}, "global": {}}}
results["perturbations"] = [None, {"perturbation": 7, "metrics": {"dose_metrics.mae_gy": None}}, {"perturbation": f"hu {image}", "unit": image,
    "metrics": {f"mae {image}": {"n": 2, "unperturbed": 1.5, "perturbed": 2, "change": 0.5, "change_interval_95": [-0.25, 0.75]}}}]
results["failed"] = [{"case_id": f"failed {image}", "reason": words["reason"]}]
results["n_failed"] = 1
json.dump(results, open("hostile-results.json", "w"))
PY
}
