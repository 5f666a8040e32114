// The page: what is wired to what.
import { wireAsk } from "./ask.js";
import { wireCreate } from "./create.js";
import { $, write } from "./dom.js";
import { findOrderId, Order } from "./order.js";
import { wireSnippets } from "./snippets.js";
import { startStats } from "./stats.js";

const order = new Order();

function problem(words) {
  write($("find-problem"), words);
  $("order-id").setAttribute("aria-invalid", String(words !== ""));
}

function openFromAddress() {
  const search = new URLSearchParams(location.search);
  const wanted = search.get("order");
  if (!wanted) return order.close();
  $("order-id").value = wanted;
  return find({ jobId: search.get("job") ?? "", isAsked: false });
}

async function find(how) {
  const orderId = findOrderId($("order-id").value);
  if (!orderId) {
    problem("That is not an order id. It looks like 6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11.");
    return $("order-id").focus();
  }
  problem("");
  return order.open(orderId, how);
}

$("find-form").addEventListener("submit", (event) => {
  event.preventDefault();
  void find();
});
addEventListener("popstate", () => void openFromAddress());

wireSnippets();
wireAsk();
wireCreate((orderId) => {
  $("order-id").value = orderId;
  return find();
});
void startStats();
void openFromAddress();
