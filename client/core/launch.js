import { text } from "./words/text.js";

// Addresses of the app's shortcuts, such as /#read
const LAUNCH = /^#([a-z]+)(?:=(.*))?$/;

/**
 * Start the camera, and do what the address says as soon as it is live.
 * @param {import("./page.js").Page} page @param {Set<string>} names beside the core's own ones
 */
export async function launch(page, names) {
  const [, what, about = ""] = LAUNCH.exec(location.hash) ?? [];
  if (!["ask", "read", ...names].includes(what)) return;
  // A reload does not do it again.
  history.replaceState(history.state, "", location.pathname + location.search);
  const { chat, launches, visit } = page;
  launches.set("ask", () => chat.composer.box.focus());
  launches.set("read", () => chat.ask(text("stage.read_this"), "high"));
  let done = false;
  page.when("facts", ({ camera, socket }) => {
    const act = launches.get(what);
    if (done || !act || camera !== "on" || socket !== "open") return;
    done = true;
    act(decode(about));
  });
  // Without a permission the browser asks for it, after a press of Start Camera.
  if (!visit.facts.active && (await allowed())) await visit.start();
}

async function allowed() {
  try {
    const { state } = await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") });
    return state === "granted";
  } catch {
    return false; // a browser that does not say
  }
}

/** @param {string} about */
function decode(about) {
  try {
    return decodeURIComponent(about).trim();
  } catch {
    return about;
  }
}
