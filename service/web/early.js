// Before the first paint, where the address names an order: the page is laid out for it, and the order and its first
// pictures are asked for before the other scripts run. api.js takes up the answer. Elsewhere: room for recent orders.
(() => {
  const search = new URLSearchParams(location.search);
  const order = search.get("order")?.match(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/i)?.[0].toLowerCase();
  if (!order) return void leaveRoom();
  document.documentElement.dataset.order = "shown";

  for (const name of ["order", "job", "image", "wait", "wait_timeout"]) search.delete(name);
  const base = new URL("../..", document.querySelector("link[rel=icon]").href).pathname.replace(/\/$/, "");
  const path = `/v1/orders/${order}?${search}`;
  // On a slow link the pictures are not to hold up what shows them.
  const scripts = new Promise((resolve) => {
    const { src } = document.querySelector("script[type=module]");
    const seen = new PerformanceObserver((found) => found.getEntriesByName(src).length && resolve());
    seen.observe({ type: "resource", buffered: true });
  });
  const response = fetch(`${base}${path}`).then(async (answer) => {
    if (!answer.ok) return answer;
    const overview = await answer.json();
    void scripts.then(() => { window.early.pictures = pictures(overview); });
    answer.json = async () => overview; // has been read
    return answer;
  });
  response.catch(() => {}); // whoever takes it up hears of it
  window.early = { path, response, pictures: [] };

  function leaveRoom() {
    try {
      if (JSON.parse(localStorage.getItem("recent-orders"))?.length) document.documentElement.dataset.recent = "coming";
    } catch {
      // None are kept in this browser.
    }
  }

  function pictures({ images }) {
    const ready = images.filter(({ status }) => status === "ready").map((image) => image.image_id);
    return [...new Set(ready)].slice(0, 4).map((id) => {
      const picture = Object.assign(new Image(480, 320), { alt: "", decoding: "async" }); // photos.js shows this very one
      picture.src = `${base}/v1/orders/${order}/images/${encodeURIComponent(id)}?preview=true&max_width=480`;
      return picture;
    });
  }
})();
