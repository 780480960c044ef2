/** The features that have something on the page, each a folder of features/. */

/**
 * Their parts of the page.
 * @type {import("./core/page/part.js").Loaders}
 */
export const FEATURES = {
  builtin: () => import("./features/builtin/index.js"),
  cameras: () => import("./features/cameras/index.js"),
  describe: () => import("./features/describe/index.js"),
  grants: () => import("./features/grants/index.js"),
  guidance: () => import("./features/guidance/index.js"),
  hosting: () => import("./features/hosting/index.js"),
  pointing: () => import("./features/pointing/index.js"),
  reading: () => import("./features/reading/index.js"),
  recall: () => import("./features/recall/index.js"),
  sample: () => import("./features/sample/index.js"),
  voice_in: () => import("./features/voice_in/index.js"),
  voice_out: () => import("./features/voice_out/index.js"),
  watches: () => import("./features/watches/index.js"),
};

/**
 * Their parts of the operator's panel.
 * @type {import("./core/page/part.js").Loaders}
 */
export const OPERATOR_PARTS = {
  cluster: () => import("./features/cluster/operator.js"),
  generation: () => import("./features/generation/operator.js"),
  grants: () => import("./features/grants/operator.js"),
  hosting: () => import("./features/hosting/operator.js"),
  mqtt: () => import("./features/mqtt/operator.js"),
  rtsp: () => import("./features/rtsp/operator.js"),
  voice_in: () => import("./features/voice_in/operator.js"),
  webhooks: () => import("./features/webhooks/operator.js"),
};

/**
 * Those that may be wanted before the server has said what it has, by the moment.
 * @type {Record<"loaded"|"typing"|"choosing", () => (keyof typeof FEATURES)[]>}
 */
export const EARLY = {
  // Programs had access before this page was loaded again: it says that they have it no more.
  loaded: () => (history.state?.programs?.length ? ["grants"] : []),
  // What is typed may be an order.
  typing: () => ["watches"],
  choosing: () => ["cameras"],
};

/** Those that were on when the server sent the page: it has the elements of these, and of no other. */
export const HERE = new Set(document.querySelector('meta[name="features"]')?.getAttribute("content")?.split(" "));

/** @type {import("./core/page/part.js").IsOn} */
export function isOn(ready, name) {
  return HERE.has(name) && ready?.features[name] !== undefined;
}

/**
 * Where a part is. @param {string} name of the feature
 * @param {"index"|"operator"} module one for operators has a file of elements, too
 */
export function filesOf(name, module) {
  const at = (/** @type {string} */ file) => new URL(`./features/${name}/${file}`, import.meta.url);
  const elements = module === "operator" ? { elements: at("operator.html") } : {};
  return { address: at(`${module}.js`), ...elements };
}
