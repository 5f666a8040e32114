// Server-sent events over fetch: EventSource cannot send a header.
import { request } from "./api.js";
import { sleep } from "./dom.js";
import { Refusal } from "./problems.js";

const SILENCE = 60_000; // heartbeats come far more often; a connection this silent is dead
const FIRST_PAUSE = 500;
const MAX_PAUSE = 10_000;

/** The messages of one response, as `{ id, event, data }`. */
export async function* messages(response, alive = () => {}) {
  if (!response.body) return; // 204: there is nothing more to come
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      alive();
      pending += value;
      const blocks = pending.split(/\r?\n\r?\n/);
      pending = blocks.pop();
      for (const block of blocks) {
        const message = parse(block);
        if (message) yield message;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const message = { id: "", event: "message", data: [] };
  for (const line of block.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue; // a comment is a heartbeat
    const value = line.slice(colon + 1).replace(/^ /, "");
    const field = line.slice(0, colon);
    if (field === "data") message.data.push(value);
    else if (field in message) message[field] = value;
  }
  return message.data.length ? { ...message, data: message.data.join("\n") } : null;
}

/**
 * The messages of an event stream until `signal` aborts. Reconnects after a lost connection and continues after the last
 * event. Throws `Refusal` if there is nothing to follow. `onLost` is called after every lost connection. The caller
 * decides when to stop.
 */
export async function* follow(path, signal, onLost = () => {}) {
  let last = "";
  let pause = FIRST_PAUSE;
  while (!signal.aborted) {
    const attempt = new AbortController();
    let watchdog = 0;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => attempt.abort(), SILENCE);
    };
    try {
      alive();
      const headers = { Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const response = await request(path, { headers, signal: AbortSignal.any([signal, attempt.signal]) });
      for await (const message of messages(response, alive)) {
        if (message.id) last = message.id;
        pause = FIRST_PAUSE;
        yield message;
      }
    } catch (error) {
      const final = error instanceof Refusal && error.status >= 400 && error.status < 500 && error.status !== 429;
      if (final) throw error;
    } finally {
      clearTimeout(watchdog);
    }
    if (signal.aborted) return;
    onLost();
    await sleep(pause, signal);
    pause = Math.min(pause * 2, MAX_PAUSE);
  }
}
