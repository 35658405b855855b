// Chromium for the tests: with WebGPU on SwiftShader, or without any WebGPU.

import { existsSync } from "node:fs";
import { chromium } from "playwright-core";

const COMMON = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const MODES = {
  webgpu: ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
  "no-webgpu": ["--disable-features=WebGPU", "--disable-blink-features=WebGPU"],
};

function options(mode, args) {
  const executablePath = process.env.CHROME ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) {
    throw new Error(`There is no Chromium at ${executablePath}: install it, or set CHROME to its path.`);
  }
  return { executablePath, args: [...COMMON, ...MODES[mode], ...args] };
}

/** @param {"webgpu" | "no-webgpu"} mode */
export async function launch(mode = "no-webgpu", args = []) {
  return chromium.launch(options(mode, args));
}

/** As `launch`, with a profile in the folder `profile`: gives a context, which is the browser too. */
export async function launchProfile(profile, mode = "no-webgpu", args = []) {
  return chromium.launchPersistentContext(profile, options(mode, args));
}

/** An empty page of the server's origin, whose console errors are shown. @param {any} browser or a context */
export async function blank(browser, server) {
  const context = browser.newContext ? await browser.newContext() : browser;
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(`page error: ${error.stack ?? error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource|CORS policy/.test(message.text())) {
      console.error(`page console: ${message.text()}`);
    }
  });
  await page.goto(`${server.url}/blank`);
  return page;
}

/** Runs `action` in the page and gives its result, or its error as plain data. */
export async function attempt(page, action, argument) {
  return page.evaluate(
    async ([text, argument]) => {
      try {
        // biome-ignore lint/security/noGlobalEval: the test's own function, carried as text
        return { value: await eval(`(${text})`)(argument) };
      } catch (error) {
        const { name, message, code, file, tensor, status } = error;
        return { error: { name, message, code, file, tensor, status, cause: String(error.cause ?? "") } };
      }
    },
    [action.toString(), argument],
  );
}
