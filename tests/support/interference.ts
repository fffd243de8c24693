/** What makes a living service sick without breaking it. */
import { createRedaction, openEnvironment } from "../../checks";
import * as mongodb from "../../components/mongodb/client";
import * as mysql from "../../components/mysql/client";
import { endpointOf } from "../../components/shared/check/connections";
import { adminAccess } from "../../components/shared/check/logins";
import { memberHost } from "../../components/shared/core/names";
import { agentImage } from "../../components/shared/deploy/images";
import { apply, kubectl } from "../../sandbox/cluster";
import { containerProfile } from "./prometheus";
import { placeOf } from "./workload";

export type Sluggish = "mongodb" | "mysql";

/** Keeps a member that does not lead from applying what the others write, until the end that is returned. */
export async function holdBack(stack: string, service: Sluggish, member: string): Promise<() => Promise<void>> {
  const { config, target } = await placeOf(stack, service);
  const environment = openEnvironment(config, target, createRedaction(), new AbortController().signal);
  const access = await adminAccess(target, environment);
  const dial = () => environment.tunnel.dial(member, target.clientPort);
  if (service === "mongodb") {
    const auth = access.auth && { ...access.auth, source: "admin" };
    const tls = access.ca === undefined ? "off" : "unverified";
    const client = mongodb.direct({ ...(await dial()), tls, auth, timeoutMilliseconds: 10_000 });
    await mongodb.command(client, { fsync: 1, lock: true });
    return async () => {
      await mongodb.command(client, { fsyncUnlock: 1 });
      await client.close();
      await environment.close();
    };
  }
  const host = memberHost(target.name, target.namespace, member);
  const connection = await mysql.open(await endpointOf({ name: member, host, dial }, access), 10_000);
  await connection.query("FLUSH TABLES WITH READ LOCK");
  return async () => {
    await connection.end();
    await environment.close();
  };
}

const crowd = (address: string, port: number, count: number): string => `
const { connect } = require("node:net");
const open = () => {
  const socket = connect(${port}, "${address}");
  socket.on("error", () => undefined);
  socket.on("close", () => setTimeout(open, 1000));
};
for (let number = 0; number < ${count}; number += 1) setTimeout(open, number);
process.on("SIGTERM", () => process.exit(0));`;

/** Holds connections that ask for nothing, from a pod among the clients, until the end that is returned. */
export async function crowdOf(
  namespace: string,
  name: string,
  { address, port, count }: { address: string; port: number; count: number },
): Promise<() => Promise<void>> {
  await apply({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 1,
      securityContext: { runAsNonRoot: true, runAsUser: 1000, seccompProfile: { type: "RuntimeDefault" } },
      containers: [
        {
          name: "crowd",
          image: agentImage,
          command: ["/usr/local/bin/node", "-e", crowd(address, port, count)],
          resources: { requests: { cpu: "20m", memory: "48Mi" }, limits: { memory: "256Mi" } },
          ...containerProfile,
        },
      ],
    },
  });
  return async () => void (await kubectl("delete", "pod", name, "-n", namespace));
}
