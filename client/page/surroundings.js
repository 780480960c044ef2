/** How often the clock is looked at. A device that sleeps stops its timers, and then the clock jumps. */
const LOOK_EVERY = 2000;
const JUMP = 8000;

/**
 * What happens around the page: networks come and go, the device sleeps, cameras are plugged in and out.
 * @param {{onOnline: () => void, onOffline: () => void, onNetwork: () => void, onWoke: (ms: number) => void,
 *   onDevices: () => void}} hooks
 *   onOnline: there is a network again; onNetwork: it is another one, with other addresses; onWoke: the device slept
 *   for so long
 */
export function watchSurroundings({ onOnline, onOffline, onNetwork, onWoke, onDevices }) {
  window.addEventListener("online", onOnline);
  window.addEventListener("offline", onOffline);
  // Only some browsers tell, and `change` also comes for estimates of the speed.
  const connection = /** @type {any} */ (navigator).connection;
  let type = connection?.type;
  connection?.addEventListener?.("change", () => {
    if (connection.type === type) return;
    type = connection.type;
    if (type !== "none") onNetwork();
  });
  navigator.mediaDevices?.addEventListener?.("devicechange", onDevices);
  // Not performance.now(), which stands still during sleep in some browsers.
  let at = Date.now();
  const look = () => {
    const late = Date.now() - at - LOOK_EVERY;
    at = Date.now();
    // Browsers slow down the timers of hidden pages themselves; what they missed is told when they are shown.
    if (late > JUMP && !document.hidden) onWoke(late);
  };
  setInterval(look, LOOK_EVERY);
  document.addEventListener("visibilitychange", look);
}
