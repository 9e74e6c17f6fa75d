/** Why something failed; `AnyLoraError.code`. */
export type ErrorCode =
  /** The browser has no WebGPU, or offers no GPU through it. */
  | "no-webgpu"
  /** The GPU can't hold what the model needs at once. */
  | "limits"
  /** The GPU's memory is full. */
  | "out-of-memory"
  /** A download failed. */
  | "network"
  /** A part of the pack is not what the manifest says. */
  | "integrity"
  /** The browser's storage failed. */
  | "storage"
  /** The pack's files are bad. */
  | "format"
  /** The adapter's files are bad, or don't fit the model. */
  | "adapter"
  /** A wrong argument. */
  | "argument"
  /** The GPU is gone: load the model again. */
  | "device-lost"
  /** The caller's signal broke it off. */
  | "aborted"
  /** The model was disposed. */
  | "disposed"
  /** A fault of the engine. */
  | "internal";

export class AnyLoraError extends Error {
  constructor(code: ErrorCode, message: string, hint?: string);
  readonly code: ErrorCode;
  /** One line on what to do. */
  readonly hint?: string;
}

export interface Progress {
  /** `download`: parts arrive, or come out of the cache, and go to the GPU; `gpu`: it takes the last; `ready`. */
  phase: "download" | "gpu" | "ready";
  /** Bytes so far. */
  loaded: number;
  /** Bytes in all; 0 until the manifest is there. */
  total: number;
  /** Of the bytes so far, those that an earlier visit left in the cache. */
  cached: number;
}

export interface LoadOptions {
  onProgress?: (progress: Progress) => void;
  /** Breaks loading off. What is cached stays, and the next load goes on from there. */
  signal?: AbortSignal;
  /** Keep the parts in the origin's private file system (true by default). */
  cache?: boolean;
}

export interface ModelInfo {
  name: string;
  /** `model_type` of config.json. */
  modelType: string;
  /** `nf4`, `fp4` or `none`. */
  quantization: string;
  parameters: number;
  vocabSize: number;
  /** Tokens that a text can have. */
  maxLength: number;
  hasChatTemplate: boolean;
  device: {
    name: string;
    /** A CPU plays the GPU: slow. */
    isSoftware: boolean;
    maxBufferBytes: number;
  };
}

export interface AdapterInfo {
  name: string;
  rank: number;
  parameters: number;
  /** Linear layers that it changes. */
  modules: number;
  /** `base_model_name_or_path` of adapter_config.json. */
  baseModel: string | null;
  /** What its config sets that has no effect here. */
  warnings: string[];
}

export interface Message {
  role: "system" | "user" | "assistant" | (string & {});
  content: string;
}

/** A folder's address, or both files: from a file picker, from a drop, or as blobs. */
export type AdapterSource =
  | string
  | URL
  | Iterable<File>
  | FileList
  | { config: Blob; weights: Blob };

export interface PromptOptions {
  /** A text goes to the model as it is, and not as a user's message. */
  raw?: boolean;
  /** An adapter's name, or null for the base model; the one of `setAdapter` by default. */
  adapter?: string | null;
  /** On top of the adapter's own scale: 0 is the base model, 1 the adapter as it was trained. */
  scale?: number;
  signal?: AbortSignal;
}

export interface GenerateOptions extends PromptOptions {
  /** 512 by default. */
  maxTokens?: number;
  /** 0, the default, takes the likeliest token. */
  temperature?: number;
  /** Only the k likeliest tokens; 0 is all. */
  topK?: number;
  /** Only the likeliest tokens that together reach this probability. */
  topP?: number;
  /** Only tokens at least this likely relative to the likeliest. */
  minP?: number;
  /** 1 changes nothing. */
  repetitionPenalty?: number;
  /** The same seed draws the same tokens. */
  seed?: number;
  /** Texts that end the answer and are no part of it. */
  stop?: string[];
}

export interface Piece {
  /** A token's id; null for text that was held back at the end. */
  token: number | null;
  /** The text that is complete with it, in whole characters; may be empty. */
  text: string;
}

export interface Stats {
  promptTokens: number;
  tokens: number;
  finish: "end" | "stop" | "length" | "aborted";
  /** Reading the prompt. */
  prefillMs: number;
  decodeMs: number;
  tokensPerSecond: number;
}

/** An answer in the making. It begins when it is read, and can be read once; leaving the loop ends it. */
export interface Generation extends AsyncIterable<Piece> {
  /** How it went, once it has ended. */
  readonly stats: Promise<Stats>;
  /** The whole text. */
  text(): Promise<string>;
}

/** Bytes. */
export interface Memory {
  /** The worker's wasm memory, which doesn't grow with the model. */
  wasm: number;
  /** What is held on the GPU. */
  device: number;
  /** Of it, the model's weights. */
  weights: number;
  /** Of it, adapters. */
  adapters: number;
}

export interface Model {
  readonly info: ModelInfo;
  readonly adapters: AdapterInfo[];
  /** Resolves with the reason when the GPU or the worker is lost; load the model again then. */
  readonly lost: Promise<string>;
  /** Puts a PEFT LoRA adapter beside the model. The name is the folder's where none is given; one that is taken is replaced. */
  addAdapter(source: AdapterSource, options?: { name?: string; signal?: AbortSignal }): Promise<AdapterInfo>;
  removeAdapter(name: string): Promise<void>;
  /** The adapter of the answers to come, or null for the base model. */
  setAdapter(name: string | null, options?: { scale?: number }): void;
  /** Answers a conversation, or one message. Answers come one at a time: a second one waits for the first. */
  generate(prompt: string | Message[], options?: GenerateOptions): Generation;
  /** The logits of the token that follows the prompt, one for each of the vocabulary. */
  logits(prompt: string | Message[], options?: PromptOptions): Promise<Float32Array>;
  memory(): Promise<Memory>;
  /** Frees the GPU and ends the worker. */
  dispose(): Promise<void>;
}

/** Loads a pack, which `anylora pack` makes, from its folder's address. */
export function load(url: string | URL, options?: LoadOptions): Promise<Model>;

/** Bytes of packs that are kept in the origin's private file system. */
export function cachedBytes(): Promise<number>;

/** Forgets all packs that are kept. */
export function clearCache(): Promise<void>;
