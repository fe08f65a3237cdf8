// Keeps the files of the playground, so that it opens without a network. A new version replaces all of them.
const VERSION = "fractal-dsl {{version}}", FILES = {{files}};
addEventListener("install", event => {
  skipWaiting();
  event.waitUntil(caches.open(VERSION).then(cache => cache.addAll(FILES)));
});
addEventListener("activate", event => event.waitUntil((async () => {
  for (const name of await caches.keys())
    if (name.startsWith("fractal-dsl ") && name !== VERSION) await caches.delete(name);
  await clients.claim();
})()));
addEventListener("fetch", event => {
  if (event.request.method === "GET")
    event.respondWith(caches.open(VERSION).then(async cache =>
      await cache.match(event.request, {ignoreSearch: true}) ?? fetch(event.request)));
});
