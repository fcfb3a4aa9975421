// SPDX-License-Identifier: Apache-2.0
// Ordering a region: six numbers and the stages, an estimate of what it would take, and
// then the job. The numbers and the box on the slice follow each other.
import { mayWrite, send } from "./api.js";
import { bytes, count, duration, el, setText, times } from "./format.js";

const AXES = ["x", "y", "z"];
const SETTLE_MS = 350;
const NAMES = {
  segment: "Segment",
  stitch: "Stitch",
  resegment: "Flood contacts again",
  downsample: "Coarser scales",
  mesh: "Meshes",
  skeleton: "Skeletons",
};
const DEFAULT = ["segment", "stitch", "downsample"];

export class RegionForm {
  // onBox(box): the numbers changed. started(job): a job was ordered. needToken(): asked
  // to write without a token that the server takes.
  constructor(form, { onBox, started, needToken }) {
    Object.assign(this, { form, onBox, started, needToken });
    this.fields = AXES.flatMap((axis) => [form.elements[`${axis}0`], form.elements[`${axis}1`]]);
    this.estimate = form.querySelector("[data-part=estimate]");
    this.stages = form.querySelector("[data-part=stages]");
    this.start = form.elements.start;
    this.layer = null;
    this.timer = 0;
    this.asked = 0;
    form.addEventListener("input", () => this.changed());
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      this.submit();
    });
    form.elements.whole.addEventListener("click", () => this.setBox(this.bounds(), true));
  }

  show(layer) {
    this.form.hidden = !layer.recipe;
  }

  // other: another layer than before, whose box is not ours.
  setLayer(layer, stages, other) {
    this.layer = layer.recipe ? layer : null;
    if (!this.layer) return;
    this.setStages(stages ?? DEFAULT);
    if (!other) return;
    const b = this.bounds();
    this.fields.forEach((f, i) => {
      const d = i >> 1;
      f.min = b[d];
      f.max = b[d + 3];
    });
    this.setBox(this.first(), false);
    this.clear("Draw a box on the slice, or set the numbers.");
  }

  setStages(list) {
    if (this.known === list.join()) return;
    this.known = list.join();
    this.stages.replaceChildren(...list.map((name) =>
      el("label", {}, el("input", {
        type: "checkbox", name: "stage", value: name, checked: DEFAULT.includes(name),
      }), ` ${NAMES[name] ?? name}`)));
  }

  bounds() {
    const { size, voxel_offset: o } = this.layer.scales[0];
    return [...o, ...o.map((v, d) => v + size[d])];
  }

  // A block in the middle: small enough to try.
  first() {
    const b = this.bounds();
    const { block } = this.layer.recipe;
    const lo = [0, 1, 2].map((d) => {
      const n = Math.max(Math.ceil((b[d + 3] - b[d]) / block[d]), 1);
      return b[d] + Math.floor((n - 1) / 2) * block[d];
    });
    return [...lo, ...lo.map((v, d) => Math.min(v + block[d], b[d + 3]))];
  }

  box() {
    const v = this.fields.map((f) => (f.value === "" ? NaN : Number(f.value)));
    return [v[0], v[2], v[4], v[1], v[3], v[5]];
  }

  // What is wrong with the numbers, or "".
  fault() {
    const box = this.box();
    const b = this.bounds();
    for (const d of [0, 1, 2]) {
      if (!Number.isInteger(box[d]) || !Number.isInteger(box[d + 3]))
        return `${AXES[d]} needs two whole numbers`;
      if (box[d] < b[d] || box[d + 3] > b[d + 3])
        return `${AXES[d]} lies between ${b[d]} and ${b[d + 3]}`;
      if (box[d] >= box[d + 3]) return `${AXES[d]} must end after it begins`;
    }
    return "";
  }

  // done: the hand let go, so an estimate is wanted.
  setBox(box, done) {
    [0, 1, 2].forEach((d) => {
      this.fields[2 * d].value = box[d];
      this.fields[2 * d + 1].value = box[d + 3];
    });
    this.onBox(box);
    if (done) this.changed();
  }

  // Drawn on the slice: depth stays, unless the slice is outside of it.
  setFlat([x0, y0, x1, y1], z, done) {
    const box = this.box();
    const b = this.bounds();
    const { block } = this.layer.recipe;
    if (!(z >= box[2] && z < box[5])) {
      box[2] = Math.max(b[2], z - Math.floor(block[2] / 2));
      box[5] = Math.min(b[5], box[2] + block[2]);
    }
    this.setBox([x0, y0, box[2], x1, y1, box[5]], done);
  }

  clear(text) {
    this.start.disabled = true;
    this.asked++;
    this.estimate.replaceChildren(text);
    this.estimate.className = "estimate";
  }

  changed() {
    clearTimeout(this.timer);
    const fault = this.fault();
    this.fields.forEach((f) => f.setAttribute("aria-invalid", String(Boolean(fault))));
    if (fault) {
      this.clear(fault);
      this.estimate.classList.add("bad");
      return;
    }
    this.onBox(this.box());
    this.clear("…");
    this.timer = setTimeout(() => this.ask(), SETTLE_MS);
  }

  spec() {
    const spec = { layer: this.layer.name, box: this.box() };
    const boxes = [...this.stages.querySelectorAll("input:checked")];
    spec.stages = boxes.map((b) => b.value);
    if (this.form.elements.idle.checked) spec.class = "idle";
    return spec;
  }

  async ask() {
    const turn = ++this.asked;
    if (!this.layer) return;
    if (!mayWrite()) {
      this.clear("To estimate and start work this page needs the server's token.");
      this.needToken();
      return;
    }
    try {
      const dry = await send("POST", "api/jobs?dry=1", this.spec());
      if (turn === this.asked) this.tell(dry);
    } catch (error) {
      if (turn !== this.asked) return;
      this.clear(error.message);
      this.estimate.classList.add("bad");
      if (error.status === 401 || error.status === 403) this.needToken();
    }
  }

  tell(dry) {
    const box = this.box();
    const size = [0, 1, 2].map((d) => box[d + 3] - box[d]);
    const guess = dry.time_basis === "measured" ? "" : "about ";
    const unknown = dry.counted === "chunks" ? "not known before"
      : "not known before: this layer has too many objects to count";
    const facts = [
      ["Box", `${times(size)} voxels`],
      [dry.counted[0].toUpperCase() + dry.counted.slice(1), dry.all === null ? unknown
        : `${count(dry.all)}, ${count(dry.present)} of them made already`],
    ];
    if (dry.failed) facts.push(["Failed before", `${count(dry.failed)}; use retry of their job`]);
    if (dry.to_make > 0) {
      if (dry.bytes !== null) facts.push(["To be stored", `about ${bytes(dry.bytes)}`]);
      facts.push(["Time", dry.hours === null ? "not known yet"
        : `${guess}${duration(dry.hours * 3600)} with ${count(dry.devices)} ` +
          `device${dry.devices === 1 ? "" : "s"}`]);
    }
    this.estimate.className = "estimate";
    this.estimate.replaceChildren(el("dl", {}, facts.map(([k, v]) =>
      el("div", {}, el("dt", {}, k), el("dd", {}, v)))));
    if (dry.to_make === 0)
      this.estimate.append(el("p", {}, dry.all === 0 ? "There are no objects in this box yet."
        : "Everything in this box is there."));
    this.start.disabled = false;
    setText(this.start, dry.to_make === 0 ? "Start anyway" : "Start job");
  }

  async submit() {
    if (this.start.disabled || this.fault()) return;
    this.start.disabled = true;
    try {
      const job = await send("POST", "api/jobs", this.spec());
      this.clear(`Job ${job.id} is ordered; it is in the list of jobs.`);
      this.started(job);
    } catch (error) {
      this.clear(error.message);
      this.estimate.classList.add("bad");
      if (error.status === 401 || error.status === 403) this.needToken();
    }
  }
}
