// Uses of the public API that must compile, and misuses that must not. `tsc` checks this file; it never runs.
import {
  type ErrorCode,
  type Imatrix,
  loadModel,
  type Message,
  openCheckpoint,
  openImatrix,
  PhiquantError,
  type Probe,
  probe,
  type QuantizeResult,
  schemes,
} from "phiquant";

export async function convertAndChat(folder: FileSystemDirectoryHandle): Promise<string> {
  const can: Probe = await probe();
  const vendor: string | undefined = can.webgpu?.vendor;
  const controller = new AbortController();

  const checkpoint = await openCheckpoint("owner/name@main", {
    signal: controller.signal,
    onProgress: ({ bytes, totalBytes, secondsLeft }) => console.log(bytes, totalBytes, secondsLeft, vendor),
    token: "secret",
    hub: "http://127.0.0.1:8000",
  });
  const { bytes, files } = checkpoint.estimate({ format: "gguf", scheme: "Q4_0" });
  console.log(bytes, files[0]?.name, checkpoint.config.architecture, checkpoint.tensors.length);

  const result: QuantizeResult = await checkpoint.quantize({
    format: "gguf",
    scheme: "Q4_0",
    backend: "auto",
    overrides: [{ match: "^lm_head", scheme: "Q8_0" }],
    sink: folder,
    onProgress: ({ report }) => console.log(report?.rmse),
  });
  const imatrix: Imatrix = await openImatrix(new URL("https://example.org/imatrix.gguf"));
  const { notices } = checkpoint.estimate({
    scheme: "Q4_K_M",
    imatrix,
    splitBytes: 2e9,
    outputType: "Q8_0",
    pure: true,
  });
  const { scheme, candidates } = await checkpoint.fit({ targetBytes: 2e9 });
  console.log(notices[0], scheme, candidates[0]?.error, imatrix.entries);
  await checkpoint.quantize({ targetBytes: 2e9, imatrix, backend: "simd" });

  const worst: number = Math.max(...result.report.tensors.map((tensor) => tensor.max));
  const blob: Blob = await result.blob(result.files[0]?.name ?? "");
  await result.saveAs(folder);
  console.log(worst, blob.size, await schemes());

  const model = await loadModel(result, { backend: "simd", contextLength: 1024 });
  const messages: Message[] = [{ role: "user", content: "Hello" }];
  let text = "";
  for await (const piece of model.generate(messages, { maxTokens: 8, temperature: 0, stop: ["\n"] }))
    text += piece.text;
  const speed: number | undefined = model.usage?.decodeTokensPerSecond;
  console.log(speed);
  await model.close();
  return text;
}

export function explain(error: unknown): ErrorCode | null {
  return error instanceof PhiquantError ? error.code : null;
}

export async function misuses(): Promise<void> {
  // @ts-expect-error a scheme is needed
  (await openCheckpoint("owner/name")).estimate({});
  // @ts-expect-error backends are a closed list
  await loadModel("owner/name", { backend: "cuda" });
  // @ts-expect-error messages have roles
  (await loadModel("owner/name")).generate([{ content: "Hello" }]);
  // @ts-expect-error a source is a string, a URL, files or a folder
  await openCheckpoint(42);
}
