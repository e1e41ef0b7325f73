// Runs the network by WebNN, WebGPU or WebAssembly, the first that is available in this order.

/** @typedef {"webnn" | "webgpu" | "wasm"} Engine */
/** @typedef {{root: string, model: string, scale: number}} Files */
/** @typedef {{engine: Engine, run: (pixels: Float32Array) => Promise<Float32Array>}} Net */

const MOST_THREADS = 4; // more hardly help with a net this small

/** @type {Map<string, Promise<any>>} runtimes by file, since a module that failed to load stays failed */
const runtimes = new Map();
/** @type {Map<string, Net>} */
const nets = new Map();

/** Those that this device seems to have, in the same order; one alone is tried in any case. @param {Engine[]} engines */
export async function present(engines) {
  if (engines.length === 1) return engines;
  const there = await Promise.all(engines.map(isThere));
  return engines.filter((_, n) => there[n]);
}

/**
 * The first engine of these that works, ready for pictures of this size.
 * @param {Files} files
 * @param {Engine[]} engines
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Net>}
 */
export async function netFor(files, engines, width, height) {
  const known = nets.get(`${width}x${height}`);
  if (known && engines.includes(known.engine)) return known;
  /** @type {unknown} */
  let reason = new Error("no engine");
  for (const engine of engines) {
    try {
      const net = await opened(files, engine, engines[0] !== "wasm", width, height);
      nets.set(`${width}x${height}`, net);
      return net;
    } catch (error) {
      reason = error;
    }
  }
  throw reason;
}

/** @param {Engine} engine @returns {Promise<boolean>} */
async function isThere(engine) {
  const { ml, gpu } = /** @type {any} */ (navigator);
  if (engine === "webnn") return Boolean(ml && (await ml.createContext({ deviceType: "gpu" }).catch(() => null)));
  // An adapter without hardware is slower than WebAssembly.
  if (engine === "webgpu") return Boolean(gpu && isHardware(await gpu.requestAdapter().catch(() => null)));
  return typeof WebAssembly === "object";
}

/** @param {any} adapter */
const isHardware = (adapter) => Boolean(adapter && !adapter.info?.isFallbackAdapter && !adapter.isFallbackAdapter);

/** @param {Files} files @param {Engine} engine @param {boolean} isLarge @param {number} width @param {number} height @returns {Promise<Net>} */
async function opened({ root, model }, engine, isLarge, width, height) {
  const runtime = await load(root, isLarge ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs");
  const session = await runtime.InferenceSession.create(root + model, {
    executionProviders: [engine === "webnn" ? { name: "webnn", deviceType: "gpu" } : engine],
    freeDimensionOverrides: { width, height },
    graphOptimizationLevel: "all",
  });
  const run = async (/** @type {Float32Array} */ pixels) => {
    const picture = new runtime.Tensor("float32", pixels, [1, 3, height, width]);
    return (await session.run({ [session.inputNames[0]]: picture })).output.getData();
  };
  await run(new Float32Array(3 * width * height)); // what the engine cannot do shows itself here
  return { engine, run };
}

/** @param {string} root @param {string} name @returns {Promise<any>} */
function load(root, name) {
  const loading = runtimes.get(name) ?? import(root + name).then((runtime) => {
    runtime.env.wasm.wasmPaths = root;
    runtime.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
    runtime.env.logLevel = "error";
    return runtime;
  });
  runtimes.set(name, loading);
  return loading;
}
