// The page: what is wired to what.
import { wireAsk } from "./ask.js";
import { lookWhoIsHere, wireCreate } from "./create.js";
import { $, sleep, write } from "./dom.js";
import { choose } from "./options.js";
import { findOrderId, Order } from "./order.js";
import { wireRecent } from "./recent.js";
import { canSearch, clearFound, searchOrders } from "./search.js";
import { wireSnippets } from "./snippets.js";
import { startStats } from "./stats.js";

const JOB_ID = /^[0-9a-f]{32}$/; // anything else would make another path of what is asked for

const order = new Order();

function problem(text) {
  write($("find-problem"), text);
  $("order-id").setAttribute("aria-invalid", String(text !== ""));
}

function openFromAddress() {
  const search = new URLSearchParams(location.search);
  const wanted = search.get("order") ?? "";
  $("order-id").value = wanted;
  problem("");
  if (!findOrderId(wanted)) order.close();
  if (!wanted) return;
  choose(search);
  const jobId = search.get("job") ?? "";
  return find({ jobId: JOB_ID.test(jobId) ? jobId : "", isAsked: false });
}

async function find(how) {
  const given = $("order-id").value.trim();
  const orderId = findOrderId(given);
  clearFound();
  if (!orderId && given && canSearch()) return findByName(given);
  if (!orderId) {
    problem(`${given ? "That is not an order id." : "Paste an order id first."} One looks like 6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11.`);
    return $("order-id").focus();
  }
  problem("");
  $("order-id").value = orderId;
  return order.open(orderId, how);
}

async function findByName(text) {
  problem("");
  try {
    const open = (orderId) => {
      $("order-id").value = orderId;
      return order.open(orderId);
    };
    const none = await searchOrders(text, open);
    if (none) problem(none);
  } catch (error) {
    problem(`${error.sentence ?? "Something went wrong."} ${error.next ?? ""}`);
  }
}

$("find-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void find();
});
addEventListener("popstate", () => {
  if (!order.isAt(location.search)) void openFromAddress(); // otherwise a jump within the page
});

wireSnippets();
wireAsk();
wireRecent();
wireCreate((orderId) => {
  $("order-id").value = orderId;
  return find();
});

// The order comes first; what stands beside it waits for it a little.
void Promise.race([openFromAddress(), sleep(1500)]).finally(async () => {
  void startStats();
  await lookWhoIsHere();
  $("live").hidden = false; // it does not jump once what stands above it is known
});
