// How fast a download goes, and how long it may still take.

const WINDOW = 15; // seconds that speed is averaged over
const FEWEST = 2; // images before a guess is worth showing

export class Pace {
  #samples = [];

  /** Note how many images are settled, and how many bytes are here. `now` is in seconds. */
  note(settled, bytes, now) {
    this.#samples.push({ settled, bytes, now });
  }

  /** Bytes per second, or 0 while nothing can be said. */
  speed(now) {
    const [first, last] = this.#ends(now);
    return first && now > first.now ? Math.max(0, last.bytes - first.bytes) / (now - first.now) : 0;
  }

  /** Seconds until `remaining` images are settled, or null while nothing can be said. */
  left(remaining, now) {
    const [first, last] = this.#ends(now);
    const settled = first ? last.settled - first.settled : 0;
    return settled >= FEWEST ? (remaining * (now - first.now)) / settled : null;
  }

  #ends(now) {
    while (this.#samples.length > 2 && this.#samples[1].now < now - WINDOW) this.#samples.shift();
    return [this.#samples[0], this.#samples.at(-1)];
  }
}
