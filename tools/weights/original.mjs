// Runs the detector as its package does, on pictures of 300x300 pixels: node original.mjs RUNTIME MODEL PICTURES RESULTS
// PICTURES contains the bytes of RGB pictures; the scores and boxes of each are written to RESULTS as 32-bit floats.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const SIDE = 300;
const [runtime, model, pictures, results] = process.argv.slice(2);
const require = createRequire(join(runtime, "package.json"));
const tf = require("@tensorflow/tfjs-core");
const { loadGraphModel } = require("@tensorflow/tfjs-converter");
require("@tensorflow/tfjs-backend-cpu");
tf.enableProdMode();

const { modelTopology, weightsManifest } = JSON.parse(readFileSync(join(model, "model.json"), "utf8"));
const [{ paths, weights }] = weightsManifest;
const data = Buffer.concat(paths.map((path) => readFileSync(join(model, path))));
const weightData = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
const network = await loadGraphModel({ load: async () => ({ modelTopology, weightSpecs: weights, weightData }) });

const all = readFileSync(pictures);
const found = [];
for (let at = 0; at < all.length; at += SIDE * SIDE * 3) {
  const picture = tf.tensor4d([...all.subarray(at, at + SIDE * SIDE * 3)], [1, SIDE, SIDE, 3], "int32");
  for (const tensor of await network.executeAsync(picture, ["Postprocessor/Slice", "Postprocessor/ExpandDims_1"])) {
    found.push(Buffer.from((await tensor.data()).slice().buffer));
  }
}
writeFileSync(results, Buffer.concat(found));
