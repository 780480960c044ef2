// Watches the loading of the page until its own module runs and removes "partial". A classic script: a module that
// does not load stops all that import it, and the page would look complete and do nothing.
{
  // The icon is not required. Parts that load later report a failure themselves, and the chat stays.
  const NEEDED = "script, link[rel=stylesheet]:not([data-part])";
  // Milliseconds for a new network to settle
  const PAUSE = 500;
  // Milliseconds after loading, when the camera has had the network for itself
  const APP_AFTER = 10_000;
  const root = document.documentElement;

  // Before anything is drawn: page/settings.js has them afterwards.
  let kept = "";
  try {
    const { theme, size, language } = JSON.parse(localStorage.getItem("qwen-camera-settings") ?? "{}");
    root.dataset.theme = `${theme}`;
    root.dataset.size = `${size}`;
    kept = `${language ?? ""}`;
  } catch {
    // A browser that keeps nothing, or something else in its place
  }

  // Remembers a press of Start Camera: client.js continues with it, also after a reload.
  if (history.state?.pressed) {
    root.dataset.pressed = "start";
    history.replaceState(null, "");
  }
  addEventListener("click", ({ target }) => {
    const start = target instanceof Element && target.closest("#start");
    if (start && document.getElementById("partial")) root.dataset.pressed = "start";
  });

  // The network changed or broke during loading: reload once, then show the error.
  addEventListener(
    "error",
    ({ target }) => {
      if (!(target instanceof Element && target.matches(NEEDED))) return;
      const [navigation] = performance.getEntriesByType("navigation");
      const again = /** @type {PerformanceNavigationTiming|undefined} */ (navigation)?.type === "reload";
      if (again) root.classList.add("partial");
      else setTimeout(reload, PAUSE);
    },
    true,
  );

  // Other words than English come beside the modules; language.js uses them.
  const languages = ["de", "es", "fr", "it", "pt", "nl", "pl", "tr", "uk", "ru", "ar", "hi", "zh", "ja", "ko"];
  const own = [kept, ...navigator.languages]
    .map((tag) => tag.toLowerCase().split("-")[0])
    .find((one) => one === "en" || languages.includes(one));
  if (own && own !== "en") {
    const link = document.createElement("link");
    Object.assign(link, {
      rel: "preload",
      as: "fetch",
      crossOrigin: "anonymous",
      href: `/client/languages/${own}.json`,
    });
    document.head.append(link);
    root.lang = own;
    root.dir = own === "ar" ? "rtl" : "ltr";
  }

  const keepShell = () =>
    import("./core/app/updates.js").then(
      (updates) => updates.keepShell(),
      () => {}, // without a network: the next start keeps it
    );
  // For core/extras.js, which comes later.
  addEventListener("beforeinstallprompt", (event) => {
    event.preventDefault();
    Object.assign(window, { installPrompt: event });
  });
  addEventListener("load", () => setTimeout(keepShell, APP_AFTER));

  function reload() {
    if (root.dataset.pressed) history.replaceState({ pressed: true }, "");
    location.reload();
  }
}
