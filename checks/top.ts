import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { CoreV1Api, type KubeConfig, type V1Pod } from "@kubernetes/client-node";
import { messageOf } from "../components/shared/core/errors";
import { samplesIn } from "../components/shared/core/exposition";
import { instanceLabels, labelSelectorOf } from "../components/shared/core/names";
import { readNamed } from "./cluster";
import { isMeasured, isWhole, type Measured, type Row, renderRows, rowOf, type Scrape } from "./columns";
import { openEnvironment } from "./environment";
import { CannotRun } from "./failure";
import { runMain, runOnSelected, selectionFlags, selectionUsage } from "./flags";
import { createRedaction } from "./redaction";
import type { TunnelManager } from "./tunnel";

const usage = `shows the state of the services of a stack, again every 2 seconds until Ctrl+C

  npx cells-services top [flags]

It reads the metrics that Prometheus scrapes. On no terminal it prints once.

${selectionUsage}
  --once             print once
  --json             print once, as JSON

exit codes: 0 every member serves and every pod answers, 1 not so, 2 nothing could be read
`;

const redrawSeconds = 2;
/** A pod that is away must not hold up the others for long. */
const scrapeSeconds = 3;

function readFlags(args: string[]) {
  const own = { once: { type: "boolean" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;
  return parseArgs({ args, options: { ...selectionFlags, ...own } }).values;
}

export function main(args: string[]): Promise<number> {
  return runOnSelected(
    { name: "top", usage },
    () => readFlags(args),
    async ({ once, json }, selection) => {
      const targets = selection.targets.filter(isMeasured);
      if (targets.length === 0) throw new CannotRun("the object store has no metrics; name another service");
      const ended = new AbortController();
      process.once("SIGINT", () => ended.abort());
      const watches = targets.map((target) => watch(selection.config, target, ended.signal));
      const look = () => Promise.all(watches.map((each) => each.read()));
      try {
        if (once !== true && json !== true && process.stdout.isTTY) {
          const draw = (text: string) => void process.stdout.write(screen(text, process.stdout.columns));
          return await redraw(look, ended.signal, draw);
        }
        const rows = await look();
        process.stdout.write(
          json === true ? `${JSON.stringify(rows, undefined, 2)}\n` : renderRows(rows, nowSeconds()),
        );
        return rows.every(isWhole);
      } finally {
        await Promise.all(watches.map((each) => each.close()));
      }
    },
  );
}

const nowSeconds = (): number => Date.now() / 1000;

/** Whether all was whole at the last look. The first one must succeed; an API server that is away later ends nothing. */
export async function redraw(
  look: () => Promise<Row[]>,
  signal: AbortSignal,
  draw: (text: string) => void,
): Promise<boolean> {
  let rows = await look();
  let problem = "";
  while (!signal.aborted) {
    draw(renderRows(rows, nowSeconds()) + problem);
    await delay(redrawSeconds * 1000, undefined, { signal }).catch(() => undefined);
    try {
      const seen = await look();
      // What was under way at the end was cut short.
      if (!signal.aborted) [rows, problem] = [seen, ""];
    } catch (error) {
      problem = `\nnot seen again: ${messageOf(error)}\n`;
    }
  }
  return problem === "" && rows.every(isWhole);
}

/** Over what was there, line by line, so that nothing flickers. A line that wrapped would move all others. */
export function screen(text: string, columns: number): string {
  const lines = text.trimEnd().split("\n");
  return `\x1b[H${lines.map((line) => `${line.slice(0, columns)}\x1b[K\n`).join("")}\x1b[J`;
}

function watch(config: KubeConfig, target: Measured, signal: AbortSignal) {
  const { service, name, namespace } = target;
  const core = config.makeApiClient(CoreV1Api);
  const environment = openEnvironment(config, target, createRedaction(), signal);
  const labelSelector = labelSelectorOf(instanceLabels(service, name));
  const read = async (): Promise<Row> => {
    const request = core.listNamespacedPod({ namespace, labelSelector });
    const { items } = await readNamed("pods of", namespace, name, request);
    const scrapes = endpointsOf(items).map((each) => scrape(environment.tunnel, each, signal));
    const pods = items.map(({ metadata }) => metadata?.name ?? "");
    return rowOf(target, await Promise.all(scrapes), pods);
  };
  return { read, close: () => environment.close() };
}

interface Endpoint {
  pod: string;
  port: number;
}

/** What Prometheus scrapes, too: the ports `metrics`. Agents beside a server are init containers that go on. */
export function endpointsOf(pods: V1Pod[]): Endpoint[] {
  return pods
    .filter(({ status }) => status?.phase !== "Succeeded" && status?.phase !== "Failed")
    .flatMap(({ metadata, spec }) =>
      [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])]
        .flatMap(({ ports = [] }) => ports)
        .filter((port) => port.name === "metrics")
        .map(({ containerPort }) => ({ pod: metadata?.name ?? "", port: containerPort })),
    );
}

export async function scrape(
  tunnel: Pick<TunnelManager, "dial" | "lastError">,
  { pod, port }: Endpoint,
  ended: AbortSignal,
): Promise<Scrape> {
  try {
    const { host, port: local } = await tunnel.dial(pod, port);
    const signal = AbortSignal.any([ended, AbortSignal.timeout(scrapeSeconds * 1000)]);
    const response = await fetch(`http://${host}:${local}/metrics`, { signal });
    const text = await response.text();
    return response.ok ? { pod, samples: samplesIn(text) } : { pod, reason: `${response.status} ${text.trim()}` };
  } catch (error) {
    return { pod, reason: reasonOf(error, tunnel.lastError(pod, port)) };
  }
}

/** A time-out is the reason itself; otherwise the tunnel knows more than the client, whose connection it ended. */
const reasonOf = (error: unknown, tunnelError: string | undefined): string =>
  (error as Error).name === "TimeoutError" ? `no answer in ${scrapeSeconds} s` : (tunnelError ?? messageOf(error));

if (require.main === module) runMain(main);
