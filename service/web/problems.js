// What went wrong, as a sentence and a next step. The service's problem documents carry both, in `title` and `detail`;
// only what has no such document is worded here.

const OFFLINE = {
  code: "offline",
  title: "The service cannot be reached",
  detail: "Check your connection, then try again. Photos already downloaded are kept.",
};
const FALLBACK = "Try again. If it happens again, tell the operator of this service.";

/** An error response. `status` is 0 if there was no response at all. */
export class Refusal extends Error {
  constructor(document, status, retryAfter = 0) {
    super(document.title || "Something went wrong");
    this.status = status;
    this.code = document.code || "unknown";
    this.detail = document.detail || "";
    this.requestId = document.request_id || "";
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
    return new Refusal(document.title ? document : { title: `The service responded with status ${status}` }, status, retryAfter);
  }

  static offline() {
    return new Refusal(OFFLINE, 0);
  }

  /** An error of the page itself. */
  static ofPage() {
    return new Refusal({ title: "Something went wrong on this page" }, 0);
  }

  get sentence() {
    return /[.!?]$/.test(this.message) ? this.message : `${this.message}.`;
  }

  /** What happened this time and what to do, with the time to wait unless the text has it already. */
  get next() {
    const step = this.detail || FALLBACK;
    const isSaid = this.retryAfter <= 5 || step.includes(`${this.retryAfter} seconds`);
    return isSaid ? step : `${step} Wait ${this.retryAfter} seconds before you try again.`;
  }

  /** What the operator can search the log for; empty if there is nothing in the log. */
  get reference() {
    return this.requestId && `Request id: ${this.requestId}`;
  }
}
