/** Webhooks, to which a person may let alerts go. @param {import("../../core/page.js").Page} page */
export function register(page) {
  page.take(["webhooks"], ({ webhooks }) => {
    page.receivers.set("webhooks", {
      programs: webhooks,
      choose: (names) => page.send({ type: "forward", webhooks: names }),
    });
    page.emit("receivers", page.receivers);
  });
}
