// Ask: an answer that is written while it arrives, always as text.
import { postJson } from "./api.js";
import { $, h, write } from "./dom.js";
import { messages } from "./events.js";
import { Refusal } from "./problems.js";

let current = null;

export function wireAsk() {
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const question = $("question").value.trim();
    if (question) void ask(question);
  });
}

async function ask(question) {
  current?.abort();
  const mine = (current = new AbortController());
  const answer = $("answer");
  answer.hidden = false;
  answer.setAttribute("aria-busy", "true");
  write($("answer-text"), "Searching…");
  $("passages").replaceChildren();
  $("other-passages").replaceChildren();
  $("more-passages").hidden = true;
  try {
    let text = "";
    const response = await postJson("/v1/ask", { question }, { signal: mine.signal });
    for await (const { event, data } of messages(response)) {
      if (mine.signal.aborted) return;
      if (event === "passage") add(passage(JSON.parse(data)));
      if (event === "token") write($("answer-text"), (text += JSON.parse(data).text));
      if (event === "done") break;
    }
    if (!text) write($("answer-text"), $("passages").children.length ? "From the docs:" : "The docs have no answer to that. Try rephrasing the question.");
  } catch (error) {
    if (mine.signal.aborted) return;
    const refusal = error instanceof Refusal ? error : Refusal.offline();
    write($("answer-text"), `${refusal.sentence} ${refusal.next}`);
  }
  answer.setAttribute("aria-busy", "false");
}

/** The best passage is shown, the others are folded. */
function add(item) {
  const isFirst = $("passages").children.length === 0;
  $(isFirst ? "passages" : "other-passages").append(item);
  if (!isFirst) $("more-passages").hidden = false;
}

function passage({ title, url, text }) {
  const target = new URL(url, location.href);
  const heading = target.origin === location.origin ? h("a", { href: target.pathname + target.search + target.hash }, title) : title;
  return h("li", {}, heading, h("p", {}, text));
}
