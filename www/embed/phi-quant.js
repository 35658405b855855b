/**
 * `<phi-quant src="owner/name" scheme="Q4_0">`: quantizes a Phi checkpoint in the visitor's tab, saves it, chats with it.
 *
 * This file is only the face. The engine and the panel load when somebody presses the button, from wherever this file
 * came from. docs/embedding.md has the attributes, events, parts and what a Content-Security-Policy must allow.
 */

// A constructed sheet, because policies that forbid inline styles forbid <style> in a shadow root too.
const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host { display: block; line-height: 1.45; font-variant-numeric: tabular-nums;
  --accent: var(--phi-quant-accent, #c0360c); color-scheme: light dark; }
:host([hidden]), [hidden] { display: none; }
@media (prefers-color-scheme: dark) { :host { --accent: var(--phi-quant-accent, #ff8054); } }
.box { padding: 14px 16px; border: 1px solid color-mix(in srgb, currentColor 28%, transparent); border-radius: 3px; }
p { margin: 0 0 8px; overflow-wrap: anywhere; }
.title { font-weight: 600; }
.note { margin: 8px 0 0; font-size: .85em; opacity: .75; }
button { min-height: 40px; padding: 0 14px; border: 1px solid currentColor; border-radius: 3px; background: none;
  color: inherit; font: inherit; cursor: pointer; }
button:hover { border-color: var(--accent); color: var(--accent); }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
`);

const element = (tag, part, text) => {
  const made = document.createElement(tag);
  made.setAttribute("part", part);
  made.className = part;
  made.textContent = text;
  return made;
};

export class PhiQuant extends HTMLElement {
  static observedAttributes = ["src", "scheme"];
  #panel = null;
  #root = this.attachShadow({ mode: "open" });

  /** What `quantize` returned, once it has. */
  get result() {
    return this.#panel?.result ?? null;
  }

  get scheme() {
    return this.getAttribute("scheme") ?? "Q4_0";
  }

  /** A repository as it is written, anything else as a whole URL; without `src`, the bundled demo. */
  get source() {
    const src = this.getAttribute("src");
    if (!src) return new URL("../models/demo/", import.meta.url).href;
    return /^(\.{0,2}\/|[a-z]+:)/i.test(src) ? new URL(src, document.baseURI).href : src;
  }

  connectedCallback() {
    this.#root.adoptedStyleSheets = [sheet];
    if (!this.#panel) this.#draw();
  }

  disconnectedCallback() {
    // Moving an element disconnects it for a moment; leaving for good frees what it holds.
    queueMicrotask(() => {
      if (!this.isConnected) this.cancel();
    });
  }

  attributeChangedCallback() {
    if (this.isConnected && !this.#panel) this.#draw();
  }

  /** What a press of the button does: loads the engine, opens the checkpoint, converts it. */
  async start() {
    if (this.#panel) return this.#panel.start();
    const button = this.#root.querySelector("button");
    button.disabled = true;
    try {
      const { Panel } = await import("./panel.js");
      // It may have left the page meanwhile, or have been pressed twice.
      if (this.isConnected) this.#panel ??= new Panel(this, this.#root);
    } catch (cause) {
      button.disabled = false;
      const error = Object.assign(new Error("phiquant did not load. Check the connection and try again.", { cause }), {
        code: "network",
      });
      this.#root.querySelector(".note").textContent = error.message;
      this.dispatchEvent(new CustomEvent("phiquant-error", { detail: error, bubbles: true, composed: true }));
      return;
    }
    return this.#panel?.start();
  }

  /** Stops what is under way and goes back to the beginning. */
  cancel() {
    this.#panel?.close();
    this.#panel = null;
    if (this.isConnected) this.#draw();
  }

  #draw() {
    const box = element("div", "box", "");
    const name = this.getAttribute("src") || "The phiquant demo";
    const button = element("button", "button", "Quantize in this tab");
    button.type = "button";
    button.addEventListener("click", () => this.start());
    const note = element("p", "note", "Nothing is uploaded.");
    note.setAttribute("role", "status");
    box.append(element("p", "title", `${name} → ${this.scheme} GGUF`), button, note);
    this.#root.replaceChildren(box);
  }
}

if (!customElements.get("phi-quant")) customElements.define("phi-quant", PhiQuant);
