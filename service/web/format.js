// Numbers in words.

export function bytes(count) {
  if (count < 1000) return `${count} bytes`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** 12345 is "12,345". */
export function grouped(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ","); // toLocaleString loads a language first: 20 ms and more
}

/** A moment, for whoever reads it: their language, their time. */
export function moment(time) {
  return new Date(time).toLocaleString(undefined, { day: "numeric", month: "long", year: "numeric", hour: "numeric", minute: "2-digit" });
}

const counted = (noun) => (count) => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** `photos(1)` is "1 photo". */
export const photos = counted("photo");
export const files = counted("file");
export const orders = counted("order");
export const credits = counted("credit");

/** "kitchen.jpg" of any length fits a sentence. */
export function shortened(text, length = 60) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}
