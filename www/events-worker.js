// SPDX-License-Identifier: Apache-2.0
// A shared worker: one stream of events for all tabs of this server, since a browser
// opens only six connections to a host. A tab that closes says so; the worker itself
// ends with its last tab.
import { Stream } from "./stream.js";

const ports = new Set();
let stream = null;

function tell(event) {
  for (const port of ports) port.postMessage(event);
}

self.addEventListener("connect", ({ ports: [port] }) => {
  ports.add(port);
  port.onmessage = ({ data }) => {
    if (data !== "bye") return;
    ports.delete(port);
    if (ports.size > 0 || !stream) return;
    stream.close();
    stream = null;
  };
  if (stream?.hello) port.postMessage({ name: "hello", data: stream.hello });
  stream ??= new Stream(new URL("../events", self.location.href).href, tell);
});
