// SPDX-License-Identifier: Apache-2.0
// The server's events in a tab, through the stream that all tabs share.
//
//   const stop = listen(base, ({ name, data }) => …);
//
// base: URL of the folder that holds "api/", with its slash. name: "hello" (ask for the
// state now; what follows are changes of it), "job", "block", "chunk", "object", "stitch",
// "retry", "lost" (ask for the state again), "down" (no connection; a "hello" will follow).
import { Stream } from "./stream.js";

function connect(base, tell) {
  if (typeof SharedWorker === "undefined") {
    const stream = new Stream(new URL("api/events", base).href, tell);
    return () => stream.close();
  }
  const worker = new SharedWorker(new URL("api/www/events-worker.js", base).href, {
    type: "module",
    name: "floodgate",
  });
  worker.port.onmessage = ({ data }) => tell(data);
  return () => {
    worker.port.postMessage("bye");
    worker.port.close();
  };
}

export function listen(base, tell) {
  let stop = connect(base, tell);
  // A page that is kept for "back" listens again when it is shown again.
  const hide = () => {
    stop?.();
    stop = null;
  };
  const show = () => {
    stop ??= connect(base, tell);
  };
  addEventListener("pagehide", hide);
  addEventListener("pageshow", show);
  return () => {
    removeEventListener("pagehide", hide);
    removeEventListener("pageshow", show);
    hide();
  };
}
