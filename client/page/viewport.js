/**
 * Keeps the page as high as what is really visible, so that the keyboard pushes it together instead of covering it.
 * @param {() => void} onChange after each change of size
 */
export function followViewport(onChange) {
  const visible = window.visualViewport;
  const root = document.documentElement;
  const fit = () => {
    // Someone who has zoomed in wants to look around in the page, not to have it laid out anew.
    if (visible && visible.scale <= 1.01) {
      root.style.setProperty("--app-height", `${Math.round(visible.height)}px`);
      root.style.setProperty("--app-top", `${Math.round(visible.offsetTop)}px`);
    } else {
      root.style.removeProperty("--app-height");
      root.style.removeProperty("--app-top");
    }
    onChange();
  };
  visible?.addEventListener("resize", fit);
  visible?.addEventListener("scroll", fit);
  window.addEventListener("resize", fit);
  fit();
}
