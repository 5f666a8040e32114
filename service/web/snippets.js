// The chosen options as a command and as a program, to copy.
import { base, needsKey } from "./api.js";
import { $, h, say, write } from "./dom.js";

/** Show the lines for an order's download; `query` holds only what differs from the defaults. */
export function showSnippets(orderId, query) {
  const search = query.toString();
  const url = `${location.origin}${base}/v1/orders/${orderId}/images${search ? `?${search}` : ""}`;
  write($("curl"), needsKey()
    ? `curl -fOJ -H "X-API-Key: $SERVICE_API_KEY" \\\n  '${url}'`
    : `curl -fOJ '${url}'`);
  const opening = needsKey()
    ? [
        "import os",
        "import urllib.request",
        "",
        `url = "${url}"`,
        'headers = {"X-API-Key": os.environ["SERVICE_API_KEY"]}',
        "request = urllib.request.Request(url, headers=headers)",
      ]
    : ["import urllib.request", "", `request = "${url}"`];
  write($("python"), [
    ...opening,
    'with urllib.request.urlopen(request) as answer, open("order.zip", "wb") as file:',
    "    while chunk := answer.read(1 << 20):",
    "        file.write(chunk)",
  ].join("\n"));
}

export function wireSnippets() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    const label = button.firstChild;
    button.addEventListener("click", async () => {
      await copyText($(button.dataset.copy).textContent);
      label.data = "Copied";
      say("Copied.");
      setTimeout(() => { label.data = "Copy"; }, 2000);
    });
  }
}

/** Put text on the clipboard. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Only secure origins have a clipboard; elsewhere a selection is copied.
    const area = h("textarea", { class: "visually-hidden" });
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
