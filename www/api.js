// SPDX-License-Identifier: Apache-2.0
// The server's API as this page uses it. All addresses are relative to the page, so that
// it works below any path. The token that writing needs comes from the fragment of the
// link that the daemon printed, or from the field in the page; it is kept for this tab
// and sent in a header, never in a URL.
export const base = new URL(".", document.baseURI).href;

const KEY = "floodgate-token";
let memory = null; // where a browser keeps nothing for a page

export function token() {
  try {
    return sessionStorage.getItem(KEY) ?? memory;
  } catch {
    return memory;
  }
}

export function setToken(value) {
  memory = value || null;
  try {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  } catch {
    // kept in memory then
  }
}

// "#token=…" is taken out of the address, so that it is not copied with it.
export function takeTokenFromAddress() {
  const [, value] = location.hash.match(/^#token=([\x21-\x7e]+)$/) ?? [];
  if (!value) return false;
  setToken(decodeURIComponent(value));
  history.replaceState(null, "", location.pathname + location.search);
  return true;
}

// What this page may do, as the server says: as it is addressed, and with the token.
let plain = null;
let access = null;
let wrong = false;

export async function learnAccess() {
  plain = await (await fetch(new URL("api/access", base), { cache: "no-store" })).json();
  access = plain;
  wrong = false;
  if (!token()) return;
  try {
    access = await get("api/access");
    wrong = !access.token;
  } catch (error) {
    if (error.status !== 401) throw error;
    wrong = true;
  }
}

export const mayWrite = () => Boolean(access?.writes);
// A token was given, and it is none.
export const tokenIsWrong = () => wrong;
// Reading needs a token as well. Then it has to be in the address, since pictures, events
// and the viewer cannot send a header.
export const readsNeedToken = () => plain?.role === "none";
export const addressWithToken = (value) => new URL(`t/${encodeURIComponent(value)}/`, base).href;

export class Refusal extends Error {
  constructor(status, text, after) {
    super(text);
    this.status = status;
    this.after = after; // seconds until asking again makes sense, or 0
  }
}

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const reply = await fetch(new URL(path, base), { ...options, headers });
  if (reply.ok) return reply;
  const after = Number(reply.headers.get("Retry-After")) || 0;
  let text = `the server answered ${reply.status}`;
  try {
    text = (await reply.json()).error ?? text;
  } catch {
    // not JSON: the status says it all
  }
  throw new Refusal(reply.status, text, after);
}

export async function get(path, signal) {
  return (await ask(path, { signal, cache: "no-cache" })).json();
}

export async function send(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  return (await ask(path, options)).json();
}

// The server draws few pictures at once: this tab asks for two at a time, those with the
// greater weight first.
const AT_ONCE = 2;
const queue = [];
let drawing = 0;

async function nextPicture() {
  if (drawing >= AT_ONCE || queue.length === 0) return;
  drawing++;
  queue.sort((a, b) => b.weight - a.weight);
  const { path, signal, done, failed } = queue.shift();
  try {
    signal?.throwIfAborted();
    done(await drawPicture(path, signal));
  } catch (error) {
    failed(error);
  }
  drawing--;
  nextPicture();
}

// A server that is busy with those of others is asked again.
async function drawPicture(path, signal) {
  for (let tries = 0; ; tries++) {
    try {
      const reply = await ask(path, { signal });
      return await createImageBitmap(await reply.blob());
    } catch (error) {
      if (error.status !== 503 || tries === 20) throw error;
      await new Promise((wake) => setTimeout(wake, 500 + 250 * Math.min(tries, 6)));
      signal?.throwIfAborted();
    }
  }
}

// A picture, as something that a canvas can draw.
export function picture(path, { signal, weight = 0 } = {}) {
  return new Promise((done, failed) => {
    queue.push({ path, signal, weight, done, failed });
    nextPicture();
  });
}

export const layerPath = (name, rest = "") =>
  `api/layers/${encodeURIComponent(name)}${rest}`;
