/** The model that the server offers where none answers. @param {import("../../core/page.js").Page} page */
export function register(page) {
  const offer = page.part(import.meta.url, "./panel.js", {
    load: async () => new (await import("./panel.js")).ModelOffer(page),
    sheets: ["./offer.css"],
  });
  let comes = false;
  page.take(["response"], async ({ id, needs_model: needs }) => {
    if (!needs) return;
    await offer.ahead();
    offer.here?.answered(id);
  });
  // Begun on this page before it was loaded again, or on another one
  page.when("facts", async ({ coming }) => {
    if (comes === (coming !== null)) return;
    comes = !comes;
    await offer.ahead();
    void offer.here?.rounds.look();
  });
}
