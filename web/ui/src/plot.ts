// From lines with their own times to the aligned columns that uPlot draws. Pure.

/** Line is one series of a chart. Values that are null, NaN or infinite are not drawn. */
export interface Line {
  name: string;
  times: number[]; // seconds since the epoch, rising
  values: (number | null)[];
  low?: (number | null)[]; // with high: the band around the values
  high?: (number | null)[];
  /** What a tooltip tells of point i beyond its value. */
  detail?: (i: number) => [string, string][];
}

/** null breaks a line, undefined means that another line has a point there. */
export type Column = (number | null | undefined)[];

const GAP = 2.5; // a line breaks where points lie this many usual intervals apart

/** interval is how far apart a line's points usually lie: the median, but at least the step. */
export function interval(times: number[], step: number): number {
  if (times.length < 3) return step;
  const gaps = times.slice(1).map((time, i) => time - times[i]!).sort((a, b) => a - b);
  return Math.max(step, gaps[gaps.length >> 1]!);
}

/** align puts lines on one time axis. `columns` has three a line: high, low, value. */
export function align(lines: Line[], step: number): { times: number[]; columns: Column[] } {
  const breaks = lines.map((line) => breaksOf(line, step));
  const times = [...new Set([...lines.flatMap((line) => line.times), ...breaks.flat()])].sort((a, b) => a - b);
  const at = new Map(times.map((time, i) => [time, i]));
  const columns = lines.flatMap((line, k) =>
    [line.high, line.low, line.values].map((values) => {
      const column: Column = new Array(times.length).fill(undefined);
      for (const time of breaks[k]!) column[at.get(time)!] = null;
      values?.forEach((value, i) => (column[at.get(line.times[i]!)!] = finite(value)));
      return column;
    }));
  return { times, columns };
}

function breaksOf(line: Line, step: number): number[] {
  const usual = interval(line.times, step);
  const breaks: number[] = [];
  for (let i = 1; i < line.times.length; i++) {
    const before = line.times[i - 1]!;
    if (line.times[i]! - before > GAP * usual) breaks.push(before + usual);
  }
  return breaks;
}

function finite(value: number | null | undefined): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** stack adds each value column to the ones before it; a missing value adds nothing. */
export function stack(columns: Column[]): Column[] {
  const sums: number[] = new Array(columns[0]?.length ?? 0).fill(0);
  const seen: boolean[] = new Array(sums.length).fill(false);
  for (const column of columns) column.forEach((value, i) => { if (typeof value === "number") seen[i] = true; });
  return columns.map((column) => column.map((value, i) => {
    if (!seen[i]) return null;
    sums[i]! += value ?? 0;
    return sums[i]!;
  }));
}

/** extent is the range of a value axis: from zero where that costs little resolution, else with some air. */
export function extent(low: number | null, high: number | null, zero: boolean): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  if (low >= 0 && (zero || low < high * 0.6)) return [0, high > 0 ? high * 1.08 : 1];
  const air = high > low ? (high - low) * 0.1 : Math.abs(high) * 0.05 || 1;
  return [low >= 0 ? Math.max(0, low - air) : low - air, high <= 0 ? Math.min(0, high + air) : high + air];
}
