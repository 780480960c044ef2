// Without one of its modules or its style a page looks whole and does nothing, as when the network changes while it is loaded:
// it is loaded once more, and then says so. Not a module itself: one that is missing takes all with it that needs it.
{
  const OWN = [HTMLScriptElement, HTMLLinkElement];
  // Milliseconds for the network to be the new one
  const PAUSE = 500;

  addEventListener(
    "error",
    ({ target }) => {
      if (!OWN.some((kind) => target instanceof kind)) return;
      const [navigation] = performance.getEntriesByType("navigation");
      const again = /** @type {PerformanceNavigationTiming|undefined} */ (navigation)?.type === "reload";
      if (again) document.documentElement.classList.add("partial");
      else setTimeout(() => location.reload(), PAUSE);
    },
    true,
  );
}
