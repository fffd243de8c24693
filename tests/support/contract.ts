/** The services as Cells finds them: from its namespace, with what is printed for it and nothing else, under the names that are in there. */
import { parse } from "yaml";
import { chooseCluster, createRedaction, loadCluster, openEnvironment, readOutputs, selectTargets } from "../../checks";
import type { CheckTarget, Tunnel } from "../../components/shared/core/check";
import { memberHost, serviceHost } from "../../components/shared/core/names";
import { openClient } from "../../drills/client";
import { killServer } from "../../drills/faults";
import { type DrilledService, profileOf } from "../../drills/profiles";
import { checkout, kubeconfig } from "../../sandbox/paths";
import { until } from "../../sandbox/shell";
import type { Deployment } from "./deployment";

type Yaml = Record<string, unknown>;

export interface Contract {
  /** Of the chart. */
  values: Record<string, Yaml>;
  /** `CELLS_*` and the others. */
  variables: Record<string, string>;
  install: Record<string, string | number | boolean>;
  /** Decoded keys of a Secret in the namespace of Cells. */
  secret(name: string): Promise<Record<string, string>>;
  /** A local address that leads where the name leads in the namespace of Cells, found out anew for each connection. */
  reach(host: string, port: number | string): Promise<{ host: string; port: number }>;
  /** The same for members and for the one name, by their first label, for clients that look for several by themselves. */
  tunnel: Tunnel;
  members(service: DrilledService): string[];
  /** Kills the server that leads, without a word. Returns when it is seen to have died. */
  killLeader(service: DrilledService): Promise<void>;
  close(): Promise<void>;
}

/** The file as the user gets it. */
async function printed(deployment: Deployment, file: "values" | "env" | "install"): Promise<string> {
  const { code, stdout, output } = await deployment.tsx("stacks/cells/cli.ts", file);
  if (code !== 0) throw new Error(`cannot print ${file}: ${output}`);
  return stdout;
}

export function variablesOf(text: string): Record<string, string> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
}

/** `home`: the namespace that Cells would run in. */
export async function openContract(deployment: Deployment, stack: string, home: string): Promise<Contract> {
  const outputs = await readOutputs({ stack, directory: checkout });
  const config = loadCluster(chooseCluster({ kubeconfig }, outputs, {}));
  const namespace = outputs.checks[0]?.namespace ?? "";
  const open = (place: string) =>
    openEnvironment(config, { namespace: place }, createRedaction(), new AbortController().signal);
  const [environment, own] = [open(namespace), open(home)];
  const client = await openClient(config, home);
  const targetOf = (service: DrilledService): CheckTarget => {
    const [target] = selectTargets(outputs.checks, [service]);
    if (target === undefined) throw new Error(`the stack has no ${service}`);
    return target;
  };
  const hostOf = (label: string): string => {
    const target = outputs.checks.find(({ members }) => members.includes(label));
    return target === undefined ? serviceHost(label, namespace) : memberHost(target.name, namespace, label);
  };

  return {
    values: parse(await printed(deployment, "values")) as Record<string, Yaml>,
    variables: variablesOf(await printed(deployment, "env")),
    install: parse(await printed(deployment, "install")) as Record<string, string | number | boolean>,
    secret: (name) => own.secret(name),
    reach: (host, port) => client.dial(host, Number(port)),
    tunnel: {
      dial: (label, port) => client.dial(hostOf(label), port),
      service: (name, port) => client.dial(serviceHost(name, namespace), port),
    },
    members: (service) => targetOf(service).members,
    async killLeader(service) {
      const target = targetOf(service);
      const profile = await profileOf(service);
      const workload = await profile.open(target, environment, "contract");
      try {
        const { member } = await until(`a leader of ${service}`, 60, () => workload.leader());
        const { proven, detail } = await (await killServer({ config, target, profile }, member)).proof;
        if (!proven) throw new Error(detail);
      } finally {
        await workload.close();
      }
    },
    async close() {
      await client.close();
      await Promise.all([environment.close(), own.close()]);
    },
  };
}
