// What went wrong, as a sentence and a next step.

const NEXT_STEPS = {
  invalid_order_id: "An order id looks like 6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11. It is in the order's address at Autoenhance.",
  order_not_found: "Check that you copied the whole id, and that the order belongs to the account of this service.",
  order_empty: "Upload photos to it first, or wait while Autoenhance groups brackets, then try again.",
  unauthorized: "Ask the operator of this service for a key.",
  upstream_unauthorized: "The operator of this service has to check AUTOENHANCE_API_KEY.",
  not_configured: "The operator of this service has to set AUTOENHANCE_API_KEY.",
  upstream_error: "Nothing is lost. Wait a minute, then try again.",
  upstream_timeout: "Nothing is lost. Wait a minute, then try again.",
  upstream_busy: "Wait a little, then try again.",
  breaker_open: "Wait a minute, then try again. Archives that are here already can still be downloaded.",
  store_full: "Try again later, or with fewer photos. The operator can raise STORE_MAX_BYTES.",
  archive_gone: "Start the download again: photos that are still here are not fetched twice.",
  archive_not_found: "Start the download again: photos that are still here are not fetched twice.",
  job_not_found: "It may have expired. Start the download again: photos that are still here are not fetched twice.",
  no_images: "Each photo's reason is listed. Try again, or with other options.",
  offline: "Check your connection, then try again. What was fetched so far is kept.",
  payload_too_large: "Upload fewer or smaller photos at a time.",
};
const FALLBACK = "Try again. If it happens again, give the operator the reference below.";

/** An answer that is not what was asked for. `status` is 0 where there was no answer at all. */
export class Refusal extends Error {
  constructor(document, status, retryAfter = 0) {
    super(document.title || "Something went wrong");
    this.status = status;
    this.code = document.code || "unknown";
    this.detail = document.detail || "";
    this.reference = document.request_id || "";
    this.failures = document.failures || []; // images that could not be fetched
    this.files = document.files || []; // files that could not be sent on
    this.retryAfter = retryAfter;
  }

  /** Read a response that is not ok. */
  static async of(response) {
    const text = await response.text().catch(() => "");
    return Refusal.from(text, response.status, Number(response.headers.get("Retry-After")) || 0);
  }

  static from(text, status, retryAfter = 0) {
    let document = {};
    try {
      document = JSON.parse(text) || {};
    } catch {
      // Not from the service itself: a proxy's page, say.
    }
    return new Refusal(document.title ? document : { title: `The service answered with ${status}` }, status, retryAfter);
  }

  static offline() {
    return new Refusal({ title: "The service cannot be reached", code: "offline" }, 0);
  }

  get sentence() {
    // The detail ends with a next step of its own, written for callers of every kind; the page's is better here.
    const more = this.detail && !NEXT_STEPS[this.code] ? ` ${full(this.detail)}` : "";
    return full(this.message) + more;
  }

  get next() {
    const step = NEXT_STEPS[this.code] || (this.status >= 400 && this.status < 500 ? "" : FALLBACK);
    return this.retryAfter > 5 ? `${step} It asks for a pause of ${this.retryAfter} seconds.`.trim() : step;
  }
}

function full(sentence) {
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
