// The page of the cache: who asks for what, who answers, and what the memory is used for.

import { ApiError, aborted, cache as fetchCache, type Cache, type CacheClass, type CacheKernel, type CacheLatency } from "./api";
import { bar, card, drawTiles, grid, table, type Tile } from "./cards";
import { Chart } from "./chart";
import { empty, failure, fill, h } from "./dom";
import { bytes, grouped, plain, seconds, share } from "./format";
import { Loader, type Context, type Page } from "./page";
import { swatch } from "./theme";

const CHART_SECONDS = 300;
const HISTORY = 101; // answers: five minutes of differences between them
const LEAST_SECONDS = 1; // between two of them: rates over less would jump about
const HOT_SHOWN = 20;
const PAGE_BYTES = 64 * 1024; // of a slab

/** Reads are look-ups since the start. */
interface Reads { kernelHits: number; kernelMisses: number; hits: number; misses: number }
interface Sample extends Reads { time: number }

const REASONS: Record<string, string> = {
  pass_source: "its source is not allowed",
  pass_asleep: "user space had been silent for a second",
  pass_fragment: "an IP fragment",
  pass_options: "IP options or extension headers",
  pass_malformed: "malformed",
  pass_checksum: "a wrong checksum",
  pass_command: "anything but one get of one key",
  pass_key: "no key, or one of more than 250 bytes",
  pass_absent: "a miss that only user space can be sure of",
  pass_large: "the reply is too large",
  pass_room: "no room for the reply in the driver's frame",
  pass_busy: "the index changed while it was read",
};

export class CachePage implements Page {
  readonly element: HTMLElement;
  private readonly notices = h("div", {});
  private readonly tiles = h("div", { class: "tiles" });
  private readonly first = h("section", { class: "card welcome", hidden: true });
  private readonly chart = new Chart({ label: "Reads a second, last five minutes", height: () => 170, zoom: () => {}, back: () => {} });
  private readonly keys = h("p", { class: "keys" });
  private readonly answered = h("div", {});
  private readonly passed = h("div", {});
  private readonly latency = h("div", {});
  private readonly hot = h("div", {});
  // Stays while the table in it is drawn anew, so that it keeps where it was scrolled to.
  private readonly slabs = h("div", { class: "table-scroll" });
  private readonly published = h("div", {});
  private readonly commands = h("div", {});
  private readonly figures: HTMLElement;
  private readonly loader = new Loader();
  private readonly samples: Sample[] = [];
  private readonly silence: () => void;
  private drawn = false;

  constructor(private readonly context: Context) {
    this.figures = h("div", { class: "cards", hidden: true }, this.tiles, this.first, card("Reads a second", this.keys, this.chart.element),
      h("div", { class: "columns" }, card("Who answered", this.answered), card("Passed on by the kernel", this.passed)),
      h("div", { class: "columns" }, card("Latency in user space", this.latency), card("Hot keys", this.hot)),
      card("Slabs", this.slabs),
      h("div", { class: "columns" }, card("Published", this.published), card("Commands in user space", this.commands)));
    this.element = h("section", { class: "cards cache" }, this.notices, this.figures);
    this.silence = context.pulse.listen(() => void this.refresh());
  }

  close(): void {
    this.silence();
    this.loader.stop();
    this.chart.close();
  }

  update(): void {
    fill(this.context.heading, h("h1", {}, "Cache"), h("a", { class: "quiet-link", href: "#/health" }, "Server health"));
    void this.refresh();
  }

  private async refresh(): Promise<void> {
    const signal = this.loader.start();
    try {
      const cache = await fetchCache(signal);
      this.observe(readsOf(cache));
      this.draw(cache);
    } catch (error) {
      if (!aborted(error)) this.fail(error);
    }
  }

  /** fail keeps the figures there were, below what went wrong. */
  private fail(error: unknown): void {
    const message = error instanceof ApiError ? error.message : String(error);
    if (error instanceof ApiError && error.status === 404) {
      this.figures.hidden = true;
      fill(this.notices, h("div", { class: "card welcome" }, empty("This server has no cache",
        h("p", {}, "With one, any memcached client reads the newest bucket of each series:"),
        h("pre", {}, "carillon serve --cache 127.0.0.1:11211"))));
      return;
    }
    fill(this.notices, this.drawn
      ? h("p", { class: "notice bad", role: "alert" }, `${message} Trying again every few seconds.`)
      : h("div", { class: "card" }, failure(message, () => void this.refresh())));
  }

  private observe(reads: Reads): void {
    const time = Date.now() / 1000;
    if (time - (this.samples.at(-1)?.time ?? 0) < LEAST_SECONDS) return;
    this.samples.push({ time, ...reads });
    if (this.samples.length > HISTORY) this.samples.shift();
  }

  private draw(cache: Cache): void {
    this.drawn = true;
    this.figures.hidden = false;
    fill(this.notices, cache.kernel?.error && h("p", { class: "notice" }, `The kernel's counters cannot be read: ${cache.kernel.error}`));
    const rates = ratesOf(this.samples);
    drawTiles(this.tiles, tilesOf(cache, rates.at(-1)));
    this.first.hidden = total(readsOf(cache)) > 0;
    fill(this.first, welcome(cache));
    this.drawChart(rates, cache.kernel !== null);
    fill(this.answered, answeredTable(cache));
    fill(this.passed, passedTable(cache.kernel));
    fill(this.latency, latencyTable(cache.latency));
    fill(this.hot, hotTable(cache));
    fill(this.slabs, slabTable(cache.cache.classes ?? []));
    fill(this.published, publishedTable(cache));
    fill(this.commands, commandTable(cache.commands));
  }

  private drawChart(rates: Sample[], kernel: boolean): void {
    const to = Date.now() / 1000;
    const times = rates.map(({ time }) => time);
    const line = (name: string, of: (rate: Sample) => number) => ({ name, times, values: rates.map(of) });
    const lines = [
      ...(kernel ? [line("hits in the kernel", (one) => one.kernelHits)] : []),
      line(kernel ? "hits in user space" : "hits", (one) => one.hits),
      line("misses", (one) => one.kernelMisses + one.misses),
    ];
    fill(this.keys, ...lines.map(({ name, values }, i) => h("span", { class: "key" }, swatch(i), name, h("b", {}, plain.format(values.at(-1))))));
    this.chart.set({
      lines, from: to - CHART_SECONDS, to, step: 3, unit: plain, stacked: true, zero: true,
    });
  }
}

function readsOf({ kernel, cache }: Cache): Reads {
  return { kernelHits: kernel?.hits ?? 0, kernelMisses: kernel?.misses ?? 0, hits: cache.hits, misses: cache.misses };
}

function total(reads: Reads): number {
  return reads.kernelHits + reads.kernelMisses + reads.hits + reads.misses;
}

/** ratesOf are the reads a second between each two samples. */
function ratesOf(samples: Sample[]): Sample[] {
  return samples.slice(1).map((sample, i) => {
    const before = samples[i]!;
    const each = (now: number, then: number) => Math.max(0, now - then) / Math.max(0.001, sample.time - before.time);
    return {
      time: sample.time, kernelHits: each(sample.kernelHits, before.kernelHits), kernelMisses: each(sample.kernelMisses, before.kernelMisses),
      hits: each(sample.hits, before.hits), misses: each(sample.misses, before.misses),
    };
  });
}

function welcome({ tcp, udp }: Cache): HTMLElement {
  const address = tcp ?? udp ?? "";
  return empty("Nobody has asked yet",
    h("p", {}, "Any memcached client reads the newest bucket of a series under the name of the series:"),
    h("pre", {}, `carillon cache get NAME --server ${address}${tcp ? "" : " --udp"}`));
}

function tilesOf(cache: Cache, rate: Sample | undefined): Tile[] {
  const { kernel, cache: stats, newest, directory } = cache;
  const reads = readsOf(cache);
  const hits = reads.kernelHits + reads.hits;
  const used = stats.region_bytes - stats.free_bytes;
  const itemBytes = (stats.classes ?? []).reduce((sum, one) => sum + one.item_bytes, 0);
  const lost = newest.lost + newest.refused;
  return [
    { title: "Reads a second", value: rate ? plain.format(total(rate)) : "–", more: `${grouped(total(reads))} in all` },
    { title: "Hit rate", value: share(hits, total(reads)), more: `${grouped(reads.kernelMisses + reads.misses)} misses` },
    { title: "Answered by the kernel", value: kernel ? share(reads.kernelHits + reads.kernelMisses, total(reads)) : "none", more: kernel ? `${kernel.interface}, ${kernel.mode} mode` : "no --cache-xdp" },
    { title: "Items", value: grouped(stats.items), more: stats.items ? `${bytes.format(itemBytes / stats.items)} each` : "none yet" },
    { title: "Memory", value: bytes.format(used), more: `of ${bytes.format(stats.region_bytes)}` },
    { title: "Evictions", value: grouped(stats.evicted), more: stats.evicted ? `${grouped(stats.evicted_unread)} never read` : "there is room", attention: stats.evicted > 0 },
    { title: "Newest buckets", value: `${grouped(newest.series)} series`, more: lost ? `${grouped(lost)} lost or refused` : `${grouped(newest.stored)} stored`, attention: lost > 0 },
    { title: "Directory entries", value: directory ? `${grouped(directory.stored)} stored` : "off", more: directory ? (directory.whole ? "all are published" : "still being read") : "not published", attention: (directory?.refused ?? 0) > 0 },
  ];
}

function withBar(text: string, part: number): HTMLElement {
  return h("span", { class: "with-bar wide" }, h("span", {}, text), bar(part));
}

function answeredTable(cache: Cache): HTMLElement {
  const reads = readsOf(cache);
  const row = (where: string, hits: number, misses: number) =>
    [withBar(where, (hits + misses) / Math.max(1, total(reads))), share(hits + misses, total(reads)), grouped(hits), grouped(misses), share(hits, hits + misses)];
  return table(["where", "share", "hits", "misses", "hit rate"], [
    ...(cache.kernel ? [row("kernel", reads.kernelHits, reads.kernelMisses)] : []),
    row("user space", reads.hits, reads.misses),
  ]);
}

function passedTable(kernel: CacheKernel | null): HTMLElement {
  if (!kernel) return empty("No driver answers", h("p", {}, "With --cache-xdp INTERFACE the network driver answers GETs by UDP itself."));
  const rows = Object.entries(kernel.passed).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  if (!rows.length) return empty("Nothing was passed on", h("p", {}, "Every datagram so far was answered in the kernel."));
  return table(["reason", "datagrams"], rows.map(([reason, count]) => [REASONS[reason] ?? reason, grouped(count)]));
}

/** latencyTable has the buckets between the first and the last that are not empty. */
function latencyTable({ buckets, sum_seconds: sum }: CacheLatency): HTMLElement {
  const all = buckets ?? [];
  const rounds = all.reduce((sum, one) => sum + one.rounds, 0);
  if (!rounds) return empty("Nothing was timed yet");
  const used = all.slice(all.findIndex((one) => one.rounds), all.findLastIndex((one) => one.rounds) + 1);
  const most = Math.max(...used.map((one) => one.rounds));
  const bound = (part: number) => {
    let seen = 0;
    const at = all.find((one) => (seen += one.rounds) >= part * rounds)?.up_to_seconds ?? null;
    return at === null ? "over a second" : `within ${seconds.format(at)}`;
  };
  return h("div", {},
    table(["within", "share", "rounds"], used.map((one) =>
      [withBar(one.up_to_seconds === null ? "longer" : seconds.format(one.up_to_seconds), one.rounds / most), share(one.rounds, rounds), grouped(one.rounds)])),
    h("p", { class: "note under-table" },
      `Half ${bound(0.5)}, 99 % ${bound(0.99)}, ${seconds.format(sum / rounds)} on average: from when requests were received, all that came together, until their replies were handed to the system. One round in 16 is timed.`));
}

function hotTable({ hot }: Cache): HTMLElement {
  const keys = (hot ?? []).slice(0, HOT_SHOWN);
  if (!keys.length) return empty("No key stands out yet", h("p", {}, "One read in 256 is counted, by key."));
  const most = keys[0]!.count;
  return h("div", { class: "hot" }, table(["key", "reads, lately"], keys.map(({ key, count }) => [h("span", { class: "with-bar wide" }, h("code", {}, key), bar(count / most)), `about ${plain.format(count)}`])));
}

function slabTable(classes: CacheClass[]): HTMLElement {
  if (!classes.length) return empty("No items yet");
  return grid(["chunks of", "in use", "memory", "chunks", "free", "hits", "stored", "evicted", "expired", "refused"], classes.map((one) => {
    const part = one.pages ? one.item_bytes / (one.pages * PAGE_BYTES) : 0;
    const use = h("span", { class: "load" }, h("span", { class: "track" }, bar(part)), h("span", { class: "number" }, share(one.item_bytes, one.pages * PAGE_BYTES)));
    return [`${grouped(one.chunk_bytes)} B`, use, bytes.format(one.pages * PAGE_BYTES), grouped(one.chunks), grouped(one.free),
      grouped(one.hits), grouped(one.stored), grouped(one.evicted), grouped(one.expired), grouped(one.out_of_space)];
  }), 2);
}

function publishedTable({ newest, directory }: Cache): HTMLElement {
  const rows: [string, string, number][] = [
    ["bucket", "stored", newest.stored], ["bucket", "waiting", newest.waiting], ["bucket", "lost: the cache was too slow", newest.lost],
    ["bucket", "refused: no memory", newest.refused], ["bucket", "too old when it came", newest.old], ["bucket", "its series ended", newest.ended],
  ];
  if (directory) {
    rows.push(["entry", "stored, by name and by id", directory.stored], ["entry", "deleted", directory.deleted], ["entry", "refused: no memory", directory.refused]);
  }
  return table(["", "what became of it", "count"], rows.map(([what, outcome, count]) => [what, outcome, grouped(count)]), 2);
}

function commandTable(commands: Record<string, number>): HTMLElement {
  const rows = Object.entries(commands).filter(([, count]) => count > 0);
  if (!rows.length) return empty("No commands yet");
  return table(["as stats names it", "count"], rows.map(([name, count]) => [name, name.startsWith("bytes_") ? bytes.format(count) : grouped(count)]));
}
