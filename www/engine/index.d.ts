/** phiquant: quantize and run Microsoft Phi checkpoints in a browser tab. Nothing is uploaded. */

/** Where a checkpoint comes from. */
export type Source =
  /** `owner/name` or `owner/name@revision` on the Hub, or the URL of a folder or of a file (`.gguf`, `.safetensors`). */
  | string
  | URL
  | File
  | File[]
  | FileList
  | FileSystemDirectoryHandle
  /** What `quantize` returned. */
  | QuantizeResult;

/** Stable codes; `message` is a sentence that says what, where and what to do. */
export type ErrorCode =
  // from the core
  | "not-a-phi"
  | "unsupported"
  | "missing-file"
  | "missing-tensor"
  | "bad-config"
  | "bad-header"
  | "truncated"
  | "bad-shape"
  | "not-finite"
  | "bad-option"
  | "needs-importance"
  | "wrong-importance"
  | "target-too-small"
  | "unsafe-pickle"
  | "context-full"
  | "out-of-memory"
  | "no-device"
  | "device-lost"
  | "device-mismatch"
  | "aborted"
  | "internal"
  // from the network
  | "unauthorized"
  | "forbidden"
  | "not-found"
  | "range-refused"
  | "server-error"
  | "http"
  | "network"
  | "cors"
  | "interrupted"
  | "source-changed"
  | "length-mismatch"
  // from storage
  | "quota-exceeded"
  | "storage"
  // from the environment
  | "no-wasm-simd"
  | "worker-failed";

export class PhiquantError extends Error {
  readonly code: ErrorCode;
  readonly file?: string;
  readonly tensor?: string;
  readonly status?: number;
  readonly cause?: unknown;
}

export interface Probe {
  webgpu: { vendor: string; fallback: boolean; f16: boolean; subgroups: boolean; maxBufferBytes: number } | null;
  simd: boolean;
  relaxedSimd: boolean;
  /** Logical processors: how many workers are worth starting. */
  threads: number;
  /** Free storage for results, or null where the browser does not say. */
  storageBytes: number | null;
}

export function probe(): Promise<Probe>;

export interface Progress {
  phase: "open" | "download" | "fit" | "quantize" | "finish" | "load";
  /** Bytes of the source done, and of all; total is null where the server does not say. */
  bytes: number;
  totalBytes: number | null;
  tensors: number;
  totalTensors: number;
  /** The tensor at work. */
  tensor?: string;
  bytesPerSecond: number;
  secondsLeft: number | null;
  backend?: "webgpu" | "simd128" | "cpu";
  workers?: number;
  /** A line that a person should see: a resumed download, a fallback and its reason. */
  notice?: string;
  /** A finished tensor's figures, once each (phase "quantize"). */
  report?: TensorReport;
}

export interface OpenOptions {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
  /** Bearer token: memory only, sent to the host of the first request alone. */
  token?: string;
  /** The Hub; default https://huggingface.co. */
  hub?: string;
}

export interface TensorInfo {
  name: string;
  shape: number[];
  dtype: string;
  bytes: number;
}

export interface OutputFile {
  name: string;
  bytes: number;
}

export interface EstimateOptions {
  format?: "gguf";
  scheme: string;
  /** The scheme's own type for every matrix (llama-quantize's --pure). */
  pure?: boolean;
  /** The type of the output matrix, or of an embedding that serves as one (--output-tensor-type). */
  outputType?: string;
  /** The type of the token embedding (--token-embedding-type). */
  tokenEmbeddingType?: string;
  /** Types by a regular expression over a tensor's name in the checkpoint or in the file; the first match wins (--tensor-type). */
  overrides?: { match: string; scheme: string }[];
  /** Quantize weights that are quantized already, which loses more than quantizing the original does. */
  allowRequantize?: boolean;
  /** How much each column matters; `estimate` wants what `openImatrix` resolves to. */
  imatrix?: ImatrixSource;
  /** Bytes of tensors in a file; what is more goes into further files, as llama-gguf-split cuts them. */
  splitBytes?: number;
  /** Stem of the output's file name. */
  name?: string;
}

/** An importance matrix as llama-imatrix makes it, GGUF or .dat. */
export type ImatrixSource = Imatrix | File | Blob | URL | string | ArrayBuffer | Uint8Array;

export interface Imatrix {
  readonly name: string;
  /** Matrices that it knows of. */
  readonly entries: number;
}

/** Reads an importance matrix once, for estimates and conversions. */
export function openImatrix(source: ImatrixSource, options?: { signal?: AbortSignal }): Promise<Imatrix>;

export interface FitOptions extends Omit<EstimateOptions, "scheme"> {
  /** The most bytes that all files may have together. */
  targetBytes: number;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface FitCandidate {
  scheme: string;
  bytes: number;
  /** Predicted from samples: the squared error divided by the weights' squares, mean over the weights. */
  error: number;
}

export type QuantizeOptions = ConvertOptions & (EstimateOptions | FitOptions);

export interface ConvertOptions {
  backend?: "auto" | "webgpu" | "simd";
  /** Workers that quantize; by default as many as help. */
  workers?: number;
  /** "opfs" (default where there is one), "memory", or a folder of the user's that is written to directly. */
  sink?: "opfs" | "memory" | FileSystemDirectoryHandle;
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface TensorReport {
  /** Names in the checkpoint and in the output. */
  tensor: string;
  output: string;
  scheme: string;
  shape: number[];
  rmse: number;
  /** rmse divided by the root mean square of the weights. */
  relative: number;
  max: number;
  backend: string;
}

export interface QuantizeReport {
  tensors: TensorReport[];
  seconds: number;
  /** What computed, and why it was chosen. */
  backend: "webgpu" | "simd128";
  reason: string;
  workers: number;
  /** Largest wasm memory of any worker, bytes. */
  peakMemoryBytes: number;
  notices: string[];
}

export interface QuantizeResult {
  files: { name: string; bytes: number; sha256: string }[];
  report: QuantizeReport;
  /** A file's content; large ones stay on disk until read. */
  blob(name: string): Promise<Blob>;
  /** Writes every file into a folder of the user's. */
  saveAs(directory: FileSystemDirectoryHandle): Promise<void>;
  /** Frees the storage. */
  delete(): Promise<void>;
}

export interface Checkpoint {
  readonly name: string;
  /** architecture, vocab, hidden, ffn, layers, heads, kvHeads, headDim, context, tied, slidingWindow, parameters … */
  readonly config: Record<string, unknown> & { architecture: string };
  readonly tensors: TensorInfo[];
  readonly notices: string[];
  /** Sizes and names, before any weight is downloaded. */
  estimate(options: EstimateOptions): { bytes: number; files: OutputFile[]; notices: string[] };
  /**
   * The scheme with the least error whose files are small enough, after reading a few rows of every kind of matrix.
   * `quantize({ targetBytes })` does this first. Rejects with "target-too-small".
   */
  fit(options: FitOptions): Promise<FitCandidate & { candidates: FitCandidate[] }>;
  /** When it rejects, whatever was half-written is gone. */
  quantize(options: QuantizeOptions): Promise<QuantizeResult>;
  close(): void;
}

export function openCheckpoint(source: Source, options?: OpenOptions): Promise<Checkpoint>;

/** The formats and their schemes, as this build has them. */
export function schemes(): Promise<SchemeChoice[]>;

export interface SchemeChoice {
  format: string;
  scheme: string;
  /** The type of most matrices: what `outputType`, `tokenEmbeddingType` and `overrides` take. */
  type: string;
  /** Bits per weight of that type. */
  bits: number;
  /** What it is akin to, for a list: "Recommended", "K-quants" … */
  group: string;
  summary: string;
}

export interface LoadOptions extends OpenOptions {
  backend?: "auto" | "webgpu" | "simd";
  /** Tokens that the KV cache holds; default: the model's context, at most 4096. */
  contextLength?: number;
}

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface GenerateOptions {
  maxTokens?: number;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repeatPenalty?: number;
  seed?: number;
  stop?: string[];
  signal?: AbortSignal;
}

export interface Piece {
  /** Whole characters, possibly none. */
  text: string;
  /** null: text that was held back until the end (the beginning of a stop string that did not come). */
  token: number | null;
}

export interface Usage {
  promptTokens: number;
  /** Of them, taken from the cache. */
  cachedTokens: number;
  tokens: number;
  prefillTokensPerSecond: number;
  decodeTokensPerSecond: number;
  /** "stop": the model or a stop string ended it; "length": maxTokens or the context; "abort". */
  finish: "stop" | "length" | "abort";
}

export interface Model {
  readonly name: string;
  readonly backend: "webgpu" | "simd128";
  readonly reason: string;
  readonly contextLength: number;
  readonly config: Record<string, unknown> & { architecture: string };
  /** Bytes of weights in memory. */
  readonly bytes: number;
  readonly notices: string[];
  /**
   * A string is given to the model as it is; messages are rendered by the checkpoint's chat template. An aborted answer
   * throws "aborted" between two tokens, with `usage` set; breaking off the loop ends it quietly. Either way the model
   * can be used on. Answers asked for at once are given one after the other.
   */
  generate(prompt: string | Message[], options?: GenerateOptions): AsyncIterableIterator<Piece>;
  /** Of the latest `generate`. */
  readonly usage: Usage | null;
  /** Token ids, as the model's tokenizer makes them. */
  tokenize(text: string, options?: { addSpecialTokens?: boolean }): Promise<number[]>;
  /** The logits after the prompt (for tests and the curious). */
  logits(prompt: string | number[]): Promise<Float32Array>;
  close(): Promise<void>;
}

export function loadModel(source: Source | Checkpoint, options?: LoadOptions): Promise<Model>;
