// The page of the server's own health.

import { ApiError, rejects as fetchRejects, type Partition, type Reject, type Status } from "./api";
import { bar, card, drawTiles, table, type Tile } from "./cards";
import { Chart } from "./chart";
import { empty, fill, h } from "./dom";
import { age, bytes, duration, grouped, plain } from "./format";
import type { Context, Page } from "./page";

const CHART_SECONDS = 300;

export class HealthPage implements Page {
  readonly element = h("section", { class: "cards health" });
  private readonly chart: Chart;
  private readonly notices = h("div", {});
  private readonly tiles = h("div", { class: "tiles" });
  private readonly tiers = h("div", {});
  private readonly flows = h("div", {});
  private readonly rejected = h("div", {});
  private readonly partitions = h("div", {});
  private readonly silence: () => void;
  private readonly open = new Set<string>(); // rejects whose samples are shown

  constructor(private readonly context: Context) {
    this.chart = new Chart({ label: "Points a second, last five minutes", height: () => 150, zoom: () => {}, back: () => {} });
    fill(this.element, this.notices, this.tiles,
      card("Points a second", this.chart.element),
      h("div", { class: "columns" }, card("Disk used by tier", this.tiers), card("Received and dropped", this.flows)),
      card("Rejected", this.rejected), card("Partitions", this.partitions));
    this.silence = context.pulse.listen(() => void this.refresh());
  }

  close(): void {
    this.silence();
    this.chart.close();
  }

  update(): void {
    fill(this.context.heading, h("h1", {}, "Server health"), h("a", { class: "quiet-link", href: "#/directory" }, "Directory"));
    void this.refresh();
  }

  private async refresh(): Promise<void> {
    const { status, error } = this.context.pulse;
    fill(this.notices,
      error && h("p", { class: "notice bad", role: "alert" }, `${error} Trying again every few seconds.`),
      ...(status?.notices ?? []).map((notice) => h("p", { class: "notice" }, notice)));
    if (!status) return;
    this.drawFigures(status);
    this.drawRates();
    fill(this.tiers, tierTable(status));
    fill(this.flows, flowTable(status));
    fill(this.partitions, partitionTable(status));
    if (error) return;
    try {
      this.drawRejects(await fetchRejects());
    } catch (error) {
      fill(this.rejected, h("p", { class: "note" }, error instanceof ApiError ? error.message : String(error)));
    }
  }

  private drawFigures(status: Status): void {
    const dropped = (status.dropped ?? []).reduce((sum, one) => sum + one.count, 0);
    drawTiles(this.tiles, [
      { title: "Points a second", value: plain.format(status.pointsPerSecond), more: `${grouped(status.points)} in all` },
      { title: "Series", value: grouped(status.series), more: `directory ${bytes.format(status.directoryBytes)}` },
      { title: "Lag", value: status.lagSeconds < 0.0005 ? "0 s" : `${plain.format(status.lagSeconds)} s`, more: "from arrival to readable", attention: status.lagSeconds > 10 },
      { title: "Rejected", value: grouped(status.rejected), more: status.rejected ? "reasons below" : "nothing was refused", attention: status.rejected > 0 },
      { title: "Dropped", value: grouped(dropped), more: dropped ? "what and where, below" : "nothing was lost", attention: dropped > 0 },
      diskTile(status),
      workTile(status),
      { title: "Memory", value: bytes.format(status.memoryBytes), more: status.series ? `${bytes.format(status.memoryBytes / status.series)} a series` : "" },
      { title: "Up", value: duration(status.uptimeSeconds), more: `version ${status.version}` },
    ]);
  }

  private drawRates(): void {
    const rates = this.context.pulse.rates;
    const to = Date.now() / 1000;
    this.chart.set({
      lines: [{ name: "points/s", times: rates.map(({ time }) => time), values: rates.map(({ value }) => value) }],
      from: to - CHART_SECONDS, to, step: 3, unit: plain, zero: true,
    });
  }

  private drawRejects(rejects: Reject[]): void {
    if (!rejects.length) {
      fill(this.rejected, empty("Nothing was refused", h("p", {}, "Lines, samples and series that are not taken appear here, with their reason.")));
      return;
    }
    const now = Date.now();
    fill(this.rejected, ...rejects.map((one) => {
      const key = `${one.protocol}\n${one.reason}`;
      const details = h("details", { class: "reject", open: this.open.has(key), ontoggle: () => (details.open ? this.open.add(key) : this.open.delete(key)) },
        h("summary", {}, h("span", { class: "chip" }, one.protocol), h("span", { class: "reason" }, one.reason), h("b", { class: "number" }, grouped(one.count))),
        h("ul", {}, ...(one.samples ?? []).toReversed().map((sample) => h("li", {},
          h("code", {}, sample.input || "(empty)"),
          h("p", {}, [sample.detail, sample.from && `from ${sample.from}`, age(Date.parse(sample.time), now)].filter(Boolean).join(" · "))))));
      return details;
    }));
  }
}

/** diskTile is what the data directory takes, of what it may or of what there is. */
function diskTile({ disk, journalBytes }: Status): Tile {
  const room = disk.maxBytes ? `of ${bytes.format(disk.maxBytes)}` : `${bytes.format(disk.freeBytes)} free`;
  const early = disk.droppedEarly.reduce((sum, tier) => sum + tier.bytes, 0);
  const more = disk.full ? "full: no points are accepted" : early ? `${room}; ${bytes.format(early)} dropped early` : `${room}; journal ${bytes.format(journalBytes)}`;
  return { title: "Disk", value: bytes.format(disk.bytes), more, attention: disk.full !== "" || early > 0 };
}

/** workTile is what the stores do beside taking points in. */
function workTile({ partitions, written }: Status): Tile {
  const busy = (partitions ?? []).map((one) => one.activity).filter((activity) => activity !== "idle");
  const waiting = (partitions ?? []).some((one) => one.waiting);
  return {
    title: "Background", value: waiting ? "waiting for room" : busy.length ? [...new Set(busy)].join(", ") : "idle",
    more: written.sealed ? `each byte is written ${plain.format(written.amplification)} times` : "nothing was sealed yet", attention: waiting,
  };
}

function tierTable(status: Status): HTMLElement {
  const tiers = status.tiers ?? [];
  const most = Math.max(1, ...tiers.map((tier) => tier.bytes));
  return table(["tier", "kept", "oldest", "files", "disk"], tiers.map((tier) =>
    [h("span", { class: "with-bar" }, tier.resolution, bar(tier.bytes / most)), tier.retention,
      tier.oldest === null ? "–" : age(tier.oldest, Date.now()), grouped(tier.files), bytes.format(tier.bytes)]));
}

function flowTable(status: Status): HTMLElement {
  const received = (status.received ?? []).map((one) => ["received", one.protocol, grouped(one.points)]);
  const dropped = (status.dropped ?? []).map((one) => ["dropped", one.what, grouped(one.count)]);
  if (!received.length && !dropped.length) return empty("Nothing has arrived yet");
  return table(["", "by", "points"], [...received, ...dropped], 2);
}

function partitionTable(status: Status): HTMLElement {
  return table(["partition", "series", "acknowledged", "applied", "sealed", "open buckets", "roll-up lag", "background"], (status.partitions ?? []).map((one) =>
    [String(one.partition), grouped(one.series), grouped(one.acknowledged), grouped(one.applied), grouped(one.sealed), grouped(one.headBuckets),
      one.rollupLagSeconds ? duration(one.rollupLagSeconds) : "–", workOf(one)]));
}

function workOf(one: Partition): string {
  if (one.waiting) return `waiting: ${one.waiting}`;
  const wants = one.mergeWantsBytes ? `; merging waits for ${bytes.format(one.mergeWantsBytes)} of room` : "";
  return (one.activity === "idle" ? "idle" : `${one.activity} for ${duration(one.activitySeconds)}`) + wants;
}
