/* global SHELL */
// Keeps the page's own files, so that it opens without the server, and nothing else: whatever is not in the list, which
// the server puts in front of this script as SHELL (a version, and the hash of each file and of each language's words),
// passes by it: the API, pictures, answers, tokens.
{
  const NAME = "qwen-camera-shell-";
  const CACHE = NAME + SHELL.version;
  // Milliseconds that the network has for a file, until the kept one is taken
  const PATIENCE = 4000;
  // Files fetched at a time, beside a live camera
  const AT_ONCE = 3;
  const MOST_PAGES = 32;
  // Answers of a proxy whose server is away
  const AWAY = [502, 503, 504];

  /**
   * Pages by their client id: true when they are of this version, so that their files may come from the cache. A worker
   * that was started again knows none, and asks the network first. @type {Map<string, boolean>}
   */
  const pages = new Map();

  addEventListener("install", (event) => event.waitUntil(fill()));
  addEventListener("activate", (event) => event.waitUntil(deleteOthers()));
  addEventListener("message", (event) => {
    if (event.data === "use") void skipWaiting();
    if (event.data === "version") event.ports[0]?.postMessage(SHELL.version);
    const path = `/client/languages/${event.data?.language}.json`;
    if (Object.hasOwn(SHELL.words, path)) event.waitUntil(keep(path, SHELL.words[path]));
  });
  addEventListener("fetch", (event) => {
    const { method, mode, url } = event.request;
    const { origin, pathname } = new URL(url);
    const listed = Object.hasOwn(SHELL.files, pathname) || Object.hasOwn(SHELL.words, pathname);
    if (method !== "GET" || origin !== location.origin || !listed) return;
    if (mode === "navigate") event.respondWith(openPage(event.request, event.resultingClientId));
    else if (pathname !== "/") event.respondWith(openFile(event.request, pathname, event.clientId));
  });

  globalThis.onpush = (event) => {
    const { id, condition, at } = event.data.json();
    const body = new Date(at).toLocaleTimeString();
    event.waitUntil(registration.showNotification(condition, { body, tag: id, icon: "/client/icons/small.png" }));
  };
  addEventListener("notificationclick", (event) => {
    event.notification.close();
    event.waitUntil(openAlert(event.notification.tag));
  });

  /** Show the page, at the alert. @param {string} alert its id */
  async function openAlert(alert) {
    const [page] = await clients.matchAll({ type: "window", includeUncontrolled: true });
    if (!page) return clients.openWindow("/");
    await page.focus();
    page.postMessage({ alert });
  }

  /**
   * Fetch all files, each with the content that the list promises: a half-upgraded server fails it, and the browser
   * tries again.
   */
  async function fill() {
    try {
      const waiting = Object.entries(SHELL.files);
      // The words of other languages only where the version before had them
      for (const [path, integrity] of Object.entries(SHELL.words))
        if (await caches.match(path)) waiting.push([path, integrity]);
      const fetchNext = async () => {
        for (let next; (next = waiting.shift()); ) await keep(...next);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, fetchNext));
    } catch (error) {
      await caches.delete(CACHE);
      throw error;
    }
  }

  /**
   * Fetch a file and keep it.
   * @param {string} path
   * @param {string} integrity
   * @throws where it is not what the list promises
   */
  async function keep(path, integrity) {
    const response = await fetch(path, {
      cache: "no-cache",
      integrity,
      headers: { Accept: path === "/" ? "text/html" : "*/*" },
    });
    if (!response.ok || response.redirected) throw new Error(`${path}: ${response.status}`);
    await (await caches.open(CACHE)).put(path, response);
  }

  async function deleteOthers() {
    const names = await caches.keys();
    await Promise.all(
      names.filter((name) => name.startsWith(NAME) && name !== CACHE).map((name) => caches.delete(name)),
    );
  }

  /** The page from the network, so that no visit starts with an old one; offline, the kept one, which says so. */
  async function openPage(request, client) {
    try {
      const response = await inTime(fetch(request));
      if (AWAY.includes(response.status)) throw new Error(`${response.status}`);
      remember(client, (response.headers.get("ETag") ?? "").includes(SHELL.version));
      return response;
    } catch (error) {
      const page = await find("/");
      if (!page) throw error;
      remember(client, true);
      const { status, headers } = page;
      return new Response((await page.text()).replace('id="kept" hidden', 'id="kept"'), { status, headers });
    }
  }

  async function openFile(request, path, client) {
    const found = pages.get(client) && (await find(path));
    if (found) return found;
    try {
      return await inTime(fetch(request));
    } catch (error) {
      const page = await find(path);
      if (!page) throw error;
      return page;
    }
  }

  /**
   * @returns {Promise<Response|undefined>} undefined: the browser has deleted it, or a script has put something else
   *   there
   */
  async function find(path) {
    const page = await caches.match(path, { cacheName: CACHE, ignoreVary: true });
    if (!page) return;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", await page.clone().arrayBuffer()));
    const found = `sha256-${btoa(String.fromCharCode(...digest))}`;
    if (found === (SHELL.files[path] ?? SHELL.words[path])) return page;
  }

  function remember(client, same) {
    pages.set(client, same);
    if (pages.size > MOST_PAGES) pages.delete(pages.keys().next().value);
  }

  /** @param {Promise<Response>} response @throws when it does not come in time */
  function inTime(response) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`It did not come in ${PATIENCE / 1000} s.`)), PATIENCE);
      response.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }
}
