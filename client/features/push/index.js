import { keepWish, wish } from "../../core/page/resume.js";
import { text } from "../../core/words/text.js";

/** Alerts on this device, also while it is locked. @param {import("../../core/page.js").Page} page */
export function register(page) {
  if (!("PushManager" in window) || !navigator.serviceWorker) return;
  page.take(["push"], ({ key, on, host }) => {
    page.receivers.set("push", {
      programs: [{ name: text("push.device"), host, on }],
      choose: (names) => {
        keepWish("push", names.length > 0);
        if (names.length > 0) void subscribe(page, key);
        else void unsubscribe();
        return names.length > 0 || page.send({ type: "push" });
      },
      about: page.visit.facts.camera === "elsewhere" ? "" : "push.locked",
    });
    page.emit("receivers", page.receivers);
    // A new session of the same page
    if (!on && wish("push") === true && Notification.permission === "granted") void subscribe(page, key);
  });
}

/** @param {import("../../core/page.js").Page} page @param {string} key the server's, as base64url */
async function subscribe(page, key) {
  try {
    const { pushManager } = await navigator.serviceWorker.ready;
    const options = { userVisibleOnly: true, applicationServerKey: key };
    // One for another server key cannot be used.
    const found = await pushManager.subscribe(options).catch(async (error) => {
      if (error.name !== "InvalidStateError") throw error;
      await unsubscribe();
      return pushManager.subscribe(options);
    });
    const { endpoint, keys } = found.toJSON();
    page.send({ type: "push", endpoint, p256dh: keys?.p256dh, auth: keys?.auth });
  } catch (error) {
    keepWish("push", false);
    console.info("No push service:", error);
    page.note(text("push.refused"));
    page.emit("receivers", page.receivers);
  }
}

async function unsubscribe() {
  const { pushManager } = await navigator.serviceWorker.ready;
  await (await pushManager.getSubscription())?.unsubscribe();
}
