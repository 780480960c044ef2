/** Has the browser keep the page's files for a start without the server, and tells when there is a newer page. */

import { byId, show } from "../page/dom.js";
import { text } from "../words/text.js";

/** Milliseconds between two questions for a newer page, while this one is looked at */
const CHECK_EVERY = 10 * 60_000;
/** Milliseconds for a worker to say its version */
const PATIENCE = 5000;

/** Register the service worker. It never loads the page again by itself: a chat would be lost. */
export async function keepShell() {
  const workers = navigator.serviceWorker;
  if (!workers) return;
  try {
    await workers.register("/service_worker.js", { updateViaCache: "none" });
    const registration = await workers.getRegistration("/");
    if (registration) watch(registration);
  } catch (error) {
    // A certificate that the browser does not trust, or a browser that keeps nothing: the page works as it did.
    console.info("The page is not kept for a start without its server:", error);
  }
}

/** @param {ServiceWorkerRegistration} registration */
function watch(registration) {
  const own = document.querySelector('meta[name="shell"]')?.getAttribute("content");
  const box = byId("update", HTMLElement);
  const words = byId("update-text", HTMLElement);
  /** @param {ServiceWorker|null} worker */
  const judge = async (worker) => {
    if (!worker) return;
    const newer = (await versionOf(worker)) !== own;
    // The page is as new as the worker that waits: nothing to ask.
    if (!newer) worker.postMessage("use");
    const chat = document.querySelector("#log article");
    if (newer) words.textContent = text("app.new_version") + (chat ? ` ${text("app.empties_chat")}` : "");
    show(byId("update-keep", HTMLButtonElement), chat !== null);
    show(box, newer);
  };
  /** @param {ServiceWorker|null} worker */
  const follow = (worker) => {
    worker?.addEventListener("statechange", () => {
      if (worker.state === "installed") void judge(worker);
    });
  };
  byId("update-use", HTMLButtonElement).addEventListener("click", () => {
    const { waiting } = registration;
    if (!waiting) return location.reload();
    // A page that is loaded while its worker is exchanged may never arrive.
    const late = setTimeout(() => location.reload(), PATIENCE);
    waiting.addEventListener("statechange", () => {
      if (waiting.state !== "activated") return;
      clearTimeout(late);
      location.reload();
    });
    waiting.postMessage("use");
  });
  byId("update-keep", HTMLButtonElement).addEventListener("click", () => byId("keep", HTMLButtonElement).click());
  byId("update-later", HTMLButtonElement).addEventListener("click", () => show(box, false));
  registration.addEventListener("updatefound", () => follow(registration.installing));
  follow(registration.installing);
  void judge(registration.waiting);
  // The words of the page, to be kept with it
  void navigator.serviceWorker.ready.then(({ active }) =>
    active?.postMessage({ language: document.documentElement.lang }),
  );
  const check = () => {
    // Without a network it fails, and is tried again.
    if (!document.hidden) registration.update().catch(() => {});
  };
  setInterval(check, CHECK_EVERY);
  window.addEventListener("online", check);
}

/** @param {ServiceWorker} worker @returns {Promise<string>} its version; empty when it does not say */
function versionOf(worker) {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    setTimeout(() => resolve(""), PATIENCE);
    port1.onmessage = ({ data }) => resolve(String(data));
    worker.postMessage("version", [port2]);
  });
}
