/** The services as Cells finds them: with what is printed for it and nothing else, under the names that are in there. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { parse } from "yaml";
import { chooseCluster, createRedaction, loadCluster, openEnvironment, readOutputs, selectTargets } from "../../checks";
import type { CheckTarget, Tunnel } from "../../components/shared/core/check";
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
  /** A local address that leads where the name leads in the cluster, found out anew for each connection. */
  reach(host: string, port: number | string): Promise<{ host: string; port: number }>;
  /** For clients that look for several names by themselves: the members and the one name. */
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

export async function openContract(deployment: Deployment, stack: string): Promise<Contract> {
  const outputs = await readOutputs({ stack, directory: checkout });
  const config = loadCluster(chooseCluster({ kubeconfig }, outputs, {}));
  const namespace = outputs.checks[0]?.namespace ?? "";
  const environment = openEnvironment(config, { namespace }, createRedaction(), new AbortController().signal);
  const { tunnel } = environment;
  const targetOf = (service: DrilledService): CheckTarget => {
    const [target] = selectTargets(outputs.checks, [service]);
    if (target === undefined) throw new Error(`the stack has no ${service}`);
    return target;
  };
  const names = new Map<string, Promise<{ server: Server; sockets: Set<Socket> }>>();

  return {
    values: parse(await printed(deployment, "values")) as Record<string, Yaml>,
    variables: variablesOf(await printed(deployment, "env")),
    install: parse(await printed(deployment, "install")) as Record<string, string | number | boolean>,
    secret: (name) => environment.secret(name),
    async reach(host, port) {
      const [service = "", inside, suffix, ...others] = host.split(".");
      // The name itself is a part of the contract.
      if (inside !== namespace || suffix !== "svc" || others.length > 0) {
        throw new Error(`${host} is no name of a Service in ${namespace}`);
      }
      const key = `${service}:${port}`;
      const name = names.get(key) ?? serveName(() => tunnel.service(service, Number(port)));
      names.set(key, name);
      return { host: "127.0.0.1", port: ((await name).server.address() as AddressInfo).port };
    },
    tunnel: {
      dial: (pod, port) =>
        outputs.checks.some(({ name }) => name === pod) ? tunnel.service(pod, port) : tunnel.dial(pod, port),
      service: (name, port) => tunnel.service(name, port),
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
      for (const each of await Promise.all(names.values())) {
        each.server.close();
        for (const socket of each.sockets) socket.destroy();
      }
      await environment.close();
    },
  };
}

/** As a Service does: each connection is led to a pod that is ready now, and ends with it. */
async function serveName(resolve: () => Promise<{ host: string; port: number }>) {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    sockets.add(client);
    client.on("error", () => client.destroy());
    client.on("close", () => sockets.delete(client));
    resolve().then(
      ({ host, port }) => {
        const pod = connect({ host, port, noDelay: true });
        pod.on("error", () => client.destroy());
        pod.on("close", () => client.destroy());
        client.on("close", () => pod.destroy());
        client.pipe(pod).pipe(client);
      },
      () => client.destroy(),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { server, sockets };
}
