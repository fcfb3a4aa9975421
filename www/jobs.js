// SPDX-License-Identifier: Apache-2.0
// Jobs: how far each is, what failed and why, and the orders that its state allows.
import { get, send } from "./api.js";
import { bar, boxText, count, duration, el, percent, rate, setText } from "./format.js";

const OPEN = ["waiting", "running"];
const ORDERS = [
  // label, when, method, path after the job's, what came of it
  ["Pause", (j) => OPEN.includes(j.state), "POST", "/pause", "is paused"],
  ["Resume", (j) => j.state === "paused", "POST", "/resume", "goes on"],
  ["Retry", (j) => ["failed", "cancelled"].includes(j.state) ||
    (j.failed > 0 && j.state !== "done"), "POST", "/retry", "is tried again"],
  ["Cancel", (j) => [...OPEN, "paused", "failed"].includes(j.state), "DELETE", "",
    "is cancelled; what was made stays"],
];
const SHOWN = 8; // ended jobs that are listed without asking

// The stage whose numbers are the job's; none where it has those of two together.
function countedStage(job) {
  const names = {
    blocks: ["segment", "resegment", "stitch"],
    objects: ["mesh", "skeleton"],
    chunks: ["downsample"],
  }[job.counted] ?? [];
  return names.find((name) => job.stages?.some((s) => s.name === name));
}

function progressText(job) {
  const parts = [`${count(job.done + job.skipped)} of ${count(job.all)} ${job.counted}`];
  if (job.state === "running") {
    const now = job.stages?.find((s) => s.state === "running");
    if (now && now.name !== countedStage(job))
      parts.push(`${now.name}: ${count(now.done + now.present)} of ${count(now.all)}`);
    if (job.rate) parts.push(rate(job.rate, job.counted));
    if (job.left_s !== null) parts.push(`${duration(job.left_s)} left`);
  } else if (job.seconds > 0) {
    parts.push(`ran ${duration(job.seconds)}`);
  }
  if (job.failed) parts.push(`${count(job.failed)} failed`);
  return parts.join(" · ");
}

export class JobList {
  // act(): what the page does around an order; look(job): show its box; link(job): URL.
  constructor(root, more, { act, look, link }) {
    Object.assign(this, { root, more, act, look, link });
    this.jobs = new Map();
    this.items = new Map();
    this.all = false;
    more.addEventListener("click", () => {
      this.all = !this.all;
      this.draw();
    });
  }

  replace(list) {
    this.jobs = new Map(list.map((j) => [j.id, j]));
    this.draw();
  }

  put(job) {
    this.jobs.set(job.id, { ...this.jobs.get(job.id), ...job });
    this.draw();
  }

  draw() {
    const list = [...this.jobs.values()].sort((a, b) => b.id - a.id);
    const ended = list.filter((j) => ["done", "cancelled"].includes(j.state));
    const cut = this.all ? [] : ended.slice(SHOWN);
    const shown = list.filter((j) => !cut.includes(j));
    for (const [id, item] of this.items) {
      if (shown.some((j) => j.id === id)) continue;
      item.node.remove();
      this.items.delete(id);
    }
    shown.forEach((job, i) => {
      if (!this.items.has(job.id)) this.add(job);
      const { node } = this.items.get(job.id);
      if (this.root.children[i] !== node) this.root.insertBefore(node, this.root.children[i]);
      this.update(job);
    });
    this.more.hidden = ended.length <= SHOWN;
    setText(this.more, this.all ? "Show fewer" : `Show ${count(cut.length)} older jobs`);
  }

  add(job) {
    const parts = {
      state: el("span.chip"),
      box: el("span.facts"),
      text: el("span.progress-text"),
      bar: bar(0),
      share: el("span.share"),
      error: el("p.bad"),
      failures: el("details.failures", {
        ontoggle: ({ target }) => target.open && this.loadFailures(job.id),
      }),
      list: el("ul"),
      buttons: el("div.buttons"),
      link: el("a", { target: "_blank", rel: "noopener" }, "Open in Neuroglancer"),
    };
    parts.failures.append(el("summary", {}, "What failed"), parts.list);
    parts.bar.classList.add("wide");
    const node = el(
      "li.job",
      {},
      el("div.head", {}, el("h3", {}, `Job ${job.id}`), parts.state,
        el("span.facts", {}, job.layer), parts.box),
      el("div.row", {}, parts.bar, parts.share),
      parts.text,
      parts.error,
      parts.failures,
      parts.buttons,
    );
    this.items.set(job.id, { node, orders: "", ...parts });
  }

  update(job) {
    const item = this.items.get(job.id);
    setText(item.state, job.state);
    item.state.dataset.state = job.state;
    setText(item.box, boxText(job.box));
    item.bar.firstChild.style.width = percent(job.fraction).replace(" ", "");
    item.bar.dataset.state = job.state;
    setText(item.share, percent(job.fraction));
    setText(item.text, progressText(job));
    setText(item.error, job.error ?? "");
    item.error.hidden = !job.error;
    item.failures.hidden = !job.failed;
    item.link.href = this.link(job);
    const orders = ORDERS.filter(([, when]) => when(job)).map(([label]) => label).join();
    if (orders !== item.orders || !item.buttons.children.length) {
      item.orders = orders;
      this.makeButtons(job, item);
    }
  }

  makeButtons(job, item) {
    const focused = item.buttons.contains(document.activeElement);
    const name = ` job ${job.id}`;
    item.buttons.replaceChildren(
      ...ORDERS.filter(([, when]) => when(job)).map(([label, , method, path, said]) =>
        el("button", {
          type: "button",
          "aria-label": label + name,
          onclick: () => this.act(async () => {
            this.put(await send(method, `api/jobs/${job.id}${path}`));
            return `Job ${job.id} ${said}.`;
          }),
        }, label)),
      el("button", {
        type: "button",
        "aria-label": `Show the box of${name}`,
        onclick: () => this.look(this.jobs.get(job.id)),
      }, "Show box"),
      item.link,
    );
    item.link.setAttribute("aria-label", `Open${name} in Neuroglancer`);
    // The button that was pressed may be gone: the keyboard stays in the job.
    if (focused) item.buttons.querySelector("button")?.focus();
  }

  async loadFailures(id) {
    const item = this.items.get(id);
    const { failures } = await get(`api/jobs/${id}`);
    item?.list.replaceChildren(...failures.map((f) =>
      el("li", {}, `Block ${f.block.join(", ")}: ${f.error} (${f.tries === 1 ? "1 try" : `${f.tries} tries`})`)));
  }
}
