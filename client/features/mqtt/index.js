/** Home Assistant, to which a person may let alerts go. @param {import("../../core/page.js").Page} page */
export function register(page) {
  page.take(["home_assistant"], ({ host, on }) => {
    page.receivers.set("mqtt", {
      // A name, the same in all languages
      programs: [{ name: "Home Assistant", host, on }],
      about: "home.about",
      note: "home.looks",
      choose: (names) => page.send({ type: "home_assistant", on: names.length > 0 }),
    });
    page.emit("receivers", page.receivers);
  });
}
