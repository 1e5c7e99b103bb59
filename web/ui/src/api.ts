// What the server answers, and how to ask. Addresses are relative, so the page
// works under a path prefix too.

export type Labels = Record<string, string>;
export type Kind = "gauge" | "counter" | "event";

/** Bucket is what one series did in one segment; time in seconds since the epoch. */
export interface Bucket {
  time: number;
  count: number;
  avg: number | null;
  sdev: number | null;
  min: number | null;
  max: number | null;
  first: number | null;
  last: number | null;
  sum: number | null;
  rate: number | null;
}

export interface BucketSeries { metric: Labels; kind: Kind; buckets: Bucket[] }
export interface BucketsAnswer { tier: string; step: number; columns: string[]; series: BucketSeries[] }

export interface Sample { time: number; value: number }
export interface RangeSeries { metric: Labels; samples: Sample[] }
export interface RangeAnswer { series: RangeSeries[]; warnings: string[] }

export interface Tier { resolution: string; retention: string; bytes: number; files: number; oldest: number | null }
export interface Partition {
  partition: number;
  series: number;
  acknowledged: number;
  applied: number;
  sealed: number;
  headBuckets: number;
  activity: string; // of the store's worker
  activitySeconds: number;
  rollupLagSeconds: number;
  waiting: string; // why a seal waits for room on the disk
  mergeWantsBytes: number;
}
/** Disk is the data directory: maxBytes is 0 without --disk-max, full is why no points are accepted, empty if they are. */
export interface Disk { maxBytes: number; bytes: number; freeBytes: number; full: string; droppedEarly: { resolution: string; bytes: number }[] }
export interface Status {
  version: string;
  uptimeSeconds: number;
  series: number;
  points: number;
  pointsPerSecond: number;
  lagSeconds: number;
  journalBytes: number;
  directoryBytes: number;
  memoryBytes: number;
  received: { protocol: string; points: number }[] | null;
  rejected: number;
  dropped: { what: string; count: number }[] | null;
  notices: string[] | null;
  cache: boolean; // there is one, and so a page of it
  tiers: Tier[] | null;
  partitions: Partition[] | null;
  disk: Disk;
  written: { sealed: number; rolled: number; merged: number; amplification: number };
}

export interface RejectSample { time: string; from?: string; input: string; detail?: string }
export interface Reject { protocol: string; reason: string; count: number; samples?: RejectSample[] }

/** TableStats are a cuckoo table's figures; Slots is 0 where there is no table. */
export interface TableStats { hits: number; evictions: number; invalidations: number; entries: number; slots: number; load: number; bytes: number }

/** CacheSpace is about look-ups by name, or by id: its two caches and what the disk answered. */
export interface CacheSpace {
  disk_found: number;
  disk_absent: number;
  failed: number;
  positive: TableStats;
  slot_bytes: number;
  stale_drops: number;
  squeezed: number;
  negative: TableStats;
  negative_drops: number;
  refused_fills: number;
}

export interface LocationStats {
  revision: number;
  entries: number;
  servers: number;
  negatives_off: boolean;
  stopped?: string;
  changes: Record<string, { done: number; refused: number }> | null;
  lists: number;
  names: CacheSpace;
  ids: CacheSpace;
  disk_bytes: number;
  unknown_changes: number;
}
export interface FeedStatus { revision: number; last: number; damaged?: number; live: boolean; reason?: string }
export interface SeriesCaches { positive: TableStats; negative: TableStats; disk_found: number; disk_absent: number; disk_failed?: number }
export interface DirectoryStats { location?: LocationStats | null; feed?: FeedStatus | null; series?: SeriesCaches | null }

/** CacheClass is the chunks of one size. */
export interface CacheClass {
  chunk_bytes: number;
  pages: number;
  chunks: number;
  free: number;
  item_bytes: number;
  hits: number;
  stored: number;
  evicted: number;
  expired: number;
  out_of_space: number;
}
export interface CacheKernel { interface: string; mode: string; hits: number; misses: number; passed: Record<string, number>; error?: string }
export interface CacheLatency { buckets: { up_to_seconds: number | null; rounds: number }[] | null; sum_seconds: number }
/** Cache is about the cache that the server publishes in; hits and misses of `cache` are those of user space. */
export interface Cache {
  tcp?: string;
  udp?: string;
  kernel: CacheKernel | null;
  cache: {
    items: number; hits: number; misses: number; region_bytes: number; free_bytes: number; evicted: number; evicted_unread: number;
    classes: CacheClass[] | null;
  };
  commands: Record<string, number>;
  hot: { key: string; count: number }[] | null;
  latency: CacheLatency;
  newest: { stored: number; lost: number; old: number; refused: number; ended: number; waiting: number; series: number };
  directory: { stored: number; deleted: number; refused: number; whole: boolean } | null;
}

export interface Site { server: string; partition: number; flags?: number }
export interface Lock { owner?: string; kind?: number; expires?: number }

/** Id is a string of digits where a number would not hold all of them. */
export type Id = number | string;
export interface Entry {
  name: string;
  ids?: { rw?: Id; ro?: Id; bk?: Id };
  sites?: Site[];
  flags?: number;
  lock?: Lock;
  version?: Id;
  modified?: number; // milliseconds since the epoch
}

/** ApiError carries a message for people: the server's own where it gave one. */
export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

type Params = [string, string][];

async function get(path: string, params: Params, signal?: AbortSignal, reviver?: typeof exact): Promise<any> {
  const query = params.length ? `?${new URLSearchParams(params)}` : "";
  let response: Response;
  try {
    response = await fetch(path + query, { signal: signal ?? null, headers: { Accept: "application/json" } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError("The server does not answer. Is it running, and is this address still its own?", 0);
  }
  let body: any = null;
  try {
    body = reviver ? JSON.parse(await response.text(), reviver) : await response.json();
  } catch (error) {
    if (signal?.aborted) throw error;
  }
  if (!response.ok || body === null || body.status === "error") {
    throw new ApiError(body?.error ?? `The server answered ${response.status} ${response.statusText}`, response.status);
  }
  return body;
}

/** exact keeps the digits of whole numbers beyond 2^53, where the browser hands out the source. */
function exact(_key: string, value: unknown, context?: { source?: string }): unknown {
  return typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? (context?.source ?? value) : value;
}

/** aborted tells a request that the page itself gave up from a real failure. */
export function aborted(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** number reads JSON numbers and the strings that stand for what JSON cannot say. */
export function number(value: unknown): number | null {
  if (typeof value === "number") return value;
  switch (value) {
    case "NaN": return NaN;
    case "+Inf": case "Inf": return Infinity;
    case "-Inf": return -Infinity;
  }
  if (typeof value !== "string" || value === "") return null;
  const parsed = Number(value);
  return Number.isNaN(parsed) ? null : parsed;
}

/** bucketOf names the columns of a row. */
export function bucketOf(columns: string[], row: unknown[]): Bucket {
  const bucket: any = { time: 0, count: 0, avg: null, sdev: null, min: null, max: null, first: null, last: null, sum: null, rate: null };
  columns.forEach((column, i) => {
    if (column in bucket) bucket[column] = number(row[i]) ?? (column === "time" || column === "count" ? 0 : null);
  });
  return bucket;
}

/** The most names the tree takes: beyond it the page would not fit a phone's memory. */
export const MAX_NAMES = 200_000;

export async function names(signal?: AbortSignal): Promise<string[]> {
  const body = await get("api/v1/label/__name__/values", [["limit", String(MAX_NAMES)]], signal);
  return body.data ?? [];
}

export async function labelValues(label: string, match: string): Promise<string[]> {
  const body = await get(`api/v1/label/${encodeURIComponent(label)}/values`, [["match[]", match], ["limit", "100"]]);
  return body.data ?? [];
}

export async function series(match: string, from: number, to: number, limit: number, signal?: AbortSignal): Promise<Labels[]> {
  const body = await get("api/v1/series",
    [["match[]", match], ["start", String(from)], ["end", String(to)], ["limit", String(limit)]], signal);
  return body.data ?? [];
}

/** buckets reads aligned data; the server rounds the step up to what its tiers can give. */
export async function buckets(matches: string[], from: number, to: number, step: number, signal?: AbortSignal): Promise<BucketsAnswer> {
  const params: Params = matches.map((match) => ["match[]", match]);
  params.push(["start", String(from)], ["end", String(to)], ["step", String(step)]);
  const { data } = await get("api/v1/buckets", params, signal);
  const columns: string[] = data.columns;
  const result = (data.result ?? []).map((one: any): BucketSeries => ({
    metric: one.metric,
    kind: one.kind,
    buckets: one.buckets.map((row: unknown[]) => bucketOf(columns, row)),
  }));
  return { tier: data.tier, step: data.step, columns, series: result };
}

export async function queryRange(expr: string, from: number, to: number, step: number, signal?: AbortSignal): Promise<RangeAnswer> {
  const body = await get("api/v1/query_range",
    [["query", expr], ["start", String(from)], ["end", String(to)], ["step", String(step)]], signal);
  const result = (body.data?.result ?? []).map((one: any): RangeSeries => ({
    metric: one.metric ?? {},
    samples: (one.values ?? []).map(([time, value]: [number, string]) => ({ time, value: number(value) ?? NaN })),
  }));
  return { series: result, warnings: [...(body.warnings ?? []), ...(body.infos ?? [])] };
}

export async function status(signal?: AbortSignal): Promise<Status> {
  const body = await get("api/v1/status", [], signal);
  return body.data && typeof body.data === "object" ? body.data : body;
}

export async function rejects(signal?: AbortSignal): Promise<Reject[]> {
  return (await get("api/v1/status/rejects", [], signal)).data ?? [];
}

export async function directoryStats(signal?: AbortSignal): Promise<DirectoryStats> {
  return (await get("api/v1/directory/stats", [], signal)).data ?? {};
}

export async function cache(signal?: AbortSignal): Promise<Cache> {
  return (await get("api/v1/cache", [], signal)).data;
}

/** directoryEntry looks an entry up by name or id; null is that there is none. */
export async function directoryEntry(name: string, signal?: AbortSignal): Promise<Entry | null> {
  // A browser would resolve these two as steps of the path, however they are written.
  if (name === "." || name === "..") throw new ApiError(`No address can hold the name "${name}"; look it up by its id.`, 400);
  try {
    return (await get(`api/v1/directory/entries/${encodeURIComponent(name)}`, [], signal, exact)).data;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}
