// Numbers, durations and times as people read them.

/** Unit formats values; increments, if given, are the steps of an axis. */
export interface Unit {
  format(value: number | null | undefined): string;
  increments?: number[];
}

function special(value: number | null | undefined): string | null {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "−Inf";
  return null;
}

function digits(value: number): string {
  return String(Number(value.toPrecision(4))).replace("-", "−");
}

function scaled(value: number, base: number, suffixes: string[]): string {
  let i = 0;
  while (Math.abs(value) >= base && i < suffixes.length - 1) {
    value /= base;
    i++;
  }
  return digits(value) + suffixes[i]!;
}

function unit(format: (value: number) => string, increments?: number[]): Unit {
  const made: Unit = { format: (value) => special(value) ?? format(value as number) };
  if (increments) made.increments = increments;
  return made;
}

const binarySteps = Array.from({ length: 62 }, (_, i) => 2 ** (i - 2));
const BINARY = [" B", " KiB", " MiB", " GiB", " TiB", " PiB"];
const SI = ["", " k", " M", " G", " T", " P", " E"];

function plainNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 10_000) return scaled(value, 1000, SI);
  if (size !== 0 && size < 1e-3) return value.toExponential(2).replaceAll("-", "−");
  return digits(value);
}

function secondsNumber(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 1e-3) return `${digits(value * 1e6)} µs`;
  if (size < 1) return `${digits(value * 1e3)} ms`;
  return size < 600 ? `${digits(value)} s` : duration(value);
}

export const plain = unit(plainNumber);
export const perSecond = unit((value) => `${plainNumber(value)}/s`);
export const bytes = unit((value) => scaled(value, 1024, BINARY), binarySteps);
export const bytesPerSecond = unit((value) => `${scaled(value, 1024, BINARY)}/s`, binarySteps);
export const seconds = unit(secondsNumber);
export const percent = unit((value) => `${digits(value)} %`);
const ratio = unit((value) => `${digits(value * 100)} %`);
const celsius = unit((value) => `${digits(value)} °C`);

/** unitOf guesses from the suffix that conventions give to names; rate asks for the unit of its change a second. */
export function unitOf(name: string, rate: boolean): Unit {
  const words = name.toLowerCase().split(/[._]/);
  const last = words.findLast((word) => word !== "total" && word !== "sum");
  switch (last) {
    case "bytes": return rate ? bytesPerSecond : bytes;
    case "seconds": return rate ? plain : seconds;
    case "ratio": return rate ? perSecond : ratio;
    case "percent": return rate ? perSecond : percent;
    case "celsius": return rate ? perSecond : celsius;
  }
  return rate ? perSecond : plain;
}

/** unitOfExpression is unitOf where all names of an expression agree and nothing divides or multiplies them. */
export function unitOfExpression(expr: string): Unit {
  if (/[*\/^%]|\b(count|stdvar|group|quantile|absent|time)/.test(expr)) return plain;
  const found = expr.match(/[a-zA-Z_:][\w:]*_(bytes|seconds|ratio|celsius)(_total|_sum)?\b/g) ?? [];
  const rate = /\b(rate|irate|deriv)\s*\(/.test(expr);
  const units = new Set(found.map((name) => unitOf(name, rate)));
  return units.size === 1 ? [...units][0]! : plain;
}

/** grouped is a whole number with its thousands apart. */
export function grouped(value: number | null | undefined): string {
  return special(value) ?? Math.round(value as number).toLocaleString("en").replaceAll(",", "\u202f");
}

/** share is a part of a whole in percent, rounded down: "100 %" is all of it. */
export function share(part: number, whole: number): string {
  return whole > 0 ? percent.format(Math.floor((1e4 * part) / whole) / 100) : "–";
}

/** duration takes seconds: "3 d 4 h", "10 s". */
export function duration(value: number): string {
  const units: [number, string][] = [[31_536_000, "y"], [86_400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  let rest = Math.round(value);
  const parts: string[] = [];
  for (const [size, name] of units) {
    const n = Math.floor(rest / size);
    rest -= n * size;
    if (n) parts.push(`${n} ${name}`);
    if (parts.length === 2) break;
  }
  return parts.join(" ") || "0 s";
}

/** parseDuration reads "10s", "5m", "1h30m", "10d", "6y" as seconds, 0 if it cannot. */
export function parseDuration(text: string): number {
  const sizes: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800, y: 31_536_000 };
  let total = 0;
  for (const [, n, name] of text.matchAll(/(\d+)(ms|[smhdwy])/g)) total += Number(n) * (sizes[name!] ?? 0.001);
  return total;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const dayYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const month = new Intl.DateTimeFormat(undefined, { month: "short", year: "numeric" });

/** moment is a time of a chart's tooltip: as exact as a bucket of `step` seconds is. */
export function moment(time: number, step: number): string {
  const date = new Date(time * 1000);
  if (step >= 86_400) return dayYear.format(date);
  return `${dayYear.format(date)}, ${step >= 60 ? clock.format(date) : clockSeconds.format(date)}`;
}

/** interval names a stretch of time shortly. */
export function interval(from: number, to: number): string {
  const [a, b] = [new Date(from * 1000), new Date(to * 1000)];
  if (to - from >= 3 * 86_400) return `${dayYear.format(a)} – ${dayYear.format(b)}`;
  const times = to - from < 600 ? clockSeconds : clock;
  const end = a.toDateString() === b.toDateString() ? times.format(b) : `${day.format(b)}, ${times.format(b)}`;
  return `${day.format(a)}, ${times.format(a)} – ${end}`;
}

/** tick labels a time axis whose ticks are `increment` seconds apart. */
export function tick(time: number, increment: number): string {
  const date = new Date(time * 1000);
  if (increment >= 31_000_000) return String(date.getFullYear());
  if (increment >= 28 * 86_400) return month.format(date);
  if (increment >= 86_400) return day.format(date);
  if (date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0) return day.format(date);
  return increment < 60 ? clockSeconds.format(date) : clock.format(date);
}

/** age says how long ago a time (milliseconds) was. */
export function age(time: number, now: number): string {
  const gone = (now - time) / 1000;
  return gone < 1.5 ? "just now" : `${duration(gone)} ago`;
}
