/** The features that have something on the page, each a folder of features/. */

/** Those with a part of the page. */
export const FEATURES = [
  ...["builtin", "cameras", "describe", "grants", "guidance", "hosting", "mqtt", "pointing", "push", "reading"],
  ...["recall", "sample", "voice_in", "voice_out", "watches", "webhooks"],
];

/** Those that an address such as /#guide=cup starts, by its word. */
export const LAUNCHES = new Set(["guide", "talk", "watch"]);

/** Those with a part of the operator's panel. */
export const OPERATOR_PARTS = ["cluster", "generation", "grants", "hosting", "mqtt", "rtsp", "voice_in", "webhooks"];

/**
 * Those that may be wanted before the server has said what it has, by the moment.
 * @type {Record<"loaded"|"typing"|"choosing", () => string[]>}
 */
export const EARLY = {
  // Programs had access before this page was loaded again: it says that they have it no more.
  loaded: () => (history.state?.programs?.length ? ["grants"] : []),
  // Typed text may be a command.
  typing: () => ["watches"],
  choosing: () => ["cameras"],
};

/** Those that were on when the server sent the page: it has the elements of these, and of no other. */
export const HERE = new Set(document.querySelector('meta[name="features"]')?.getAttribute("content")?.split(" "));

/** @type {import("./core/page/part.js").IsOn} */
export function isOn(ready, name) {
  return HERE.has(name) && ready?.features[name] !== undefined;
}

/** Those whose part for operators has a style sheet. */
const STYLED = new Set(["hosting"]);

/**
 * Where a part is. @param {string} name of the feature
 * @param {"index"|"operator"} module one for operators has a file of elements, too
 */
export function filesOf(name, module) {
  const at = (/** @type {string} */ file) => new URL(`./features/${name}/${file}`, import.meta.url);
  if (module === "index") return { address: at("index.js") };
  const sheets = STYLED.has(name) ? [at("operator.css")] : [];
  return { address: at("operator.js"), elements: at("operator.html"), sheets };
}
