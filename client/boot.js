// For the time until the page's own module is there, which takes "partial" away. Not a module itself: one that does not come
// takes all with it that needs it, and such a page looks whole and does nothing.
{
  // The page does without its icon.
  const NEEDED = "script, link[rel=stylesheet]";
  // Milliseconds for the network to be the new one
  const PAUSE = 500;
  const root = document.documentElement;

  // A person presses once: client.js goes on with it, also on the page that is loaded again.
  if (history.state?.pressed) {
    root.dataset.pressed = "start";
    history.replaceState(null, "");
  }
  addEventListener("click", ({ target }) => {
    const start = target instanceof Element && target.closest("#start");
    if (start && document.getElementById("partial")) root.dataset.pressed = "start";
  });

  // The network changed while it was loaded, or broke: once more, and then it is said.
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

  function reload() {
    if (root.dataset.pressed) history.replaceState({ pressed: true }, "");
    location.reload();
  }
}
