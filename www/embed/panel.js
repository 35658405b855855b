/** What `<phi-quant>` becomes when it is used: sizes, progress, save, chat. Loaded on the first press. */

import { loadModel, openCheckpoint } from "../engine/index.js";
import { backendName, bytes, duration, perSecond } from "./format.js";
import { h } from "./h.js";

/** Above this, the size is shown and a second press begins the download. */
const ASK_ABOVE = 64e6;

const sheet = new CSSStyleSheet();
sheet.replaceSync(`
progress { width: 100%; accent-color: var(--accent); }
code { font-size: .87em; }
.spoken { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden; clip-path: inset(50%); }
.row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; }
.error { padding-left: 12px; border-left: 4px solid var(--accent); }
.error code { font-size: .8em; opacity: .75; }
.log { max-height: 260px; overflow-y: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
.user { margin-top: 12px; font-weight: 600; }
.stats { font-size: .8em; opacity: .75; }
form { display: flex; gap: 8px; margin-top: 12px; }
input { flex: 1; min-width: 0; min-height: 40px; padding: 0 10px; border: 1px solid currentColor; border-radius: 3px;
  background: none; color: inherit; font: inherit; }
@media (pointer: coarse) { input { font-size: 16px; } }
`);

const isAbort = (error) => error?.name === "AbortError" || error?.code === "aborted";

export class Panel {
  /** @type {import("../engine/index.js").QuantizeResult | null} */
  result = null;
  #checkpoint = null;
  #model = null;
  #work = new AbortController();
  #busy = false;
  #agreed = false;
  #messages = [];

  /** @param {any} host the element @param {ShadowRoot} root */
  constructor(host, root) {
    this.host = host;
    if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets.push(sheet);
    this.title = h("p", { part: "title", class: "title" }, root.querySelector(".title").textContent);
    this.status = h("p", { part: "status", role: "status" });
    this.body = h("div", { part: "body" });
    // An answer is read out when it is whole, not word by word.
    this.spoken = h("p", { class: "spoken", role: "status" });
    this.note = h("p", { part: "note", class: "note" }, "Nothing is uploaded.");
    root.replaceChildren(
      h("div", { part: "box", class: "box" }, this.title, this.status, this.body, this.spoken, this.note),
    );
  }

  #tell(type, detail) {
    this.host.dispatchEvent(new CustomEvent(`phiquant-${type}`, { detail, bubbles: true, composed: true }));
  }

  #button(label, click, part = "button") {
    return h("button", { type: "button", part, click }, label);
  }

  /** Opens, asks where the download is large, converts. A second call while it works does nothing. */
  async start() {
    if (this.#busy) return;
    this.#busy = true;
    if (this.#work.signal.aborted) this.#work = new AbortController();
    const { signal } = this.#work;
    try {
      await this.#convert(signal);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.#fail(error, "Could not convert it", () => this.start());
    } finally {
      this.#busy = false;
    }
  }

  async #convert(signal) {
    const { host } = this;
    const { scheme } = host;
    const backend = host.getAttribute("backend") ?? "auto";
    this.status.textContent = "Reading the headers …";
    this.body.replaceChildren(this.#button("Cancel", () => host.cancel()));
    if (!this.#checkpoint) {
      const checkpoint = await openCheckpoint(host.source, { signal, hub: host.getAttribute("hub") ?? undefined });
      if (signal.aborted) return checkpoint.close();
      this.#checkpoint = checkpoint;
    }
    const before = this.#checkpoint.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    const { bytes: after } = this.#checkpoint.estimate({ scheme });
    if (before > ASK_ABOVE && !this.#agreed) {
      this.#agreed = true;
      this.status.textContent = `Downloads ${bytes(before)} and makes ${bytes(after)} of it.`;
      this.body.replaceChildren(
        h(
          "p",
          { class: "row" },
          this.#button("Download and convert", () => this.start()),
          this.#button("Not now", () => host.cancel()),
        ),
      );
      return;
    }

    const bar = h("progress", { part: "progress", max: 1, "aria-label": "Conversion" });
    this.body.replaceChildren(
      bar,
      this.#button("Cancel", () => host.cancel()),
    );
    let said = 0;
    this.result = await this.#checkpoint.quantize({
      scheme,
      backend,
      signal,
      onProgress: (progress) => {
        if (signal.aborted) return;
        this.#tell("progress", progress);
        const { bytes: done, totalBytes, bytesPerSecond, secondsLeft } = progress;
        if (totalBytes) bar.value = done / totalBytes;
        // It is a live region: words change once a second at most.
        if (performance.now() - said < 1000) return;
        said = performance.now();
        const left = secondsLeft === null ? "" : `, ${duration(secondsLeft)} left`;
        this.status.textContent = `${bytes(done)}${totalBytes ? ` of ${bytes(totalBytes)}` : ""}, ${bytes(bytesPerSecond)}/s${left}`;
      },
    });
    const [file] = this.result.files;
    const { report } = this.result;
    this.status.textContent = `${bytes(before)} became ${bytes(file.bytes)} in ${duration(report.seconds)} (${backendName(report.backend)}).`;
    const save = this.#button("Save GGUF", () => this.#save(save), "button save");
    this.body.replaceChildren(h("p", { class: "row" }, save, h("code", null, file.name)));
    if (!host.hasAttribute("no-chat")) this.#openChat();
    save.focus();
    this.#tell("done", this.result);
  }

  async #save(button) {
    button.disabled = true;
    try {
      for (const { name } of this.result.files) {
        const url = URL.createObjectURL(await this.result.blob(name));
        h("a", { href: url, download: name }).click();
        setTimeout(() => URL.revokeObjectURL(url), 60_000);
      }
    } catch (error) {
      this.#fail(error, "Could not save it");
    } finally {
      button.disabled = false;
    }
  }

  #openChat() {
    const log = h("div", {
      part: "log",
      class: "log",
      role: "log",
      "aria-live": "off",
      "aria-label": "Conversation",
      tabindex: "0",
    });
    const input = h("input", {
      part: "input",
      "aria-label": "Message",
      placeholder: "Ask it something",
      autocomplete: "off",
    });
    input.value = this.host.getAttribute("prompt") ?? "";
    const send = h("button", { part: "button send" }, "Send");
    const form = h("form", null, input, send);
    let answering = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (answering) return answering.abort();
      const text = input.value.trim();
      if (!text) return;
      input.value = "";
      answering = new AbortController();
      const stop = () => answering?.abort();
      this.#work.signal.addEventListener("abort", stop, { once: true });
      send.textContent = "Stop";
      try {
        await this.#answer(text, log, answering.signal);
      } catch (error) {
        if (!answering.signal.aborted && !isAbort(error)) this.#fail(error, "No answer");
        if (input.value === "" && !answering.signal.aborted) input.value = text;
      } finally {
        this.#work.signal.removeEventListener("abort", stop);
        answering = null;
        send.textContent = "Send";
      }
    });
    this.body.append(log, form);
  }

  async #answer(text, log, signal) {
    const answer = h("p", null, "…");
    const stats = h("p", { class: "stats" });
    log.append(h("p", { class: "user" }, text), answer, stats);
    const backend = this.host.getAttribute("backend") ?? "auto";
    this.#model ??= await loadModel(this.result, { backend, signal: this.#work.signal });
    let reply = "";
    try {
      const messages = [...this.#messages, { role: "user", content: text }];
      for await (const piece of this.#model.generate(messages, { temperature: 0, maxTokens: 256, signal })) {
        reply += piece.text;
        answer.textContent = reply;
        log.scrollTop = log.scrollHeight;
      }
    } finally {
      answer.textContent = reply;
      if (reply) this.#messages.push({ role: "user", content: text }, { role: "assistant", content: reply });
    }
    const { usage } = this.#model;
    if (usage) stats.textContent = `${usage.tokens} tokens, ${perSecond(usage.decodeTokensPerSecond)} tok/s`;
    this.spoken.textContent = reply;
  }

  /** The sentence and the code, in place; what was there stays, unless there is a way to try again. */
  #fail(error, title, retry) {
    this.#tell("error", error);
    const code = error?.code ?? error?.name ?? "error";
    const box = h("div", { part: "error", class: "error", role: "alert" });
    box.append(h("p", null, `${title}. ${error?.message ?? error}`), h("p", null, h("code", null, code)));
    if (!retry) {
      this.body.querySelector(".error")?.remove();
      this.body.append(box);
      return;
    }
    this.status.textContent = "";
    this.body.replaceChildren(box, this.#button("Try again", retry));
  }

  /** Frees everything: the work under way, the model, the stored result. */
  close() {
    this.#work.abort();
    this.#checkpoint?.close();
    this.#model?.close();
    this.result?.delete().catch(() => {});
    this.#checkpoint = this.#model = this.result = null;
  }
}
