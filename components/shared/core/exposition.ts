/** Reads the text format of Prometheus. */

/** One line of a scrape. */
export interface Scraped {
  /** With its prefix. */
  name: string;
  labels: Record<string, string>;
  value: number;
}

/** Name, labels, value; a time stamp may follow. A brace may be in a label, so the last one counts. */
const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t]*$/;
const labelPair = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Comments and what is no sample are left out. */
export function samplesIn(text: string): Scraped[] {
  return text.split("\n").flatMap((line) => {
    const [, name, labels = "", value = ""] = sampleLine.exec(line) ?? [];
    if (name === undefined) return [];
    const pairs = [...labels.matchAll(labelPair)].map(([, key = "", escaped = ""]) => [key, unescaped(escaped)]);
    return [{ name, labels: Object.fromEntries(pairs) as Scraped["labels"], value: numberOf(value) }];
  });
}

/** Of a metric without labels. Throws when the scrape lacks it. */
export function valueIn(text: string, name: string): number {
  const found = samplesIn(text).find((each) => each.name === name && Object.keys(each.labels).length === 0);
  if (found === undefined) throw new Error(`the metric ${name} is missing`);
  return found.value;
}

const numberOf = (value: string): number => Number(value.replace(/Inf$/, "Infinity"));

const unescaped = (text: string): string =>
  text.replace(/\\(.)/g, (_, character: string) => (character === "n" ? "\n" : character));
