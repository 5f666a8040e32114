// Before the first paint, where the address names an order: the page is laid out for it, and the order is asked for
// while the other scripts are still on their way. api.js takes up the answer.
(() => {
  const search = new URLSearchParams(location.search);
  const order = search.get("order")?.toLowerCase() ?? "";
  if (!search.has("order")) return;
  document.documentElement.dataset.order = "shown";
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(order)) return;

  for (const name of ["order", "job", "image", "wait", "wait_timeout"]) search.delete(name);
  const base = new URL("../..", document.querySelector("link[rel=icon]").href).pathname.replace(/\/$/, "");
  const path = `/v1/orders/${order}?${search}`;
  const response = fetch(`${base}${path}`);
  response.catch(() => {}); // whoever takes it up hears of it
  window.early = { path, response };
})();
