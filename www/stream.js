// SPDX-License-Identifier: Apache-2.0
// The server's events (docs/http.md, "Events") as one stream that mends itself: used by
// the worker that all tabs share, and by a tab whose browser has no shared workers.
const NAMES = ["hello", "job", "block", "chunk", "object", "stitch", "retry", "lost"];
// After an answer that is no stream: the server has too many listeners, or is going down.
const AGAIN_MS = 5000;

export class Stream {
  // tell({name, data}) is called for each event, and with the name "down" when the
  // connection is lost. The browser connects again by itself; a new "hello" tells of it.
  constructor(url, tell) {
    this.url = url;
    this.tell = tell;
    this.hello = null;
    this.timer = 0;
    this.open();
  }

  open() {
    const source = new EventSource(this.url);
    this.source = source;
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        const data = JSON.parse(event.data);
        if (name === "hello") this.hello = data;
        this.tell({ name, data });
      });
    }
    source.addEventListener("error", () => {
      this.hello = null;
      this.tell({ name: "down", data: {} });
      if (source.readyState === EventSource.CLOSED)
        this.timer = setTimeout(() => this.open(), AGAIN_MS);
    });
  }

  close() {
    clearTimeout(this.timer);
    this.source.close();
  }
}
