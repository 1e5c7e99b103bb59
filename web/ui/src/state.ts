// What the page shows, kept in the address's hash so that a link opens the same.

/** A range either follows the clock (span seconds back from now) or stands still. */
export type Range = { span: number } | { from: number; to: number };

export type PageName = "overview" | "name" | "query" | "health" | "directory" | "cache";

export interface State {
  page: PageName;
  name: string; // of page "name"
  filter: string; // words that a series' labels must hold, page "name"
  expr: string; // of page "query"
  entry: string; // name or id that is looked up, page "directory"
  host: string; // value of the label that tells hosts apart, page "overview"
  range: Range;
}

export const RANGES: [string, number][] = [
  ["5m", 300], ["15m", 900], ["1h", 3600], ["6h", 21_600], ["1d", 86_400], ["1w", 604_800],
  ["1M", 30 * 86_400], ["6M", 182 * 86_400], ["1y", 365 * 86_400], ["5y", 5 * 365 * 86_400],
];

const DEFAULT_SPAN = 3600;
const MIN_SPAN = 2; // seconds: a zoom cannot go deeper
const MAX_ZOOMS = 100; // ranges remembered for going back

export function resolve(range: Range, now = Date.now() / 1000): { from: number; to: number } {
  return "span" in range ? { from: now - range.span, to: now } : range;
}

export function parse(hash: string): State {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const params = new URLSearchParams(query);
  const page = (["name", "query", "health", "directory", "cache"] as const).find((known) => known === path) ?? "overview";
  return {
    page,
    name: params.get("name") ?? "",
    filter: params.get("filter") ?? "",
    expr: params.get("expr") ?? "",
    entry: params.get("entry") ?? "",
    host: params.get("host") ?? "",
    range: parseRange(params),
  };
}

function parseRange(params: URLSearchParams): Range {
  const [from, to] = [Number(params.get("from")), Number(params.get("to"))];
  if (Number.isFinite(from) && Number.isFinite(to) && from > 0 && to - from >= MIN_SPAN) return { from, to };
  const named = RANGES.find(([label]) => label === params.get("range"));
  return { span: named?.[1] ?? DEFAULT_SPAN };
}

export function format(state: State): string {
  const params = new URLSearchParams();
  if (state.page === "name") {
    params.set("name", state.name);
    if (state.filter) params.set("filter", state.filter);
  }
  if (state.page === "query") params.set("expr", state.expr);
  if (state.page === "overview" && state.host) params.set("host", state.host);
  if (state.page === "directory" && state.entry) params.set("entry", state.entry);
  const range = state.range;
  if (!("span" in range)) {
    params.set("from", String(range.from));
    params.set("to", String(range.to));
  } else if (range.span !== DEFAULT_SPAN) {
    params.set("range", RANGES.find(([, span]) => span === range.span)?.[0] ?? "1h");
  }
  const query = params.toString();
  return `#/${state.page === "overview" ? "" : state.page}${query ? `?${query}` : ""}`;
}

/** Location holds the state, follows the address and remembers the ranges that zooms left. */
export class Location {
  state = parse(location.hash);
  private zooms: Range[] = [];

  constructor(private readonly changed: (state: State) => void) {
    addEventListener("hashchange", () => {
      if (location.hash === format(this.state)) return;
      this.state = parse(location.hash);
      this.changed(this.state);
    });
  }

  /** set changes a part of the state; a change that replaces leaves no step in the browser's history. */
  set(change: Partial<State>, replace = false): void {
    this.state = { ...this.state, ...change };
    const hash = format(this.state);
    if (hash !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", hash);
    this.changed(this.state);
  }

  zoom(from: number, to: number): void {
    if (to - from < MIN_SPAN) return;
    if (this.zooms.length === MAX_ZOOMS) this.zooms.shift();
    this.zooms.push(this.state.range);
    this.set({ range: { from: Math.floor(from), to: Math.ceil(to) } });
  }

  /** choose takes one of the named ranges, and forgets the zooms. */
  choose(span: number): void {
    this.zooms = [];
    this.set({ range: { span } });
  }

  /** back undoes the newest zoom; a fixed range that no zoom led to gives way to the default one. */
  back(): void {
    const range = this.zooms.pop() ?? ("span" in this.state.range ? null : { span: DEFAULT_SPAN });
    if (range) this.set({ range });
  }
}
