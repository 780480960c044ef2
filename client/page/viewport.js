/**
 * Keep the page as high as its visible part, so that the keyboard shrinks it instead of covering it.
 * @param {() => void} onChange called after each change of size
 */
export function followViewport(onChange) {
  const visible = window.visualViewport;
  const root = document.documentElement;
  const fit = () => {
    // Keep the layout while the user has zoomed in.
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
