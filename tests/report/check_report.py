# check_report.py - a report in a real browser: clicks, keys and the state of the page against what is known of the data.
# Usage: check_report.py FOLDER, made by t772_report_browser.sh. SPDX-License-Identifier: Apache-2.0
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import browser  # noqa: E402

folder = sys.argv[1]
truth = json.load(open(f"{folder}/truth.json"))
page = browser.Browser(browser.find())
js = page.value
checked = 0


def check(condition, text):
    global checked
    checked += 1
    if not condition:
        page.picture(f"{folder}/failed.png")
        raise SystemExit(f"FAILED: {text}")


def same(got, wanted, text):
    check(got == wanted, f"{text}: {got!r}, not {wanted!r}")


def quiet(text):
    """Nothing on the console, no dialog, no request but for the pages themselves and pictures inside them."""
    check(not page.console, f"{text}: the console says {page.console}")
    strangers = [r for r in page.requests if not r.startswith(("file://", "data:", "about:"))]
    check(not strangers, f"{text}: requests {strangers}")
    others = [r for r in page.requests if r.startswith("file://") and not r.split("#")[0].endswith(".html")]
    check(not others, f"{text}: files {others}")


def state(name):
    return js(f"document.getElementById('viewer').dataset[{json.dumps(name)}]")


def voxel():
    return [int(v) for v in state("voxel").split(",")]


def settle():
    page.wait("document.getElementById('viewer').dataset.ready === 'true'")
    js("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")


def press(*keys, shift=False):
    js("document.getElementById('viewer').focus({preventScroll: true})")
    for key in keys:
        page.key(key, shift)
    js("new Promise((done) => setTimeout(done, 0))")


def pixels(pane=0):
    return js(f"document.querySelectorAll('.pane canvas')[{pane}].toDataURL()")


def readout():
    return dict(js("[...document.querySelectorAll('#readout div')].map((d) => [d.children[0].textContent, d.children[1].textContent])"))


def captions():
    return js("[...document.querySelectorAll('.pane figcaption')].map((c) => c.textContent)")


def sides():
    """Left, right, top, bottom of the plane that keys move in."""
    return "".join(js("[...document.querySelector('.pane.active').querySelectorAll('.side')].map((s) => s.textContent)"))


def choose(element, value):
    js(f"(() => {{ const s = document.getElementById({json.dumps(element)}); s.value = {json.dumps(str(value))};"
       " s.dispatchEvent(new Event(s.tagName === 'SELECT' ? 'change' : 'input', {bubbles: true})); })()")
    settle()


def open_case(name):
    index = js("[...document.getElementById('viewer-case').options].findIndex((o) => o.textContent.startsWith(" + json.dumps(name) + "))")
    check(index >= 0, f"{name} is not pictured")
    choose("viewer-case", index)
    same(state("case"), name, "case in the viewer")


def walk_to(target):
    """By the keys alone, in a case whose index axes run with the patient's."""
    press("1")
    for _ in range(200):
        z, y, x = voxel()
        if [z, y, x] == target:
            return
        if z != target[0]:
            press("ArrowUp" if z < target[0] else "ArrowDown")
        elif y != target[1]:
            press("ArrowDown" if y < target[1] else "ArrowUp", shift=True)
        else:
            press("ArrowRight" if x < target[2] else "ArrowLeft", shift=True)
    check(False, f"voxel {target} was not reached by keys, but {voxel()}")


def open_page(name):
    page.open(f"{folder}/{name}")
    page.wait("document.body.dataset.ready === 'true'")


def column(table, number):
    return js(f"[...document.querySelectorAll('#{table} tbody tr')].map((r) => r.children[{number}].textContent)")


def check_index():
    open_page("rep/index.html")
    same(column("experiments", 0), ["r1", "r2"], "experiments of the index")
    page.click("#experiments th:nth-child(1) button")
    page.click("#experiments th:nth-child(1) button")
    same(column("experiments", 0), ["r2", "r1"], "experiments sorted down")
    same(js("document.querySelector('#experiments th').getAttribute('aria-sort')"), "descending", "sign of the order")
    choose_text("experiments-search", "r1")
    same(column("experiments", 0), ["r1"], "experiments found")
    check("RESEARCH USE ONLY" in js("document.querySelector('.banner').innerText"), "the index has no banner")
    quiet("index")
    page.click("#experiments tbody a")
    page.wait("location.pathname.endsWith('/r1.html') && document.body && document.body.dataset.ready === 'true'")
    quiet("following a link")


def choose_text(element, text):
    js(f"(() => {{ const i = document.getElementById({json.dumps(element)}); i.value = {json.dumps(text)}; i.dispatchEvent(new Event('input')); }})()")


def check_read_out():
    open_case("case-plain")
    same(sides(), "RLAP", "sides of the axial plane")
    for probe in truth["probes"]:
        walk_to(probe["voxel"])
        shown = readout()
        same(shown["voxel z, y, x"], ", ".join(map(str, probe["voxel"])), "voxel of the read-out")
        same(shown["CT"], f"{probe['ct_hu']:.0f} HU".replace("-", "\u2212"), "CT under the cursor")
        for name, dose in zip(("reference", "r1", "r2"), probe["dose_gy"]):
            gy, percent = shown[name].replace("\u2212", "-").replace("(", "").split(" Gy ")
            check(abs(float(gy) - dose) < 0.0101, f"{name} at {probe['voxel']}: {shown[name]}, not {dose} Gy")
            check(abs(float(percent.split()[0]) - dose / 0.6) < 0.07, f"{name} at {probe['voxel']}: {shown[name]} of 60 Gy")
    point = [float(v) for v in readout()["patient L, P, H"].replace("\u2212", "-").replace(" mm", "").split(", ")]
    z, y, x = truth["probes"][-1]["voxel"]
    same(point, [2.5 * x, 3.0 * y, 4.0 * z - 20], "position in the patient")


def check_jumps():
    open_case("case-plain")
    press("d")
    page.click("#jump-gamma")
    same(voxel(), truth["worst"], "worst gamma")
    same(state("overlay"), "gamma", "overlay after the jump")
    same(readout()["gamma, r1"], "2.00", "gamma at the worst voxel")
    page.click("#jump-hottest")
    same(voxel(), truth["hottest"], "hottest voxel")
    press("w")
    same(voxel(), truth["worst"], "worst gamma by key")
    press("h")
    same(voxel(), truth["hottest"], "hottest voxel by key")


def check_overlays():
    open_case("case-plain")
    press("w", "x", "1")
    seen = {}
    for key, name in (("d", "dose"), ("e", "difference"), ("g", "gamma"), ("0", "none")):
        press(key)
        same(state("overlay"), name, "overlay")
        seen[name] = pixels()
    same(len(set(seen.values())), 4, "different pictures of four overlays")
    for control in ("viewer-isodose", "viewer-contours", "viewer-cross"):
        before = pixels()
        page.click(f"#{control}")
        settle()
        check(pixels() != before, f"{control} changes nothing")
        page.click(f"#{control}")
        settle()
        same(pixels() == before, True, f"{control} twice is as before")
    before = pixels()
    choose("viewer-window", "bone")
    check(pixels() != before, "the CT window changes nothing")
    same(js("document.getElementById('viewer-width').value"), "1800", "width of the bone window")
    choose("viewer-level", 0)
    same(js("document.getElementById('viewer-window').value"), "", "a window that is none of the list")
    before = pixels()
    box = js("(() => { const b = document.querySelector('.legend ul.wide input').getBoundingClientRect(); return b.width; })()")
    check(box > 0, "the legend has no boxes")
    page.click(".legend ul.wide li:nth-child(1) input")
    settle()
    check(pixels() != before, "hiding a structure changes nothing")


def check_scroll():
    open_case("case-plain")
    press("1", "Home")
    first = voxel()[0]
    press("ArrowUp", "ArrowUp")
    same(voxel()[0], first + 2, "slice after two keys")
    press("End")
    last = voxel()[0]
    check(last > first + 10, "End is not the last slice")
    press("ArrowUp")
    same(voxel()[0], last, "slice beyond the last")
    press("PageDown")
    same(voxel()[0], last - 10, "ten slices back")
    x, y = page.centre(".pane canvas")
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120)
    settle()
    same(voxel()[0], last - 9, "slice after the wheel")
    choose("viewer-slice", 3)
    same(voxel()[0], first + 3, "slice of the slider")
    before = voxel()
    page.mouse("mouseMoved", x + 30, y + 30)
    check(readout()["voxel z, y, x"] != ", ".join(map(str, before)), "the read-out does not follow the pointer")
    same(voxel(), before, "hovering moves the cursor")
    page.mouse("mousePressed", x + 30, y + 30, button="left", clickCount=1)
    page.mouse("mouseReleased", x + 30, y + 30, button="left", clickCount=1)
    settle()
    same(", ".join(map(str, voxel())), readout()["voxel z, y, x"], "voxel after a click")
    check(voxel() != before, "a click does not move the cursor")
    for key, plane in (("2", "coronal"), ("3", "sagittal"), ("1", "axial")):
        press(key)
        same(state("orientation"), plane, "plane")


def check_layouts():
    open_case("case-plain")
    same(len(captions()), 3, "planes")
    press("l")
    check(captions()[0].startswith("reference") and captions()[1].startswith("r1"), f"pair: {captions()}")
    press("l", "d")
    check(captions()[0].startswith("r1") and captions()[1].startswith("r2"), f"runs: {captions()}")
    before = [pixels(0), pixels(1)]
    press("ArrowUp")
    numbers = [c.rsplit(" ", 1)[1] for c in captions()]
    same(numbers[0], numbers[1], "slices of the linked runs")
    check(pixels(0) != before[0] and pixels(1) != before[1], "linked scroll moves both pictures")
    press("l")
    same(len(captions()), 3, "planes again")
    press("?")
    check(not js("document.getElementById('viewer-keys').hidden"), "the list of keys does not open")
    press("n")
    settle()
    other = state("case")
    press("p")
    settle()
    check(other != state("case"), "next and previous case")


def check_turned():
    """Index x runs to the back, index y to the patient's right."""
    open_case("case-turned")
    press("1")
    same(sides(), "RLAP", "sides of the turned case")
    z, y, x = voxel()
    press("ArrowRight", shift=True)
    same(voxel(), [z, y - 1, x], "one to the patient's left")
    press("ArrowDown", shift=True)
    same(voxel(), [z, y - 1, x + 1], "one to the back")
    press("3")
    same(sides(), "APHF", "sides of the sagittal plane")
    press("w")
    same(voxel(), truth["worst"], "worst gamma of the turned case")
    check(truth["hostile"] in js("document.querySelector('.legend').textContent"), "the structure's name is not shown as it is")


def check_dvh():
    open_case("case-plain")
    choose("dvh-dose", 100)
    bins = js("pageData().pictured[viewerIndex()].dvh".replace("viewerIndex()", "document.getElementById('viewer-case').value"))
    same(js("document.getElementById('dvh-label').textContent"), f"{100 * bins['step_gy']:.2f} Gy", "dose of the slider")
    shown = js("[...document.querySelectorAll('#dvh-values tbody tr')].map((r) => [...r.children].slice(2).map((c) => c.textContent))")
    for row, structure in zip(shown, bins["structures"]):
        for text, curve in zip(row, structure["curves"]):
            check(abs(float(text) - curve[100]) < 0.051, f"DVH of {structure['name']}: {text}, not {curve[100]}")
    lines = js("document.querySelectorAll('svg.dvh polyline').length")
    page.click("#dvh-values tbody tr:nth-child(2) input")
    same(js("document.querySelectorAll('svg.dvh polyline').length"), lines - 3, "curves after hiding a structure")
    x, y = page.centre("svg.dvh")
    page.mouse("mouseMoved", x, y)
    before = js("document.getElementById('dvh-label').textContent")
    page.mouse("mouseMoved", x + 100, y)
    check(js("document.getElementById('dvh-label').textContent") != before, "the DVH does not follow the pointer")


def check_cases():
    names = js("[...document.querySelectorAll('#cases thead th')].map((h) => h.textContent)")
    number = next(i for i, n in enumerate(names) if "3 %/3 mm" in n)
    for order in ("ascending", "descending"):
        page.click(f"#cases th:nth-child({number + 1}) button")
        same(js(f"document.querySelectorAll('#cases thead th')[{number}].getAttribute('aria-sort')"), order, "order of cases")
        values = [float(v) for v in column("cases", number)]
        same(values, sorted(values, reverse=order == "descending"), f"cases {order}")
    choose_text("cases-search", "turned")
    same(column("cases", 0), ["case-turned"], "cases found")
    choose_text("cases-search", "no such case")
    same(column("cases", 0), ["nothing to show"], "no case found")
    choose_text("cases-search", "")
    page.click("tr[data-case=case-plain] .open-case")
    settle()
    same(state("case"), "case-plain", "case opened from the table")
    check("project target" in js("document.getElementById('per-case').textContent"), "the pass rates have no target")


def check_experiment():
    open_page("rep/r1.html")
    settle()
    for part in (check_read_out, check_jumps, check_overlays, check_scroll, check_layouts, check_turned, check_dvh, check_cases):
        part()
    text = js("document.body.textContent").lower()
    for word in ("clinically acceptable", "safe to treat", "approved"):
        check(word not in text, f"the page says '{word}'")
    page.paper(f"{folder}/r1.pdf")
    check(open(f"{folder}/r1.pdf", "rb").read(5) == b"%PDF-", "the page cannot be printed")
    quiet("experiment")


def check_old_browser():
    open_page("rep/r2.html")
    settle()
    js("delete window.DecompressionStream")
    other = js("document.getElementById('viewer-case').options.length") - 1
    js(f"(() => {{ const s = document.getElementById('viewer-case'); s.value = '{other}'; s.dispatchEvent(new Event('change')); }})()")
    page.wait("document.getElementById('viewer-note').textContent.includes('DecompressionStream')")
    quiet("a browser that cannot unpack")


def check_hostile():
    name = json.load(open(f"{folder}/hostile.json"))
    for file in sorted(os.listdir(f"{folder}/hostile-rep")):
        if not file.endswith(".html"):
            continue
        open_page(f"hostile-rep/{file}")
        js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        same(js("typeof window.hacked"), "undefined", f"{file}: foreign script ran")
        same(js("document.querySelectorAll('u, script:not([id]):not(:last-of-type), img:not(.plot img), iframe, object, form').length"), 0, f"{file}: foreign markup")
        text = js("document.body.innerText")
        wanted = [name["run"], name["origin"], name["word"]] if file == "index.html" else [name["case"], name["reason"], "Ensemble of 16", "0.432\t47.5\t\u2013\t1.250\t\u2013\t\u2013", "Robustness", "+0.500 [\u22120.250, +0.750]"]
        if file == "index.html" or name["run_stem"] in file:
            for words in wanted:
                check(words in text, f"{file} does not show {words!r}")
        quiet(file)


def check_sheet():
    open_page("sheet/index.html")
    same(js("document.querySelectorAll('article.card').length"), 2, "cards of the contact sheet")
    same(js("[...document.querySelectorAll('article.card img')].every((i) => i.complete && i.naturalWidth === 792)"), True, "pictures of the cards")
    js("(() => { const s = document.getElementById('card-search'); s.value = 'case-turned'; s.dispatchEvent(new Event('input')); })()")
    same(js("[...document.querySelectorAll('article.card')].filter((c) => !c.hidden).map((c) => c.dataset.case).join()"), "case-turned", "search")
    check("PRESCRIPTION" not in js("document.body.innerText"), "a known prescription is called assumed")
    quiet("contact sheet")


try:
    check_index()
    check_experiment()
    check_old_browser()
    check_hostile()
    check_sheet()
    print(f"{checked} checks")
finally:
    page.close()
