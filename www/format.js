// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them, and elements as scripts make them.
const number = new Intl.NumberFormat("en-GB");

export const count = (n) => number.format(n ?? 0);

export function bytes(n) {
  if (typeof n !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export function duration(seconds) {
  if (typeof seconds !== "number" || !isFinite(seconds)) return "–";
  if (seconds < 1) return "under 1 s";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${(seconds / 3600).toFixed(1)} h`;
  return `${(seconds / 86400).toFixed(1)} days`;
}

// "35.8 blocks/h"
export function rate(perSecond, what) {
  if (typeof perSecond !== "number" || perSecond <= 0) return "–";
  if (perSecond >= 1) return `${perSecond.toFixed(1)} ${what}/s`;
  if (perSecond * 60 >= 1) return `${(perSecond * 60).toFixed(1)} ${what}/min`;
  return `${(perSecond * 3600).toFixed(1)} ${what}/h`;
}

export function length(nm) {
  if (nm >= 1e6) return [nm / 1e6, "mm"];
  if (nm >= 1e3) return [nm / 1e3, "µm"];
  return [nm, "nm"];
}

const short = (v) => (v >= 100 ? Math.round(v) : Number(v.toPrecision(3)));

export function extent(size, nm) {
  const all = size.map((n, d) => n * nm[d]);
  const unit = length(Math.max(...all))[1];
  const per = { nm: 1, "µm": 1e3, mm: 1e6 }[unit];
  return `${all.map((v) => short(v / per)).join(" × ")} ${unit}`;
}

export const times = (list) => list.map(count).join(" × ");

export function boxText(box) {
  return [0, 1, 2].map((d) => `${box[d]}–${box[d + 3]}`).join(", ");
}

export const percent = (f) => `${Math.floor((f ?? 0) * 100)} %`;

// el("a.button", {href: "x"}, "text", node, …): tag, classes, attributes, children.
// A property whose name starts with "on" is a listener; undefined and false are left out.
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

// Text is only set where it differs: a screen reader speaks what changes.
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A bar of a share 0..1, for eyes; the text beside it says the same.
export function bar(fraction, kind = "") {
  const fill = el("span");
  fill.style.width = `${Math.min(100, 100 * (fraction ?? 0))}%`;
  return el(`span.bar${kind ? `.${kind}` : ""}`, { "aria-hidden": "true" }, fill);
}
