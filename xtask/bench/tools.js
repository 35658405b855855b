// What the sections share: pages in Chromium, llama.cpp beside them, and tables.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { attempt, blank, launchProfile } from "../../tests/browser/chromium.js";

/**
 * A browser of its own, so that no measurement inherits another's memory; gives `call(name, argument)` of page.js.
 * It has a profile on the disk, as a visitor's has: without one Chromium keeps OPFS in another process' memory.
 */
export async function openPage(server, mode = "no-webgpu") {
  const profile = await mkdtemp(join(tmpdir(), "phiquant-bench-"));
  const browser = await launchProfile(profile, mode);
  const page = await blank(browser, server);
  return {
    version: browser.browser()?.version(),
    async call(name, argument = {}) {
      const action = async ({ name, argument }) => (await import("/bench/page.js"))[name](argument);
      const { value, error } = await attempt(page, action, { name, argument });
      if (error) throw new Error(`${name}(${JSON.stringify(argument)}): ${error.code ?? ""} ${error.message}`);
      return value;
    },
    async close() {
      await browser.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

/** llama.cpp in a process of its own, or null where PHIQUANT_PYTHON names no Python that has it. */
export function startLlama(folder) {
  const python = process.env.PHIQUANT_PYTHON;
  if (!python) return null;
  const child = spawn(python, ["-B", "xtask/bench/llama.py", folder], { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    async call(name, argument) {
      child.stdin.write(`${JSON.stringify({ do: name, ...argument })}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error("llama.py stopped: is llama-cpp-python installed in PHIQUANT_PYTHON?");
      const answer = JSON.parse(value);
      if (answer.error) throw new Error(`llama.cpp, ${name}: ${answer.error}`);
      return answer;
    },
    close: () => child.kill(),
  };
}

export const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Ratios of pairs: the median, and in brackets the least and the largest. */
export const ratios = (pairs) => {
  const all = pairs.map(([ours, theirs]) => ours / theirs);
  return `**${median(all).toFixed(2)}** (${Math.min(...all).toFixed(2)}–${Math.max(...all).toFixed(2)})`;
};

export const fixed = (number, digits = 0) => (Number.isFinite(number) ? number.toFixed(digits) : "–");

/** Lines of a Markdown table. */
export const table = (head, rows) =>
  [head, head.map((_, i) => (i ? "---:" : "---")), ...rows].map((row) => `| ${row.join(" | ")} |`).concat("");

export const say = (text) => console.error(`  ${text}`);
