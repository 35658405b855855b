// phiquant: quantize and run Microsoft Phi checkpoints in a browser tab.

export * from "./engine/index.js";
