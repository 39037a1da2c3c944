/* volume.js - volumes of a pictured case: decoding, patient axes, lines of equal value, colours.
 * SPDX-License-Identifier: Apache-2.0 */
"use strict";

const UNKNOWN16 = 65535, UNKNOWN8 = 255;

/* Bytes of a script element that holds base64 of a zlib stream. */
async function inflate(id) {
  const binary = atob(byId(id).textContent);
  const packed = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) packed[i] = binary.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* Sixteen bits are stored as differences along the voxels, low bytes first, then high bytes. */
async function readVolume(entry, voxels) {
  const bytes = await inflate(entry.id);
  const width = entry.bits === 16 ? 2 : 1;
  if (bytes.length !== voxels * width) throw new Error(`${entry.id}: ${bytes.length} bytes, not ${voxels * width}`);
  if (width === 1) return { q: bytes, offset: entry.offset, step: entry.step, unknown: UNKNOWN8 };
  const q = new Uint16Array(voxels);
  let before = 0;
  for (let i = 0; i < voxels; i++) {
    before = (before + bytes[i] + (bytes[voxels + i] << 8)) & 65535;
    q[i] = before;
  }
  return { q, offset: entry.offset, step: entry.step, unknown: UNKNOWN16 };
}
function valueAt(volume, index) {
  if (!volume || volume.q[index] === volume.unknown) return NaN;
  return volume.offset + volume.step * volume.q[index];
}

/* Which index axis (0 z, 1 y, 2 x) runs along patient x, y, z (LPS), and whether it rises with it. `direction` is row-major,
 * rows patient x, y, z and columns index x, y, z. Each index axis is used once, the clearest pairs first. */
function patientAxes(direction) {
  const pairs = [];
  for (let p = 0; p < 3; p++) for (let c = 0; c < 3; c++) pairs.push({ p, c, w: direction[3 * p + c] });
  pairs.sort((a, b) => Math.abs(b.w) - Math.abs(a.w));
  const axes = [null, null, null], used = new Set();
  for (const { p, c, w } of pairs) {
    if (axes[p] || used.has(c)) continue;
    axes[p] = { axis: 2 - c, rising: w > 0, oblique: Math.abs(w) < 0.9999 };
    used.add(c);
  }
  return axes;
}

/* Planes by the patient axes across, down and through; labels at left, right, top, bottom of the picture. Axial planes are
 * seen from the feet, sagittal planes from the left: patient x rises to the left side, y to the back, z to the head. */
const PLANES = {
  axial: { across: 0, down: 1, flipDown: false, through: 2, sides: ["R", "L", "A", "P"], name: "axial" },
  coronal: { across: 0, down: 2, flipDown: true, through: 1, sides: ["R", "L", "H", "F"], name: "coronal" },
  sagittal: { across: 1, down: 2, flipDown: true, through: 0, sides: ["A", "P", "H", "F"], name: "sagittal" },
};
const SIDE_NAMES = { R: "patient right", L: "patient left", A: "anterior", P: "posterior", H: "head", F: "feet" };

/* How a plane walks through the stored voxels. */
function planeOf(scene, orientation) {
  const plane = PLANES[orientation], axes = scene.axes;
  const walk = (patient, flip) => {
    const { axis, rising } = axes[patient];
    return { axis, count: scene.shape[axis], mm: scene.spacing[axis], forward: rising !== flip };
  };
  return { across: walk(plane.across, false), down: walk(plane.down, plane.flipDown), through: walk(plane.through, false),
    sides: plane.sides };
}
const alongIndex = (walk, i) => (walk.forward ? i : walk.count - 1 - i);

/* Start and strides of the slice through position [z,y,x]. */
function sliceStrides(scene, plane, position) {
  const stride = [scene.shape[1] * scene.shape[2], scene.shape[2], 1];
  const dx = stride[plane.across.axis] * (plane.across.forward ? 1 : -1);
  const dy = stride[plane.down.axis] * (plane.down.forward ? 1 : -1);
  const start = alongIndex(plane.across, 0) * stride[plane.across.axis] + alongIndex(plane.down, 0) * stride[plane.down.axis] +
    position[plane.through.axis] * stride[plane.through.axis];
  return { start, dx, dy };
}

/* Marching squares: segments where a sampled plane crosses `level`, in units of samples (centre of sample i at i + 0.5).
 * `sample(i, j)` gives NaN where nothing is known: no line there. */
function isoLine(path, columns, rows, level, sample, scaleX, scaleY, margin) {
  const at = (i, j) => sample(i, j) - level;
  for (let j = -margin; j < rows - 1 + margin; j++) {
    let a = at(-margin, j), d = at(-margin, j + 1);
    for (let i = -margin; i < columns - 1 + margin; i++) {
      const b = at(i + 1, j), c = at(i + 1, j + 1);
      const which = (a >= 0 ? 1 : 0) | (b >= 0 ? 2 : 0) | (c >= 0 ? 4 : 0) | (d >= 0 ? 8 : 0);
      if (which !== 0 && which !== 15 && !Number.isNaN(a + b + c + d)) isoCell(path, i, j, a, b, c, d, which, scaleX, scaleY);
      a = b;
      d = c;
    }
  }
}
const ISO_EDGES = [null, [3, 0], [0, 1], [3, 1], [1, 2], [3, 0, 1, 2], [0, 2], [3, 2], [2, 3], [2, 0], [0, 1, 2, 3], [2, 1], [1, 3],
  [1, 0], [0, 3], null];
function isoCell(path, i, j, a, b, c, d, which, scaleX, scaleY) {
  let edges = ISO_EDGES[which];
  if (which === 5 && a + b + c + d >= 0) edges = [0, 1, 2, 3]; /* saddles: the centre decides */
  if (which === 10 && a + b + c + d >= 0) edges = [3, 0, 1, 2];
  const point = (edge) => {
    if (edge === 0) return [i + a / (a - b), j];
    if (edge === 1) return [i + 1, j + b / (b - c)];
    if (edge === 2) return [i + d / (d - c), j + 1];
    return [i, j + a / (a - d)];
  };
  for (let k = 0; k < edges.length; k += 2) {
    const from = point(edges[k]), to = point(edges[k + 1]);
    path.moveTo((from[0] + 0.5) * scaleX, (from[1] + 0.5) * scaleY);
    path.lineTo((to[0] + 0.5) * scaleX, (to[1] + 0.5) * scaleY);
  }
}

/* Colours that keep their order for every kind of colour vision: cividis-like for dose, blue to orange for differences. */
const DOSE_STOPS = [[0, 0, 34, 78], [0.2, 50, 66, 109], [0.4, 104, 106, 112], [0.6, 148, 142, 119], [0.8, 203, 186, 105],
  [1, 254, 232, 56]];
const DIFFERENCE_STOPS = [[0, 5, 48, 97], [0.25, 67, 147, 195], [0.5, 247, 247, 247], [0.75, 224, 130, 20], [1, 127, 59, 8]];
const GAMMA_STOPS = [[0, 18, 40, 90], [0.4999, 120, 180, 230], [0.5, 240, 170, 40], [0.75, 225, 95, 10], [1, 140, 20, 60]];
function colourTable(stops) {
  const table = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const t = i / 255;
    let k = 1;
    while (k < stops.length - 1 && stops[k][0] < t) k++;
    const [t0, ...low] = stops[k - 1], [t1, ...high] = stops[k];
    for (let c = 0; c < 3; c++) table[3 * i + c] = Math.round(low[c] + (high[c] - low[c]) * Math.min(1, Math.max(0, (t - t0) / (t1 - t0))));
  }
  return table;
}
function gradientCss(stops) {
  return `linear-gradient(to right, ${stops.map(([t, r, g, b]) => `rgb(${r},${g},${b}) ${100 * t}%`).join(", ")})`;
}
const COLOURS = { dose: colourTable(DOSE_STOPS), difference: colourTable(DIFFERENCE_STOPS), gamma: colourTable(GAMMA_STOPS) };

/* Isodose lines: colour and dash pattern, so that they are told apart without colour. */
const ISODOSE = [{ percent: 30, colour: "#4477ff", dash: [2, 3] }, { percent: 50, colour: "#56b4e9", dash: [6, 3] },
  { percent: 70, colour: "#2fd6b0", dash: [] }, { percent: 95, colour: "#f0e442", dash: [] },
  { percent: 100, colour: "#ff9a1f", dash: [8, 3, 2, 3] }, { percent: 107, colour: "#ff4fa3", dash: [] }];
/* Structures: Okabe and Ito's colours, darkened for white paper in the DVH. */
const STRUCTURE_COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00", "#b3a100", "#8866dd", "#7a7a7a", "#44aa99",
  "#aa4466", "#999933"];
const structureColour = (k) => STRUCTURE_COLOURS[k % STRUCTURE_COLOURS.length];
