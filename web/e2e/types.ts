// Compiled, never run: index.d.ts fits how the package is used.
import { AnyLoraError, type AdapterInfo, type Model, type Stats, load } from "../js/index.js";

export async function example(url: URL, files: FileList, signal: AbortSignal): Promise<Stats> {
  const model: Model = await load(url, {
    cache: true,
    signal,
    onProgress: ({ phase, loaded, total }) => void [phase === "ready", loaded / total],
  });
  const info: AdapterInfo = await model.addAdapter(files, { name: "mine", signal });
  await model.addAdapter({ config: new Blob(), weights: new Blob() });
  model.setAdapter(info.name, { scale: 0.5 });
  const answer = model.generate([{ role: "user", content: "Hello" }], { temperature: 0.7, seed: 1, stop: ["\n"], signal });
  for await (const { token, text } of answer) {
    const id: number | null = token;
    void [id, text.length];
  }
  const logits: Float32Array = await model.logits("Hello", { raw: true, adapter: null });
  const { wasm, device } = await model.memory();
  void [logits.length, wasm + device];
  model.lost.then((reason) => reason.toUpperCase());
  // @ts-expect-error: settings are named as in the types.
  model.generate("Hello", { max_tokens: 3 });
  // @ts-expect-error: an adapter is a folder's address or its files.
  void model.addAdapter(3);
  try {
    return await answer.stats;
  } catch (error) {
    if (error instanceof AnyLoraError && error.code === "device-lost") {
      await model.dispose();
    }
    throw error;
  }
}
